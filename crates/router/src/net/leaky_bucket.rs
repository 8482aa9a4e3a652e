//! Owns a leaky bucket: how much came of something, less what time has given back. What is too much
//! is its owner's to say. It is given the time.

use std::time::Instant;

/// The bucket.
#[derive(Debug, Default)]
pub(crate) struct LeakyBucket {
    filled: f64,
    at: Option<Instant>,
}

impl LeakyBucket {
    /// What is in it now, where so much leaks each second: to be added to.
    pub(crate) fn leaked(&mut self, each_second: f64, now: Instant) -> &mut f64 {
        if let Some(at) = self.at.replace(now) {
            let since = now.saturating_duration_since(at).as_secs_f64();
            self.filled = (self.filled - since * each_second).max(0.0);
        }
        &mut self.filled
    }
}
