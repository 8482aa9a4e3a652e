//! Leaky bucket: counts events, less what has leaked since. The caller sets rate and limit, and
//! gives the time.

use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct LeakyBucket {
    filled: f64,
    at: Option<Instant>,
}

impl LeakyBucket {
    /// Returns the content at `now`, after a leak of `each_second`. The caller may add to it.
    pub(crate) fn leaked(&mut self, each_second: f64, now: Instant) -> &mut f64 {
        if let Some(at) = self.at.replace(now) {
            let since = now.saturating_duration_since(at).as_secs_f64();
            self.filled = (self.filled - since * each_second).max(0.0);
        }
        &mut self.filled
    }

    /// Counts an event and returns true, unless there were `each_second` within about a second.
    pub(crate) fn take(&mut self, each_second: f64, now: Instant) -> bool {
        let filled = self.leaked(each_second, now);
        let may = *filled + 1.0 <= each_second;
        if may {
            *filled += 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_has_so_many_events_and_the_next_as_many_again() {
        let mut bucket = LeakyBucket::default();
        let now = Instant::now();
        let events =
            |bucket: &mut LeakyBucket, at| (0..100).filter(|_| bucket.take(10.0, at)).count();
        assert_eq!(events(&mut bucket, now), 10);
        assert_eq!(events(&mut bucket, now + Duration::from_millis(500)), 5);
        assert_eq!(events(&mut bucket, now + Duration::from_secs(60)), 10);
    }
}
