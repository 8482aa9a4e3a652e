//! Owns one process group: how it is started, signalled, waited for, and that nothing of it lives on.
//! The kernel's part is behind [`Spawn`], because the simulation has processes of its own.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use p2p_shared::names::Argument;
use p2p_shared::os;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

mod membership;
mod output_pipe;
mod refusal;

use membership::membership;
use output_pipe::OutputPipe;
pub(crate) use refusal::{check_execution, why_not};
use refusal::{is, is_text};

/// The variable of a command's environment that says which inner runs it, by its process number.
pub(crate) const OWNER_VARIABLE: &str = "P2P_INNER";
/// Interval at which a group that is ending is polled.
const POLL: Duration = Duration::from_millis(50);

/// `PATH` if the inner has none: Debian's.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Environment that commands get of this process's own, which never changes.
static ENVIRONMENT: LazyLock<Vec<(&'static str, OsString)>> =
    LazyLock::new(|| os::child_env().collect());
/// `/dev/null`, opened once. None if it can't be opened.
static NOTHING: LazyLock<Option<File>> = LazyLock::new(|| File::open("/dev/null").ok());

#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    pub file: &'a Path,
    pub arguments: &'a [Argument],
    pub folder: &'a Path,
    pub variables: &'a [(&'a str, String)],
    /// True if standard input is a pipe; otherwise it is empty.
    pub has_stdin: bool,
}

/// Starts programs and reaches their process groups: [`OsProcesses`], or a simulation.
pub trait Spawn: fmt::Debug + Send + Sync {
    /// Starts a program in a process group of its own.
    fn spawn(&self, program: &Program<'_>) -> io::Result<Spawned>;
    /// Signals all processes of a group; one that is gone is no error.
    fn signal(&self, group: i32, signal: Signal);
    /// Signals a leader that is not reaped, if it went over to another group.
    fn signal_strayed(&self, _leader: i32, _signal: Signal) {}
    /// Returns true if any process is left in a group.
    fn is_alive(&self, group: i32) -> bool;
    /// The groups in which commands of this inner run, or what they started.
    fn groups_of(&self, inner: u32) -> Vec<i32>;
}

pub struct Spawned {
    /// The number of the process and of its group.
    pub group: i32,
    pub leader: Box<dyn Leader>,
    pub pipes: Pipes,
}

pub trait Leader: Send {
    /// Polls for the end of the process; gives the same status when called again.
    fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ExitStatus>>;
}

impl Leader for Child {
    fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        pin!(self.wait()).poll(cx)
    }
}

/// Our ends of a process's pipes.
pub struct Pipes {
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    pub stdout: Box<dyn Output>,
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
}

/// The standard output of a process.
pub trait Output: AsyncRead + Send + Unpin {
    /// Number of bytes that wait to be read.
    fn unread(&self) -> usize;
}

#[derive(Debug)]
pub struct OsProcesses;

impl Spawn for OsProcesses {
    /// A text that the kernel won't execute, since it has no `#!`, is run by `/bin/sh`.
    fn spawn(&self, program: &Program<'_>) -> io::Result<Spawned> {
        match start(program, program.file, None) {
            Err(error) if is(&error, Errno::NOEXEC) && is_text(program.file) => {
                start(program, Path::new("/bin/sh"), Some(program.file))
            }
            started => started,
        }
    }

    fn signal(&self, group: i32, signal: Signal) {
        if let Some(group) = Pid::from_raw(group) {
            let _ = kill_process_group(group, signal);
        }
    }

    fn signal_strayed(&self, leader: i32, signal: Signal) {
        let membership = membership(Path::new(&format!("/proc/{leader}")));
        if let Some(pid) = Pid::from_raw(leader)
            && membership.is_some_and(|membership| membership.group != leader)
        {
            let _ = kill_process(pid, signal);
        }
    }

    fn is_alive(&self, group: i32) -> bool {
        let group = Pid::from_raw(group);
        group.is_some_and(|group| test_kill_process_group(group) != Err(Errno::SRCH))
    }

