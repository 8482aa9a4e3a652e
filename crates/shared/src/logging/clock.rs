//! The time as logs write it: UTC, to the millisecond. It owns no format of its own making.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

thread_local! {
    /// The second that was written last, in seconds since 1970 and as text: most lines of a busy
    /// router share theirs.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Appends the time now, in RFC 3339 with milliseconds: `2026-11-22T17:02:03.456Z`.
pub(super) fn push_now(to: &mut String) {
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if text.is_empty() || *second != now.as_secs() {
            text.clear();
            // Writing to a string doesn't fail. tracing-subscriber writes microseconds; and the
            // second may end in between, which the next line puts right.
            let _ = SystemTime.format_time(&mut Writer::new(text));
            text.truncate("2026-11-22T17:02:03".len());
            *second = now.as_secs();
        }
        to.push_str(text);
    });
    let _ = write!(to, ".{:03}Z", now.subsec_millis());
}

/// The time now, as [`push_now`] writes it.
pub(super) fn now() -> String {
    let mut text = String::with_capacity(24);
    push_now(&mut text);
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
