//! Starts the program a second time where it is PID 1 or has a controlling terminal. The first
//! process, the *front*, only passes signals on to the second and reaps orphans; the second has a
//! session of its own without a terminal. So nothing that the program starts can read from the
//! terminal or write to it, and no orphan stays a zombie.
//!
//! A program can't give its terminal up by itself: `setsid(2)` is refused to the leader of a group,
//! which is what a shell makes of it, and Ctrl-C would no longer reach it.

use std::env;
use std::fmt::Display;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, id};
use std::time::Duration;

use anyhow::Context;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process,
    set_parent_process_death_signal, setsid, wait,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Environment variable of the second process: the number of the front. Of a program that goes on
/// without a front: its own number.
const FRONT: &str = "P2P_FRONT";

/// Environment variables that count only for the process whose number they hold (sd_listen_fds(3),
/// sd_watchdog_enabled(3)). Without them, what they belong to is for every process.
const OF_ONE_PROCESS: [&str; 2] = ["LISTEN_PID", "WATCHDOG_PID"];

const PASSED_ON: [Signal; 7] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::TSTP,
];

/// Time for the others in a container after the program has failed: with PID 1 all of them end, and a
/// guardian has to stop its car first.
const OTHERS_END: Duration = Duration::from_secs(10);

/// Becomes the front where there has to be one. Returns the exit code once the second process has
/// ended; `None` in all processes that are to be the program itself. To be called before there is
/// another thread.
#[must_use]
pub fn take_front() -> Option<ExitCode> {
    if is_second() {
        // Refused after a restart in place (`exec`): the process is what it became the first time.
        let _ = setsid();
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        // The front may have been killed before that.
        return (!is_second()).then_some(ExitCode::FAILURE);
    }
    let is_without = env::var(FRONT).is_ok_and(|process| process == id().to_string());
    // Sockets that this process was handed would stay open in a front. A router that a running one
    // has started in its place also has its signals blocked.
    let has_sockets = env::var_os("LISTEN_FDS").is_some();
    // Only a process with a controlling terminal can open it by this name.
    if is_without || has_sockets || !getpid().is_init() && File::open("/dev/tty").is_err() {
        return None;
    }
    match be_front() {
        Ok(code) => Some(code),
        Err(error) => {
            warn(&error);
            None
        }
    }
}

fn warn(error: &dyn Display) {
    eprintln!("warning: commands have this terminal, and orphans stay zombies: {error:#}");
}

fn is_second() -> bool {
    env::var(FRONT).is_ok_and(|front| front == Pid::as_raw(getppid()).to_string())
}

/// Starts the second process, and returns its exit code at its end. If that can't be started, runs the
/// program in this process instead: executed anew, since the signals of a front would stay caught.
#[tokio::main(flavor = "current_thread")]
async fn be_front() -> anyhow::Result<ExitCode> {
    let mut ended = signal(SignalKind::child()).context("SIGCHLD")?;
    let mut signals = Vec::new();
    // What is ignored stays so (nohup), here and in the second process.
    let ignored = ignored_signals();
    for which in PASSED_ON {
        if ignored & 1 << (which.as_raw() - 1) != 0 {
            continue;
        }
        signals.push((which, signal(SignalKind::from_raw(which.as_raw()))?));
    }
    let second = match start_second() {
        Ok(second) => second,
        Err(error) => {
            warn(&error);
            let error = go_on_without();
            eprintln!("error: this program can't be executed anew: {error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    // Else who looks for the program by its name would find two.
    let _ = rustix::thread::set_name(c"p2p-front");
    let mut passing_on = JoinSet::new();
    for (which, mut signals) in signals {
        passing_on.spawn(async move {
            while signals.recv().await.is_some() {
                pass_on(which, second);
            }
        });
    }
    let status = loop {
        match reap(second) {
            Reaped::Second(status) => break status,
            Reaped::Others => {
                ended.recv().await;
            }
            Reaped::Last => return Ok(ExitCode::FAILURE),
        }
    };
    // The number may be another's from now on.
    passing_on.shutdown().await;
    if getpid().is_init() && status.exit_status() != Some(0) {
        let others_end = async {
            while !matches!(reap(second), Reaped::Last) {
                ended.recv().await;
            }
        };
        let _ = timeout(OTHERS_END, others_end).await;
    }
    // As a shell has it.
    let code = status
        .exit_status()
        .or_else(|| Some(128 + status.terminating_signal()?));
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Returns the set of the signals that this process ignores: bit 0 is for signal 1 (proc(5)).
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or_default()
}

fn start_second() -> std::io::Result<Pid> {
    let mut arguments = env::args_os();
    // Not `/proc/self/exe`, after which people would see it as `exe`.
    let mut command = Command::new(env::current_exe()?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env(FRONT, id().to_string());
    for name in OF_ONE_PROCESS {
        if env::var(name).is_ok_and(|process| process == id().to_string()) {
            command.env_remove(name);
        }
    }
    Ok(Pid::from_child(&command.spawn()?))
}

/// Executes the program without a front, in this process. Returns only if that fails, and why.
fn go_on_without() -> std::io::Error {
    let mut arguments = env::args_os();
    // Also if its file is gone, which may be why it could not be started.
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env(FRONT, id().to_string()).exec()
}

fn pass_on(signal: Signal, second: Pid) {
    if signal == Signal::TSTP {
        // Ctrl-Z: this process waits for `fg` as well.
        let _ = kill_process(second, Signal::STOP);
        let _ = kill_process(getpid(), Signal::STOP);
        let _ = kill_process(second, Signal::CONT);
    } else {
        let _ = kill_process(second, signal);
    }
}

/// Result of reaping the children that have ended.
enum Reaped {
    Second(WaitStatus),
    /// Others, or none, and there are more that live.
    Others,
    /// No child is left.
    Last,
}

/// Reaps children that have ended, up to the second process.
fn reap(second: Pid) -> Reaped {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((process, status))) if process == second => return Reaped::Second(status),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Reaped::Others,
            Err(_) => return Reaped::Last,
        }
    }
}
