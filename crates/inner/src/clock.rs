//! Owns the inner's own clock, in which the router gives it deadlines.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds of a clock that nobody sets and that goes on while the machine sleeps
/// (`CLOCK_BOOTTIME`): what waited in a socket during a sleep is late after it.
#[must_use]
pub fn now_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let millis = u64::try_from(time.tv_nsec).unwrap_or_default() / 1_000_000;
    seconds * 1000 + millis
}
