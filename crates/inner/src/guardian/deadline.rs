//! Decides when the guardian acts in place of an inner that is alive but silent: when the inner's
//! deadline has passed, and again while the stop fails and the inner stays silent. Pure: the caller
//! gives the time of the car's clock.

use std::time::Duration;

use crate::motion::{GuardState, stop_again_after};

/// Time after the deadline by which the inner must have reported its own stop: what the inner needs
/// to notice and to report.
const MARGIN: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(super) struct InnerDeadline {
    /// The report, without its deadline once the guardian has acted.
    pub guard: GuardState,
    /// Number of failed stops since, and the time of the next try.
    failed: Option<(u32, Duration)>,
}

impl InnerDeadline {
    /// Takes a report of the inner: from now on the inner is the one that tries again.
    pub(super) fn ends(&mut self, guard: GuardState) {
        *self = Self {
            guard,
            failed: None,
        };
    }

    /// Returns the time until the guardian has to act.
    pub(super) fn left(&self, now: Duration) -> Option<Duration> {
        let deadline = match self.guard {
            GuardState::Until { deadline_ms, .. } if deadline_ms > 0 => {
                Some(Duration::from_millis(deadline_ms) + MARGIN)
            }
            _ => self.failed.map(|(_, at)| at),
        };
        deadline.map(|due| due.saturating_sub(now))
    }

    /// Returns how often the stop has failed since the deadline; `None`: the guardian has not acted.
    pub(super) fn failed_tries(&self) -> Option<u32> {
        self.failed.map(|(tries, _)| tries)
    }

    /// Reports that the action was done, and whether the car was stopped.
    pub(super) fn acted(&mut self, has_stopped: bool, now: Duration) {
        // The inner finds out whether the car stands, if it ever comes back.
        if let GuardState::Until { deadline_ms, .. } = &mut self.guard {
            *deadline_ms = 0;
        }
        let tries = self.failed_tries().unwrap_or(0);
        self.failed = (!has_stopped).then(|| (tries + 1, now + stop_again_after(tries)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::motion::MotionOwner;

    fn until(deadline_ms: u64) -> GuardState {
        GuardState::Until {
            deadline_ms,
            group: 0,
            owner: MotionOwner::default(),
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_time_to_act_is_by_the_cars_clock() {
        let left = |guard, now| {
            let mut deadline = InnerDeadline::default();
            deadline.ends(guard);
            deadline.left(now)
        };
        assert_eq!(left(until(1000), ms(900)), Some(ms(120)));
        // The machine slept past the deadline.
        assert_eq!(left(until(1000), ms(9000)), Some(Duration::ZERO));
        assert_eq!(left(until(0), ms(900)), None);
        assert_eq!(left(GuardState::Stand, ms(900)), None);
    }

    #[test]
    fn a_stop_that_fails_is_tried_again_until_it_succeeds_or_the_inner_speaks() {
        let mut deadline = InnerDeadline::default();
        deadline.ends(until(1000));
        assert_eq!(deadline.failed_tries(), None);
        assert_eq!(deadline.guard, until(1000));
        let (mut now, mut pauses) = (ms(1100), Vec::new());
        for tries in 1..=7 {
            deadline.acted(false, now);
            let left = deadline.left(now).unwrap();
            assert_eq!(deadline.failed_tries(), Some(tries));
            pauses.push(left.as_secs());
            now += left;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10, 10]);
        deadline.acted(true, now);
        assert_eq!(deadline.left(now), None);
        // The inner went on, and moves the car, and hangs again.
        deadline.ends(until(90_000));
        deadline.acted(false, ms(90_100));
        assert_eq!(deadline.left(ms(90_100)), Some(ms(1000)));
        for said in [GuardState::Stand, until(0)] {
            deadline.acted(false, ms(90_100));
            deadline.ends(said);
            assert_eq!(deadline.left(ms(99_000)), None);
        }
    }
}
