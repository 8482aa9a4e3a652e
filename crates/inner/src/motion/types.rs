//! Types of motion: what happens to it, and what is to be done.

use std::time::Duration;

use p2p_shared::bounded::Arguments;
use p2p_shared::names::{CommandName, RunId};
use p2p_shared::protocol::{MotionRefusal as Refused, PressId, StopCause as Cause};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MotionRules {
    /// Duration of a press without a renewal.
    pub lease: Duration,
    /// Duration of a timed motion; `None`: until somebody stops it.
    pub limit: Option<Duration>,
}

/// Source of a motion, which determines how it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum MotionOrigin {
    /// A driver; lasts as long as the lease is renewed.
    Press(PressId),
    /// `/cgi` or `send`; lasts for a time from the start of its process.
    Timed(RunId),
}

impl MotionOrigin {
    pub(crate) fn press(self) -> Option<PressId> {
        match self {
            Self::Press(press) => Some(press),
            Self::Timed(_) => None,
        }
    }
}

impl std::fmt::Display for MotionOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Press(press) => write!(f, "press {press}"),
            Self::Timed(run) => write!(f, "run {run}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MotionCommand {
    pub command: CommandName,
    pub arguments: Arguments,
}

/// Number of a process of a motion or of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ProcessToken(pub(super) u64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MotionInput {
    /// A driver pressed; `tick` is the newest tick of the car's clock that the driver had seen.
    Press {
        id: PressId,
        order: MotionCommand,
        tick: Duration,
    },
    /// A driver still holds this press.
    Renew { id: PressId, tick: Duration },
    /// A driver released this press.
    Release { id: PressId },
    /// Somebody asks for a motion of this duration, or of the limit's.
    Timed {
        run: RunId,
        order: MotionCommand,
        lasts: Option<Duration>,
    },
    /// The caller of a timed motion has gone away.
    Abandoned { run: RunId },
    /// Somebody asks to stop the car.
    Stop(Cause),
    /// A link came up: earlier presses belong to another link.
    Linked,
    /// The process exists.
    Started(ProcessToken),
    /// The process could not be started.
    NotStarted(ProcessToken),
    /// The process and its whole group are gone.
    Reaped(ProcessToken),
    /// A stop command has ended.
    StopEnded { token: ProcessToken, ok: bool },
    /// Only time has passed.
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MotionEffect {
    /// Start this motion's process.
    Start {
        token: ProcessToken,
        order: MotionCommand,
        origin: MotionOrigin,
    },
    /// End this process, its whole group.
    End(ProcessToken),
    /// Start the stop command, ahead of everything.
    RunStop { token: ProcessToken, cause: Cause },
    /// This stop command takes too long: kill it.
    KillStop(ProcessToken),
    /// Refuse this motion.
    Refuse { origin: MotionOrigin, why: Refused },
    /// Run `run` asked again for the motion of run `by`, which goes on: `run` ends with `by`.
    Extended { run: RunId, by: RunId },
    /// The motion is over since this time, for this cause.
    Over {
        origin: MotionOrigin,
        cause: Cause,
        at: Duration,
    },
    /// The car stands: the stop command has succeeded.
    Stands,
    /// The stop command has failed three times, or `again` since, in a try that nobody asked for.
    StopFailed { again: bool },
}
