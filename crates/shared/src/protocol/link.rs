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
//!          │  Clock                             │   after each ping: the inner's own clock, in
//!          ├───────────────────────────────────▶│   which deadlines are given
//!          │                     Video          │   somebody watches the camera: its pictures
//!          │◀───────────────────────────────────┤   go over a connection of their own (`media`)
//!          │  Camera                            │   why there are none
//!          ├───────────────────────────────────▶│
//!          │  Draining                   GoAway │   either side is about to restart
//!          ├──────────────────┬────────────────▶│
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::drive::{MotionEvent, MotionInfo, PressId, StopCause};
use super::media::{CameraState, MediaTicket};
use super::run::{CommandInfo, End, Refusal, RunReport, RunRequest};
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
    /// nothing. Sent after each ping of the router.
    Clock {
        /// Milliseconds.
        clock_ms: u64,
    },
    /// The run's process exists.
    Started {
        /// Run that the message is about.
        run: RunId,
    },
    /// The run did not begin and never will; or nobody knows, where the refusal says so.
    Refused {
        /// Run that the message is about.
        run: RunId,
        /// Kind of reason.
        refusal: Refusal,
        /// A sentence that says what to do.
        message: String,
    },
    /// A piece of the run's standard output, at most [`PIECE`](super::PIECE) bytes.
    Output {
        /// Run that the message is about.
        run: RunId,
        /// Bytes as the command wrote them.
        bytes: Bytes,
    },
    /// The run is over, and its output complete.
    Finished {
        /// Run that the message is about.
        run: RunId,
        /// Exit code, signal or limit that ended the run.
        end: End,
        /// Time from the start of the process to its end and the end of its output, in
        /// microseconds.
        exec_us: u64,
        /// Last bytes of standard error, at most [`STDERR_KEPT`](super::STDERR_KEPT).
        stderr: Bytes,
    },
    /// Started, output and finished in one message, for a short run with at most
    /// [`PIECE`](super::PIECE) bytes of output.
    Answered {
        /// Run that the message is about.
        run: RunId,
        /// Exit code, signal or limit that ended the run.
        end: End,
        /// Time from the start of the process, or from the request to the worker, to the end, in
        /// microseconds.
        exec_us: u64,
        /// The whole output.
        output: Bytes,
        /// Last bytes of standard error, at most [`STDERR_KEPT`](super::STDERR_KEPT).
        stderr: Bytes,
    },
    /// Answer to [`RouterToInner::ListCommands`], in one or more parts.
    Commands {
        /// Number of the request.
        request: u64,
        /// Some of the commands.
        commands: Vec<CommandInfo>,
        /// True if another part follows.
        more: bool,
    },
    /// Answer to [`RouterToInner::AskRun`].
    Run {
        /// Run that the message is about.
        run: RunId,
        /// What became of the run. `None`: it is not among the last thousand runs since the inner
        /// was started.
        story: Option<RunReport>,
    },
    /// Report about the car's motion.
    Motion(MotionEvent),
    /// State of the camera, only after a [`Video`](RouterToInner::Video).
    Camera(CameraState),
    /// The inner is about to restart: it begins no more runs and ends those that are open.
    Draining,
}

/// First message of an inner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkHello {
    /// Name for people.
    pub name: LinkName,
    /// Service port that the inner asks for; 0: any.
    pub service_port: u16,
    /// Identity, for a router that works without keys.
    pub identity: Identity,
    /// Id of this start of the process.
    pub instance: InstanceId,
    /// Time on the inner's clock, as in [`InnerToRouter::Clock`].
    pub clock_ms: u64,
    /// Version of the program, for the log.
    pub software: String,
    /// Motion commands and times.
    pub motion: MotionInfo,
    /// True if the inner has a camera, and so knows [`RouterToInner::Video`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub camera: bool,
}

/// Messages from the router to an inner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterToInner {
    /// The link is up.
    Welcome {
        /// Name of the link: the inner's own, or that with a number.
        name: LinkName,
        /// Service port of the link.
        service_port: u16,
    },
    /// The link is refused or ended, and the router closes it.
    Rejected {
        /// Kind of reason.
        rejection: Rejection,
        /// A sentence that says what to do.
        message: String,
    },
    /// Sentence for the inner's owner.
    Notice {
        /// The sentence.
        message: String,
    },
    /// Piece of the standard input of a run that follows, at most [`PIECE`](super::PIECE) bytes.
    Stdin {
        /// Run that the message is about.
        run: RunId,
        /// The bytes.
        bytes: Bytes,
    },
    /// Begin this run, with all of the [`Stdin`](Self::Stdin) that came before it.
    Run(RunRequest),
    /// The caller has read on: this much more output may come.
    Window {
        /// Run that the message is about.
        run: RunId,
        /// Units of [`cost`](super::cost).
        more: u32,
    },
    /// The caller has gone away: end the run, or discard its input.
    Cancel {
        /// Run that the message is about.
        run: RunId,
    },
    /// The driver presses a direction.
    Press {
        /// Press that the message is about.
        press: PressId,
        /// Run of the motion's process.
        run: RunId,
        /// The motion command.
        command: CommandName,
        /// Newest tick of the inner's clock that the driver has seen, in milliseconds.
        tick_ms: u64,
        /// Name of the driver, for the log.
        driver: String,
        /// Address of the driver.
        remote_addr: String,
    },
    /// The driver still holds the key of this press.
    Renew {
        /// Press that the message is about.
        press: PressId,
        /// Newest tick of the inner's clock that the driver has seen, in milliseconds.
        tick_ms: u64,
    },
    /// The driver released the key of this press.
    Release {
        /// Press that the message is about.
        press: PressId,
    },
    /// Stop the car, and refuse all presses up to `over` from now on.
    Stop {
        /// Name or address of whoever asked, for the log.
        by: String,
        /// Latest press that the router passed on.
        over: Option<PressId>,
        /// Cause, for the log and the feed; [`StopCause::Asked`] from an older router.
        #[serde(default)]
        cause: StopCause,
    },
    /// Which updates the router wants.
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
    ListCommands {
        /// Number of the request, repeated in the answer.
        request: u64,
    },
    /// Report what became of this run.
    AskRun {
        /// Run that the message is about.
        run: RunId,
    },
    /// The router is about to restart: dial again after this time.
    GoAway {
        /// Milliseconds to wait before dialling again.
        reconnect_after_ms: u64,
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
