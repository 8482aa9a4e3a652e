//! Types of driving: states, key strokes, orders, and reasons why nothing moves.

use std::time::Duration;

use p2p_shared::protocol::{MotionRefusal, PressId};

use super::Direction;

/// The driving state that the operator sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriveState {
    View,
    /// In control, not moving.
    Armed,
    Driving(Direction),
    /// Stopped with Space; `a` goes on.
    Stopped,
    /// The lease ran out at the car, or this side failed; `a` goes on.
    Failsafe,
    /// Nothing was heard of the car for a while: what it does is not known.
    NoAnswer,
    Offline,
}

/// A message to send, or a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriveOrder {
    Take,
    GiveBack,
    Press(PressId, Direction),
    Renew(PressId),
    Release(PressId),
    Stop,
    /// Note why a press that went on by itself has ended.
    LatchEnded(&'static str),
    /// Tell the operator why nothing moves.
    Report(Blocked),
}

/// Reason why nothing moves, or why a motion ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    #[error("this console only watches: driving needs a drive key, and no --readonly")]
    MayNot,
    #[error("the car is offline: nothing moves until it is back and you press again")]
    Offline,
    #[error("no answer: nothing moves until the car is heard again and you press again")]
    Silent,
    #[error("STOP FAILED: nothing moves until a stop has succeeded ([Space] tries again)")]
    StopFailed,
    #[error(
        "nothing was run to stop the car, which has no stop command that works ({0}): nothing moves"
    )]
    NoStop(String),
    /// After a stop or failure only `a` takes control again.
    #[error("[a] takes control again")]
    NeedsArming,
    #[error("the link must be healthy for half a second first: press again")]
    Unsettled,
    #[error("refused: the round trip is {} ms; above 1 s the car drops what we send", .0.as_millis())]
    TooSlow(Duration),
    #[error("one short pulse only: the round trip is {} ms (above 300)", .0.as_millis())]
    PulseOnly(Duration),
    #[error("let go of all direction keys first, then [a]")]
    KeyHeld,
    /// A key is held, or was until just now: this terminal doesn't report which.
    #[error("no arrow key for 2 s, then [a]: this terminal does not tell when a key is let go")]
    StillHeld,
    #[error("{0} drives: [a] asks for control; [Space] stops the car anyway")]
    Held(String),
    #[error("asked {0} for control: no answer within 10 s means no")]
    Asked(String),
    /// Control or the car's clock did not come in time.
    #[error("control or the car's clock did not come within half a second: press again")]
    NoAnswer,
    #[error("this car has no command for that direction")]
    NoCommand,
    #[error("somebody stopped the car: press again to drive")]
    StoppedByAnother,
    #[error("the car stopped itself: it heard nothing of us in time. [a] goes on")]
    Lease,
    #[error("the car refused: {0}")]
    Refused(MotionRefusal),
    /// Another session took control, or the router gave it away.
    #[error("control is gone: [a] takes it again")]
    ControlGone,
    /// This program was stopped or asleep, or the terminal blocked.
    #[error("this console was {} ms late: stopped, waiting keys thrown away. [a] goes on", .0.as_millis())]
    Late(Duration),
    /// The input thread is dead or stuck.
    #[error("the terminal's input does not answer: stopped. [a] when it does")]
    InputDead,
}

impl Blocked {
    /// Returns true for the reason of a state that is shown until it is left.
    pub(crate) fn is_reason_of_a_state(&self) -> bool {
        matches!(
            self,
            Self::NoStop(_) | Self::Lease | Self::Late(_) | Self::InputDead | Self::ControlGone
        )
    }
}
