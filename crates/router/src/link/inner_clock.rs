//! The router's estimate of an inner's clock, in which runs get their deadlines.

use std::time::{Duration, Instant};

use p2p_shared::timing;

/// Greatest age of a clock that came with the message after it.
const TOGETHER: Duration = Duration::from_millis(50);

/// An inner's clock as it was last reported: a lower bound, since the report took a while to come. So
/// a deadline may come too early on a slow link, and never too late.
#[derive(Debug)]
pub(super) struct InnerClock {
    said: Duration,
    heard: Instant,
}

impl InnerClock {
    /// A clock that was reported just now.
    pub(super) fn heard(clock_ms: u64) -> Self {
        Self {
            said: Duration::from_millis(clock_ms),
            heard: timing::now(),
        }
    }

    /// The reading in milliseconds that came just before this message; `None`: an inner that sends none with it.
    pub(super) fn just_said(&self, now: Instant) -> Option<u64> {
        let age = now.saturating_duration_since(self.heard);
        (age <= TOGETHER).then(|| timing::millis(self.said))
    }

    /// Returns true if the inner would refuse motion with this tick as too old: the inner's clock
    /// shows at least the router's estimate.
    pub(super) fn is_old(&self, tick_ms: u64, now: Instant) -> bool {
        let at_least = self.said + now.saturating_duration_since(self.heard);
        at_least > Duration::from_millis(tick_ms).saturating_add(timing::MOTION_AGE)
    }

    /// The reading of the inner's clock this time after now, in milliseconds.
    pub(super) fn after(&self, now: Instant, time: Duration) -> u64 {
        let at = self.said + now.saturating_duration_since(self.heard) + time;
        timing::millis(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn motion_is_old_a_second_after_its_tick_and_not_before() {
        let clock = InnerClock::heard(10_000);
        let later = |ms| clock.heard + Duration::from_millis(ms);
        assert!(!clock.is_old(10_000, later(1000)));
        assert!(clock.is_old(10_000, later(1001)));
        assert!(clock.is_old(8_999, later(0)));
        // A tick later than the last report is not old, nor is the greatest possible tick.
        assert!(!clock.is_old(10_900, later(1001)));
        assert!(!clock.is_old(u64::MAX, later(1001)));
    }
}
