//! `replay`: reads a file of the past, and prints what it tells where there is no terminal.

use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use p2p_shared::timing::millis;
use serde_json::json;

use super::output::{self, OutputLine};
use crate::app::replay::{self, Recording};
use crate::app::saved_log;
use crate::exit_code::{ERROR, Failure};
use crate::text::time_of_day;

/// Largest file that is replayed, in bytes: about a month of a log, and hours of pictures.
const LARGEST: u64 = 512 << 20;

pub(super) fn read(file: &Path) -> Result<Recording, Failure> {
    let read = || -> Result<Recording, String> {
        let meta = std::fs::metadata(file).map_err(|why| why.to_string())?;
        if !meta.is_file() {
            return Err("it is not a file".to_owned());
        }
        if meta.len() > LARGEST {
            let bytes = meta.len();
            return Err(format!(
                "it has {bytes} bytes, and at most {LARGEST} are read"
            ));
        }
        let bytes = std::fs::read(file).map_err(|why| why.to_string())?;
        replay::read(&Bytes::from(bytes))
    };
    let name = file.display();
    read().map_err(|why| Failure::new(ERROR, format!("{name} can't be replayed: {why}")))
}

/// Prints the runs, and the events if the file is more than a log, oldest first.
pub(super) fn print(recording: &Recording, as_json: bool) -> anyhow::Result<ExitCode> {
    if let Some(problem) = &recording.problem {
        output::print_sentence(problem);
    }
    let mut lines = Vec::new();
    for run in recording.log.shown() {
        let line = match as_json {
            true => OutputLine::ForScripts(saved_log::line(&run)),
            false => OutputLine::ForPeople(output::run_line(&run, "unknown: the file ends before")),
        };
        lines.push((run.at_ms, line));
    }
    lines.reverse();
    if !recording.is_log {
        for (link, at, text) in recording.events() {
            let at_ms = millis(at);
            let line = match as_json {
                true => {
                    OutputLine::ForScripts(json!({ "at_ms": at_ms, "link": link, "text": text }))
                }
                false => OutputLine::ForPeople(format!("{} {link} {text}", time_of_day(at_ms))),
            };
            lines.push((at_ms, line));
        }
    }
    lines.sort_by_key(|(at_ms, _)| *at_ms);
    output::print_lines(lines.into_iter().map(|(_, line)| line))
}
