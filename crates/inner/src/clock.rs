//! The inner's own clock, in which the router gives deadlines.

use std::time::Duration;

use p2p_shared::timing::millis;
use rustix::time::{ClockId, clock_gettime};

#[cfg(feature = "simulation")]
thread_local! {
    static SIMULATED: std::cell::Cell<Option<(Duration, tokio::time::Instant)>> =
        const { std::cell::Cell::new(None) };
}

/// Makes the clock of this thread follow the runtime's clock, which may be paused.
#[cfg(feature = "simulation")]
pub(crate) fn simulate(now: Duration) {
    SIMULATED.set(Some((now, tokio::time::Instant::now())));
}

/// Returns the time of the car's clock, which nobody sets and which goes on while the machine
/// sleeps (`CLOCK_BOOTTIME`).
pub fn now() -> Duration {
    #[cfg(feature = "simulation")]
    if let Some((at_start, start)) = SIMULATED.get() {
        return at_start + start.elapsed();
    }
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

/// Returns the same time in milliseconds, as in the protocol. The machine's sleep counts: a message
/// that waited during it is late.
pub fn now_ms() -> u64 {
    millis(now())
}

/// Longest sleep before this clock is read again while the car moves: the runtime's timers stand
/// still while the machine sleeps, and are late by that time.
const STEP: Duration = Duration::from_millis(50);

/// Returns how long to sleep before this clock is read again, for something that is due after
/// `left`.
pub(crate) fn step(left: Duration) -> Duration {
    left.min(STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sleep_is_longer_than_what_may_be_late_after_the_machines_own() {
        assert_eq!(step(Duration::from_secs(2)), Duration::from_millis(50));
        assert_eq!(step(Duration::from_millis(7)), Duration::from_millis(7));
        assert_eq!(step(Duration::ZERO), Duration::ZERO);
    }
}
