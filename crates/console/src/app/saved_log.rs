//! Owns runs as JSON lines: what `s` saves, and what `replay` reads; both in the form of the
//! router's own log.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use p2p_shared::names::{Argument, LinkName, RunId};
use p2p_shared::protocol::{End, RunInfo, RunResult, RunSource};
use serde_json::{Value, json};
use thiserror::Error;

use crate::app::run_log::RunLog;
use crate::text::source_word;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReplayError {
    /// None of its lines is a line of a router's log.
    #[error(
        "this is not a router's log: none of its {0} lines is one. Give logs/p2p-router.DAY.jsonl, or what s saved in the Log screen"
    )]
    Foreign(usize),
    #[error("the file is empty: no run was logged")]
    Empty,
    #[error("no run and no link is in this log, in {0} lines")]
    NoRuns(usize),
}

/// A log that was read from a file.
#[derive(Debug, Default)]
pub struct ReadLog {
    pub log: RunLog,
    pub runs: usize,
    /// Lines that are not JSON.
    pub broken: usize,
    /// Whether the last line is incomplete.
    pub cut_off: bool,
}

/// Reads a log.
///
/// # Errors
/// See [`ReplayError`].
pub fn read(bytes: &[u8]) -> Result<ReadLog, ReplayError> {
    let mut replay = ReadLog::default();
    let (mut lines, mut ours) = (0, 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            continue;
        }
        lines += 1;
        let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(line) else {
            replay.broken += 1;
            replay.cut_off = !line.ends_with(b"\n");
            continue;
        };
        ours += usize::from(fields.contains_key("timestamp") && fields.contains_key("message"));
        if let Some(run) = parse(&Value::Object(fields), lines as u64) {
            replay.log.put(run);
            replay.runs += 1;
        }
    }
    match (lines, ours) {
        (0, _) => Err(ReplayError::Empty),
        (_, 0) => Err(ReplayError::Foreign(lines)),
        _ if replay.runs == 0 => Err(ReplayError::NoRuns(lines)),
        _ => Ok(replay),
    }
}

/// A run. Links that came up or were lost are shown like runs.
fn parse(line: &Value, number: u64) -> Option<RunInfo> {
    let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
    let message = text("message");
    let is_run = message == "run";
    let at = humantime::parse_rfc3339(text("timestamp")).ok()?;
    let at = at.duration_since(UNIX_EPOCH).ok()?;
    let link: LinkName = match text("link") {
        "" => text("name").parse().ok()?,
        link => link.parse().ok()?,
    };
    if !is_run && !message.starts_with("link up") && !message.starts_with("link down") {
        return None;
    }
    let micros = |name: &str| {
        let ms = line.get(name).and_then(Value::as_f64);
        ms.map(|ms| Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default())
            .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    };
    let count = |name: &str| line.get(name).and_then(Value::as_u64).unwrap_or_default();
    let end = parse_end(text("exit"));
    let run = RunInfo {
        run: match text("run").parse() {
            Ok(run) if is_run => run,
            _ => RunId::from_number(number),
        },
        service_port: u16::try_from(count("service_port").max(count("port"))).unwrap_or_default(),
        link,
        command: if is_run {
            text("command").parse().ok()?
        } else {
            message
                .get(..if message.starts_with("link up") { 7 } else { 9 })?
                .parse()
                .ok()?
        },
        arguments: arguments(text("arguments")),
        source: match text("source") {
            "send" => RunSource::Send,
            "drive" => RunSource::Drive,
            _ => RunSource::Http,
        },
        from: text("from").to_owned(),
        key: text("key").to_owned(),
        at_ms: u64::try_from(at.as_millis()).unwrap_or_default(),
        result: Some(RunResult {
            status: u16::try_from(count("status")).unwrap_or_default(),
            end,
            why: text("why").to_owned(),
            link_us: micros("link_ms").unwrap_or_default(),
            exec_us: micros("exec_ms").filter(|_| end.is_some()),
            bytes: count("bytes"),
            output: Bytes::new(),
            stderr: Bytes::new(),
        }),
    };
    Some(run)
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

fn parse_end(text: &str) -> Option<End> {
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
    let at = UNIX_EPOCH + Duration::from_millis(at_ms);
    let text = humantime::format_rfc3339_seconds(at).to_string();
    format!("p2p-console.{}.jsonl", text.replace(':', "-"))
}

/// The runs as lines of a log, in this order.
pub fn text<'a>(runs: impl Iterator<Item = &'a RunInfo>) -> String {
    let mut text = String::new();
    for run in runs {
        text.push_str(&line(run).to_string());
        text.push('\n');
    }
    text
}