    fn groups_of(&self, inner: u32) -> Vec<i32> {
        membership::groups_of(inner)
    }
}

/// A process group whose leader we started. Dropping it kills the group.
pub(crate) struct ProcessGroup {
    leader: Box<dyn Leader>,
    id: GroupId,
    reaped: bool,
}

impl ProcessGroup {
    pub(crate) fn start(
        processes: &Arc<dyn Spawn>,
        program: &Program<'_>,
    ) -> io::Result<(Self, Pipes)> {
        let spawned = processes.spawn(program)?;
        let group = Self {
            leader: spawned.leader,
            id: GroupId {
                number: spawned.group,
                processes: processes.clone(),
            },
            reaped: false,
        };
        Ok((group, spawned.pipes))
    }

    /// The group, which can be ended also when its leader is gone.
    pub(crate) fn id(&self) -> &GroupId {
        &self.id
    }

    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = poll_fn(|cx| self.leader.poll_exit(cx)).await?;
        self.reaped = true;
        Ok(status)
    }

    /// Asks all of the group to end, and kills what is left after `grace`.
    pub(crate) async fn end(&mut self, grace: Duration) {
        self.signal(Signal::TERM);
        // A stopped process gets the signal only once it continues.
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
        // Until the leader is reaped, its number can't be another's.
        if !self.reaped {
            self.id.processes.signal_strayed(self.id.number, signal);
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

/// A process group. The kernel gives its number to nobody else while a member lives.
#[derive(Debug, Clone)]
pub(crate) struct GroupId {
    number: i32,
    processes: Arc<dyn Spawn>,
}

impl GroupId {
    /// The group of this number; none for 0.
    pub(crate) fn new(number: i32, processes: &Arc<dyn Spawn>) -> Option<Self> {
        let processes = processes.clone();
        (number > 0).then_some(Self { number, processes })
    }

    pub(crate) fn number(&self) -> i32 {
        self.number
    }

    /// Asks the group to end, and kills what is left after `grace`.
    pub(crate) async fn end(&self, grace: Duration) {
        self.terminate();
        self.kill_after(grace).await;
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
        // A stopped process gets the signal only once it continues.
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        self.processes.signal(self.number, signal);
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.processes.is_alive(self.number)
    }

    /// Waits until no process is left. Polls so often that the number has no time to become
    /// another's in between.
    async fn gone(&self) {
        while self.is_alive() {
            sleep(POLL).await;
        }
    }

    /// Waits for the end of the group, and after `grace` kills what is left.
    pub(crate) async fn kill_after(&self, grace: Duration) {
        if timeout(grace, self.gone()).await.is_err() {
            self.kill();
        }
    }
}

fn no_input() -> Stdio {
    let kept = NOTHING.as_ref().and_then(|file| file.try_clone().ok());
    kept.map_or_else(Stdio::null, Stdio::from)
}

/// Starts the program. `process_group` keeps the standard library on `posix_spawn`; a `pre_exec`
/// would cost a fork of our whole address space.
fn start(program: &Program<'_>, executed: &Path, script: Option<&Path>) -> io::Result<Spawned> {
    let (stdout, to_stdout) = OutputPipe::new()?;
    let (stderr, to_stderr) = OutputPipe::new()?;
    // Dropped at the end: the process alone keeps the other ends of its pipes.
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
        .envs(ENVIRONMENT.iter().map(|(name, value)| (name, value)))
        .envs(program.variables.iter().map(|(name, value)| (name, value)))
        .stdin(if program.has_stdin {
            Stdio::piped()
        } else {
            no_input()
        })
        .stdout(to_stdout)
        .stderr(to_stderr)
        .process_group(0);
    let mut child = command.spawn()?;
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    Ok(Spawned {
        group: group.ok_or_else(|| io::Error::other("the process has no number"))?,
        pipes: Pipes {
            stdin: child.stdin.take().map(|stdin| Box::new(stdin) as _),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
        },
        leader: Box::new(child),
    })
}
