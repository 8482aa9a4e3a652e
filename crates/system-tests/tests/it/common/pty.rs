//! A terminal of the tests' own, with a real program in it.

#[path = "screen.rs"]
mod screen;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal with a real program in it.
pub struct TestTerminal {
    pub child: Child,
    keys: Option<OwnedFd>,
    shown: Arc<Mutex<Vec<u8>>>,
    screen: Arc<Mutex<screen::TerminalScreen>>,
    gone: Arc<AtomicBool>,
    stalled: Arc<AtomicBool>,
}

impl TestTerminal {
    /// Starts a program in a terminal of this size; `kitty`: one that grants flags.
    pub fn start(program: &Command, kitty: bool, (columns, rows): (u16, u16)) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let path = name.to_str().unwrap();
        tcsetwinsize(&ours, window(columns, rows)).unwrap();
        let theirs = || Stdio::from(File::options().read(true).write(true).open(path).unwrap());
        // A session of its own, with this as its controlling terminal.
        let mut command = Command::new("setsid");
        command
            .arg("--ctty")
            .arg(program.get_program())
            .args(program.get_args())
            .env("TERM", "xterm-kitty")
            .env_remove("NO_COLOR");
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = program.get_current_dir() {
            command.current_dir(folder);
        }
        let child = command
            .stdin(theirs())
            .stdout(theirs())
            .stderr(theirs())
            .spawn()
            .unwrap();
        let shown = Arc::default();
        let gone = Arc::default();
        let terminal = Self {
            child,
            keys: Some(ours),
            shown,
            screen: Arc::new(Mutex::new(screen::TerminalScreen::new(columns, rows))),
            gone,
            stalled: Arc::default(),
        };
        terminal.listen(kitty);
        terminal
    }

    fn listen(&self, kitty: bool) {
        let keys = self.keys.as_ref().unwrap();
        let mut from = File::from(keys.try_clone().unwrap());
        let mut answers = File::from(keys.try_clone().unwrap());
        let (shown, gone) = (self.shown.clone(), self.gone.clone());
        let (stalled, screen) = (self.stalled.clone(), self.screen.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // The screen says something at least once a second.
            while let Ok(n @ 1..) = from.read(&mut piece)
                && !gone.load(Ordering::SeqCst)
            {
                let piece = &piece[..n];
                while stalled.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(50));
                }
                let asked = |question: &[u8]| piece.windows(question.len()).any(|w| w == question);
                if kitty && asked(b"\x1b[?u") {
                    answers.write_all(b"\x1b[?3u").unwrap();
                }
                if asked(b"\x1b[c") {
                    answers.write_all(b"\x1b[?62;c").unwrap();
                }
                screen.lock().unwrap().feed(piece);
                shown.lock().unwrap().extend_from_slice(piece);
            }
        });
    }

    /// Types these bytes.
    pub fn send(&self, bytes: &[u8]) {
        rustix::io::write(self.keys.as_ref().unwrap(), bytes).unwrap();
    }

    /// Everything that was written to the screen.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until this was written to the screen.
    pub async fn await_text(&self, text: &str) {
        let begun = Instant::now();
        while !self.shown().contains(text) {
            assert!(
                begun.elapsed() < PATIENCE,
                "no {text:?} in {:?}",
                self.shown()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What is seen now.
    pub fn picture(&self) -> String {
        self.screen.lock().unwrap().text()
    }

    /// Waits until this is seen.
    pub async fn sees(&self, text: &str) {
        let begun = Instant::now();
        while !self.picture().contains(text) {
            assert!(
                begun.elapsed() < PATIENCE,
                "no {text:?} in\n{}",
                self.picture()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Gives the terminal another size, as a window that is dragged does.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().resize(columns, rows);
        tcsetwinsize(self.keys.as_ref().unwrap(), window(columns, rows)).unwrap();
    }

    /// Whether the terminal edits lines, as a shell needs it: it is not raw.
    pub fn edits_lines(&self) -> bool {
        let modes = tcgetattr(self.keys.as_ref().unwrap()).unwrap();
        let needed = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        modes.local_modes.contains(needed)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads nothing from the screen any more.
    pub fn stall(&self) {
        self.stalled.store(true, Ordering::SeqCst);
    }

    /// Whoever listens keeps the terminal open, so it goes with its keys closed and its reader
    /// told to end.
    pub fn hang_up(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        self.keys = None;
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the program's end: its exit code.
    pub async fn end(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for TestTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn window(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
