//! Owns the words of driving: its states, what a key says, what is to be sent, and why nothing
//! comes of it.

use std::time::Duration;

use p2p_shared::protocol::{MotionRefusal, PressId};

use super::Direction;

/// What the operator sees of all this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriveState {
    /// Watching.
    View,
    /// In control, standing.
    Armed,
    /// A press is held.
    Driving(Direction),
    /// Stopped by Space: latched.
    Stopped,
    /// The lease ran out at the car, or this side failed: latched.
    Failsafe,
    /// No link.
    Offline,
}

/// What is to be sent, or said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriveOrder {
    /// Take control, or ask for it.
    Take,
    /// Give control back.
    GiveBack,
    /// Begin to move.
    Press(PressId, Direction),
    /// Still held.
    Renew(PressId),
    /// Let go.
    Release(PressId),
    /// Stop, whatever moves.
    Stop,
    /// Tell the operator why nothing comes of it.
    Report(Blocked),
}

/// Why nothing comes of a wish to move, or why it ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// The key or `--readonly` says so.
    #[error("this console only watches: driving needs a drive key, and no --readonly")]
    MayNot,
    /// There is no link.
    #[error("the car is offline: nothing moves until it is back and a key is pressed anew")]
    Offline,
    /// The stop command fails.
    #[error("STOP FAILED: nothing moves until a stop has succeeded (Space tries again)")]
    StopFailed,
    /// Something happened after which only an explicit wish counts.
    #[error("press a to take control again")]
    NeedsArming,
    /// The link is too young.
    #[error("the link must be healthy for half a second first: press again")]
    Unsettled,
    /// The round trip is above [`TOO_SLOW`](super::TOO_SLOW).
    #[error("refused: the round trip is {} ms; above 1 s the car drops what we send", .0.as_millis())]
    TooSlow(Duration),
    /// The round trip is above [`PULSES_ONLY`](super::PULSES_ONLY).
    #[error("one short pulse only: the round trip is {} ms (above 300)", .0.as_millis())]
    PulseOnly(Duration),
    /// A key is held.
    #[error("let go of all direction keys first, then press a")]
    KeyHeld,
    /// A key is held, or was until just now, and the terminal doesn't say which.
    #[error("no arrow key for 2 s, then press a: this terminal tells of no release")]
    StillHeld,
    /// Another has control.
    #[error("{0} drives: a asks for control, Space stops the car all the same")]
    Held(String),
    /// The holder was asked.
    #[error("asked {0} for control: no answer within 10 s means no")]
    Asked(String),
    /// Control or the car's clock did not come in time.
    #[error("control or the car's clock did not come within half a second: press again")]
    NoAnswer,
    /// The car has no command for that direction.
    #[error("this car has no command for that direction")]
    NoCommand,
    /// Another ended our press.
    #[error("somebody stopped the car: press again to move")]
    StoppedByAnother,
    /// The lease ran out.
    #[error("the car stopped by itself: it heard nothing of us in time. Press a to go on")]
    Lease,
    /// The car refused the press.
    #[error("the car refused: {0}")]
    Refused(MotionRefusal),
    /// Control went elsewhere.
    #[error("control is gone: press a to take it again")]
    ControlGone,
    /// This program was stopped or asleep, or the terminal blocked.
    #[error("this console was {} ms late: disarmed, waiting keys thrown away. Press a", .0.as_millis())]
    Late(Duration),
    /// The input side is dead or stuck.
    #[error("the terminal's input does not answer: stopped. Press a when it does")]
    InputDead,
}

/// What a terminal says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStroke {
    /// Down; where releases are guessed, repeats too.
    Press,
    /// Still down.
    Repeat,
    /// Up.
    Release,
}
