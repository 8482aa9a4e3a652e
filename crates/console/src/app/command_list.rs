//! Owns what the Commands screen shows: the car's commands, and the output of the one that runs.
//! Pure, of bounded memory.

use bytes::Bytes;
use p2p_shared::names::{CommandName, RunId};
use p2p_shared::protocol::{CommandInfo, End, SendEvent};

/// Most output that is kept of the run that is shown, in bytes: its end.
const KEPT: usize = 64 * 1024;

/// The commands of one car.
#[derive(Debug, Default)]
pub struct CommandList {
    /// Whose they are.
    pub service_port: Option<u16>,
    /// The number of the request that asked for them.
    pub request: u64,
    /// Whether they are all there.
    pub complete: bool,
    /// Which there are.
    pub list: Vec<CommandInfo>,
    /// Which is selected.
    pub selected: usize,
    /// The run whose output is shown.
    pub run: Option<SentRun>,
}

impl CommandList {
    /// The selected command.
    #[must_use]
    pub fn chosen(&self) -> Option<&CommandInfo> {
        self.list.get(self.selected)
    }

    /// Moves the selection.
    pub fn scroll(&mut self, by: isize) {
        let last = self.list.len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(by).min(last);
    }
}

/// How far a run that was asked for here has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunProgress {
    /// Sent.
    Asked,
    /// The router has it.
    Queued,
    /// Its process exists.
    Started,
    /// It is over, after this many microseconds.
    Finished(End, u64),
    /// It did not begin.
    Refused(String),
    /// Ended from here: its group is killed.
    Cancelled,
    /// Nobody knows what became of it.
    Lost,
}

/// A run that was asked for here.
#[derive(Debug)]
pub struct SentRun {
    /// Our number for it.
    pub request: u64,
    /// The router's.
    pub id: Option<RunId>,
    /// What.
    pub command: CommandName,
    /// With which arguments, for people.
    pub arguments: String,
    /// How far it has come.
    pub progress: RunProgress,
    /// The end of its output.
    pub output: Vec<u8>,
    /// How much output there was in all.
    pub bytes: u64,
    /// The end of its standard error.
    pub stderr: Bytes,
}

impl SentRun {
    /// One that was just sent.
    #[must_use]
    pub fn new(request: u64, command: CommandName, arguments: String) -> Self {
        Self {
            request,
            id: None,
            command,
            arguments,
            progress: RunProgress::Asked,
            output: Vec::new(),
            bytes: 0,
            stderr: Bytes::new(),
        }
    }

    /// Whether it may still say something.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(
            self.progress,
            RunProgress::Asked | RunProgress::Queued | RunProgress::Started
        )
    }

    /// What became of it.
    pub fn follow(&mut self, event: SendEvent) {
        self.progress = match event {
            SendEvent::Queued { run } => {
                self.id = Some(run);
                RunProgress::Queued
            }
            SendEvent::Started => RunProgress::Started,
            SendEvent::Output(bytes) => {
                self.bytes += bytes.len() as u64;
                self.output.extend_from_slice(&bytes);
                let over = self.output.len().saturating_sub(KEPT);
                self.output.drain(..over);
                return;
            }
            SendEvent::Finished {
                end,
                exec_us,
                stderr,
            } => {
                self.stderr = stderr;
                RunProgress::Finished(end, exec_us)
            }
            SendEvent::Refused { message, .. } => RunProgress::Refused(message),
            SendEvent::Lost => RunProgress::Lost,
        };
    }
}
