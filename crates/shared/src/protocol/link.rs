//! Messages between inner and router.
//!
//! ```text
//!        inner                                router
//!          │  GET /link, Bearer KEY, p2p.v1     │   refused here: 401, 403, or 400 for a
//!          ├───────────────────────────────────▶│   version that it doesn't speak
//!          │  Hello                             │
//!          ├───────────────────────────────────▶│   the service port is opened, taken back
//!          │               Welcome | Rejected   │   or refused
//!          │◀───────────────────────────────────┤
//!          │           [Stdin …] Run            │   one run: at most once, within its deadline
//!          │◀───────────────────────────────────┤
//!          │  Refused                           │   it did not begin
//!          ├───────────────────────────────────▶│ or
//!          │  Started, Output …, Finished       │   it did
//!          ├───────────────────────────────────▶│ or
//!          │  Answered                          │   it did, and that was soon over
//!          ├───────────────────────────────────▶│
//!          │                    Window | Cancel │   the caller reads on, or has gone away
//!          │◀───────────────────────────────────┤
//!          │  Clock                             │   after each ping, and before each report of
//!          ├───────────────────────────────────▶│   motion: the inner's own clock, in which
//!          │                                    │   deadlines are given
//!          │                     Video          │   somebody watches the camera: its pictures
//!          │◀───────────────────────────────────┤   go over a connection of their own (`media`)
//!          │  Camera                            │   why there are none
//!          ├───────────────────────────────────▶│
//!          │  Draining                   GoAway │   either side is about to restart
//!          ├──────────────────┬────────────────▶│
//! ```

use serde::{Deserialize, Serialize};

use super::drive::{MotionEvent, MotionInfo, PressId, StopCause};
use super::media::{CameraState, MediaTicket};
use super::run::{
    CommandInfo, End, MAX_ENTRIES, OutputPiece, Refusal, RunReport, RunRequest, StderrTail,
};
use crate::bounded::{List, Text};
use crate::names::{CommandName, Identity, InstanceId, LinkName, RunId};

/// Path of an inner's WebSocket on the main port.
pub const LINK_PATH: &str = "/link";

/// Most open runs of one link, and so most inputs that wait for their run.
pub const MAX_OPEN_RUNS: usize = 1024;

/// Messages from an inner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InnerToRouter {
    /// First message: the inner's identity and the service port that it asks for.
    Hello(LinkHello),
    /// Time on the inner's clock. The clock goes on while the machine sleeps; its zero means
    /// nothing. Sent after each ping of the router, and before each report about motion: the time of the report.
    Clock { clock_ms: u64 },
    /// The run's process exists.
    Started { run: RunId },
    /// The run did not begin and never will; or nobody knows, where the refusal says so.
    Refused {
        run: RunId,
        refusal: Refusal,
        message: Text,
    },
    /// A piece of the run's standard output.
    Output { run: RunId, bytes: OutputPiece },
    /// The run is over, and its output complete.
    Finished {
        run: RunId,
        end: End,
        exec_us: u64,
        stderr: StderrTail,
    },
    /// Started, output and finished in one message, for a short run with little
    /// output.
    Answered {
        run: RunId,
        end: End,
        /// Time from the start of the process, or from the request to the worker, to the end, in
        /// microseconds.
        exec_us: u64,
        output: OutputPiece,
        stderr: StderrTail,
    },
    /// Answer to [`RouterToInner::ListCommands`], in one or more parts.
    Commands {
        request: u64,
        commands: List<CommandInfo, MAX_ENTRIES>,
        /// True if another part follows.
        more: bool,
    },
    /// Answer to [`RouterToInner::AskRun`].
    Run {
        run: RunId,
        /// Report of the run; `None`: it is not among the last thousand since the inner's start.
        report: Option<RunReport>,
    },
    /// Report about the car's motion.
    Motion(MotionEvent),
    /// Answer to [`RouterToInner::AskPast`], in one or more parts.
    Past {
        request: u64,
        /// Lines of JSON, each a [`PastEntry`](super::PastEntry); a part may end within a line.
        lines: OutputPiece,
        /// True if another part follows.
        more: bool,
    },
    /// State of the camera, only after a [`Video`](RouterToInner::Video).
    Camera(CameraState),
    /// The inner is about to restart: it begins no more runs and ends those that are open.
    Draining,
}

