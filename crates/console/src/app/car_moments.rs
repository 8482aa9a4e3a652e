//! Dates what a car tells: the one place that makes moments of this desk of readings of the car's clock. So header,
//! timeline and log say when something was, however late the news of it comes.

use std::time::{Duration, Instant};

use p2p_shared::car_clock::CarClock;

/// Longest time by which a reading may be overtaken by a later one: a link that is silent for longer is dead. One
/// that is earlier by more is of another start of the machine.
const OVERTAKEN_MS: u64 = 60_000;

#[derive(Debug, Clone)]
pub(super) struct CarMoments {
    clock: CarClock,
    /// The newest reading, in milliseconds.
    newest_ms: u64,
    /// The moment from which nanoseconds are counted.
    base: Instant,
}

impl CarMoments {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            clock: CarClock::default(),
            newest_ms: 0,
            base: now,
        }
    }

    /// Takes a reading of the car's clock that came now. Routers pass ticks and reports on in ways of their own, so
    /// that an earlier one may come later; it tells nothing.
    pub(super) fn heard(&mut self, clock_ms: u64, now: Instant) {
        let is_earlier = clock_ms < self.newest_ms;
        if is_earlier && self.newest_ms - clock_ms <= OVERTAKEN_MS {
            return;
        }
        self.newest_ms = clock_ms;
        self.clock.tick(clock_ms, self.nanoseconds(now));
    }

    /// The moment of this reading of the car's clock; `now`, if there is none.
    pub(super) fn of(&self, clock_ms: Option<u64>, now: Instant) -> Instant {
        let at = |clock_ms| {
            let here = self.clock.here(clock_ms, self.nanoseconds(now));
            self.base.checked_add(Duration::from_nanos(here))
        };
        clock_ms.and_then(at).unwrap_or(now)
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.base);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}
