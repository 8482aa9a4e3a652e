//! Limits the rate at which the main port answers callers: after a restart ten thousand inners dial
//! at once, and their handshakes must not delay the links that are already up. Others wait for their
//! turn (see `places`). Pure: the caller gives the time.

use std::time::{Duration, Instant};

use crate::net::leaky_bucket::LeakyBucket;

/// Callers a second: 10,000 are back within 20 s, and each costs a new link, with TLS up to a
/// millisecond of one core.
const A_SECOND: f64 = 600.0;
/// Callers that may come at once.
const AT_ONCE: f64 = 100.0;

/// Rate limit of callers.
#[derive(Debug, Default)]
pub(crate) struct AcceptRate(LeakyBucket);

impl AcceptRate {
    /// Counts a caller; returns the pause before the next may have its turn.
    pub(crate) fn take(&mut self, now: Instant) -> Duration {
        let taken = self.0.leaked(A_SECOND, now);
        *taken += 1.0;
        Duration::from_secs_f64((*taken + 1.0 - AT_ONCE).max(0.0) / A_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_come_at_once_and_then_one_after_the_other() {
        let mut pace = AcceptRate::default();
        let mut now = Instant::now();
        for _ in 0..99 {
            assert_eq!(pace.take(now), Duration::ZERO);
        }
        for _ in 0..1000 {
            let pause = pace.take(now);
            assert!(pause > Duration::from_micros(1666) && pause < Duration::from_micros(1668));
            now += pause;
        }
        // Unused capacity does not add up beyond AT_ONCE.
        now += Duration::from_secs(60);
        let free = (0..200).take_while(|_| pace.take(now).is_zero()).count();
        assert_eq!(free, 99);
    }
}
