//! Owns when the guardian acts in the place of an inner that lives and says nothing: when its deadline
//! has passed, and again for as long as the stop fails and the inner says nothing. Pure: it is given
//! the time of the car's clock.

use std::time::Duration;

use super::Guard;
use crate::motion::stop_again_after;

/// How long after its deadline the inner's own stop must have been told to the guardian: what
/// the inner needs to notice and to say so.
const MARGIN: Duration = Duration::from_millis(20);

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Stop what moves: its deadline has passed.
    Stop(Guard),
    /// Run the stop command again: it has failed, for this time since the deadline.
    Again(u32),
}

/// What the inner said last, and what the guardian has done since.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// What it said; without its deadline once that has been acted upon.
    pub guard: Guard,
    /// How often the stop has failed since, and when it is tried again.
    failed: Option<(u32, Duration)>,
}

impl Silence {
    /// The inner says something: from now on it is the one that tries again.
    pub(super) fn ends(&mut self, guard: Guard) {
        *self = Self {
            guard,
            failed: None,
        };
    }

    /// How long it is until it is time to act.
    pub(super) fn left(&self, now: Duration) -> Option<Duration> {
        let deadline = match self.guard {
            Guard::Until { deadline_ms, .. } if deadline_ms > 0 => {
                Some(Duration::from_millis(deadline_ms) + MARGIN)
            }
            _ => self.failed.map(|(_, at)| at),
        };
        deadline.map(|due| due.saturating_sub(now))
    }

    /// What it is time for, then.
    pub(super) fn step(&self) -> Step {
        match self.failed {
            Some((tries, _)) => Step::Again(tries),
            None => Step::Stop(self.guard.clone()),
        }
    }

    /// That has been done, and has stopped the car or not.
    pub(super) fn acted(&mut self, has_stopped: bool, now: Duration) {
        // Whether it stands is the inner's to find out, if it ever comes back.
        if let Guard::Until { deadline_ms, .. } = &mut self.guard {
            *deadline_ms = 0;
        }
        let tries = self.failed.map_or(0, |(tries, _)| tries);
        self.failed = (!has_stopped).then(|| (tries + 1, now + stop_again_after(tries)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guardian::Mover;

    fn until(deadline_ms: u64) -> Guard {
        Guard::Until {
            deadline_ms,
            group: 0,
            mover: Mover::default(),
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_time_to_act_is_by_the_cars_clock() {
        let left = |guard, now| {
            let mut silence = Silence::default();
            silence.ends(guard);
            silence.left(now)
        };
        assert_eq!(left(until(1000), ms(900)), Some(ms(120)));
        // The machine slept past it.
        assert_eq!(left(until(1000), ms(9000)), Some(Duration::ZERO));
        assert_eq!(left(until(0), ms(900)), None);
        assert_eq!(left(Guard::Stand, ms(900)), None);
    }

    #[test]
    fn a_stop_that_fails_is_tried_again_until_it_succeeds_or_the_inner_speaks() {
        let mut silence = Silence::default();
        silence.ends(until(1000));
        assert_eq!(silence.step(), Step::Stop(until(1000)));
        let (mut now, mut pauses) = (ms(1100), Vec::new());
        for tries in 1..=7 {
            silence.acted(false, now);
            let left = silence.left(now).unwrap();
            assert_eq!(silence.step(), Step::Again(tries));
            pauses.push(left.as_secs());
            now += left;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10, 10]);
        silence.acted(true, now);
        assert_eq!(silence.left(now), None);
        // The inner went on, and moves the car, and hangs again.
        silence.ends(until(90_000));
        silence.acted(false, ms(90_100));
        assert_eq!(silence.left(ms(90_100)), Some(ms(1000)));
        for said in [Guard::Stand, until(0)] {
            silence.acted(false, ms(90_100));
            silence.ends(said);
            assert_eq!(silence.left(ms(99_000)), None);
        }
    }
}
