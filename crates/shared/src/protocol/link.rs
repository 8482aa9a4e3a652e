//! Owns what inner and router say to each other, and nothing of how it travels.
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

/// The path of an inner's WebSocket on the main port.
pub const LINK_PATH: &str = "/link";

/// Most runs that are open on one link at a time, and so of inputs that wait for theirs.
pub const MAX_OPEN_RUNS: usize = 1024;

/// What an inner says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InnerToRouter {
    /// The first message: who it is and which service port it asks for.
    Hello(LinkHello),
    /// The inner's own clock, in milliseconds: it goes on while the machine sleeps, and its zero
    /// means nothing. Sent after each ping of the router.
    Clock {
        /// Milliseconds.
        clock_ms: u64,
    },
    /// The run's process exists.
    Started {
        /// Which run.
        run: RunId,
    },
    /// The run did not begin and never will; or nobody knows, where the refusal says so.
    Refused {
        /// Which run.
        run: RunId,
        /// Of which kind the reason is.
        refusal: Refusal,
        /// A sentence that says what to do.
        message: String,
    },
    /// A piece of the run's standard output, at most [`PIECE`] bytes.
    Output {
        /// Which run.
        run: RunId,
        /// The bytes, as the command wrote them.
        bytes: Bytes,
    },
    /// The run is over, and its output complete.
    Finished {
        /// Which run.
        run: RunId,
        /// How it ended.
        end: End,
        /// From the start of the process to its end and that of its output, in microseconds.
        exec_us: u64,
        /// The end of its standard error, at most [`STDERR_KEPT`] bytes.
        stderr: Bytes,
    },
    /// The run is over, all in one: it took a moment, and its output is at most [`PIECE`] bytes.
    Answered {
        /// Which run.
        run: RunId,
        /// How it ended.
        end: End,
        /// From its start, or the request to its worker, to its end, in microseconds.
        exec_us: u64,
        /// All of its output.
        output: Bytes,
        /// The end of its standard error, at most [`STDERR_KEPT`] bytes.
        stderr: Bytes,
    },
    /// An answer to [`RouterToInner::ListCommands`], in one or more parts.
    Commands {
        /// The request's number.
        request: u64,
        /// Some of the commands.
        commands: Vec<CommandInfo>,
        /// Whether another part follows.
        more: bool,
    },
    /// An answer to [`RouterToInner::AskRun`].
    Run {
        /// Which run.
        run: RunId,
        /// What became of it; `None`: it is none of the last thousand that were begun since the
        /// inner's start.
        story: Option<RunReport>,
    },
    /// What the car does.
    Motion(MotionEvent),
    /// How its camera is: only after a [`Video`](RouterToInner::Video).
    Camera(CameraState),
    /// The inner is about to restart: it begins nothing more and ends what runs.
    Draining,
}

/// An inner's first message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkHello {
    /// What people call it.
    pub name: LinkName,
    /// The service port that it asks for; 0: any.
    pub service_port: u16,
    /// Who it is, where the router works without keys.
    pub identity: Identity,
    /// This start of the process.
    pub instance: InstanceId,
    /// The inner's own clock, as in [`InnerToRouter::Clock`].
    pub clock_ms: u64,
    /// The program's version, for the log.
    pub software: String,
    /// How it moves.
    pub motion: MotionInfo,
    /// Whether it has a camera, and so knows [`RouterToInner::Video`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub camera: bool,
}

/// What a router says to an inner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterToInner {
    /// The link is up.
    Welcome {
        /// The name it got: its own, or that with a number.
        name: LinkName,
        /// The service port it got.
        service_port: u16,
    },
    /// The link is refused or ended; the router closes it.
    Rejected {
        /// Of which kind the reason is.
        rejection: Rejection,
        /// A sentence that says what to do.
        message: String,
    },
    /// Something that the inner's owner should read.
    Notice {
        /// A sentence.
        message: String,
    },
    /// A piece of a coming run's standard input, at most [`PIECE`] bytes.
    Stdin {
        /// Which run.
        run: RunId,
        /// The bytes.
        bytes: Bytes,
    },
    /// Begin this run, with all of the [`Stdin`](Self::Stdin) that came for it.
    Run(RunRequest),
    /// The caller has read on: so much more output may come, in units of [`cost`].
    Window {
        /// Which run.
        run: RunId,
        /// Units of [`cost`].
        more: u32,
    },
    /// The caller has gone away: end the run, or forget its input.
    Cancel {
        /// Which run.
        run: RunId,
    },
    /// The driver presses a direction.
    Press {
        /// Which press.
        press: PressId,
        /// The id of the run that it is.
        run: RunId,
        /// The motion command.
        command: CommandName,
        /// The newest tick of the inner's clock that the driver has seen, in milliseconds.
        tick_ms: u64,
        /// Who drives: a name, for the log.
        driver: String,
        /// The address of that one.
        remote_addr: String,
    },
    /// The driver still holds it.
    Renew {
        /// Which press.
        press: PressId,
        /// The newest tick of the inner's clock that the driver has seen, in milliseconds.
        tick_ms: u64,
    },
    /// The driver let go.
    Release {
        /// Which press.
        press: PressId,
    },
    /// Stop, whatever moves, and let no press of these or earlier come after it.
    Stop {
        /// Who asked: a name or an address, for the log.
        by: String,
        /// The latest press that was passed on.
        over: Option<PressId>,
        /// Why, for the log and the feed; [`StopCause::Asked`] where an older router doesn't say.
        #[serde(default)]
        cause: StopCause,
    },
    /// Who has an eye on the car.
    Ticks {
        /// Whether ticks of the clock are wanted 10 times a second: someone drives, or looks on
        /// to.
        wanted: bool,
        /// Whether anyone watches: a dead link is to be noticed soon then.
        #[serde(default)]
        watched: bool,
    },
    /// Whether somebody watches the camera: only to an inner that has one.
    Video {
        /// What its media connection shows; `None`: nobody watches any more.
        ticket: Option<MediaTicket>,
    },
    /// Which commands are there?
    ListCommands {
        /// The request's number, given back in the answer.
        request: u64,
    },
    /// What became of this run?
    AskRun {
        /// Which run.
        run: RunId,
    },
    /// The router is about to restart: come back after this time.
    GoAway {
        /// Milliseconds to wait before dialling again.
        reconnect_after_ms: u64,
    },
}

/// Why a link is refused or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The key may not do this, or was revoked.
    Denied,
    /// The service port is someone else's, or can't be opened.
    PortUnavailable,
    /// A newer link of the same identity took the port.
    TakenOver,
    /// Two inners of one identity keep taking the port from each other.
    Contended,
    /// The peer broke the protocol.
    Protocol,
}
