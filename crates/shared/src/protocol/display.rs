//! Owns how what the protocol names is said to people, on screens and in logs.

use std::fmt::{Display, Formatter, Result};

use super::drive::{MotionRefusal, PressId, StopCause};

/// As people see it: `3.12`, the twelfth press of whoever took control third.
impl Display for PressId {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

/// Why a car stopped.
impl Display for StopCause {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Asked => "asked for",
            Self::Released => "let go",
            Self::Lease => "the lease ran out",
            Self::Limit => "its time was over",
            Self::NotStarted => "it could not be started",
            Self::Again => "once more, to be sure",
            Self::Beginning => "a new beginning",
            Self::Watchdog => "a process at the car died or hung",
            Self::Worker => "the worker that moved it is gone",
        })
    }
}

/// Why nothing came of a wish to move.
impl Display for MotionRefusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Old => "the press came too late, over a slow link",
            Self::Over => "that press had been ended before",
            Self::Replaced => "a newer motion took its place",
            Self::StopFailed => "its stop command is missing or fails, and nothing moves without",
            Self::NotStarted => "the command could not be started (see the log)",
        })
    }
}
