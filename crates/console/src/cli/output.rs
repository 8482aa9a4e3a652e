//! Prints on standard output and standard error, in whole lines. Every text of a subcommand goes
//! through here, and leaves escaped; only a command's own output goes into files and pipes as it is.
//! A reader that goes away ends the program quietly.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use p2p_shared::protocol::RunInfo;
use p2p_shared::text::{Escaped, EscapedBytes, EscapedJson};
use serde_json::Value;

use crate::text::{arguments, is_of_link, outcome, source_word, time_of_day};

/// A line of standard output.
pub(super) enum OutputLine {
    ForPeople(String),
    ForScripts(Value),
}

/// Prints a line. Returns false when nobody reads any more.
pub(super) fn print_line(line: &OutputLine) -> io::Result<bool> {
    let text = match line {
        OutputLine::ForPeople(text) => Escaped(text).to_string(),
        OutputLine::ForScripts(value) => EscapedJson(&value.to_string()).to_string(),
    };
    print_bytes(format!("{text}\n").as_bytes())
}

/// Prints lines until the end, or until nobody reads any more.
pub(super) fn print_lines(lines: impl IntoIterator<Item = OutputLine>) -> anyhow::Result<ExitCode> {
    for line in lines {
        if !print_line(&line)? {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a sentence on standard error.
pub(super) fn print_sentence(text: &str) {
    // A failure could not be reported anywhere.
    let _ = io::stderr().write_all(format!("{}\n", Escaped(text)).as_bytes());
}

/// Prints bytes. Returns false when nobody reads any more.
fn print_bytes(bytes: &[u8]) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Prints output of a command: unchanged into a file or pipe; escaped, except line breaks and tabs,
/// on a terminal.
pub(super) fn print_output(bytes: &[u8]) -> io::Result<bool> {
    if !io::stdout().is_terminal() {
        return print_bytes(bytes);
    }
    print_bytes(for_terminal(bytes).as_bytes())
}

/// Prints standard error of a command in the same way. A sentence of ours goes through
/// [`print_sentence`].
pub(super) fn print_stderr(bytes: &[u8]) {
    let mut err = io::stderr().lock();
    // A failure could not be reported anywhere.
    let _ = if err.is_terminal() {
        err.write_all(for_terminal(bytes).as_bytes())
    } else {
        err.write_all(bytes)
    };
}

fn for_terminal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let (line, end) = match line.strip_suffix(b"\n") {
            Some(line) => (line.strip_suffix(b"\r").unwrap_or(line), "\n"),
            None => (line, ""),
        };
        for (n, part) in line.split(|byte| *byte == b'\t').enumerate() {
            if n > 0 {
                text.push('\t');
            }
            text += &EscapedBytes(part).to_string();
        }
        text += end;
    }
    text
}

/// Returns a run as a line for people, not escaped.
pub(super) fn run_line(run: &RunInfo, open: &str) -> String {
    if is_of_link(run) {
        let why = run.result.as_ref().map_or("", |result| result.why.raw());
        let text = format!(
            "{} {} {} {why}",
            time_of_day(run.at_ms),
            run.link,
            run.command
        );
        return text.trim_end().to_owned();
    }
    let mut text = format!(
        "{} {} {} {}{} from {}: {}",
        time_of_day(run.at_ms),
        run.link,
        source_word(run.source),
        run.command,
        arguments(&run.arguments),
        run.from,
        match run.result {
            Some(_) => outcome(run),
            None => open.to_owned(),
        },
    );
    if let Some(result) = &run.result {
        let ms = |us: u64| format!("{}.{:01} ms", us / 1000, us % 1000 / 100);
        text += &format!(", link {}", ms(result.link_us));
        if let Some(exec_us) = result.exec_us {
            text += &format!(", exec {}", ms(exec_us));
        }
        if !result.why.raw().is_empty() {
            text += &format!(" ({})", result.why);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_on_a_terminal_keeps_its_lines_and_obeys_nothing() {
        assert_eq!(
            for_terminal(b"a\tb\r\n\x1b[2Jc\xff"),
            "a\tb\n\\u{1b}[2Jc\\xff"
        );
    }
}
