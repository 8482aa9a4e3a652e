//! Measures how late a loop runs, by a clock that goes on while the machine sleeps.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since the machine started, including sleep.
pub(crate) fn boottime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(secs, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// The time at which a loop planned to run again.
#[derive(Debug)]
pub(crate) struct LoopPlan {
    at: Duration,
    within: Duration,
}

impl LoopPlan {
    /// Plans to run again within this time.
    pub(crate) fn new(within: Duration) -> Self {
        Self {
            at: boottime(),
            within,
        }
    }

    /// Delay of the loop behind its plan.
    pub(crate) fn lateness(&self) -> Duration {
        boottime().saturating_sub(self.at + self.within)
    }
}
