//! Types of driving: presses, control, motion events.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::run::End;
use crate::bounded::{List, Text};
use crate::names::{CommandName, RunId};

/// Most motion commands of a car.
pub const MAX_MOTIONS: usize = 16;

/// Connection of one console or page. A session holds control of a car, never a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

/// Id of one motion that a driver asks for. The greater of two ids is the later press.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PressId {
    /// Grows each time that anyone takes control of anything; given by the router.
    pub epoch: u64,
    /// Grows with each press of that driver; given by the driver.
    pub number: u64,
}

/// Shows `3.12` for press 12 in epoch 3.
impl fmt::Display for PressId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

/// Message of a driver to a car.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriveCommand {
    /// The driver pressed a direction.
    Press {
        press: PressId,
        command: CommandName,
        tick_ms: u64,
    },
    /// The driver still holds the key of this press.
    Renew { press: PressId, tick_ms: u64 },
    /// The driver released the key of this press.
    Release(PressId),
    /// Stop the car; every session may.
    Stop,
}

/// Request about the control of a car.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRequest {
    /// Take control if it is free, else ask its holder (10 s; silence means no).
    Take,
    /// From the holder: hand control to the session that asked.
    Grant,
    /// From the holder: keep control.
    Deny,
    /// From the holder: give control back.
    Release,
    /// From an admin: take control from its holder.
    Seize,
}

/// Control of a car: its driver, the session that asks, and whether it is recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlInfo {
    /// Session that has control.
    pub driver: Option<Driver>,
    /// Session that asks for control, and the milliseconds that it still waits.
    pub request: Option<(Driver, u64)>,
    /// Epoch of the present driver's presses.
    pub epoch: u64,
    /// Recording of the car; `None`: its router makes none, or is older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingInfo>,
    /// Why the last driver has control no more; `None`: a driver has control, or none has had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<ControlEnd>,
}

/// Recording of a car at its router.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingInfo {
    /// File at the router that is being written; `None`: none is.
    #[serde(default)]
    pub file: Option<Text>,
    /// Who has asked for it, and the milliseconds that it has left; `None`: it is that of a drive.
    #[serde(default)]
    pub asked: Option<(Text, u64)>,
    /// Reason why the last one could not be written.
    #[serde(default)]
    pub failure: Option<Text>,
}

impl ControlInfo {
    /// Returns true while the car is recorded.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        let recording = self.recording.as_ref();
        recording.is_some_and(|recording| recording.file.is_some())
    }
}

/// Reason why a driver has control no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlEnd {
    /// The driver gave it back.
    Given,
    /// The driver pressed nothing for a minute.
    Idle,
    /// A press was neither renewed nor released.
    Silence,
    /// The driver's connection is gone.
    Gone,
    /// The router goes down.
    Closing,
}

/// Session that drives, or asks to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    pub session: SessionId,
    /// Name of the session's key, or its address.
    pub name: Text,
}

/// A motion that the car has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveMotion {
    pub run: RunId,
    pub command: CommandName,
    /// Press that started the motion, if a driver did.
    pub press: Option<PressId>,
}

/// Report of a car about its motion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MotionEvent {
    /// The car moves.
    Started(ActiveMotion),
    /// A press did not start a motion.
    Refused { press: PressId, why: MotionRefusal },
    /// The motion is over, and the stop command runs.
    Over {
        press: Option<PressId>,
        cause: StopCause,
        /// Time of the end on the car's clock, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clock_ms: Option<u64>,
        /// Who asked for the stop, if somebody did. The router adds it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Text>,
    },
    /// The motion's process has ended.
    Ended { run: RunId, end: End, exec_us: u64 },
    /// A stop command has ended.
    Stopped {
        cause: StopCause,
        end: End,
        exec_us: u64,
        /// What is known of a failure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<StopFailure>,
    },
    /// The car stands: its stop command has succeeded.
    Stands,
    /// The stop command has failed three times.
    StopFailed,
}

/// Failure of a stop command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopFailure {
    /// Last line of its standard error, or why it could not be started.
    pub said: Text,
    /// Number of failures in a row.
    pub tries: u32,
    /// Time until the next try; `None`: somebody has to ask for it.
    pub again_ms: Option<u64>,
}

/// Cause of a stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// Somebody asked for the stop.
    #[default]
    Asked,
    /// The driver released the key.
    Released,
    /// The lease ran out: the driver was silent.
    Lease,
    /// The time of a timed motion is over.
    Limit,
    /// The motion's process could not be started.
    NotStarted,
    /// An earlier stop began before the car's last movement, or failed.
    Again,
    /// The inner has started, or somebody takes control.
    Beginning,
    /// One of the two processes that watch each other at the car has died or hangs.
    Watchdog,
    /// The worker that moved the car is gone.
    Worker,
}

impl StopCause {
    /// All causes.
    pub const ALL: [Self; 9] = [
        Self::Asked,
        Self::Released,
        Self::Lease,
        Self::Limit,
        Self::NotStarted,
        Self::Again,
        Self::Beginning,
        Self::Watchdog,
        Self::Worker,
    ];
}

/// Shows the cause of a stop.
impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "stop requested",
            Self::Released => "key released",
            Self::Lease => "the lease ran out",
            Self::Limit => "its time was over",
            Self::NotStarted => "it could not be started",
            Self::Again => "repeated",
            Self::Beginning => "initial stop",
            Self::Watchdog => "a process at the car died or hung",
            Self::Worker => "the worker that moved it is gone",
        })
    }
}

/// Reason why a motion is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MotionRefusal {
    /// The press is too old.
    Old,
    /// The press, or a later one, was ended before.
    Over,
    /// A newer motion replaced the press before it began.
    Replaced,
    /// The stop command fails: nothing moves until a stop has succeeded.
    StopFailed,
    /// The process could not be started.
    NotStarted,
}

/// Shows why a motion was refused.
impl fmt::Display for MotionRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Old => "the press came too late, over a slow link",
            Self::Over => "that press had been ended before",
            Self::Replaced => "a newer motion took its place",
            Self::StopFailed => "its stop command is missing or fails, and nothing moves without",
            Self::NotStarted => "the command could not be started (see the log)",
        })
    }
}

/// Motion commands and times of a car, as the router needs them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MotionInfo {
    /// Motion commands: forward, back, left, right.
    pub commands: List<CommandName, MAX_MOTIONS>,
    pub stop: CommandName,
    /// Time for which the car moves without hearing of its driver, in milliseconds.
    pub lease_ms: u64,
    /// Duration of a motion by `/cgi` or `send`, in milliseconds; 0: until stopped.
    pub limit_ms: u64,
}
