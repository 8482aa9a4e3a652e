//! Owns one process group: how it is started, signalled, waited for, and that nothing of it
//! lives on.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use p2p_shared::names::Argument;
use p2p_shared::os;
use p2p_shared::text::{Escaped, EscapedBytes};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

mod membership;

pub(crate) use membership::membership;

/// The variable of a command's environment that says which inner runs it, by its process number.
pub(crate) const OWNER_VARIABLE: &str = "P2P_INNER";
/// How often a group that is ending is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// `PATH` where we have none ourselves: Debian's.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How much of a file is looked at: as much as the kernel does.
const FILE_START: u64 = 256;

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
    /// Starts a program in a group of its own. A text that the kernel won't execute, for it has
    /// no `#!`, is run by `/bin/sh`.
    pub(crate) fn start(program: &Program<'_>) -> io::Result<(Self, Pipes)> {
        let child = match command(program, program.file, None).spawn() {
            Err(error) if is(&error, Errno::NOEXEC) && is_text(program.file) => {
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

    /// Ends all of it: asks for it, and kills what is left after `grace`.
    pub(crate) async fn end(&mut self, grace: Duration) {
        self.signal(Signal::TERM);
        // One that is stopped hears nothing else.
        self.signal(Signal::CONT);
        let dying = async {
            let _ = self.ended().await;
            self.id.gone().await;
        };
        if timeout(grace, dying).await.is_err() {
            self.signal(Signal::KILL);
            let _ = self.ended().await;
        }
    }

    fn signal(&self, signal: Signal) {
        self.id.signal(signal);
        // A leader that went over to another group isn't reached by that. Until it is reaped its
        // number can't be another's.
        let number = self.id.as_raw();
        let leader = || membership(Path::new(&format!("/proc/{number}")));
        if !self.reaped && leader().is_some_and(|leader| leader.group != number) {
            let _ = kill_process(self.id.0, signal);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
        }
    }
}

/// The number of a process group. The kernel gives it to nobody else while a member lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupId(Pid);

impl GroupId {
    /// The group of this number; none for 0.
    pub(crate) fn from_raw(number: i32) -> Option<Self> {
        (number > 0)
            .then(|| Pid::from_raw(number))
            .flatten()
            .map(Self)
    }

    pub(crate) fn as_raw(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    /// Asks for its end, and kills what is left after `grace`.
    pub(crate) async fn end(self, grace: Duration) {
        self.terminate();
        self.kill_after(grace).await;
    }

    /// Asks for its end.
    pub(crate) fn terminate(self) {
        self.signal(Signal::TERM);
        // One that is stopped hears nothing else.
        self.signal(Signal::CONT);
    }

    fn signal(self, signal: Signal) {
        // It may just have gone.
        let _ = kill_process_group(self.0, signal);
    }

    /// Kills what is left of it.
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
    }

    /// Whether anyone is left in it.
    pub(crate) fn is_alive(self) -> bool {
        test_kill_process_group(self.0) != Err(Errno::SRCH)
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
            self.kill();
        }
    }
}

/// Why a file that may be executed can't be, and what to do, for its owner.
pub(crate) fn why_not(file: &Path, error: &io::Error) -> String {
    let path = file.to_string_lossy();
    let shown = Escaped(&path);
    match error.kind() {
        io::ErrorKind::NotFound => {
            let start = start_of(file);
            let line = start
                .split(|byte| *byte == b'\n')
                .next()
                .unwrap_or_default();
            format!(
                "{shown} can't be executed: the program in its first line does not exist ({})",
                EscapedBytes(line)
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            "{shown} can't be executed by the user that p2p-inner runs as: chmod +x, or change its owner"
        ),
        // From fork(2); a file is never the reason.
        io::ErrorKind::WouldBlock => format!(
            "{shown} can't be executed: the user that p2p-inner runs as has as many processes as it may (ulimit -u, or the machine's memory): try again when some have ended"
        ),
        io::ErrorKind::ExecutableFileBusy => {
            format!("{shown} is being written to: try again when it is whole")
        }
        _ if is(error, Errno::NOEXEC) => format!(
            "{shown} is neither a script nor a program for this kind of machine: build it for this one"
        ),
        _ => format!("{shown} can't be executed: {error}"),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Whether a shell could read it: a program for another kind of machine has zeros.
fn is_text(file: &Path) -> bool {
    !start_of(file).contains(&0)
}

fn start_of(file: &Path) -> Vec<u8> {
    let mut start = Vec::new();
    // What can't be read is told by whoever executes it.
    let _ = File::open(file).and_then(|file| file.take(FILE_START).read_to_end(&mut start));
    start
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
        .envs(os::child_env())
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
