//! A car and a router whose every text is meant for the operator's terminal: nothing of it gets there
//! as it is, whatever the console was asked to do.

use std::process::Command;
use std::time::Instant;

use p2p_shared::bounded::Piece;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{
    CommandInfo, ConsoleToRouter, ControlInfo, Driver, End, FeedEvent, Outcome, Refusal,
    RefusedReason, RouterToConsole, RunAnswer, RunInfo, RunReport, RunResult, RunSource, SendEvent,
    SessionId,
};
use rustix::process::Signal;

use super::fake_router::{FakeRouter, PATIENCE, program, snapshot};
use crate::common::pty::TestTerminal;

/// A title, a device control string, a reset, concealed letters, a C1 sequence, text that runs
/// backwards, and a forged line.
pub const TEXT: &str =
    "\x1b]0;owned\x07\x1bP1p\x1b\\\x1bc\x1b[8m\u{9b}2J\u{202e}\u{200b}\u{7f}\r\nforged";
/// The same in a name of a command, as far as one may be so.
const COMMAND: &str = "hello\u{202e}";
/// What a terminal must never be sent, as no pane and no line has it.
const BAD: [&str; 9] = [
    "\x1b]", "\x1bP", "\x1bc", "\x1b[8m", "\x07", "\u{9b}", "\u{202e}", "\u{200b}", "\u{7f}",
];

/// What the hostile router says to this.
pub fn answers(message: &ConsoleToRouter) -> Vec<RouterToConsole> {
    let text = || TEXT.into();
    match message {
        ConsoleToRouter::Hello { .. } => {
            let RouterToConsole::Snapshot {
                mut links,
                session,
                role,
                ..
            } = snapshot()
            else {
                unreachable!()
            };
            links[0].control = ControlInfo {
                recording: None,
                driver: Some(driver()),
                request: Some((driver(), u64::MAX)),
                epoch: u64::MAX,
                ended: None,
            };
            links[0].motion[0] = COMMAND.parse().unwrap();
            links[0].key = text();
            (links[0].since_ms, links[0].runs, links[0].failures) = (u64::MAX, u64::MAX, u64::MAX);
            let snapshot = RouterToConsole::Snapshot {
                first: true,
                last: true,
                session,
                key: text(),
                role,
                missed: u64::MAX,
                links,
                runs: vec![run()].try_into().unwrap(),
            };
            let events = [
                FeedEvent::Run(Box::new(run())),
                FeedEvent::LinkDown {
                    service_port: 9001,
                    why: text(),
                },
                FeedEvent::Control {
                    service_port: 9000,
                    control: ControlInfo {
                        recording: None,
                        driver: Some(driver()),
                        request: Some((driver(), u64::MAX)),
                        epoch: 1,
                        ended: None,
                    },
                },
            ];
            let feed = events.into_iter().map(RouterToConsole::Feed);
            [snapshot].into_iter().chain(feed).collect()
        }
        ConsoleToRouter::ListCommands { request, .. } => vec![RouterToConsole::Commands {
            request: *request,
            commands: vec![CommandInfo {
                name: COMMAND.parse().unwrap(),
                problem: Some(text()),
            }]
            .try_into()
            .unwrap(),
            more: false,
        }],
        ConsoleToRouter::AskRun { request, .. } => vec![RouterToConsole::Run {
            request: *request,
            answer: RunAnswer::Report(RunReport {
                command: COMMAND.parse().unwrap(),
                age_ms: u64::MAX,
                outcome: Outcome::Refused(text()),
                bytes: 0,
                output: Piece::first_of(TEXT.as_bytes()),
                stderr: Piece::last_of(TEXT.as_bytes()),
            }),
        }],
        ConsoleToRouter::Send {
            request, command, ..
        } => {
            let refusal = |refusal, reason| SendEvent::Refused {
                refusal,
                reason,
                message: text(),
            };
            let ended = |end| SendEvent::Finished {
                end,
                exec_us: u64::MAX,
                stderr: Piece::last_of(TEXT.as_bytes()),
            };
            let last = match command.as_str() {
                "router-refuses" => return vec![refused()],
                "closes" => return Vec::new(),
                "refused" => refusal(Some(Refusal::NotFound), None),
                "worker-lost" => refusal(Some(Refusal::WorkerLost), None),
                "locked" => refusal(None, Some(RefusedReason::Locked)),
                "lost" => SendEvent::Lost,
                "late" => ended(End::TimedOut),
                _ => ended(End::Exit(0)),
            };
            let run = RunId::from_number(7);
            let begin = [
                SendEvent::Queued { run },
                SendEvent::Output(Piece::first_of(TEXT.as_bytes())),
            ];
            let sent = |event| RouterToConsole::SendEvent {
                request: *request,
                event,
            };
            begin.into_iter().chain([last]).map(sent).collect()
        }
        _ => vec![refused()],
    }
}

