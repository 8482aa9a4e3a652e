//! Prints on standard output in whole lines. A reader that goes away ends the program quietly.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use p2p_shared::protocol::RunInfo;
use p2p_shared::text::{Escaped, EscapedBytes};

use crate::text::{arguments, is_of_link, outcome, source_word, time_of_day};

/// Prints a line. Returns false when nobody reads any more.
pub(super) fn print_line(text: &str) -> io::Result<bool> {
    print_bytes(format!("{text}\n").as_bytes())
}

/// Prints lines until the end, or until nobody reads any more.
pub(super) fn print_lines(lines: impl IntoIterator<Item = String>) -> anyhow::Result<ExitCode> {
    for line in lines {
        if !print_line(&line)? {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
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

/// Prints standard error of a command in the same way.
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

/// Returns a run as a line for people.
pub(super) fn run_line(run: &RunInfo) -> String {
    if is_of_link(run) {
        let why = run.result.as_ref().map_or("", |result| result.why.as_str());
        let text = format!(
            "{} {} {} {why}",
            time_of_day(run.at_ms),
            run.link,
            run.command
        );
        return Escaped(text.trim_end()).to_string();
    }
    let mut text = format!(
        "{} {} {} {}{} from {}: {}",
        time_of_day(run.at_ms),
        run.link,
        source_word(run.source),
        run.command,
        arguments(&run.arguments),
        run.from,
        outcome(run),
    );
    if let Some(result) = &run.result {
        let ms = |us: u64| format!("{}.{:01} ms", us / 1000, us % 1000 / 100);
        text += &format!(", link {}", ms(result.link_us));
        if let Some(exec_us) = result.exec_us {
            text += &format!(", exec {}", ms(exec_us));
        }
        if !result.why.is_empty() {
            text += &format!(" ({})", result.why);
        }
    }
    Escaped(&text).to_string()
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
