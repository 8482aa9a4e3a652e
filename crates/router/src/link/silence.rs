//! Decides when an inner counts as giving no answer: when it owes a sign of life for too long. Pure: the caller
//! gives the time.

use std::time::{Duration, Instant};

use p2p_shared::timing::NO_ANSWER;

/// The longest round trip that is allowed for, and the one before any was measured.
const MOST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Silence {
    /// Time since which the inner owes a sign of life: a pong, or the next tick of its clock.
    owed_since: Option<Instant>,
    /// The last round trip: a slow link is not a silent one.
    round_trip: Duration,
    is_told: bool,
    /// True if ticks are to come.
    ticks: bool,
}

impl Default for Silence {
    fn default() -> Self {
        Self {
            owed_since: None,
            round_trip: MOST,
            is_told: false,
            ticks: false,
        }
    }
}

impl Silence {
    /// Notes that the inner owes a sign of life from now on.
    pub(crate) fn owed(&mut self, now: Instant) {
        self.owed_since.get_or_insert(now);
    }

    /// Notes whether the inner owes ticks of its clock.
    pub(crate) fn expect_ticks(&mut self, are_wanted: bool, now: Instant) {
        if are_wanted {
            self.owed(now);
        } else if self.ticks && !self.is_told {
            // The tick that was owed does not come any more. The next ping owes a pong.
            self.owed_since = None;
        }
        self.ticks = are_wanted;
    }

    /// Notes a sign of life. Returns true if it ends a silence that was told.
    pub(crate) fn heard(&mut self) -> bool {
        self.owed_since = None;
        std::mem::take(&mut self.is_told)
    }

    pub(crate) fn measured(&mut self, round_trip: Duration) {
        self.round_trip = round_trip.min(MOST);
    }

    /// Returns the time of the next [`poll`](Self::poll).
    pub(crate) fn next(&self) -> Option<Instant> {
        let since = self.owed_since.filter(|_| !self.is_told)?;
        Some(since + NO_ANSWER + self.round_trip)
    }

    /// Returns the length of a silence that is to be told now: once.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Duration> {
        self.next().filter(|at| *at <= now)?;
        self.is_told = true;
        let since = self.owed_since?;
        Some(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_told_once_and_ends_with_the_next_sign_of_life() {
        let ms = Duration::from_millis;
        let t = Instant::now();
        let mut silence = Silence::default();
        // Who owes nothing is not silent.
        assert_eq!((silence.next(), silence.poll(t + ms(60_000))), (None, None));
        // Nobody knows yet how slow the link is.
        silence.owed(t);
        assert_eq!(silence.next(), Some(t + ms(1500)));
        silence.measured(ms(5000));
        assert_eq!(silence.next(), Some(t + ms(1500)), "not for ever");
        silence.measured(ms(40));
        silence.owed(t + ms(200));
        assert_eq!(silence.next(), Some(t + ms(540)));
        assert_eq!(silence.poll(t + ms(539)), None);
        assert_eq!(silence.poll(t + ms(545)), Some(ms(545)));
        assert_eq!((silence.next(), silence.poll(t + ms(900))), (None, None));
        assert!(silence.heard());
        assert!(!silence.heard());
        silence.owed(t + ms(1000));
        assert!(!silence.heard());
        assert_eq!(silence.poll(t + ms(5000)), None);
    }

    #[test]
    fn a_tick_that_nobody_wants_any_more_is_not_missed() {
        let ms = Duration::from_millis;
        let t = Instant::now();
        let mut silence = Silence::default();
        silence.expect_ticks(true, t);
        assert!(silence.next().is_some());
        silence.expect_ticks(false, t + ms(100));
        assert_eq!(silence.next(), None);
        // What was told stays until the inner is heard.
        silence.expect_ticks(true, t);
        assert!(silence.poll(t + ms(2000)).is_some());
        silence.expect_ticks(false, t + ms(2100));
        assert!(silence.heard());
        // A pong is owed whoever looks.
        silence.owed(t);
        silence.expect_ticks(false, t + ms(100));
        assert!(silence.next().is_some());
    }
}
