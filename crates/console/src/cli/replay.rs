//! `replay`: reads a past log, and prints its runs where there is no terminal.

use std::path::Path;
use std::process::ExitCode;

use super::output::{self, OutputLine};
use crate::app::past_cars::PastCars;
use crate::app::run_log::RunLog;
use crate::app::saved_log;
use crate::exit_code::{ERROR, Failure};

/// Largest log that is replayed, in bytes: about a month of driving.
const LARGEST_LOG: u64 = 512 << 20;

pub(super) fn read(file: &Path) -> Result<(RunLog, PastCars), Failure> {
    let read = || -> Result<(RunLog, PastCars), String> {
        let meta = std::fs::metadata(file).map_err(|why| why.to_string())?;
        if !meta.is_file() {
            return Err("it is not a file".to_owned());
        }
        if meta.len() > LARGEST_LOG {
            let bytes = meta.len();
            return Err(format!(
                "it has {bytes} bytes, and at most {LARGEST_LOG} are read"
            ));
        }
        let bytes = std::fs::read(file).map_err(|why| why.to_string())?;
        saved_log::read(&bytes)
    };
    let name = file.display();
    read().map_err(|why| Failure::new(ERROR, format!("{name} can't be replayed: {why}")))
}

/// Prints a past log, oldest run first.
pub(super) fn print(log: &RunLog, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut runs: Vec<_> = log.shown().collect();
    runs.reverse();
    output::print_lines(runs.iter().map(|run| match as_json {
        true => OutputLine::ForScripts(saved_log::line(run)),
        false => OutputLine::ForPeople(output::run_line(run)),
    }))
}
