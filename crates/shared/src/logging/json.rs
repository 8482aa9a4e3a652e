//! Log lines for programs: one JSON object a line, safe to print. Characters that JSON allows and a
//! terminal would obey are escaped.
//!
//! tracing-subscriber's own JSON costs a run's line 36,000 instructions, a third of what a router
//! does for a command that a worker serves. One pass over the fields into a buffer that stays takes a
//! fifth of that.

use std::cell::RefCell;
use std::fmt::{self, Debug, Write as _};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::queue::LineQueue;
use crate::text::EscapedJson;

/// Largest buffer that is kept for the next line.
const KEPT: usize = 16 * 1024;

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Makes a line of each event and puts it in a queue.
pub(super) struct Json(pub(super) LineQueue);

impl<S: Subscriber> Layer<S> for Json {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        LINE.with(|kept| match kept.try_borrow_mut() {
            Ok(mut line) => {
                self.log(&mut line, event);
                if line.capacity() > KEPT {
                    *line = String::new();
                }
            }
            // This value logs an event while it is being formatted.
            Err(_) => self.log(&mut String::new(), event),
        });
    }
}

impl Json {
    // Writing to a string doesn't fail.
    fn log(&self, line: &mut String, event: &Event<'_>) {
        line.clear();
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        let level = event.metadata().level();
        let _ = write!(line, "{{\"timestamp\":\"{now}\",\"level\":\"{level}\"");
        event.record(&mut Fields(line));
        line.push_str(",\"target\":\"");
        let _ = Text(line).write_str(event.metadata().target());
        line.push_str("\"}\n");
        self.0.push(line.as_bytes());
    }

    /// Logs that lines of this party were left out.
    pub(super) fn left_out(&self, party: &str, lines: u64) {
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        let mut line = format!(
            "{{\"timestamp\":\"{now}\",\"level\":\"WARN\",\"message\":\"log lines were too many and \
             were left out\",\"lines\":{lines},\"party\":\""
        );
        // A string takes all that is written to it.
        let _ = Text(&mut line).write_str(party);
        line.push_str("\",\"target\":\"");
        line.push_str(module_path!());
        line.push_str("\"}\n");
        self.0.push(line.as_bytes());
    }
}

/// Writes an event's fields one after the other.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        self.0.push_str(",\"");
        let _ = Text(self.0).write_str(field.name());
        self.0.push_str("\":");
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        let _ = write!(self.0, "{value}");
    }
}

// Writing to a string doesn't fail.
impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.name(field);
        self.0.push('"');
        let _ = write!(Text(self.0), "{value:?}");
        self.0.push('"');
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        self.0.push('"');
        let _ = Text(self.0).write_str(value);
        self.0.push('"');
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity.
        if value.is_finite() {
            self.plain(field, value);
        } else {
            self.plain(field, "null");
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }
}

/// Writes text inside a JSON string. Hidden characters are escaped, too: see [`EscapedJson`].
struct Text<'a>(&'a mut String);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if text.as_bytes().iter().all(is_plain) {
            self.0.push_str(text);
            return Ok(());
        }
        for c in text.chars() {
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                c => write!(self.0, "{}", EscapedJson(c.encode_utf8(&mut [0; 4])))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::is_hidden;
    use proptest::prelude::*;

    fn escaped(text: &str) -> String {
        let mut line = String::new();
        Text(&mut line).write_str(text).unwrap();
        line
    }

    #[test]
    fn hidden_characters_become_json_escapes() {
        assert_eq!(escaped("wide 東京"), "wide 東京");
        assert_eq!(
            escaped("\"\\\n\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}"),
            "\\\"\\\\\\n\\u001b\\u007f\\u009b\\u202e\\udb40\\udc41"
        );
    }

    proptest! {
        #[test]
        fn parsing_gives_back_the_original(text: String, hidden in "[\u{0}-\u{1f}\u{7f}-\u{9f}\u{202a}-\u{202e}\u{e0001}a\\\\\"]*") {
            for original in [text, hidden] {
                let safe = escaped(&original);
                prop_assert!(!safe.chars().any(is_hidden));
                let json = format!("\"{safe}\"");
                prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), original);
            }
        }
    }
}
