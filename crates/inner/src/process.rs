//! Owns one process group: how it is started, signalled, waited for, and that nothing of it
//! lives on.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use p2p_shared::names::Argument;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// How often a group that is ending is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What of our own environment a command gets.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "LANG", "USER", "TMPDIR"];
/// `PATH` where we have none ourselves: Debian's.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program<'a> {
    pub file: &'a Path,
    pub arguments: &'a [Argument],
    pub folder: &'a Path,
    /// What it learns of its run, beside a little of our environment.
    pub variables: &'a [(&'a str, String)],
    /// Whether it gets input; else its standard input is empty.
    pub has_stdin: bool,
}

/// A process group whose leader we started. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct ProcessGroup {
    child: Child,
    id: GroupId,
    reaped: bool,
}

/// Our ends of a command's pipes.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<ChildStdout>,
    pub stderr: Option<ChildStderr>,
}

impl ProcessGroup {
    /// Starts a program in a group of its own. A file that the kernel won't execute, for it has
    /// no `#!`, is run by `/bin/sh`.
    pub(crate) fn start(program: &Program<'_>) -> io::Result<(Self, Pipes)> {
        let child = match command(program, program.file, None).spawn() {
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) =>
            {
                command(program, Path::new("/bin/sh"), Some(program.file)).spawn()?
            }
            started => started?,
        };
        Self::of(child)
    }

    fn of(mut child: Child) -> io::Result<(Self, Pipes)> {
        let number = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let id = GroupId(number.ok_or_else(|| io::Error::other("the process has no number"))?);
        let pipes = Pipes {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
        };
        Ok((
            Self {
                child,
                id,
                reaped: false,
            },
            pipes,
        ))
    }

    /// Its number, by which it can still be ended when its leader is gone.
    pub(crate) fn id(&self) -> GroupId {
        self.id
    }

    /// The end of its leader.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.reaped = true;
        Ok(status)
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // Until the leader is reaped its number can't be another's.
        if !self.reaped {
            self.id.signal(Signal::KILL);
        }
    }
}

/// The number of a process group. The kernel gives it to nobody else while a member lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupId(Pid);

impl GroupId {
    pub(crate) fn signal(self, signal: Signal) {
        // It may just have gone.
        let _ = kill_process_group(self.0, signal);
    }

    /// Whether anyone is left in it.
    pub(crate) fn is_alive(self) -> bool {
        test_kill_process_group(self.0) != Err(rustix::io::Errno::SRCH)
    }

    /// Waits until nobody is left. It is looked at so often that its number has no time to
    /// become another's in between.
    pub(crate) async fn gone(self) {
        while self.is_alive() {
            sleep(LOOK).await;
        }
    }

    /// Waits for its end, and after `grace` kills what is left.
    pub(crate) async fn kill_after(self, grace: Duration) {
        if timeout(grace, self.gone()).await.is_err() {
            self.signal(Signal::KILL);
        }
    }
}

/// `process_group` keeps the standard library on `posix_spawn`; a `pre_exec` would cost a fork of
/// our whole address space.
fn command(program: &Program<'_>, executed: &Path, script: Option<&Path>) -> Command {
    let mut command = Command::new(executed);
    command
        .args(script)
        .args(
            program
                .arguments
                .iter()
                .map(|argument| OsStr::from_bytes(argument.as_bytes())),
        )
        .current_dir(program.folder)
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .envs(
            ENVIRONMENT
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .envs(program.variables.iter().map(|(name, value)| (name, value)))
        .stdin(if program.has_stdin {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}
