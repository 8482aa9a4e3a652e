//! Router, proxy, car and consoles in terminals, and the record of what the car did.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::common::program::{RunningProgram, console, inner_of};
use crate::common::proxy::Proxy;
use crate::common::pty::TestTerminal;
use crate::common::until;

/// kitty's arrows: pressed and released.
pub const UP: &[u8] = b"\x1b[1;1:1A";
pub const UP_RELEASED: &[u8] = b"\x1b[1;1:3A";
pub const UP_REPEATED: &[u8] = b"\x1b[1;1:2A";
pub const LEFT: &[u8] = b"\x1b[1;1:1D";
pub const LEFT_REPEATED: &[u8] = b"\x1b[1;1:2D";
pub const LEFT_RELEASED: &[u8] = b"\x1b[1;1:3D";
/// What other terminals send of an arrow, pressed or repeated.
pub const LEGACY_UP: &[u8] = b"\x1b[A";

pub const SIZE: (u16, u16) = (100, 30);
/// Longer than a link must have been healthy before anything moves.
pub const SETTLED: Duration = Duration::from_millis(700);
/// Longer than any lease, and than a press may wait anywhere on its way.
pub const NOTHING_COMES: Duration = Duration::from_millis(1500);

/// Far below the second of silence that ends a press, and too slow for the console to measure: of a
/// faster key the silence of three repeats would end it, which a busy machine can cause.
const REPEAT: Duration = Duration::from_millis(400);

/// Router, proxy and car. Each script of the car writes its name down when it starts.
pub struct Fixture {
    pub folder: tempfile::TempDir,
    pub router: RunningProgram,
    pub router_port: u16,
    pub proxy: Proxy,
    pub inner: RunningProgram,
    pub port: u16,
    /// How much had run when somebody waited last.
    seen: AtomicUsize,
}

impl Fixture {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Another process writes them: a program that a test beside this one starts just then
        // would else have them open for writing, and the kernel executes no such file.
        let scripts = "mkdir command && cd command && for name in forward back left right stop \
             hello; do printf '#!/bin/sh\\n%s\\n' \"echo $name >> ../ran\" > $name; done; \
             printf '#!/bin/sh\\n%s\\n' 'echo stop >> ../ran; ! [ -e ../broken ]' > stop; \
             chmod +x *";
        shell(&folder, scripts);
        let (router, router_port) = RunningProgram::open_router(folder.path(), 0).await;
        let proxy = Proxy::to(router_port).await;
        let inner = RunningProgram::start(&mut inner_of(folder.path(), proxy.port(), 0));
        let port = inner.service_port().await;
        Self {
            folder,
            router,
            router_port,
            proxy,
            inner,
            port,
            seen: AtomicUsize::new(0),
        }
    }

    /// What ran so far, in order.
    pub fn ran(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("ran")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How often this ran.
    pub fn count(&self, command: &str) -> usize {
        self.ran().iter().filter(|ran| *ran == command).count()
    }

    /// Waits until this was the last to run; of a motion until it has run since somebody waited here, as its stop
    /// may follow before a slow machine looks. Returns what ran.
    pub async fn last_ran(&self, command: &str) -> Vec<String> {
        let seen = self.seen.load(Ordering::Relaxed);
        let so = || match (command, &self.ran()[..]) {
            ("stop", ran) => ran.last().is_some_and(|last| last == command),
            (_, ran) => ran[seen..].iter().any(|ran| ran == command),
        };
        until(&format!("{command} runs"), so).await;
        let ran = self.ran();
        self.seen.store(ran.len(), Ordering::Relaxed);
        ran
    }

    /// Waits until nothing could run any more of what was asked, and returns what ran after the
    /// first so many.
    pub async fn ran_after(&self, before: usize) -> Vec<String> {
        tokio::time::sleep(NOTHING_COMES).await;
        self.ran().split_off(before)
    }

    pub fn sh(&self, script: &str) {
        shell(&self.folder, script);
    }

    /// How a user starts the console here.
    pub fn console(&self, arguments: &[&str]) -> Command {
        let mut console = console(self.folder.path(), self.router_port);
        console.args(arguments);
        console
    }

    /// A console that shows this car, and may drive.
    pub async fn desk_with(&self, arguments: &[&str], kitty: bool) -> TestTerminal {
        let terminal = TestTerminal::start(&self.console(arguments), kitty, SIZE);
        terminal.sees(" car :").await;
        terminal.sees("VIEW").await;
        tokio::time::sleep(SETTLED).await;
        terminal
    }

    /// A console in a terminal that tells of releases.
    pub async fn terminal(&self) -> TestTerminal {
        self.desk_with(&[], true).await
    }

    /// A console that holds the up arrow, and a car that moves.
    pub async fn driving(&self) -> TestTerminal {
        let terminal = self.terminal().await;
        self.move_forward(&terminal).await;
        terminal
    }

    /// Presses the up arrow of this console, and waits until the car moves.
    pub async fn move_forward(&self, terminal: &TestTerminal) {
        terminal.send(UP);
        let moves = async {
            self.last_ran("forward").await;
            terminal.sees("DRIVING").await;
        };
        holding(terminal, UP_REPEATED, moves).await;
    }
}

/// Repeats a key, as a keyboard does while it is held, until this has happened: a second without a
/// repeat would end the press.
pub async fn holding<T>(
    terminal: &TestTerminal,
    repeated: &[u8],
    happens: impl Future<Output = T>,
) -> T {
    let repeating = async {
        loop {
            tokio::time::sleep(REPEAT).await;
            terminal.send(repeated);
        }
    };
    tokio::select! {
        biased;
        happened = happens => happened,
        never = repeating => never,
    }
}

fn shell(folder: &tempfile::TempDir, script: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).current_dir(folder.path());
    assert!(shell.stdin(Stdio::null()).status().unwrap().success());
}

/// Ends a program that was stopped for a test, whatever became of the test.
pub struct ContinuedProgram<'a>(pub &'a RunningProgram);

impl Drop for ContinuedProgram<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}
