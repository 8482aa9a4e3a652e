//! Driving a car, in every message about it: presses, control, and what the car did.

use serde::{Deserialize, Serialize};

use super::run::End;
use crate::names::{CommandName, RunId};

/// One console's or page's connection: who holds control is one of these, never a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

/// One motion that a driver asks for. Of two, the greater is the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PressId {
    /// Grows each time that anyone takes control of anything; given by the router.
    pub epoch: u64,
    /// Grows with each press of that driver; given by the driver.
    pub number: u64,
}

/// What one may want of the control of a car.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRequest {
    /// Take it if it is free, else ask its holder for it (10 s; silence means no).
    Take,
    /// The holder: hand it to the one who asked.
    Grant,
    /// The holder: keep it.
    Deny,
    /// The holder: give it back.
    Release,
    /// An admin: take it from whoever has it.
    Seize,
}

/// Who drives a car.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlInfo {
    /// Who has control.
    pub driver: Option<Driver>,
    /// Who asks for it, and for how many more milliseconds.
    pub request: Option<(Driver, u64)>,
    /// The number under which the present driver's presses count.
    pub epoch: u64,
}

/// A session that drives, or wants to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// Which session.
    pub session: SessionId,
    /// Who that is: the name of the key, or an address.
    pub name: String,
}

/// A motion that the car has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveMotion {
    /// The run of its process.
    pub run: RunId,
    /// Which command.
    pub command: CommandName,
    /// The press that it is, if it is a driver's.
    pub press: Option<PressId>,
}

/// What a car says of its motion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MotionEvent {
    /// It moves.
    Started(ActiveMotion),
    /// A press came to nothing.
    Refused {
        /// Which.
        press: PressId,
        /// Why.
        why: MotionRefusal,
    },
    /// The motion is over; the stop command runs.
    Over {
        /// The press that it was, if it was a driver's.
        press: Option<PressId>,
        /// By what.
        cause: StopCause,
    },
    /// The motion's process has ended.
    Ended {
        /// Which run.
        run: RunId,
        /// How.
        end: End,
        /// From its start, in microseconds.
        exec_us: u64,
    },
    /// A stop command has ended.
    Stopped {
        /// Why it ran.
        cause: StopCause,
        /// How it ended.
        end: End,
        /// How long it took, in microseconds.
        exec_us: u64,
    },
    /// The car stands, as its stop command said.
    Stands,
    /// The stop command has failed three times.
    StopFailed,
}

/// Why a car is stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// Somebody asked for it.
    #[default]
    Asked,
    /// The driver let go.
    Released,
    /// The lease ran out: nothing was heard of the driver.
    Lease,
    /// The time of a timed motion is over.
    Limit,
    /// The motion's process could not be started.
    NotStarted,
    /// An earlier stop began before the car's last movement, or failed.
    Again,
    /// The inner starts, or somebody takes control.
    Beginning,
    /// One of the two processes that watch each other at the car has died or hangs.
    Watchdog,
    /// The worker that moved it is gone.
    Worker,
}

/// Why nothing comes of a wish to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MotionRefusal {
    /// It is too old.
    Old,
    /// That press, or a later one, was ended before.
    Over,
    /// A newer motion took its place before it began.
    Replaced,
    /// The stop command fails: nothing moves until it has succeeded.
    StopFailed,
    /// Its process could not be started.
    NotStarted,
}

/// How a car moves: what the router has to know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MotionInfo {
    /// Its motion commands: forward, back, left, right.
    pub commands: Vec<CommandName>,
    /// Its stop command.
    pub stop: CommandName,
    /// How long it drives on without hearing of a driver, in milliseconds.
    pub lease_ms: u64,
    /// How long a motion by `/cgi` or `send` lasts, in milliseconds; 0: until stopped.
    pub limit_ms: u64,
}
