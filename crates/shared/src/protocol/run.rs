//! Types of a run, for every message that carries one.

use serde::{Deserialize, Serialize};

use crate::bounded::{Arguments, Piece, Text};
use crate::names::{CommandName, RunId};

/// Most bytes of output or input in one message: then no message waits long behind another run's.
pub const PIECE: usize = 16 * 1024;

/// Most entries of a list in one message.
pub const MAX_ENTRIES: usize = 1024;

/// Most output of a run that may be under way, unread by the caller, in units of [`cost`]. Divided
/// by the round trip it is the fastest that one run can send: 2.5 MB/s at 100 ms.
pub const RUN_WINDOW: u32 = 256 * 1024;

/// Units of the window that one message of output takes: its bytes, and some for the message
/// itself, so that a million empty messages are not free.
#[must_use]
pub fn cost(output: &[u8]) -> u32 {
    u32::try_from(output.len())
        .unwrap_or(u32::MAX)
        .saturating_add(64)
}

/// Most bytes of a run's standard error that are kept and passed on: the last ones, where the
/// reason is.
pub const STDERR_KEPT: usize = 8 * 1024;
/// Most bytes of a run's arguments, all together, in a log line or in the feed: lines that wait for
/// a slow disk take memory.
pub const ARGUMENTS_SHOWN: usize = 2048;

/// Piece of a run's output or input.
pub type OutputPiece = Piece<PIECE>;
/// Last bytes of a run's standard error.
pub type StderrTail = Piece<STDERR_KEPT>;

/// Request of the router for a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    pub run: RunId,
    pub command: CommandName,
    pub arguments: Arguments,
    /// Deadline on the inner's clock, in milliseconds: a run that comes later is not begun.
    pub deadline_ms: u64,
    /// Address of the caller, for the log and for `P2P_REMOTE_ADDR`.
    pub remote_addr: Text,
    /// Name of the caller's key, if it has one: for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Text>,
    /// Bytes of [`Stdin`](super::RouterToInner::Stdin) that were sent for this run.
    pub stdin_bytes: u64,
    /// Duration of the motion in milliseconds, if the caller gave one. The run is over when the
    /// stop has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

impl RunRequest {
    /// Who asked for the run: the caller's key, else the caller's address.
    #[must_use]
    pub fn who(&self) -> &Text {
        self.by.as_ref().unwrap_or(&self.remote_addr)
    }
}

/// Reason why a run did not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// There is no such command.
    NotFound,
    /// The command exists, but may not or can't be executed.
    NotExecutable,
    /// The inner runs as many commands as `--max-runs` allows.
    Busy,
    /// The run's deadline had passed.
    Late,
    /// The inner is about to restart.
    Draining,
    /// The run's id was seen before.
    Repeated,
    /// The stop command fails: nothing moves.
    StopFailed,
    /// The worker that serves the command is not running just now.
    WorkerAway,
    /// The worker was lost before it answered: nobody knows whether it did the command.
    WorkerLost,
}

/// End of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The process ended by itself, with this exit code.
    Exit(i32),
    /// The process was ended by a signal that the inner had not sent.
    Signal(i32),
    /// The run passed its time limit, and its process group was killed.
    TimedOut,
    /// The caller went away or the inner had to end, and the process group was killed.
    Cancelled,
    /// The inner ended a motion: by its lease, its limit, or a stop.
    Ended,
}

impl End {
    /// The end in words, for people.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Exit(code) => format!("exit {code}"),
            end => end.to_string(),
        }
    }

    /// The end of a stop command. One that could not be started has the exit code that a shell gives, and no time.
    #[must_use]
    pub fn stop_text(self, exec_us: u64) -> String {
        match self {
            Self::Exit(_) if exec_us == 0 => "nothing was run".to_owned(),
            end => end.text(),
        }
    }
}

/// Value of `P2P-Exit`, also in logs: an exit code, a signal's name, `timeout`, `cancelled` or
/// `ended`.
impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => code.fmt(f),
            Self::Signal(number) => f.write_str(&crate::os::signal_name(*number)),
            Self::TimedOut => f.write_str("timeout"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Ended => f.write_str("ended"),
        }
    }
}

/// Entry of the list of commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandInfo {
    pub name: CommandName,
    /// Sentence that says why the command can't be run and what to do; `None`: it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Text>,
}

/// Report of a run from its inner's memory, for a caller that lost the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    pub command: CommandName,
    /// Time since the run was asked for, in milliseconds.
    pub age_ms: u64,
    pub outcome: Outcome,
    /// Bytes of output that were read.
    pub bytes: u64,
    /// First part of the output, as much as is remembered.
    pub output: OutputPiece,
    /// Last part of standard error, if the run is over and that is remembered.
    pub stderr: StderrTail,
}

/// State of a run that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The run was asked for, and has not begun yet.
    Waiting,
    /// The process runs.
    Running,
    /// The run did not begin and never will, for this reason.
    Refused(Text),
    /// Nobody knows what became of the run, for this reason.
    Unknown(Text),
    /// The run is over.
    Ended { end: End, exec_us: u64 },
}