/// First message of an inner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkHello {
    pub name: LinkName,
    /// Service port that the inner asks for; 0: any.
    pub service_port: u16,
    /// Identity, for a router that works without keys.
    pub identity: Identity,
    /// Id of this start of the process.
    pub instance: InstanceId,
    /// Time on the inner's clock, as in [`InnerToRouter::Clock`].
    pub clock_ms: u64,
    pub software: Text,
    pub motion: MotionInfo,
    /// True if the inner has a camera, and so knows [`RouterToInner::Video`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub camera: bool,
    /// True if the inner keeps its past, and so knows [`RouterToInner::AskPast`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub past: bool,
    /// Number of this hello among those of the process, from 1: of two, the lower one is late. 0:
    /// an older inner, which doesn't count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dial: u64,
}

impl LinkHello {
    /// Returns the id that the link of this hello has in the logs of both ends.
    #[must_use]
    pub fn link_id(&self) -> String {
        link_id(self.instance, self.dial)
    }
}

/// Returns the id, in logs, of the link that this hello of this process began. It tells a link from the one that
/// replaces it. Half of the process's id is enough for that, and nobody can pass for the process by it.
#[must_use]
pub fn link_id(instance: InstanceId, dial: u64) -> String {
    format!("{:08x}.{dial}", instance.0 & 0xffff_ffff)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Messages from the router to an inner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterToInner {
    /// The link is up.
    Welcome {
        /// Name of the link: the inner's own, or that with a number.
        name: LinkName,
        service_port: u16,
        /// Where this very router takes the camera's pictures, `HOST:PORT`; `None`: where the link was dialled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        media: Option<Text>,
        /// Host name by which callers reach the car at the router's main port, if no service port is open.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<Text>,
    },
    /// The link is refused or ended, and the router closes it.
    Rejected { rejection: Rejection, message: Text },
    /// Sentence for the inner's owner.
    Notice { message: Text },
    /// Piece of the standard input of a run that follows.
    Stdin { run: RunId, bytes: OutputPiece },
    /// Begin this run, with all of the [`Stdin`](Self::Stdin) that came before it.
    Run(RunRequest),
    /// The caller has read on: this much more output may come.
    Window {
        run: RunId,
        /// Units of [`cost`](super::cost).
        more: u32,
    },
    /// The caller has gone away: end the run, or discard its input.
    Cancel { run: RunId },
    /// The driver presses a direction.
    Press {
        press: PressId,
        run: RunId,
        command: CommandName,
        tick_ms: u64,
        driver: Text,
        remote_addr: Text,
    },
    /// The driver still holds the key of this press.
    Renew { press: PressId, tick_ms: u64 },
    /// The driver released the key of this press.
    Release { press: PressId },
    /// Stop the car, and refuse all presses up to `over` from now on.
    Stop {
        /// Name or address of whoever asked, for the log.
        by: Text,
        /// Latest press that the router passed on.
        over: Option<PressId>,
        /// Cause, for the log and the feed; [`StopCause::Asked`] from an older router.
        #[serde(default)]
        cause: StopCause,
    },
    /// Updates that the router wants.
    Ticks {
        /// True if ticks of the clock are wanted 10 times a second: a driver is attached, or may be
        /// soon.
        wanted: bool,
        /// True if anyone watches: then the link is pinged at the fast pace.
        #[serde(default)]
        watched: bool,
    },
    /// Start or stop sending camera pictures. Only to an inner that has a camera.
    Video {
        /// Ticket that the media connection has to show; `None`: nobody watches any more.
        ticket: Option<MediaTicket>,
    },
    /// List the commands.
    ListCommands { request: u64 },
    /// Report what became of this run.
    AskRun { run: RunId },
    /// Tell the past of the car: what moved and stopped it. Only to an inner that keeps it.
    AskPast { request: u64, last_ms: u64 },
    /// The router is about to restart: dial again after this time.
    GoAway {
        reconnect_after_ms: u64,
        /// True if the router ends for good, as far as it knows: dial another one, if there is one.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        elsewhere: bool,
    },
}

/// Reason why a link is refused or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The key may not do this, or was revoked.
    Denied,
    /// The service port belongs to another inner, or can't be opened.
    PortUnavailable,
    /// A newer link of the same identity took the port.
    TakenOver,
    /// Two inners of one identity keep taking the port from each other.
    Contended,
    /// The peer broke the protocol.
    Protocol,
}
