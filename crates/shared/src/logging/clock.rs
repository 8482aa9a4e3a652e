//! The time as logs write it: UTC, to the millisecond. It owns no format of its own making.

use std::fmt;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// RFC 3339 with milliseconds: `2026-11-22T17:02:03.456Z`.
pub(super) struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        out.write_str(&now())
    }
}

/// The time now, as [`Utc`] writes it.
pub(super) fn now() -> String {
    let mut text = String::with_capacity(32);
    // Writing to a string doesn't fail. tracing-subscriber writes microseconds.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text.truncate("2026-11-22T17:02:03.456".len());
    text.push('Z');
    text
}

/// The day of a time from [`now`]: `2026-11-22`.
pub(super) fn day(utc: &str) -> &str {
    utc.split('T').next().unwrap_or(utc)
}

/// The time of day of a time from [`now`]: `17:02:03`.
pub(super) fn time_of_day(utc: &str) -> &str {
    let time = utc.split('T').nth(1).unwrap_or(utc);
    time.split('.').next().unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_rfc_3339_with_milliseconds_in_utc() {
        let now = now();
        let shape: String = now
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z");
        assert_eq!(format!("{}T{}", day(&now), time_of_day(&now)), now[..19]);
    }
}
