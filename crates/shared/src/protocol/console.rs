//! Messages between console and router.
//!
//! ```text
//!       console                                router
//!          │  GET /admin, Bearer KEY, p2p.v1    │   view, drive and admin keys
//!          ├───────────────────────────────────▶│
//!          │                           Snapshot │   first, and again after events were missed
//!          │◀───────────────────────────────────┤
//!          │                              Feed  │   what happens, as it happens
//!          │◀───────────────────────────────────┤
//!          │  Watch                             │   a car to drive: Ticks of its clock come
//!          ├───────────────────────────────────▶│
//!          │  Send, Window, Cancel              │   one run: Sent … SendEvent
//!          ├───────────────────────────────────▶│
//!          │  Control                           │   take, ask for, hand over, give back
//!          ├───────────────────────────────────▶│
//!          │  Drive: press, renew, release,     │   Feed(Motion …) tells what the car did
//!          │  stop                              │
//!          ├──────────────────┬────────────────▶│
//! ```
//!
//! Links are named by their service port, which is unique at any time.

use serde::{Deserialize, Serialize};

use super::drive::{
    ActiveMotion, ControlInfo, ControlRequest, DriveCommand, MAX_MOTIONS, MotionEvent, PressId,
    SessionId, StopFailure,
};
use super::run::{CommandInfo, End, MAX_ENTRIES, OutputPiece, Refusal, RunReport, StderrTail};
use crate::bounded::{Arguments, List, Piece, Text};
use crate::key::Role;
use crate::names::{CommandName, LinkName, RunId};

/// Most round trips that a [`LinkInfo`] has.
pub const MAX_RTTS: usize = 64;

/// Most bytes of a run's output, and of its standard error, in a [`RunResult`].
pub const SHOWN_OUTPUT: usize = 1024;

/// Most runs that a router tells a console of in a snapshot: the last ones.
pub const SNAPSHOT_RUNS: usize = 1000;

/// Path of a console's WebSocket on the main port.
pub const ADMIN_PATH: &str = "/admin";

/// Messages from a console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsoleToRouter {
    /// First message.
    Hello {
        software: Text,
        /// True to watch only, whatever the key may do.
        readonly: bool,
    },
    /// Run a command; [`RouterToConsole::SendEvent`]s report what becomes of it.
    Send {
        request: u64,
        service_port: u16,
        command: CommandName,
        arguments: Arguments,
        /// Duration of a motion, in milliseconds.
        for_ms: Option<u64>,
    },
    /// This much more of a run's output may come.
    Window {
        request: u64,
        /// Units of [`cost`](super::cost).
        more: u32,
    },
    /// End a run.
    Cancel { request: u64 },
    /// List a car's commands.
    ListCommands { request: u64, service_port: u16 },
    /// Report what became of a run; [`RouterToConsole::Run`] is the answer.
    AskRun {
        request: u64,
        service_port: u16,
        run: RunId,
    },
    /// Tell what moved and stopped a car; [`RouterToConsole::Past`] is the answer. Only of a car whose
    /// [`LinkInfo`] has `past`.
    AskPast {
        request: u64,
        service_port: u16,
        last_ms: u64,
        /// True to get also what the router's log has of the car, and of the router itself.
        log: bool,
    },
    /// Choose the car that the console may drive next, in place of the one before. Ticks cost a
    /// car's SIM card megabytes: only a car that somebody has chosen or drives sends them.
    Watch {
        /// Service port of the car; `None`: no car any more.
        service_port: Option<u16>,
    },
    /// Take control, ask for it, or answer a request.
    Control {
        service_port: u16,
        request: ControlRequest,
    },
    /// Drive a car, or stop it.
    Drive {
        service_port: u16,
        command: DriveCommand,
    },
    /// Record a car from now on, 15 minutes at most, or no longer. Only of a car whose
    /// [`ControlInfo`] has `recording`, which tells the answer.
    Record {
        service_port: u16,
        /// True to begin.
        on: bool,
    },
    /// Send the state of everything again. Only for other routers of a mesh, which watch for consoles
    /// of theirs.
    Again,
}

