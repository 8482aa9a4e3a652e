//! The time of day where the operator is. Plain values: the loop reads the clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use p2p_shared::timing::millis;

#[derive(Debug, Clone)]
pub struct WallClock {
    at: Instant,
    /// Time since 1970 at that moment.
    unix: Duration,
    zone: TimeZone,
}

impl WallClock {
    /// Reads the clock and the zone of this machine.
    pub(crate) fn local(now: Instant) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::new(now, unix.unwrap_or_default(), TimeZone::system())
    }

    pub(crate) fn new(at: Instant, unix: Duration, zone: TimeZone) -> Self {
        Self { at, unix, zone }
    }

    /// Sets the clock again: it may have been wrong, and a machine that sleeps loses time.
    pub(crate) fn set(&mut self, now: Instant) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        (self.at, self.unix) = (now, unix.unwrap_or_default());
    }

    /// Counts from a moment that stands for this time.
    pub(crate) fn count_from(&mut self, moment: Instant, time: SystemTime) {
        let unix = time.duration_since(UNIX_EPOCH);
        (self.at, self.unix) = (moment, unix.unwrap_or_default());
    }

    /// Milliseconds since 1970 at this moment.
    pub(crate) fn unix_ms(&self, moment: Instant) -> u64 {
        let later = moment.saturating_duration_since(self.at);
        let earlier = self.at.saturating_duration_since(moment);
        millis((self.unix + later).saturating_sub(earlier))
    }

    /// The time of this moment, by which it is found in a log: `16:52:04.0`.
    pub(crate) fn moment(&self, moment: Instant) -> String {
        let mut text = self.time_of_day(self.unix_ms(moment));
        text.truncate(text.len() - 2);
        text
    }

    /// The time of day with its zone, as `format` (strftime) says.
    pub(crate) fn corner(&self, now: Instant, format: &str) -> String {
        self.format(self.unix_ms(now), format)
    }

    /// Date and time with their zone, from milliseconds since 1970.
    pub(crate) fn full(&self, unix_ms: u64) -> String {
        self.format(unix_ms, "%Y-%m-%d %H:%M:%S %Z")
    }

    /// The same for the name of a file.
    pub(crate) fn stamp(&self, unix_ms: u64) -> String {
        self.format(unix_ms, "%Y%m%dT%H%M%S")
    }

    /// The time of day, from milliseconds since 1970.
    pub(crate) fn time_of_day(&self, unix_ms: u64) -> String {
        self.format(unix_ms, "%H:%M:%S.%3f")
    }

    fn format(&self, unix_ms: u64, format: &str) -> String {
        let time = i64::try_from(unix_ms).ok();
        let time = time.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let time = time.unwrap_or_default().to_zoned(self.zone.clone());
        time.strftime(format).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_zone_and_of_moments_before_and_after() {
        let now = Instant::now();
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        // 2026-07-01 and 2026-12-01, 14:52:04 UTC.
        let clock = WallClock::new(now, Duration::from_secs(1_782_917_524), zone);
        assert_eq!(clock.corner(now, "%H:%M:%S %Z"), "16:52:04 CEST");
        assert_eq!(clock.time_of_day(1_796_136_724_250), "15:52:04.250");
        assert_eq!(
            clock.moment(now + Duration::from_millis(1_970)),
            "16:52:05.9"
        );
        assert_eq!(
            clock.moment(now - Duration::from_millis(4_000)),
            "16:52:00.0"
        );
    }
}
