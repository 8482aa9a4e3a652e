//! Shows press ids, stop causes and refusals to people, on screens and in logs.

use std::fmt::{Display, Formatter, Result};

use super::drive::{MotionRefusal, PressId, StopCause};

/// Shows `3.12` for press 12 in epoch 3.
impl Display for PressId {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

/// Shows the cause of a stop.
impl Display for StopCause {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
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

/// Shows why a motion was refused.
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
