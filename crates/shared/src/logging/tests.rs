//! The logs as a whole: events in, files and terminal lines out.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;
use tracing::{debug, error, info, warn};

use super::*;
use crate::text::is_hidden;

/// A terminal whose text can be read.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn options(dir: &Path, verbosity: i16) -> LogOptions {
    LogOptions {
        program: "p2p-test",
        log_dir: dir.into(),
        log_size: 1 << 30,
        verbosity,
    }
}

/// What terminal and files have of `events`, the terminal's lines without their time.
fn log_with(dir: &Path, verbosity: i16, filter: Option<&str>, events: impl FnOnce()) -> String {
    let screen = Screen::default();
    let human = Human { colour: false };
    let (subscriber, logs) = build(options(dir, verbosity), filter, human, screen.clone());
    tracing::subscriber::with_default(subscriber, events);
    drop(logs);
    let text = screen.text();
    text.lines()
        .map(|line| format!("{}\n", &line["17:02:03Z ".len()..]))
        .collect()
}

fn log(verbosity: i16, filter: Option<&str>, events: impl FnOnce()) -> (String, Vec<Value>) {
    let temp = TempDir::new().unwrap();
    let shown = log_with(temp.path(), verbosity, filter, events);
    (shown, lines_in(temp.path()))
}

fn file_in(dir: &Path) -> String {
    let file = fs::read_dir(dir)
        .unwrap()
        .next()
        .map(|entry| entry.unwrap().path());
    file.map(|file| fs::read_to_string(file).unwrap())
        .unwrap_or_default()
}

fn lines_in(dir: &Path) -> Vec<Value> {
    file_in(dir)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A terminal that someone has stopped: it takes nothing.
struct StoppedScreen(mpsc::Receiver<()>);

impl Write for StoppedScreen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stopped_terminal_loses_lines_but_holds_nobody_up_not_even_at_the_end() {
    let temp = TempDir::new().unwrap();
    let (_stopped, screen) = mpsc::channel();
    let human = Human { colour: false };
    let (subscriber, logs) = build(options(temp.path(), 0), None, human, StoppedScreen(screen));
    let begin = Instant::now();
    let lines = TERMINAL_QUEUE + 100;
    tracing::subscriber::with_default(subscriber, || (0..lines).for_each(|n| info!(n, "line")));
    assert!((99..=100).contains(&logs.notices.queue.lost()));
    drop(logs);
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(lines_in(temp.path()).len(), lines);
}

#[test]
fn an_event_is_a_flat_json_object_and_a_short_line() {
    let (shown, lines) = log(0, None, || {
        info!(link = "car", run = 7, args = ?["a b"], exit = 0_i64, ok = true, "run ended");
    });
    assert_eq!(
        shown,
        "run ended link=car run=7 args=\"[\\\"a b\\\"]\" exit=0 ok=true\n"
    );
    let line = &lines[0];
    assert_eq!(line["message"], "run ended");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["run"], 7);
    assert_eq!(line["args"], "[\"a b\"]");
    assert_eq!(line["target"], module_path!());
    assert_eq!(
        line["timestamp"].as_str().unwrap().len(),
        "2026-11-22T17:02:03.456Z".len()
    );
}

#[test]
fn nobody_fills_the_logs_or_hides_what_is_said_of_others() {
    let (shown, lines) = log(0, None, || {
        for n in 0..20_000 {
            info!(link = "car", %n, from = "192.0.2.1:1", key = "bob", "run");
        }
        info!(link = "car", from = "192.0.2.1:1", key = "eve", "run");
        tracing::error!(link = "car", key = "bob", "STOP FAILED");
    });
    let count = |key: &str| lines.iter().filter(|line| line["key"] == key).count();
    assert_eq!((count("bob"), count("eve")), (1001, 1));
    assert!(shown.contains("error: STOP FAILED"), "{shown}");
    let left_out = lines.last().unwrap();
    assert_eq!(left_out["lines"], 19_000, "{left_out}");
    assert_eq!(left_out["party"], "key bob");
    let told = "warning: log lines of key bob that were too many and were left out: 19000\n";
    assert!(shown.ends_with(told), "{shown}");
}

#[test]
fn levels_are_named_unless_they_are_information() {
    let (shown, _) = log(2, None, || {
        error!("e");
        warn!("w");
        info!("i");
        debug!("d");
    });
    assert_eq!(shown, "error: e\nwarning: w\ni\ndebug: d\n");
}

#[test]
fn quiet_is_for_the_terminal_and_files_have_information_still() {
    let events = || {
        warn!("w");
        info!("i");
        debug!("d");
    };
    let (shown, lines) = log(-1, None, events);
    assert_eq!((shown.as_str(), lines.len()), ("warning: w\n", 2));
    let (shown, lines) = log(-2, None, events);
    assert_eq!((shown.as_str(), lines.len()), ("", 2));
    let (shown, lines) = log(1, None, events);
    assert_eq!((shown.lines().count(), lines.len()), (3, 3));
}

