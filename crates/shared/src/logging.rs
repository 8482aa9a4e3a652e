//! The programs' logs: JSON lines in daily files, short lines on the terminal. It owns both
//! outputs and their end; what is logged, and when, is up to the callers.
//!
//! A caller formats its line and puts it in a queue, which takes microseconds; two threads write.
//! Neither a full disk nor a blocked terminal holds anyone up: what doesn't fit is lost, counted,
//! and reported. Whatever a field or a message holds, no control, direction or invisible character
//! of it reaches a terminal or a file unescaped.
//!
//! A field must not be called `timestamp`, `level` or `target`: they stand beside it in the JSON.
//! Records of the `log` crate are left out on purpose: some libraries put whole requests in them,
//! with the keys.

mod clock;
mod files;
mod json;
mod panics;
mod place;
mod queue;
mod terminal;
mod throttle;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use files::Files;
use json::Json;
use place::Folder;
use queue::{Lost, Queue};
use terminal::{Human, Stderr};

pub use throttle::{LogThrottle, LoggedReasons};

/// Bytes that may wait for the disk: an SD card can stall for seconds, while a busy router logs
/// a megabyte a second.
const FILE_QUEUE: usize = 8 << 20;

/// Bytes that may wait for the terminal: more than anyone scrolls back.
const TERMINAL_QUEUE: usize = 1 << 20;

/// What the logs need to know.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The program's name, with which its files begin.
    pub program: &'static str,
    /// The folder for the files; made when it isn't there.
    pub log_dir: PathBuf,
    /// What the terminal shows: 0 information, -1 warnings, -2 errors, 1 debugging, 2 everything.
    /// Files have information at the least. `P2P_LOG`, in the form of
    /// [`EnvFilter`], decides instead for both, if it is set.
    pub verbosity: i8,
}

/// Starts the logs of this process, which has one only: later calls have no effect on where events
/// go. Also makes panics be logged. Nothing here fails: a folder that can't be written is
/// reported on the terminal and tried again later.
pub fn start(options: LogOptions) -> Logs {
    let filter = std::env::var("P2P_LOG")
        .ok()
        .filter(|filter| !filter.is_empty());
    let (subscriber, logs) = build(options, filter.as_deref(), Human::for_stderr(), Stderr);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        panics::log_them(Arc::clone(&logs.running));
    }
    logs
}

/// Keeps the logs going. Its end, by [`Logs::finish`] or by any way out of its scope, writes what
/// waits in the queues (for a second each at most) and ends their threads.
#[must_use = "logs end when this is dropped"]
#[derive(Debug)]
pub struct Logs {
    running: Arc<AtomicBool>,
    file: Option<WorkerGuard>,
    terminal: Option<WorkerGuard>,
    terminal_queue: Terminal,
    file_lost: Lost,
    terminal_lost: Lost,
}

impl Logs {
    /// Ends the logs, as dropping them does.
    pub fn finish(self) {}

    /// How many lines so far didn't get into a file, for a full queue or a failing disk.
    #[must_use]
    pub fn lost_in_files(&self) -> u64 {
        self.file_lost.load(Ordering::Relaxed)
    }

    /// How many lines so far weren't shown, since the terminal was too slow or blocked.
    #[must_use]
    pub fn lost_on_terminal(&self) -> u64 {
        self.terminal_lost.load(Ordering::Relaxed)
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Release);
        // First the files: what they have to say goes to the terminal.
        drop(self.file.take());
        let ways = [
            (self.lost_in_files(), "didn't get into the files"),
            (self.lost_on_terminal(), "weren't shown here"),
        ];
        for (lost, what) in ways.into_iter().filter(|(lost, _)| *lost > 0) {
            self.terminal_queue
                .say(Level::WARN, &format!("log lines that {what}: {lost}"));
        }
        drop(self.terminal.take());
    }
}

/// The terminal's queue and how its lines look.
#[derive(Clone)]
struct Terminal {
    queue: Queue,
    human: Human,
}

impl Terminal {
    fn say(&self, level: Level, message: &str) {
        self.queue
            .push(self.human.notice(level, message).as_bytes());
    }
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").finish_non_exhaustive()
    }
}

fn build(
    options: LogOptions,
    filter: Option<&str>,
    human: Human,
    screen: impl Write + Send + 'static,
) -> (impl Subscriber + Send + Sync, Logs) {
    let (file_lost, terminal_lost) = (Lost::default(), Lost::default());
    let (queue, terminal_guard) = Queue::start(
        "log-terminal",
        TERMINAL_QUEUE,
        Arc::clone(&terminal_lost),
        screen,
    );
    let terminal = Terminal {
        queue: queue.clone(),
        human,
    };

    let notices = terminal.clone();
    let place = Folder {
        dir: options.log_dir,
        program: options.program,
    };
    let files = Files::new(place, Arc::clone(&file_lost), move |level, message| {
        notices.say(level, message);
    });
    let (file_queue, file_guard) =
        Queue::start("log-files", FILE_QUEUE, Arc::clone(&file_lost), files);

    let (filter, shown) = filters(filter, options.verbosity).unwrap_or_else(|error| {
        terminal.say(
            Level::WARN,
            &format!("P2P_LOG isn't a filter ({error}): ignoring it"),
        );
        by_verbosity(options.verbosity)
    });
    let lines = fmt::layer()
        .event_format(human)
        .log_internal_errors(false)
        .with_writer(queue);
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(Json(file_queue))
        .with(lines.with_filter(shown));
    let logs = Logs {
        running: Arc::new(AtomicBool::new(true)),
        file: Some(file_guard),
        terminal: Some(terminal_guard),
        terminal_queue: terminal,
        file_lost,
        terminal_lost,
    };
    (subscriber, logs)
}

/// What is logged at all, and what of it the terminal shows.
fn filters(wanted: Option<&str>, verbosity: i8) -> Result<(EnvFilter, LevelFilter), ParseError> {
    match wanted {
        Some(filter) => Ok((EnvFilter::try_new(filter)?, LevelFilter::TRACE)),
        None => Ok(by_verbosity(verbosity)),
    }
}

/// Debugging shows our own crates (their names begin with `p2p`): others would drown them.
fn by_verbosity(verbosity: i8) -> (EnvFilter, LevelFilter) {
    let (directives, shown) = match verbosity {
        ..=-2 => ("info", LevelFilter::ERROR),
        -1 => ("info", LevelFilter::WARN),
        0 => ("info", LevelFilter::INFO),
        1 => ("info,p2p=debug", LevelFilter::DEBUG),
        2.. => ("info,p2p=trace", LevelFilter::TRACE),
    };
    (EnvFilter::new(directives), shown)
}

#[cfg(test)]
mod tests;
