//! Owns what the router knows of an inner's clock, in which runs get their deadlines.

use std::time::{Duration, Instant};

/// An inner's clock as it was heard: a lower bound, since what it said took a while to come. So
/// a deadline may come too early on a slow link, and never too late.
#[derive(Debug)]
pub(super) struct InnerClock {
    said: Duration,
    heard: Instant,
}

impl InnerClock {
    /// The inner has just been heard to say this.
    pub(super) fn heard(clock_ms: u64) -> Self {
        Self {
            said: Duration::from_millis(clock_ms),
            heard: Instant::now(),
        }
    }

    /// The inner's clock at the end of this time from now, in milliseconds.
    pub(super) fn after(&self, time: Duration) -> u64 {
        let at = self.said + self.heard.elapsed() + time;
        u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
    }
}
