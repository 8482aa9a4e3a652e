//! The round trips over one connection: the last ones, percentiles, jitter. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Round trips kept for the sparkline.
const KEPT: usize = 120;
/// Two significant digits: 1 % is finer than any screen shows.
const DIGITS: u8 = 2;

/// Bars of the histogram: upper bound in milliseconds (exclusive), label, and the block for such a
/// round trip in a sparkline.
pub const BARS: [(u64, &str, char); 8] = [
    (5, "<5", '▁'),
    (10, "<10", '▂'),
    (25, "<25", '▃'),
    (50, "<50", '▄'),
    (100, "<100", '▅'),
    (200, "<200", '▆'),
    (500, "<500", '▇'),
    (u64::MAX, "more", '█'),
];

#[derive(Debug, Clone, Default)]
pub struct RoundTrips {
    recent: VecDeque<u32>,
    all: Option<Histogram<u32>>,
    /// Smoothed difference between neighbours (RFC 3550).
    jitter_us: f64,
}

impl RoundTrips {
    pub fn of(rtts_us: &[u32]) -> Self {
        let mut rtts = Self::default();
        rtts_us.iter().for_each(|rtt_us| rtts.push(*rtt_us));
        rtts
    }

    pub fn push(&mut self, rtt_us: u32) {
        if let Some(last) = self.recent.back() {
            let difference = f64::from(last.abs_diff(rtt_us));
            self.jitter_us += (difference - self.jitter_us) / 16.0;
        }
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(rtt_us);
        if self.all.is_none() {
            self.all = Histogram::new(DIGITS).ok();
        }
        if let Some(all) = &mut self.all {
            // The histogram resizes itself; only values above an hour are too large.
            let _ = all.record(u64::from(rtt_us));
        }
    }

    pub fn last(&self) -> Option<Duration> {
        self.recent
            .back()
            .map(|us| Duration::from_micros(u64::from(*us)))
    }

    /// The last round trips in microseconds, newest last.
    pub fn recent(&self) -> impl DoubleEndedIterator<Item = u32> + ExactSizeIterator + '_ {
        self.recent.iter().copied()
    }

    /// The round trip that this share (0 to 1) of all did not exceed.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all = self.all.as_ref().filter(|all| !all.is_empty())?;
        Some(Duration::from_micros(all.value_at_quantile(share)))
    }

    pub fn jitter(&self) -> Duration {
        Duration::from_secs_f64(self.jitter_us.max(0.0) / 1e6)
    }

    /// Number of round trips in each of [`BARS`].
    pub fn bars(&self) -> [u64; BARS.len()] {
        let mut counts = [0; BARS.len()];
        let Some(all) = &self.all else {
            return counts;
        };
        for step in all.iter_recorded() {
            let ms = step.value_iterated_to() / 1000;
            let bar = BARS.iter().position(|(below, ..)| ms < *below);
            if let Some(count) = bar.and_then(|bar| counts.get_mut(bar)) {
                *count += step.count_since_last_iteration();
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_from_all_and_the_sparkline_from_the_last() {
        let mut trips = RoundTrips::default();
        for ms in 1..=1000 {
            trips.push(ms * 1000);
        }
        let near = |share, ms: u64| {
            let found = trips.quantile(share).unwrap().as_millis();
            assert!(
                found.abs_diff(u128::from(ms)) <= u128::from(ms) / 50,
                "{found}"
            );
        };
        near(0.5, 500);
        near(0.95, 950);
        assert_eq!(trips.recent().len(), KEPT);
        assert_eq!(trips.last(), Some(Duration::from_secs(1)));
        assert_eq!(trips.bars().iter().sum::<u64>(), 1000);
        assert!(trips.bars()[1] >= 4 && trips.bars()[1] <= 6);
        assert!(trips.jitter() > Duration::from_micros(900));
    }

    #[test]
    fn nothing_measured_is_nothing_shown() {
        let trips = RoundTrips::default();
        assert_eq!((trips.last(), trips.quantile(0.5)), (None, None));
        assert_eq!(trips.bars(), [0; BARS.len()]);
    }
}
