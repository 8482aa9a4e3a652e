//! Owns the signals that tell the router to restart or to end, in the moments in which no loop
//! waits for them: at the start, and while the process becomes the program in its file. Until a
//! program has said otherwise SIGUSR2 ends it, and what comes to one that is about to be another is
//! forgotten with it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR2};
use signal_hook::flag;

/// How long the other threads may take to end: those of the logs, which have written all.
const OTHER_THREADS: Duration = Duration::from_secs(1);

/// What signals have asked for, and nobody has seen to yet.
#[derive(Debug)]
pub struct Signals {
    restart: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
}

impl Signals {
    /// Notes from now on what they ask for, and what they asked since the program before
    /// [held](Self::hold) them. To be called before there is another thread or child: it would
    /// take over that they are held.
    ///
    /// # Errors
    /// If the system refuses.
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

    /// Has them wait from now on, for the program that this process is about to be. Waits for the
    /// threads that are about to end: one of them would take a signal, and be gone with it. Blocks.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn hold() -> io::Result<()> {
        ours().thread_block()?;
        let until = Instant::now() + OTHER_THREADS;
        // Where nobody can tell, there is nothing to wait for.
        let threads = || std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        while threads() > 1 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether a restart was asked for since this was last called.
    #[must_use]
    pub fn restart(&self) -> bool {
        self.restart.swap(false, Ordering::SeqCst)
    }

    /// Whether the end was ever asked for.
    #[must_use]
    pub fn end(&self) -> bool {
        self.end.load(Ordering::SeqCst)
    }
}

fn ours() -> SigSet {
    [Signal::SIGUSR2, Signal::SIGTERM, Signal::SIGINT]
        .into_iter()
        .collect()
}
