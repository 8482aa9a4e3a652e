//! Defines the role of a run in the car's motion, and the events of its process for the drive.

use std::sync::Arc;
use std::time::Duration;

use p2p_shared::bounded::Text;
use p2p_shared::names::RunId;
use p2p_shared::protocol::End;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::stop_targets::StopTarget;

/// Time that the process of a motion gets between SIGTERM and SIGKILL.
pub(crate) const MOTION_GRACE: Duration = Duration::from_millis(150);

pub(crate) struct MotionRole {
    pub kind: RoleKind,
    /// Cancelled when the process has to end.
    pub end: CancellationToken,
    pub events: ProcessEvents,
}

pub(crate) enum RoleKind {
    Motion {
        /// With `for=` the answer waits for the stop.
        stopped: Option<oneshot::Receiver<StopResult>>,
    },
    Stop {
        target: StopTarget,
        /// Nobody asked for this stop, and the last one failed: another failure is no news.
        is_retry: bool,
    },
}

impl MotionRole {
    pub(crate) fn is_stop(&self) -> bool {
        matches!(self.kind, RoleKind::Stop { .. })
    }

    /// Returns true for a stop by the file, even if a worker serves it.
    pub(crate) fn is_for_file(&self) -> bool {
        matches!(&self.kind, RoleKind::Stop { target, .. } if *target == StopTarget::File)
    }

    pub(crate) fn is_retry(&self) -> bool {
        matches!(self.kind, RoleKind::Stop { is_retry: true, .. })
    }

    /// Returns the end to report for a process that the drive ended.
    pub(crate) fn end_if_cancelled(&self) -> End {
        if self.is_stop() {
            End::TimedOut
        } else {
            End::Ended
        }
    }

    /// Time between SIGTERM and SIGKILL.
    pub(crate) fn grace(&self) -> Duration {
        if self.is_stop() {
            Duration::ZERO
        } else {
            MOTION_GRACE
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopResult {
    Stands,
    Failed,
}

/// A step in the life of the process of a motion or a stop.
#[derive(Debug, Clone)]
pub(crate) enum ProcessEvent {
    Started {
        group: i32,
        /// True if the process is a worker, which goes on after the motion.
        is_workers: bool,
    },
    NotStarted,
    Ended {
        end: End,
        exec: Duration,
        /// Last line of the standard error of a stop that failed.
        said: Text,
    },
    /// The whole process group is gone.
    Reaped,
    /// The caller of this motion has gone away.
    Abandoned {
        run: RunId,
    },
}

/// Sends events of one process to the drive.
pub(crate) type ProcessEvents = Arc<dyn Fn(ProcessEvent) + Send + Sync>;
