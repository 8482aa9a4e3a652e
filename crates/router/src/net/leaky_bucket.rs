//! Leaky bucket: counts events, less what has leaked since. The caller sets rate and limit, and
//! gives the time.

use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct LeakyBucket {
    filled: f64,
    at: Option<Instant>,
}

impl LeakyBucket {
    /// Returns the content now, at this leak per second, for the caller to add to.
    pub(crate) fn leaked(&mut self, each_second: f64, now: Instant) -> &mut f64 {
        if let Some(at) = self.at.replace(now) {
            let since = now.saturating_duration_since(at).as_secs_f64();
            self.filled = (self.filled - since * each_second).max(0.0);
        }
        &mut self.filled
    }
}
