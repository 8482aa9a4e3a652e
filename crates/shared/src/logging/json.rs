//! JSON lines that are safe to print: what tracing-subscriber's JSON leaves as it is, though a
//! terminal would obey it, is escaped. It owns that rewriting, not the JSON.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

use super::queue::Queue;
use crate::text::is_hidden;

/// Passes JSON lines on to a queue, escaped.
pub(super) struct SafeJson(pub(super) Queue);

impl<'a> MakeWriter<'a> for SafeJson {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &SafeJson {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0
            .push(escape(&String::from_utf8_lossy(line)).as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// JSON's own escapes for DEL, C1, bidirectional and invisible characters. Those below U+0020 are
/// escaped already, but for the line's end; and outside of its strings JSON is ASCII.
pub(super) fn escape(line: &str) -> Cow<'_, str> {
    let must = |c: char| c >= '\u{7f}' && is_hidden(c);
    if !line.contains(must) {
        return Cow::Borrowed(line);
    }
    let mut safe = String::with_capacity(line.len() + 64);
    for c in line.chars() {
        if !must(c) {
            safe.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string doesn't fail.
            let _ = write!(safe, "\\u{unit:04x}");
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_lines_are_not_copied() {
        let line = "{\"a\":\"wide 東京, \\u001b\"}\n";
        assert!(matches!(escape(line), Cow::Borrowed(same) if same == line));
    }

    #[test]
    fn hidden_characters_become_json_escapes() {
        assert_eq!(
            escape("\"\u{7f}\u{9b}\u{202e}\u{e0041}\""),
            "\"\\u007f\\u009b\\u202e\\udb40\\udc41\""
        );
    }

    proptest! {
        #[test]
        fn parsing_gives_back_the_original(text: String, hidden in "[\u{7f}-\u{9f}\u{202a}-\u{202e}\u{e0001}a\\\\]*") {
            for original in [text, hidden] {
                let json = serde_json::to_string(&original).unwrap();
                let safe = escape(&json);
                prop_assert!(!safe.chars().any(is_hidden));
                prop_assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), original);
            }
        }
    }
}
