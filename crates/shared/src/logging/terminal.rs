//! Log lines for people: `17:02:03Z warning: message key=value`. Characters that a terminal would
//! obey are escaped in every field.

use std::fmt::{self, Debug, Write as _};
use std::io::{self, IsTerminal, Write};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::GATHER;
use crate::os;
use crate::text::Escaper;

/// Most characters that are shown of one value; the log file has all of them.
const VALUE_CHARS: usize = 200;

/// Most characters that are shown of a message: several lines of a terminal.
const MESSAGE_CHARS: usize = 1000;

/// Formats events for a terminal. Times are UTC, like those in the files; the target isn't shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Human {
    pub(super) colour: bool,
}

impl Human {
    /// Makes a format in colour if standard error is a terminal with colours and `NO_COLOR` isn't
    /// set.
    pub(super) fn for_stderr() -> Self {
        let variable = |name: &str| std::env::var_os(name);
        Self {
            colour: io::stderr().is_terminal() && os::allow_colour(variable),
        }
    }

    /// Formats one line; `message` and `fields` are escaped already.
    fn line(self, level: Level, message: &str, fields: &str) -> String {
        let (word, colour) = match level {
            Level::ERROR => ("error: ", "1;31"),
            Level::WARN => ("warning: ", "33"),
            Level::INFO => ("", ""),
            Level::DEBUG => ("debug: ", "36"),
            Level::TRACE => ("trace: ", "36"),
        };
        let utc = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let time = &utc["2026-11-22T".len()..];
        if !self.colour {
            return format!("{time} {word}{message}{fields}\n");
        }
        let word = match word {
            "" => String::new(),
            word => format!("\x1b[{colour}m{word}\x1b[0m"),
        };
        format!("\x1b[2m{time}\x1b[0m {word}{message}\x1b[2m{fields}\x1b[0m\n")
    }

    /// Formats a notice about the logs themselves.
    pub(super) fn notice(self, level: Level, message: &str) -> String {
        let mut parts = Parts::default();
        parts.put_message(format_args!("{message}"));
        self.line(level, &parts.message, "")
    }
}

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        out.write_str(&self.line(*event.metadata().level(), &parts.message, &parts.fields))
    }
}

/// Message and fields of an event, escaped.
#[derive(Default)]
struct Parts {
    message: String,
    fields: String,
}

impl Parts {
    fn put_message(&mut self, message: fmt::Arguments<'_>) {
        // Fails only when the message is cut.
        let _ = Escaper::cut(&mut self.message, MESSAGE_CHARS).write_fmt(message);
    }

    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == "message" {
            return self.put_message(value);
        }
        let _ = write!(self.fields, " {}=", field.name());
        let start = self.fields.len();
        let _ = Escaper::cut(&mut self.fields, VALUE_CHARS).write_fmt(value);
        let shown = &self.fields[start..];
        if shown.is_empty() || shown.contains(|c: char| c.is_whitespace() || c == '"' || c == '=') {
            let quoted = shown.replace('"', "\\\"");
            self.fields.truncate(start);
            let _ = write!(self.fields, "\"{quoted}\"");
        }
    }
}

impl Visit for Parts {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }
}

/// Standard error. If it is closed, lines are lost without a word: nobody could be told.
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        std::thread::sleep(GATHER);
        Ok(())
    }
}
