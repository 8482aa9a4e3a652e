//! The car's commands, and the output of the run that was started on the Commands screen. Pure, of
//! bounded memory.

use bytes::Bytes;
use p2p_shared::names::{CommandName, LinkName, RunId};
use p2p_shared::protocol::{CommandInfo, End, SendEvent};
use ratatui::text::Line;

use crate::screen::output::output_lines;
use crate::screen::theme::Theme;

const KEPT: usize = 64 * 1024;

#[derive(Debug, Default)]
pub struct CommandList {
    /// Number of our request for the list.
    pub request: u64,
    /// True if the whole list was received.
    pub complete: bool,
    /// True while the list is the last known one, and the car has not answered our request.
    pub is_old: bool,
    /// Service port and name of the car whose list it is.
    pub car: Option<(u16, LinkName)>,
    pub list: Vec<CommandInfo>,
    pub selected: usize,
    /// The last run that was started on this screen.
    pub run: Option<SentRun>,
}

impl CommandList {
    pub fn chosen(&self) -> Option<&CommandInfo> {
        self.list.get(self.selected)
    }

    pub fn scroll(&mut self, by: isize) {
        let last = self.list.len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(by).min(last);
    }
}

/// Progress of a run that was started on this screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunProgress {
    Asked,
    Queued,
    Started,
    /// The run has ended, after this many microseconds.
    Finished(End, u64),
    Refused(String),
    /// Cancelled on this screen: the router reports nothing more of the run.
    Cancelled,
    Lost,
}

/// A run that was started on this screen.
#[derive(Debug)]
pub struct SentRun {
    /// Our number for the run.
    pub request: u64,
    /// The router's id of the run.
    pub id: Option<RunId>,
    pub command: CommandName,
    /// The arguments as they were typed.
    pub arguments: String,
    pub progress: RunProgress,
    /// The end of the output, at most `KEPT` bytes.
    pub output: Vec<u8>,
    /// Bytes of output in all.
    pub bytes: u64,
    /// The end of its standard error.
    pub stderr: Bytes,
}

impl SentRun {
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

    /// Its output, and its standard error, as lines of at most so many columns.
    pub fn lines<'a>(&self, columns: usize, theme: Theme) -> Vec<Line<'a>> {
        let mut lines = match self.output.is_empty() {
            true => Vec::new(),
            false => output_lines(&self.output, columns, theme),
        };
        if !self.stderr.is_empty() {
            lines.push(Line::styled("standard error:", theme.quiet()));
            lines.extend(output_lines(&self.stderr, columns, theme));
        }
        lines
    }

    /// Returns true until the run has ended.
    pub fn is_open(&self) -> bool {
        matches!(
            self.progress,
            RunProgress::Asked | RunProgress::Queued | RunProgress::Started
        )
    }

    /// Applies what the router reports of the run.
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
                self.stderr = stderr.into();
                RunProgress::Finished(end, exec_us)
            }
            SendEvent::Refused { message, .. } => RunProgress::Refused(message.to_string()),
            SendEvent::Lost => RunProgress::Lost,
        };
    }
}