/// Whether the hostile router closes the connection after this.
pub fn closes(message: &ConsoleToRouter) -> bool {
    matches!(message, ConsoleToRouter::Send { command, .. } if command.as_str() == "closes")
}

fn refused() -> RouterToConsole {
    RouterToConsole::Refused {
        reason: RefusedReason::Denied,
        press: None,
        message: TEXT.into(),
    }
}

fn driver() -> Driver {
    Driver {
        session: SessionId(u64::MAX),
        name: TEXT.into(),
    }
}

/// A run after the year 9999.
fn run() -> RunInfo {
    let result = RunResult {
        status: 500,
        end: Some(End::Signal(i32::MAX)),
        why: TEXT.into(),
        link_us: u64::MAX,
        exec_us: Some(u64::MAX),
        bytes: u64::MAX,
        output: Piece::first_of(TEXT.as_bytes()),
        stderr: Piece::last_of(TEXT.as_bytes()),
    };
    RunInfo {
        run: RunId::from_number(u64::MAX),
        service_port: 9000,
        link: "car".parse().unwrap(),
        command: COMMAND.parse().unwrap(),
        arguments: vec![bytes::Bytes::from(TEXT).try_into().unwrap()]
            .try_into()
            .unwrap(),
        source: RunSource::Http,
        from: TEXT.into(),
        key: TEXT.into(),
        at_ms: u64::MAX,
        result: Some(result),
    }
}

/// The program in a folder of the test's own, in which it may save.
fn console(folder: &tempfile::TempDir, router: &FakeRouter, arguments: &[&str]) -> Command {
    let mut command = program(router.port, arguments);
    command.current_dir(folder.path());
    command
}

fn assert_harmless(shown: &str, what: &str) {
    for bad in BAD {
        assert!(!shown.contains(bad), "{bad:?}: {what}: {shown:?}");
    }
}

#[tokio::test]
async fn no_subcommand_passes_a_hostile_text_on_to_the_terminal() {
    let router = FakeRouter::hostile().await;
    let folder = tempfile::tempdir().unwrap();
    let sends = [
        "hello",
        "late",
        "refused",
        "worker-lost",
        "locked",
        "lost",
        "router-refuses",
        "closes",
    ];
    let sends = sends.map(|command| vec!["send", "car", command]);
    for subcommand in sends.into_iter().chain([vec!["list"], vec!["watch"]]) {
        for json in [false, true] {
            let mut arguments = subcommand.clone();
            arguments.extend(json.then_some("--json"));
            let what = arguments.join(" ");
            let command = console(&folder, &router, &arguments);
            let mut terminal = TestTerminal::start(&command, false, (200, 50));
            if subcommand == ["watch"] {
                terminal.await_text("ask").await;
                terminal.signal(Signal::INT);
            }
            let code = terminal.end().await;
            assert_ne!(code, Some(101), "{what}: {}", terminal.shown());
            let seen = if json { r"\u202e" } else { r"\u{" };
            // The end is seen before the last of what was written.
            terminal.await_text(seen).await;
            let shown = terminal.shown();
            assert_harmless(&shown, &what);
            // A command's own output may have lines of its own; no sentence has.
            let forged = shown.lines().filter(|line| line.starts_with("forged"));
            let outputs = usize::from(!json && what.starts_with("send"));
            assert!(forged.count() <= 2 * outputs, "{what}: {shown:?}");
        }
    }
}