#[test]
fn debugging_leaves_other_crates_out() {
    let (shown, _) = log(2, None, || {
        debug!(target: "hyper::proto", "theirs");
        debug!(target: "p2p_router::link", "ours");
    });
    assert_eq!(shown, "debug: ours\n");
}

#[test]
fn a_filter_decides_for_both_and_a_bad_one_is_said() {
    let events = || {
        info!("i");
        debug!(target: "elsewhere", "d");
    };
    let (shown, lines) = log(0, Some("warn,elsewhere=debug"), events);
    assert_eq!((shown.as_str(), lines.len()), ("debug: d\n", 1));
    let (shown, lines) = log(0, Some("a=b=c"), events);
    assert!(
        shown.starts_with("warning: P2P_LOG isn't a filter ("),
        "{shown}"
    );
    assert_eq!(lines.len(), 1);
}

#[test]
fn values_are_quoted_where_they_would_be_read_wrongly_and_cut_where_long() {
    let (shown, _) = log(0, None, || {
        info!(a = "", b = "x y", c = "k=v", d = "\"", e = %"z".repeat(500), "m");
    });
    let long = "z".repeat(200);
    assert_eq!(
        shown,
        format!("m a=\"\" b=\"x y\" c=\"k=v\" d=\"\\\"\" e={long}…\n")
    );
}

#[test]
fn colour_marks_level_and_time_only_when_asked_for() {
    let human = Human { colour: true };
    assert!(
        human
            .notice(Level::WARN, "x")
            .contains("\x1b[33mwarning: \x1b[0m")
    );
    let human = Human { colour: false };
    assert!(!human.notice(Level::WARN, "x\x1b[2J").contains('\x1b'));
}

#[test]
fn an_unwritable_folder_is_said_once_and_logging_goes_on() {
    let temp = TempDir::new().unwrap();
    let in_the_way = temp.path().join("logs");
    fs::write(&in_the_way, "a file").unwrap();
    let shown = log_with(&in_the_way, 0, None, || {
        for n in 0..3 {
            info!(n, "alive");
        }
    });
    let said = shown.matches("error: can't write the log file ").count();
    assert_eq!(said, 1, "{shown}");
    assert!(
        shown.contains("something else has that name: move it"),
        "{shown}"
    );
    assert_eq!(shown.matches("alive").count(), 3);
    assert!(
        shown.ends_with("warning: log lines that didn't get into the files: 3\n"),
        "{shown}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_a_terminal_obeys_gets_out(
        text: String,
        hidden in "[\u{0}-\u{1f}\u{7f}-\u{9f}\u{2028}-\u{202e}\u{2066}-\u{2069}x\"\\\\]{0,20}",
    ) {
        let temp = TempDir::new().unwrap();
        let shown = log_with(temp.path(), 0, None, || {
            info!(text, display = %hidden, debug = ?hidden, "{hidden}{text}");
        });
        let file = file_in(temp.path());
        for output in [&shown, &file] {
            prop_assert!(!output.trim_end_matches('\n').contains(is_hidden), "{output:?}");
        }
        let line: Value = serde_json::from_str(&file).unwrap();
        prop_assert_eq!(line["text"].as_str().unwrap(), &text);
        prop_assert_eq!(line["display"].as_str().unwrap(), &hidden);
        prop_assert_eq!(line["message"].as_str().unwrap(), hidden + &text);
    }
}

/// Set for the process that a test starts of itself: the folder of its logs.
const CHILD: &str = "P2P_LOGGING_TEST_CHILD";

#[test]
fn a_panic_is_logged_escaped_and_flushed_on_the_way_out() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let _logs = start(options(Path::new(&dir), 0));
        info!("started");
        panic!("oh\x1b[31m no");
    }
    let temp = TempDir::new().unwrap();
    let test = "a_panic_is_logged_escaped_and_flushed_on_the_way_out";
    let test = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(CHILD, temp.path())
        .env_remove("P2P_LOG")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let shown = String::from_utf8(output.stderr).unwrap();
    let told = shown
        .matches(r"error: internal error (panic): oh\u{1b}[31m no")
        .count();
    assert_eq!(told, 1, "{shown}");
    assert!(!shown.contains('\x1b'), "{shown}");
    let lines = lines_in(temp.path());
    assert_eq!(lines[0]["message"], "started");
    assert_eq!(lines[1]["level"], "ERROR");
    assert_eq!(lines[1]["message"], "internal error (panic): oh\x1b[31m no");
    assert!(lines[1]["at"].as_str().unwrap().contains("tests.rs:"));
}
