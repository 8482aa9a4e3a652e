//! Decides when to dial again. Pure: the caller gives the time and a random number.

use std::time::{Duration, Instant};

/// First pause of an outage.
const FIRST: Duration = Duration::from_millis(200);
/// Longest pause while an outage is young: a car should be back within a second or so.
const YOUNG_CAP: Duration = Duration::from_secs(1);
/// Time for which an outage is young.
const YOUNG: Duration = Duration::from_secs(600);
/// Longest pause of an old outage.
const OLD_CAP: Duration = Duration::from_secs(20);
/// A link that was up for this long ends the outage: the next outage starts afresh.
pub(crate) const STABLE: Duration = Duration::from_secs(10);
/// Pause after the router refused the key: dialling sooner can't help.
pub const DENIED: Duration = Duration::from_secs(60);

/// Reconnect schedule: 0.2 s doubling to 1 s for the first 10 minutes of an outage, then doubling
/// to 20 s, with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015). The
/// schedule never gives up.
#[derive(Debug, Clone)]
pub struct Backoff {
    outage_since: Option<Instant>,
    up_since: Option<Instant>,
    cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            outage_since: None,
            up_since: None,
            cap: FIRST,
        }
    }
}

impl Backoff {
    /// Reports that the link came up.
    pub fn connected(&mut self, now: Instant) {
        self.up_since = Some(now);
    }

    /// Returns the pause before the next attempt, after the link was lost or an attempt failed.
    /// `random` is uniform in `0.0..1.0`.
    pub fn pause(&mut self, now: Instant, random: f64) -> Duration {
        if let Some(up) = self.up_since.take()
            && now.duration_since(up) >= STABLE
        {
            *self = Self::default();
        }
        let since = *self.outage_since.get_or_insert(now);
        let limit = if now.duration_since(since) < YOUNG {
            YOUNG_CAP
        } else {
            OLD_CAP
        };
        let pause = self.cap.min(limit).mul_f64(random.clamp(0.0, 1.0));
        self.cap = (self.cap * 2).min(limit);
        pause
    }

    /// Starts a new outage now, because somebody asked for an attempt at once (SIGHUP).
    pub fn restart(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(backoff: &mut Backoff, now: Instant, n: usize) -> Vec<u128> {
        (0..n)
            .map(|_| backoff.pause(now, 1.0).as_millis())
            .collect()
    }

    #[test]
    fn doubles_to_one_second_then_to_twenty_when_the_outage_is_old() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        assert_eq!(caps(&mut backoff, start, 5), [200, 400, 800, 1000, 1000]);
        let old = start + YOUNG;
        assert_eq!(
            caps(&mut backoff, old, 7),
            [1000, 2000, 4000, 8000, 16000, 20000, 20000]
        );
    }

    #[test]
    fn jitter_is_full() {
        let now = Instant::now();
        assert_eq!(Backoff::default().pause(now, 0.0), Duration::ZERO);
        assert_eq!(Backoff::default().pause(now, 0.5), FIRST / 2);
    }

    #[test]
    fn a_link_that_flaps_does_not_reset_the_schedule_and_a_stable_one_does() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        caps(&mut backoff, start, 3);
        backoff.connected(start);
        assert_eq!(backoff.pause(start + STABLE / 2, 1.0).as_millis(), 1000);
        backoff.connected(start);
        assert_eq!(backoff.pause(start + STABLE, 1.0), FIRST);
    }
}