/// A run in the format of the router's log.
pub fn line(run: &RunInfo) -> Value {
    let at: SystemTime = UNIX_EPOCH + Duration::from_millis(run.at_ms);
    let millis = |us: u64| Duration::from_micros(us).as_secs_f64() * 1e3;
    let arguments: Vec<_> = run
        .arguments
        .iter()
        .map(|argument| String::from_utf8_lossy(argument.as_bytes()).into_owned())
        .collect();
    let mut line = json!({
        "timestamp": humantime::format_rfc3339_millis(at).to_string(),
        "message": "run",
        "link": run.link,
        "service_port": run.service_port,
        "run": run.run.to_string(),
        "command": run.command,
        "arguments": if arguments.is_empty() { String::new() } else { format!("{arguments:?}") },
        "source": source_word(run.source),
        "from": run.from,
        "key": run.key,
    });
    if let (Value::Object(fields), Some(result)) = (&mut line, &run.result) {
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("status", result.status.into());
        put("executed", result.executed().into());
        put(
            "exit",
            result
                .end
                .map(|end| end.to_string())
                .unwrap_or_default()
                .into(),
        );
        put("bytes", result.bytes.into());
        put("link_ms", millis(result.link_us).into());
        put("exec_ms", result.exec_us.map(millis).into());
        put("why", result.why.clone().into());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const RUN: &str = r#"{"timestamp":"2026-11-22T17:02:03.456Z","level":"INFO","message":"run","link":"car","run":"0000019f00000001","command":"forward","arguments":"[\"a\", \"b c\"]","from":"192.0.2.7:1","key":"desk","status":500,"executed":"yes","exit":"SIGKILL","bytes":3,"link_ms":1.25,"exec_ms":30.5,"why":"it was killed"}"#;

    #[test]
    fn a_routers_log_becomes_runs() {
        let text = format!(
            "{RUN}\n{{\"timestamp\":\"2026-11-22T17:02:04Z\",\"message\":\"link down\",\"link\":\"car\",\"why\":\"silent\"}}\n{{\"timestamp\":\"2026-11-22T17:02:04Z\",\"message\":\"listening\"}}\n"
        );
        let replay = read(text.as_bytes()).unwrap();
        assert_eq!((replay.runs, replay.broken, replay.cut_off), (2, 0, false));
        let run = replay.log.shown().last().unwrap();
        let result = run.result.as_ref().unwrap();
        assert_eq!(result.end, Some(End::Signal(9)));
        assert_eq!((result.link_us, result.exec_us), (1_250, Some(30_500)));
        assert_eq!(run.arguments.len(), 2);
    }

    #[test]
    fn a_cut_off_log_shows_what_is_whole_and_says_so() {
        let text = format!("{RUN}\n{}", &RUN[..40]);
        let replay = read(text.as_bytes()).unwrap();
        assert_eq!((replay.runs, replay.broken, replay.cut_off), (1, 1, true));
    }

    #[test]
    fn foreign_and_empty_files_get_a_sentence() {
        for foreign in ["{\"a\":1}\n", "hello\nworld\n", "\x7fELF\0\0", "[1,2]\n"] {
            assert!(
                matches!(read(foreign.as_bytes()), Err(ReplayError::Foreign(_))),
                "{foreign:?}"
            );
        }
        assert!(matches!(read(b"\n\n"), Err(ReplayError::Empty)));
        let other = "{\"timestamp\":\"2026-11-22T17:02:04Z\",\"message\":\"listening\"}\n";
        assert!(matches!(
            read(other.as_bytes()),
            Err(ReplayError::NoRuns(1))
        ));
    }

    #[test]
    fn what_is_saved_can_be_replayed() {
        let runs = [testing::run(1, "forward"), testing::run(2, "left")];
        let replay = read(text(runs.iter()).as_bytes()).unwrap();
        let shown: Vec<_> = replay.log.shown().collect();
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[0].command, runs[1].command);
        assert_eq!(shown[0].result.as_ref().unwrap().end, Some(End::Exit(0)));
    }
}
