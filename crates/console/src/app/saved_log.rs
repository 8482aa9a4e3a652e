//! Runs as JSON lines, in the format of the router's log: written by the Save key, read by
//! `replay`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use p2p_shared::bounded::{Piece, Text};
use p2p_shared::names::{Argument, RunId};
use p2p_shared::protocol::{End, RunInfo, RunResult, RunSource};
use p2p_shared::text::EscapedJson;
use p2p_shared::timing::{micros, millis, millis_f64};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Last millisecond of the year 9999, since 1970.
const LAST_MS: u64 = 253_402_300_799_999;

/// A line of the router's log about a run or a link.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct LogLine {
    timestamp: String,
    message: String,
    #[serde(alias = "name")]
    link: String,
    #[serde(alias = "port")]
    service_port: u16,
    run: String,
    command: String,
    arguments: String,
    source: Option<RunSource>,
    from: String,
    key: String,
    #[serde(flatten)]
    result: Option<LogResult>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct LogResult {
    status: u16,
    #[serde(skip_deserializing)]
    executed: &'static str,
    exit: String,
    bytes: u64,
    link_ms: f64,
    exec_ms: Option<f64>,
    why: String,
}

/// Parses a run. Links that came up or were lost are shown like runs.
pub(super) fn parse(line: Value, number: u64) -> Option<RunInfo> {
    let line: LogLine = serde_json::from_value(line).ok()?;
    let (is_run, command) = match line.message.as_str() {
        "run" => (true, line.command.as_str()),
        message if message.starts_with("link up") => (false, "link up"),
        message if message.starts_with("link down") => (false, "link down"),
        _ => return None,
    };
    let at = humantime::parse_rfc3339(&line.timestamp).ok()?;
    let result = line.result.unwrap_or_default();
    let end = parse_end(&result.exit);
    let micros_of = |ms: f64| micros(Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default());
    Some(RunInfo {
        run: match line.run.parse() {
            Ok(run) if is_run => run,
            _ => RunId::from_number(number),
        },
        service_port: line.service_port,
        link: line.link.parse().ok()?,
        command: command.parse().ok()?,
        arguments: arguments(&line.arguments).try_into().ok()?,
        source: line.source.unwrap_or(RunSource::Http),
        from: Text::new(line.from),
        key: Text::new(line.key),
        at_ms: millis(at.duration_since(UNIX_EPOCH).ok()?),
        result: Some(RunResult {
            status: result.status,
            end,
            why: Text::new(result.why),
            link_us: micros_of(result.link_ms),
            exec_us: result.exec_ms.map(micros_of).filter(|_| end.is_some()),
            bytes: result.bytes,
            output: Piece::default(),
            stderr: Piece::default(),
        }),
    })
}

/// Parses the arguments of a log line: Rust's debug format of a list of strings, nearly always
/// valid JSON.
fn arguments(text: &str) -> Vec<Argument> {
    let words = match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) => words,
        Err(_) if text.is_empty() => Vec::new(),
        Err(_) => vec![text.to_owned()],
    };
    let as_argument = |word: String| Argument::try_from(Bytes::from(word)).ok();
    words.into_iter().filter_map(as_argument).collect()
}

pub(super) fn parse_end(text: &str) -> Option<End> {
    Some(match text {
        "" => return None,
        "timeout" => End::TimedOut,
        "cancelled" => End::Cancelled,
        "ended" => End::Ended,
        text => match text.parse() {
            Ok(code) => End::Exit(code),
            Err(_) => End::Signal((1..65).find(|n| p2p_shared::os::signal_name(*n) == text)?),
        },
    })
}

/// File name with the time of the newest run in it.
pub fn file_name(at_ms: u64) -> String {
    let text = humantime::format_rfc3339_seconds(time(at_ms)).to_string();
    format!("p2p-console.{}.jsonl", text.replace(':', "-"))
}

/// The time of a run. A router may send any number: what is after the year 9999 has no text.
fn time(at_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(at_ms.min(LAST_MS))
}

/// The runs as lines of a log, in this order.
pub fn text<'a>(runs: impl Iterator<Item = &'a RunInfo>) -> String {
    runs.map(|run| format!("{}\n", EscapedJson(&line(run).to_string())))
        .collect()
}

/// A run in the format of the router's log.
pub fn line(run: &RunInfo) -> Value {
    let words = run.arguments.iter().map(Argument::as_bytes);
    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    let millis_of = |us: u64| millis_f64(Duration::from_micros(us));
    let line = LogLine {
        timestamp: humantime::format_rfc3339_millis(time(run.at_ms)).to_string(),
        message: "run".to_owned(),
        link: run.link.to_string(),
        service_port: run.service_port,
        run: run.run.to_string(),
        command: run.command.to_string(),
        arguments: match words.is_empty() {
            true => String::new(),
            false => format!("{words:?}"),
        },
        source: Some(run.source),
        from: run.from.raw().to_owned(),
        key: run.key.raw().to_owned(),
        result: run.result.as_ref().map(|result| LogResult {
            status: result.status,
            executed: result.executed(),
            exit: result.end.map(|end| end.to_string()).unwrap_or_default(),
            bytes: result.bytes,
            link_ms: millis_of(result.link_us),
            exec_ms: result.exec_us.map(millis_of),
            why: result.why.raw().to_owned(),
        }),
    };
    serde_json::to_value(line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn read(text: &str) -> Vec<RunInfo> {
        let lines = text.lines().zip(1..);
        let runs = lines.map(|(line, number)| parse(serde_json::from_str(line).unwrap(), number));
        runs.flatten().collect()
    }

    #[test]
    fn a_run_of_any_time_and_with_hidden_characters_is_saved_and_read() {
        let mut run = testing::run(1, "forward");
        (run.at_ms, run.from) = (u64::MAX, "a\u{202e}b".into());
        assert_eq!(
            file_name(run.at_ms),
            "p2p-console.9999-12-31T23-59-59Z.jsonl"
        );
        let saved = text([&run].into_iter());
        assert!(saved.contains(r"a\u202eb"), "{saved}");
        let shown = &read(&saved)[0];
        assert_eq!((shown.at_ms, &shown.from), (LAST_MS, &run.from));
    }

    #[test]
    fn what_is_saved_can_be_read() {
        let runs = [testing::run(1, "forward"), testing::run(2, "left")];
        let read = read(&text(runs.iter()));
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].command, runs[1].command);
        assert_eq!(read[0].result.as_ref().unwrap().end, Some(End::Exit(0)));
    }
}
