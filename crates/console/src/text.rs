//! Short texts of values: escaped, cut to columns, with units; and texts of runs.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use p2p_shared::names::Argument;
use p2p_shared::protocol::{RunInfo, RunSource};
use p2p_shared::text::Escaped;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Escapes text from outside, and cuts it to this many columns.
pub fn fit(text: &str, columns: usize) -> String {
    // Cut early: hardly any text needs more characters than this.
    let shown = Escaped(text).cut(columns * 4 + 8).to_string();
    if shown.width() <= columns {
        return shown;
    }
    let mut cut = String::new();
    let mut left = columns.saturating_sub(1);
    for c in shown.chars() {
        let width = c.width().unwrap_or(0);
        if width > left {
            break;
        }
        left -= width;
        cut.push(c);
    }
    if columns > 0 {
        cut.push('…');
    }
    cut
}

/// Does the same as [`fit`], and pads with spaces to this many columns.
pub fn cell(text: &str, columns: usize) -> String {
    let mut shown = fit(text, columns);
    let left = columns.saturating_sub(shown.width());
    shown.extend(std::iter::repeat_n(' ', left));
    shown
}

/// Finds the name that was likely meant. It is so for clap's options, too: 0.7 is clap's limit.
pub fn closest<'a>(said: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |name| strsim::jaro_winkler(said, name);
    let best = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.7).then_some(best)
}

/// Breaks escaped text into lines of this many columns.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut left = columns;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if width > left {
            lines.push(String::new());
            left = columns;
        }
        left = left.saturating_sub(width);
        if let Some(line) = lines.last_mut() {
            line.push(c);
        }
    }
    lines
}

/// Breaks escaped text between words, into lines of at most this many columns.
pub fn worded(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.extend(wrapped(word, columns)),
        }
    }
    lines
}

/// Lines with a name before the first one; the others are indented as far.
pub(crate) fn named<'a>(
    name: &str,
    columns: usize,
    style: Style,
    lines: Vec<String>,
) -> impl Iterator<Item = Line<'a>> {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    let named = names.zip(lines);
    named.map(move |(name, text)| {
        let name = Span::styled(format!("{name:<columns$}"), style);
        Line::from(vec![name, Span::raw(text)])
    })
}

/// A duration of work or travel: `0.4 ms`, `23 ms`, `1.5 s`.
pub fn short(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 9_999.5 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1e3),
    }
}

/// The age of a moment: see [`age`].
pub fn ago(then: Instant, now: Instant) -> String {
    age(now.saturating_duration_since(then))
}

/// An age: `3 s`, `4 min`, `2 h 5 min`, `12 d`.
pub fn age(time: Duration) -> String {
    match time.as_secs() {
        secs @ ..120 => format!("{secs} s"),
        secs @ ..7_200 => format!("{} min", secs / 60),
        secs @ ..172_800 => format!("{} h {} min", secs / 3_600, secs / 60 % 60),
        secs => format!("{} d", secs / 86_400),
    }
}

/// The time of day in UTC, from milliseconds since 1970.
pub fn time_of_day(at_ms: u64) -> String {
    let secs = at_ms / 1000;
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        secs / 3600 % 24,
        secs / 60 % 60,
        secs % 60,
        at_ms % 1000
    )
}

/// A number of bytes: `12 B`, `34 kB`, `5 MB`.
pub fn bytes(n: u64) -> String {
    match n {
        ..10_000 => format!("{n} B"),
        10_000..10_000_000 => format!("{} kB", n / 1000),
        n => format!("{} MB", n / 1_000_000),
    }
}

/// Arguments as people would type them, not escaped.
pub fn arguments(arguments: &[Argument]) -> String {
    let mut text = String::new();
    for argument in arguments {
        let word = String::from_utf8_lossy(argument.as_bytes());
        let plain = !word.is_empty() && !word.contains(char::is_whitespace);
        let _ = if plain {
            write!(text, " {word}")
        } else {
            write!(text, " '{word}'")
        };
    }
    text
}

/// Returns true for a line of a past log about a link that came up or was lost, which is shown like
/// a run.
pub fn is_of_link(run: &RunInfo) -> bool {
    run.result.as_ref().is_some_and(|result| result.status == 0)
}

pub fn source_word(source: RunSource) -> &'static str {
    match source {
        RunSource::Http => "http",
        RunSource::Send => "send",
        RunSource::Drive => "drive",
    }
}

/// The result of a run, in a word or two.
pub fn outcome(run: &RunInfo) -> String {
    let Some(result) = &run.result else {
        return "running".to_owned();
    };
    match result.end {
        Some(end) => end.text(),
        None if is_of_link(run) => String::new(),
        None => format!("status {}", result.status),
    }
}

/// The key's name, if there is one, and the address.
pub fn who(run: &RunInfo) -> String {
    match run.key.raw() {
        "" => run.from.to_string(),
        key => format!("{key} {}", run.from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wide_and_combining_characters_are_counted_in_columns() {
        assert_eq!(fit("東京都", 6), "東京都");
        assert_eq!(fit("東京都", 5), "東京…");
        assert_eq!(fit("東京都", 4), "東…");
        assert_eq!(
            fit("e\u{301}e\u{301}e\u{301}", 3),
            "e\u{301}e\u{301}e\u{301}"
        );
        assert_eq!(fit("\x1b[31mred", 30), r"\u{1b}[31mred");
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn cells_and_wrapped_lines_are_as_wide_as_their_column() {
        assert_eq!(cell("東京", 6), "東京  ");
        assert_eq!(cell("東京都", 4), "東… ");
        assert_eq!(wrapped("東京都x", 4), ["東京", "都x"]);
        assert_eq!(wrapped("東京都", 3), ["東", "京", "都"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    #[test]
    fn times_are_short() {
        let ms = Duration::from_millis;
        assert_eq!(short(Duration::from_micros(432)), "0.4 ms");
        assert_eq!(short(ms(23)), "23 ms");
        assert_eq!(short(ms(12_345)), "12.3 s");
        assert_eq!(age(ms(7_500_000)), "2 h 5 min");
        assert_eq!(time_of_day(86_400_000 + 3_723_004), "01:02:03.004");
    }

    proptest! {
        #[test]
        fn what_fits_is_never_wider_nor_an_escape(text: String, columns in 0_usize..50) {
            let shown = fit(&text, columns);
            prop_assert!(shown.width() <= columns);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert_eq!(cell(&text, columns).width(), columns);
        }
    }
}