/// Messages from the router to a console.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterToConsole {
    /// State of everything now; events follow from here on. Its links and runs may come in several
    /// parts: the first part has `first`, the last part has `last`. A part without links and runs, after the
    /// last one, says only how many events were missed.
    Snapshot {
        /// True in the first part: forget everything known before.
        first: bool,
        /// True in the last part: the snapshot is complete.
        last: bool,
        session: SessionId,
        /// Name of the console's key; empty without keys.
        key: Text,
        role: Role,
        /// Events that this console missed before the snapshot, because it was too slow.
        missed: u64,
        links: List<LinkInfo, MAX_ENTRIES>,
        /// Last runs, oldest first.
        runs: List<RunInfo, MAX_ENTRIES>,
    },
    /// An event.
    Feed(FeedEvent),
    /// Newest tick of a car's clock, for consoles that have chosen the car or drive it.
    Tick { service_port: u16, clock_ms: u64 },
    /// Report about a run that this console asked for.
    SendEvent { request: u64, event: SendEvent },
    /// Answer to [`ConsoleToRouter::ListCommands`], in one or more parts.
    Commands {
        request: u64,
        commands: List<CommandInfo, MAX_ENTRIES>,
        /// True if another part follows.
        more: bool,
    },
    /// Answer to [`ConsoleToRouter::AskRun`].
    Run { request: u64, answer: RunAnswer },
    /// Answer to [`ConsoleToRouter::AskPast`], in one or more parts for each source.
    Past {
        request: u64,
        source: PastSource,
        /// Lines of JSON; a part may end within a line.
        lines: OutputPiece,
        /// True if another part follows, of this source or another.
        more: bool,
    },
    /// The router refused something that this console asked for.
    Refused {
        reason: RefusedReason,
        /// The press that was refused, if it was a press.
        #[serde(default)]
        press: Option<PressId>,
        message: Text,
    },
    /// The router is about to restart: dial again after this time.
    GoAway {
        reconnect_after_ms: u64,
        /// True if the router ends for good, as far as it knows: dial another one, if there is one.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        elsewhere: bool,
    },
}

/// Who tells of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PastSource {
    /// The car: lines are [`PastEntry`](super::PastEntry).
    Car,
    /// The router's log: lines are as in its files, after one with its `now_ms`.
    Router,
}

/// Answer about a run that a console asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunAnswer {
    /// The car remembers this of the run.
    Report(RunReport),
    /// The car is connected, and doesn't know the run.
    NotKnown,
    /// The car is away, or did not answer in time.
    Away,
}

/// Reason why something that a console asked for was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedReason {
    /// The console's role may not do this.
    Denied,
    /// Another session drives.
    Locked,
    /// The car is not connected.
    Offline,
    /// The press doesn't count: its session has no control, or its epoch is old.
    NotDriving,
    /// The press is more than a second old: the network to the car is too slow to drive.
    TooSlow,
}

/// Link as a console sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkInfo {
    /// Service port, which names the link.
    pub service_port: u16,
    pub name: LinkName,
    /// Name of the inner's key; empty without keys.
    #[serde(default)]
    pub key: Text,
    /// True if the link is up.
    pub is_up: bool,
    /// Time since the link came up or was lost, in milliseconds before this message.
    pub since_ms: u64,
    /// Last round trips between router and inner, newest last, in microseconds.
    pub rtts_us: List<u32, MAX_RTTS>,
    /// Runs since the link first came up.
    pub runs: u64,
    /// Failed runs among them.
    pub failures: u64,
    /// Motion commands: forward, back, left, right.
    pub motion: List<CommandName, MAX_MOTIONS>,
    pub stop: CommandName,
    /// Time for which the car moves without hearing of its driver, in milliseconds.
    pub lease_ms: u64,
    /// Duration of a motion by `/cgi` or `send`, in milliseconds; 0: until stopped.
    pub motion_limit_ms: u64,
    /// Driver, and the session that asks for control.
    pub control: ControlInfo,
    /// Motion that the car reported last; `None`: the car stands.
    pub moving: Option<ActiveMotion>,
    /// True if the stop command has failed three times.
    pub stop_failed: bool,
    /// Address of the router that has the link, if it is another than the one that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Text>,
    /// Number of the link in a mesh: of two routers that tell of a port, the one with the higher number has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Time for which the car has not answered, in milliseconds before this message; `None`: it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// The newest failure of a stop command that has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_failure: Option<StopFailure>,
    /// True if the car keeps its past, and its router and all on the way there pass on who asks for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub past: bool,
}

impl LinkInfo {
    /// A link that is up, and of which nothing else is known.
    #[must_use]
    pub fn new(service_port: u16, name: LinkName, stop: CommandName) -> Self {
        Self {
            service_port,
            name,
            key: Text::default(),
            is_up: true,
            since_ms: 0,
            rtts_us: List::default(),
            runs: 0,
            failures: 0,
            motion: List::default(),
            stop,
            lease_ms: 0,
            motion_limit_ms: 0,
            control: ControlInfo::default(),
            moving: None,
            stop_failed: false,
            router: None,
            epoch: None,
            silent_ms: None,
            stop_failure: None,
            past: false,
        }
    }
}

