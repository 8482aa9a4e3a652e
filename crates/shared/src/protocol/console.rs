//! Owns what console and router say to each other.
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
//!          │  Press, Renew, Release, Stop       │   Feed(Motion …) tells what the car did
//!          ├──────────────────┬────────────────▶│
//! ```
//!
//! Links are named by their service port, which no other has at the same time.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::drive::{ActiveMotion, ControlInfo, ControlRequest, MotionEvent, PressId, SessionId};
use super::run::{CommandInfo, End, Refusal, RunReport};
use crate::key::Role;
use crate::names::{Argument, CommandName, LinkName, RunId};

/// The path of a console's WebSocket on the main port.
pub const ADMIN_PATH: &str = "/admin";

/// What a console says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsoleToRouter {
    /// The first message.
    Hello {
        /// The program's version, for the log.
        software: String,
        /// Whether only to watch, whatever the key may do.
        readonly: bool,
    },
    /// Run a command; [`RouterToConsole::SendEvent`]s tell of it.
    Send {
        /// The console's own number for it.
        request: u64,
        /// On which link.
        service_port: u16,
        /// What.
        command: CommandName,
        /// With which arguments.
        arguments: Vec<Argument>,
        /// A motion command's time, in milliseconds.
        for_ms: Option<u64>,
    },
    /// So much more of its output may come, in units of [`cost`](super::cost).
    Window {
        /// The console's number for the run.
        request: u64,
        /// Units of [`cost`](super::cost).
        more: u32,
    },
    /// End it.
    Cancel {
        /// The console's number for the run.
        request: u64,
    },
    /// Which commands are there?
    ListCommands {
        /// The console's own number for it.
        request: u64,
        /// On which link.
        service_port: u16,
    },
    /// What became of this run? [`RouterToConsole::Run`] tells.
    AskRun {
        /// The console's own number for it.
        request: u64,
        /// On which link.
        service_port: u16,
        /// Which run.
        run: RunId,
    },
    /// Which car it looks at to drive it, in place of the one before. Ticks cost a car's SIM card
    /// megabytes: only a car that somebody watches or drives sends them.
    Watch {
        /// Which; `None`: none any more.
        service_port: Option<u16>,
    },
    /// About who drives.
    Control {
        /// Which car.
        service_port: u16,
        /// What is wanted.
        wish: ControlRequest,
    },
    /// The driver presses a direction.
    Press {
        /// Which car.
        service_port: u16,
        /// Which press.
        press: PressId,
        /// The motion command.
        command: CommandName,
        /// The newest tick of the car's clock that the driver has seen, in milliseconds.
        tick_ms: u64,
    },
    /// The driver still holds it.
    Renew {
        /// Which car.
        service_port: u16,
        /// Which press.
        press: PressId,
        /// The newest tick of the car's clock that the driver has seen, in milliseconds.
        tick_ms: u64,
    },
    /// The driver let go.
    Release {
        /// Which car.
        service_port: u16,
        /// Which press.
        press: PressId,
    },
    /// Stop: anyone may.
    Stop {
        /// Which car.
        service_port: u16,
    },
}

/// What a router says to a console.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterToConsole {
    /// How everything is now; events follow from here on. Its links and runs may come in
    /// several parts: the first has `first`, the last `last`.
    Snapshot {
        /// Forget everything known before.
        first: bool,
        /// The picture is whole.
        last: bool,
        /// The console's own session.
        session: SessionId,
        /// The name of its key; empty without keys.
        key: String,
        /// What it may do.
        role: Role,
        /// How many events it missed before this, being too slow.
        missed: u64,
        /// Every link there is.
        links: Vec<LinkInfo>,
        /// The last runs, oldest first.
        runs: Vec<RunInfo>,
    },
    /// Something happened.
    Feed(FeedEvent),
    /// The newest tick of a car's clock: to those who watch or drive it, as it comes.
    Tick {
        /// Which car.
        service_port: u16,
        /// Milliseconds of the car's own clock.
        clock_ms: u64,
    },
    /// What becomes of a run that this console asked for.
    SendEvent {
        /// The console's number for it.
        request: u64,
        /// What.
        event: SendEvent,
    },
    /// An answer to [`ConsoleToRouter::ListCommands`], in one or more parts.
    Commands {
        /// The console's number for it.
        request: u64,
        /// Some of the commands.
        commands: Vec<CommandInfo>,
        /// Whether another part follows.
        more: bool,
    },
    /// An answer to [`ConsoleToRouter::AskRun`].
    Run {
        /// The console's number for it.
        request: u64,
        /// What became of it.
        told: RunAnswer,
    },
    /// Something that the console asked for was refused.
    Refused {
        /// Of which kind the reason is.
        reason: RefusedReason,
        /// The press that comes to nothing, if it is one.
        #[serde(default)]
        press: Option<PressId>,
        /// A sentence that says what to do.
        message: String,
    },
    /// The router is about to restart: come back after this time.
    GoAway {
        /// Milliseconds to wait before dialling again.
        reconnect_after_ms: u64,
    },
}

