//! Owns the clock by which timers are set: the runtime's own, so that what is compared with a timer
//! and the timer itself always agree, paused time in a test included.

use std::time::Instant;

/// The time now.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
