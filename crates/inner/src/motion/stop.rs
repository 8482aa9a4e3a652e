//! Decides how often and when a stop command that fails is tried again: for the inner and its
//! guardian alike.

use std::time::Duration;

pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(1);
/// Tries of a stop command before it counts as failed.
pub(crate) const STOP_TRIES: u32 = 3;
/// Pause between two of these tries, unless the stop hung: a cause that passes (`EAGAIN`, or
/// `ETXTBSY` while the file is copied) would make three tries at once fail.
const STOP_PAUSE: Duration = Duration::from_millis(100);
/// Pause after the stop has failed, doubled each time, unless somebody asks for a stop: the cause
/// (no free process, a full disk) may pass when nobody is there to ask, and the car still moves.
pub(crate) const STOP_AGAIN: Duration = Duration::from_secs(1);
/// Longest of these pauses: a broken command must not fill the log.
const STOP_AGAIN_MOST: Duration = Duration::from_secs(10);

/// Returns the pause after this many tries since the stop has failed.
pub(crate) fn stop_again_after(tries: u32) -> Duration {
    (STOP_AGAIN * (1 << tries.min(8))).min(STOP_AGAIN_MOST)
}

/// Counts the failures of the stop command in a row, and says when it is tried again.
#[derive(Debug, Default)]
pub(crate) struct StopRetries {
    failures: u32,
}

impl StopRetries {
    /// Counts a failure of the stop command, and returns the pause before the next try; none after
    /// a stop that `hung`, which took its time.
    pub(crate) fn failed(&mut self, hung: bool) -> Duration {
        self.failures += 1;
        match self.failures.checked_sub(STOP_TRIES) {
            None if hung => Duration::ZERO,
            None => STOP_PAUSE,
            Some(more) => stop_again_after(more),
        }
    }

    /// Returns true if the stop command counts as failed.
    pub(crate) fn have_failed(&self) -> bool {
        self.failures >= STOP_TRIES
    }

    /// Returns true if an earlier failure of the stop command was reported.
    pub(crate) fn is_old_news(&self) -> bool {
        self.failures > STOP_TRIES
    }
}