/// What is known of a run that was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunAnswer {
    /// This, as its car remembers it.
    Story(RunReport),
    /// Its car is there, and doesn't know it.
    NotKnown,
    /// Its car is away, or did not answer in time.
    Away,
}

/// Why something that a console asked for was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedReason {
    /// Its role may not.
    Denied,
    /// Another drives.
    Locked,
    /// The car is not connected.
    Offline,
    /// The driver's press is not in order: no control, an old epoch.
    NotDriving,
    /// The press is more than a second old: the way to the car is too slow to drive.
    TooSlow,
}

/// A link as a console sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkInfo {
    /// Its port: what names it.
    pub service_port: u16,
    /// What people call it.
    pub name: LinkName,
    /// Whether it is up.
    pub is_up: bool,
    /// Since when it is as it is, in milliseconds before this message.
    pub since_ms: u64,
    /// The last round trips between router and inner, newest last, in microseconds.
    pub rtts_us: Vec<u32>,
    /// Runs since it first came.
    pub runs: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// The car's motion commands: forward, back, left, right.
    pub motion: Vec<CommandName>,
    /// Its stop command.
    pub stop: CommandName,
    /// How long the car drives on without hearing of a driver, in milliseconds.
    pub lease_ms: u64,
    /// How long a motion by `/cgi` or `send` lasts, in milliseconds; 0: until stopped.
    pub motion_limit_ms: u64,
    /// Who drives.
    pub control: ControlInfo,
    /// What the car does, as it said last.
    pub moving: Option<ActiveMotion>,
    /// Its stop command has failed three times.
    pub stop_failed: bool,
}

/// A run as a console sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its id.
    pub run: RunId,
    /// On which link.
    pub service_port: u16,
    /// What that is called.
    pub link: LinkName,
    /// What ran.
    pub command: CommandName,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// How it was asked for.
    pub source: RunSource,
    /// Who asked: an address.
    pub from: String,
    /// The name of that one's key; empty without keys.
    pub key: String,
    /// When it was asked for, in milliseconds since 1970.
    pub at_ms: u64,
    /// What became of it; `None`: it is open.
    pub result: Option<RunResult>,
}

/// How a run was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunSource {
    /// By HTTP on the service port.
    Http,
    /// By `send` of a console.
    Send,
    /// By a press of a driver.
    Drive,
}

/// The status of a run whose caller went away before it was answered (nginx's number for it).
pub const CALLER_LEFT: u16 = 499;

/// The status of a run whose link or worker was lost.
const LOST: u16 = 502;

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResult {
    /// The HTTP status that it was, or would have been, answered with.
    pub status: u16,
    /// How it ended, if it began and that is known.
    pub end: Option<End>,
    /// Why, where it is an error.
    pub why: String,
    /// Time on the link and in queues, in microseconds.
    pub link_us: u64,
    /// Time from its process's start to its end, in microseconds.
    pub exec_us: Option<u64>,
    /// Bytes of output.
    pub bytes: u64,
    /// The beginning of its output, at most 1 KiB.
    pub output: Bytes,
    /// The end of its standard error, at most 1 KiB.
    pub stderr: Bytes,
}

impl RunResult {
    /// Whether the run counts as failed: it got an error for an answer, unless it was given up by
    /// who asked for it.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.status >= 400 && self.status != CALLER_LEFT
    }

    /// Whether the command was executed, in the words of `P2P-Executed`: `yes`, `no` or `unknown`.
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

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedEvent {
    /// A link came up, or something that doesn't change by itself did.
    Link(Box<LinkInfo>),
    /// A link was lost; its port is kept for it.
    LinkDown {
        /// Which.
        service_port: u16,
        /// Why.
        why: String,
    },
    /// A port was given up.
    LinkGone {
        /// Which.
        service_port: u16,
    },
    /// A round trip between router and inner.
    Rtt {
        /// Which link.
        service_port: u16,
        /// Microseconds.
        rtt_us: u32,
    },
    /// A run was asked for, or is over.
    Run(Box<RunInfo>),
    /// Who drives has changed, or wants to.
    Control {
        /// Which car.
        service_port: u16,
        /// How it is now.
        control: ControlInfo,
    },
    /// What the car does.
    Motion {
        /// Which car.
        service_port: u16,
        /// What.
        event: MotionEvent,
    },
}

/// What becomes of a run that a console asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendEvent {
    /// It has this id.
    Queued {
        /// The id.
        run: RunId,
    },
    /// Its process exists.
    Started,
    /// Some of its output.
    Output(Bytes),
    /// It is over.
    Finished {
        /// How it ended.
        end: End,
        /// From its start, in microseconds.
        exec_us: u64,
        /// The end of its standard error.
        stderr: Bytes,
    },
    /// It did not begin.
    Refused {
        /// Of which kind the reason is, where the inner gave it.
        refusal: Option<Refusal>,
        /// Whether the reason is that another drives, or that the key may not.
        reason: Option<RefusedReason>,
        /// A sentence that says what to do.
        message: String,
    },
    /// The link was lost; nobody knows what became of it.
    Lost,
}
