//! Logs of the programs: JSON lines in daily files, short lines on the terminal.
//!
//! A caller formats its line and puts the line in a queue, which takes microseconds; two threads
//! write. Neither a full disk nor a blocked terminal holds anyone up: lines that don't fit are lost,
//! counted, and reported. So are lines beyond those that one party may cause (see `party`). A day's
//! file and all files together have a bound. No control, direction or invisible character of a field
//! or a message reaches a terminal or a file unescaped.
//!
//! A field must not be called `timestamp`, `level` or `target`: the JSON has those names already.
//! Records of the `log` crate are left out on purpose: some libraries put whole requests in them,
//! with the keys.

mod file;
mod json;
mod panics;
mod party;
mod queue;
mod recent;
mod terminal;
mod throttle;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use file::DailyFile;
use json::Json;
use party::{PartyLayer, PartyLimit};
use queue::LineQueue;
use terminal::{Human, Stderr};

pub use file::check_free_space;
pub use recent::recent_lines;
pub use throttle::{LogThrottle, LoggedReasons};

/// Lines that may wait for the disk: an SD card can stall for seconds, while a busy router logs
/// some thousand lines a second. Long lines are fewer: 8 MiB at most.
const FILE_QUEUE: usize = 16 * 1024;

/// Lines that may wait for the terminal: more than anyone scrolls back.
const TERMINAL_QUEUE: usize = 4 * 1024;

/// Time for which a log thread lets lines gather once it has written all there were. Waking the
/// thread costs the caller several microseconds more than the line itself, so it happens a hundred
/// times a second at most. A process that is killed loses the lines of that time.
const GATHER: Duration = Duration::from_millis(10);

/// Options of the logs.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Name of the program, with which its files begin.
    pub program: &'static str,
    /// Folder for the files; made if it doesn't exist.
    pub log_dir: PathBuf,
    /// Most bytes of all files of the program together.
    pub log_size: u64,
    /// Least level that the terminal shows: 0 information, -1 warnings, -2 errors, 1 debugging, 2
    /// everything. Files always have information. `P2P_LOG`, in the form of [`Targets`], decides for
    /// both instead, if it is set.
    pub verbosity: i16,
}

/// Starts the logs of this process, and has panics logged. Only the first call in a process has an
/// effect on events. Nothing here fails: a folder that can't be written is reported on the terminal
/// and tried again later.
pub fn start(options: LogOptions) -> Logs {
    let filter = std::env::var("P2P_LOG").ok();
    let filter = filter.filter(|filter| !filter.is_empty());
    let (subscriber, logs) = build(options, filter.as_deref(), Human::for_stderr(), Stderr);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        panics::log_them(Arc::clone(&logs.running));
    }
    logs
}

/// Guard of the running logs. Dropping the guard writes the lines that wait (for a second each at
/// most) and ends the threads.
#[must_use = "logs end when this is dropped"]
#[derive(Debug)]
pub struct Logs {
    running: Arc<AtomicBool>,
    parties: Arc<PartyLimit>,
    file: Option<WorkerGuard>,
    file_queue: LineQueue,
    file_failed: Arc<AtomicU64>,
    terminal: Option<WorkerGuard>,
    notices: Notices,
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Release);
        self.parties.tell_rest();
        // The files end first: notices about them go to the terminal.
        end(self.file.take());
        let failed = self.file_failed.load(Ordering::Relaxed);
        let not_in_files = self.file_queue.lost() + failed;
        let not_shown = self.notices.queue.lost();
        for (lost, what) in [
            (not_in_files, "didn't get into the files"),
            (not_shown, "weren't shown here"),
        ] {
            if lost > 0 {
                let message = format!("log lines that {what}: {lost}");
                self.notices.send(Level::WARN, &message);
            }
        }
        end(self.terminal.take());
    }
}

/// Ends a log thread. What it writes to may be blocked: nobody waits long for it. (tracing-appender
/// would print to standard output if its queue had no place for the order to end. It always has: see
/// `queue`.)
fn end(guard: Option<WorkerGuard>) {
    let (ending, ended) = mpsc::channel::<()>();
    let end = move || {
        drop(guard);
        drop(ending);
    };
    let _ = thread::Builder::new().spawn(end);
    let _ = ended.recv_timeout(Duration::from_secs(2));
}

/// Notices of the logs about themselves, for the terminal, past all filters.
#[derive(Clone, Debug)]
struct Notices {
    queue: LineQueue,
    human: Human,
}

impl Notices {
    fn send(&self, level: Level, message: &str) {
        let line = self.human.notice(level, message);
        self.queue.push(line.as_bytes());
    }
}

fn build(
    options: LogOptions,
    filter: Option<&str>,
    human: Human,
    screen: impl Write + Send + 'static,
) -> (impl Subscriber + Send + Sync, Logs) {
    let verbosity = options.verbosity;
    let (queue, terminal_guard) = LineQueue::start("log-terminal", TERMINAL_QUEUE, screen);
    let notices = Notices {
        queue: queue.clone(),
        human,
    };
    let (failed, file_notices) = (Arc::<AtomicU64>::default(), notices.clone());
    let file = DailyFile::new(options, Arc::clone(&failed), move |level, message| {
        file_notices.send(level, message);
    });
    let (file_queue, file_guard) = LineQueue::start("log-files", FILE_QUEUE, file);
    let json = Json(file_queue.clone());
    let (left_out, left_out_notices) = (Json(file_queue.clone()), notices.clone());
    let parties = PartyLimit::new(move |party, lines| {
        left_out.left_out(party, lines);
        let message = format!("log lines of {party} that were too many and were left out: {lines}");
        left_out_notices.send(Level::WARN, &message);
    });

    let (filter, shown) = match filter.map(str::parse::<Targets>) {
        Some(Ok(filter)) => (filter, LevelFilter::TRACE),
        Some(Err(error)) => {
            let message = format!("P2P_LOG isn't a filter ({error}): ignoring it");
            notices.send(Level::WARN, &message);
            by_verbosity(verbosity)
        }
        None => by_verbosity(verbosity),
    };
    let logs = Logs {
        running: Arc::new(AtomicBool::new(true)),
        parties: Arc::clone(&parties),
        file: Some(file_guard),
        file_queue,
        file_failed: failed,
        terminal: Some(terminal_guard),
        notices,
    };
    let lines = fmt::layer()
        .event_format(human)
        .log_internal_errors(false)
        .with_writer(move || queue.clone());
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(json)
        .with(lines.with_filter(shown))
        .with(PartyLayer(parties));
    (subscriber, logs)
}

/// Returns the filter of all events, and the level that the terminal shows of those. Debugging shows
/// our own crates only, whose names begin with `p2p`: events of others would drown theirs. The client of
/// NATS would log each attempt to connect; the router logs what becomes of them.
fn by_verbosity(verbosity: i16) -> (Targets, LevelFilter) {
    let (ours, shown) = match verbosity {
        ..=-2 => (LevelFilter::INFO, LevelFilter::ERROR),
        -1 => (LevelFilter::INFO, LevelFilter::WARN),
        0 => (LevelFilter::INFO, LevelFilter::INFO),
        1 => (LevelFilter::DEBUG, LevelFilter::DEBUG),
        2.. => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    let filter = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("async_nats", LevelFilter::OFF)
        .with_target("p2p", ours);
    (filter, shown)
}

#[cfg(test)]
mod tests;