/// Run as a console sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    pub run: RunId,
    pub service_port: u16,
    pub link: LinkName,
    pub command: CommandName,
    pub arguments: Arguments,
    pub source: RunSource,
    /// Address of the caller.
    pub from: Text,
    /// Name of the caller's key; empty without keys.
    pub key: Text,
    /// Time of the request, in milliseconds since 1970.
    pub at_ms: u64,
    /// Result; `None`: the run is open.
    pub result: Option<RunResult>,
}

/// Source of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunSource {
    /// HTTP on the service port.
    Http,
    /// `send` of a console.
    Send,
    /// A press of a driver.
    Drive,
}

/// Status of a run whose caller went away before the answer (nginx uses this number too).
pub const CALLER_LEFT: u16 = 499;

/// Status of a run whose link or worker was lost.
const LOST: u16 = 502;

/// Result of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResult {
    /// HTTP status of the answer, or the status that an HTTP answer would have had.
    pub status: u16,
    /// End of the process, if the run began and its end is known.
    pub end: Option<End>,
    /// Reason, if the result is an error.
    pub why: Text,
    /// Time on the link and in queues, in microseconds.
    pub link_us: u64,
    /// Time from the start of the process to its end, in microseconds.
    pub exec_us: Option<u64>,
    /// Bytes of output.
    pub bytes: u64,
    /// First bytes of the output.
    pub output: Piece<SHOWN_OUTPUT>,
    /// Last bytes of standard error.
    pub stderr: Piece<SHOWN_OUTPUT>,
}

impl RunResult {
    /// True if the run counts as failed: its answer was an error, and its caller had not gone away.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.status >= 400 && self.status != CALLER_LEFT
    }

    /// Value of `P2P-Executed` for this result: `yes`, `no` or `unknown`.
    #[must_use]
    pub fn executed(&self) -> &'static str {
        let has_started = self.end.is_some() || self.exec_us.is_some();
        match self.status {
            LOST => "unknown",
            _ if has_started => "yes",
            CALLER_LEFT => "unknown",
            _ => "no",
        }
    }
}

/// Event of the feed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedEvent {
    /// A link came up, or its name, commands or times have changed.
    Link(Box<LinkInfo>),
    /// A link was lost; its port is kept.
    LinkDown { service_port: u16, why: Text },
    /// A port was given up.
    LinkGone { service_port: u16 },
    /// A round trip between router and inner was measured; or none comes to its end.
    Rtt {
        service_port: u16,
        /// The round trip in microseconds: at least that, if the car is silent.
        rtt_us: u32,
        /// The round trip from the router that is asked to the one that has the link, if that is another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hop_us: Option<u32>,
        /// Time for which the car has not answered, in milliseconds before this message: sent once, when that
        /// begins. The next round trip that is measured ends the silence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        silent_ms: Option<u64>,
    },
    /// A run was asked for, or is over.
    Run(Box<RunInfo>),
    /// The driver has changed, or a session asks for control.
    Control {
        service_port: u16,
        control: ControlInfo,
    },
    /// The car reported about its motion.
    Motion {
        service_port: u16,
        event: MotionEvent,
        /// Time of the report on the car's clock; `None`: the router says again what it knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clock_ms: Option<u64>,
    },
}

impl FeedEvent {
    /// Service port of the car that the event is about.
    #[must_use]
    pub fn service_port(&self) -> u16 {
        match self {
            Self::Link(link) => link.service_port,
            Self::Run(run) => run.service_port,
            Self::LinkDown { service_port, .. }
            | Self::LinkGone { service_port }
            | Self::Rtt { service_port, .. }
            | Self::Control { service_port, .. }
            | Self::Motion { service_port, .. } => *service_port,
        }
    }
}

/// Report about a run that a console asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendEvent {
    /// The run has this id.
    Queued { run: RunId },
    /// The process exists.
    Started,
    /// Piece of the output.
    Output(OutputPiece),
    /// The run is over.
    Finished {
        end: End,
        exec_us: u64,
        stderr: StderrTail,
    },
    /// The run did not begin.
    Refused {
        /// Kind of reason, if the inner gave one.
        refusal: Option<Refusal>,
        /// Reason of the router, if it refused the run.
        reason: Option<RefusedReason>,
        message: Text,
    },
    /// The link was lost: nobody knows what became of the run.
    Lost,
}
