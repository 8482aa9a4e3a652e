//! Keeps signals to restart or end while no loop waits for them: at the start, and while the
//! process replaces itself. By default SIGUSR2 ends a program, and a signal that arrives
//! just before an `exec` would be lost.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR2};
use signal_hook::flag;

/// Time for the other threads to end: those of the logs, which have written everything.
const OTHER_THREADS: Duration = Duration::from_secs(1);

/// Signals that arrived and were not acted on yet.
#[derive(Debug)]
pub struct Signals {
    restart: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
}

impl Signals {
    /// Notes the signals from now on, and those that came since the previous program
    /// [held](Self::hold) them. Must be called before there is another thread or child, which would
    /// inherit the blocked signals.
    pub fn note() -> io::Result<Self> {
        let signals = Self {
            restart: Arc::default(),
            end: Arc::default(),
        };
        flag::register(SIGUSR2, signals.restart.clone())?;
        flag::register(SIGTERM, signals.end.clone())?;
        flag::register(SIGINT, signals.end.clone())?;
        ours().thread_unblock()?;
        Ok(signals)
    }

    /// Lets signals wait from now on, for the program that this process is about to become. Waits
    /// for other threads to end, because a signal that one of them took would be lost. Blocks.
    pub fn hold() -> io::Result<()> {
        ours().thread_block()?;
        let until = Instant::now() + OTHER_THREADS;
        // If that can't be found out, there is nothing to wait for.
        let threads = || std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        while threads() > 1 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Returns true if a restart was asked for since the last call.
    pub fn restart(&self) -> bool {
        self.restart.swap(false, Ordering::SeqCst)
    }

    /// Returns true if the end was ever asked for.
    pub fn end(&self) -> bool {
        self.end.load(Ordering::SeqCst)
    }
}

fn ours() -> SigSet {
    [Signal::SIGUSR2, Signal::SIGTERM, Signal::SIGINT]
        .into_iter()
        .collect()
}
