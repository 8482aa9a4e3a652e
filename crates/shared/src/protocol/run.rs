//! A run of a command, in every message that carries one.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::names::{Argument, CommandName, RunId};

/// Most bytes of output or input in one message, so that nobody waits long behind another's.
pub const PIECE: usize = 16 * 1024;

/// How much of a run's output may be on its way to the router, unread by the caller: in units of
/// [`cost`]. Its quotient by the round trip is the most that one run can carry: 2.5 MB/s at 100 ms.
pub const RUN_WINDOW: u32 = 256 * 1024;

/// What one message of output takes of the window: its bytes, and something for the message
/// itself, so that a million empty ones are not free.
#[must_use]
pub fn cost(output: &[u8]) -> u32 {
    u32::try_from(output.len())
        .unwrap_or(u32::MAX)
        .saturating_add(64)
}

/// Most bytes of a run's standard error that are kept and passed on: its end, where the reason is.
pub const STDERR_KEPT: usize = 8 * 1024;

/// A run that the router asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// Its id.
    pub run: RunId,
    /// What to run.
    pub command: CommandName,
    /// With which arguments.
    pub arguments: Vec<Argument>,
    /// The inner's clock after which it is not begun, in milliseconds.
    pub deadline_ms: u64,
    /// Who asked: an address, for the log and for `P2P_REMOTE_ADDR`.
    pub remote_addr: String,
    /// How many bytes of [`RouterToInner::Stdin`] came for it.
    pub stdin_bytes: u64,
    /// How long a motion command's motion lasts, in milliseconds, if it was said: it is over when
    /// the stop has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// Why a run did not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No such command.
    NotFound,
    /// It is there and may not or can't be executed.
    NotExecutable,
    /// The inner runs as many commands as it may.
    Busy,
    /// Its deadline had passed.
    Late,
    /// The inner is about to restart.
    Draining,
    /// This run id was seen before.
    Repeated,
    /// The stop command fails: nothing moves.
    StopFailed,
    /// The worker that serves it is not there just now.
    WorkerAway,
    /// The worker that was asked was lost before it answered: nobody knows whether it did it.
    WorkerLost,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// By itself, with this exit code.
    Exit(i32),
    /// By a signal that was not ours.
    Signal(i32),
    /// It ran past its time limit, and its process group was killed.
    TimedOut,
    /// Its caller went away or the inner had to end, and its process group was killed.
    Cancelled,
    /// A motion that we ended: by its lease, its limit, or a stop.
    Ended,
}

/// An exit code, a signal's name, `timeout` or `cancelled`: the value of `P2P-Exit`, and what
/// logs say.
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

/// A command that there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandInfo {
    /// Its name.
    pub name: CommandName,
    /// Why it can't be run, if it can't: a sentence that says what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What an inner remembers of a run, for who lost its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// What was to be run.
    pub command: CommandName,
    /// How long ago it was asked for, in milliseconds.
    pub age_ms: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Bytes of its output, as far as it was read.
    pub bytes: u64,
    /// The beginning of its output, as much as is remembered.
    pub output: Bytes,
    /// The end of its standard error, if it is over and that is remembered.
    pub stderr: Bytes,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was asked for, and has not begun yet.
    Waiting,
    /// It runs.
    Running,
    /// It did not begin and never will: a sentence that says why.
    Refused(String),
    /// Nobody knows: a sentence that says why.
    Unknown(String),
    /// It is over.
    Ended {
        /// How it ended.
        end: End,
        /// From its start to its end, in microseconds.
        exec_us: u64,
    },
}

impl Outcome {
    /// It is over.
    #[must_use]
    pub fn ended(end: End, exec_us: u64) -> Self {
        Self::Ended { end, exec_us }
    }
}