/// A log is as hostile as whoever was logged, and so is its name.
#[tokio::test]
async fn no_replay_passes_a_hostile_text_on_to_the_terminal() {
    let router = FakeRouter::hostile().await;
    let folder = tempfile::tempdir().unwrap();
    let name = "log\u{202e}\x1b]0;owned\x07.jsonl";
    let line = serde_json::json!({
        "timestamp": "2026-11-22T17:02:03.456Z", "message": "run", "link": "car",
        "service_port": 9000, "run": "7", "command": COMMAND, "arguments": TEXT, "from": TEXT,
        "key": TEXT, "status": 500, "exit": "", "why": TEXT,
    });
    std::fs::write(folder.path().join(name), format!("{line}\n")).unwrap();
    for (arguments, term, seen) in [
        (vec!["replay", name], "dumb", r"\u{202e}"),
        (vec!["replay", name, "--json"], "dumb", r"\u202e"),
        (
            vec!["replay", "absent\x1bc\u{202e}"],
            "dumb",
            r"absent\u{1b}c\u{202e}",
        ),
        (vec!["replay", name], "xterm-kitty", r"\u{"),
    ] {
        let what = format!("{arguments:?} {term}");
        let mut command = console(&folder, &router, &arguments);
        command.env("TERM", term);
        let mut terminal = TestTerminal::start(&command, true, (200, 50));
        terminal.await_text(seen).await;
        if term != "dumb" {
            terminal.sees("What happened").await;
            terminal.send(b"3");
            terminal.sees("Past runs").await;
            terminal.send(b"\r");
            terminal.sees("Esc closes").await;
            terminal.send(b"q");
        }
        terminal.end().await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_harmless(&terminal.shown(), &what);
    }
}

#[tokio::test]
async fn no_screen_passes_a_hostile_text_on_to_the_terminal() {
    let mut router = FakeRouter::hostile().await;
    let folder = tempfile::tempdir().unwrap();
    for size in [(130, 45), (70, 20), (45, 12)] {
        let command = console(&folder, &router, &["--link", "car"]);
        let mut terminal = TestTerminal::start(&command, true, size);
        router.next().await;
        terminal.sees("Drive").await;
        // Fleet, Drive with an arrow and a request for control, the log with its page and a save,
        // the commands with their problem.
        let saved = folder.path().join("p2p-console.9999-12-31T23-59-59Z.jsonl");
        for keys in [
            "1", "2", "\x1b[A", "a", "S", "3", "s", "\r", "\x1b[27u", "4", "\r", "?",
        ] {
            terminal.send(keys.as_bytes());
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
            // A key that waited while the machine was busy counts for nothing.
            let begun = Instant::now();
            while keys == "s" && !saved.exists() {
                assert!(begun.elapsed() < PATIENCE, "{}", terminal.picture());
                terminal.send(b"3s");
                tokio::time::sleep(std::time::Duration::from_millis(150)).await;
            }
        }
        terminal.send(b"\x1b[27u");
        terminal.send(b"q");
        assert_eq!(terminal.end().await, Some(0), "{}", terminal.picture());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let shown = terminal.shown();
        // Flags of the keyboard are asked for by the console itself.
        assert_harmless(&shown, &format!("{size:?}"));
        assert!(shown.contains(r"\u{"), "{size:?}: {shown:?}");
        let text = std::fs::read_to_string(&saved).unwrap();
        assert_harmless(&text, "saved");
        std::fs::remove_file(saved).unwrap();
    }
}
