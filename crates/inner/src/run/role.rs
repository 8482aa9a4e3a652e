//! Owns a run's role in the car's motion: what the motion is told of it, by whom a stop is done,
//! and what the answer waits for.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use p2p_shared::protocol::{End, STDERR_KEPT};
use p2p_shared::timing::LEFTOVER_GRACE;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::drive::{DriveRequest, ProcessEvent};
use crate::motion::ProcessToken;
use crate::process::GroupId;

/// What a motion's process gets between SIGTERM and SIGKILL (the contract's figure).
pub(super) const MOTION_GRACE: Duration = Duration::from_millis(150);

/// A run's role in the car's motion.
#[derive(Debug)]
pub(crate) struct MotionRole {
    pub token: ProcessToken,
    /// Whether it is the stop command, rather than a motion.
    pub is_stop: bool,
    /// Whether it is a stop that nobody asked for, after one that has failed: nothing new.
    pub is_retry: bool,
    /// By whom a stop may be done.
    pub stop_target: StopTarget,
    pub drive: mpsc::UnboundedSender<DriveRequest>,
    /// What its answer waits for: that the car stands, or that it can't be stopped.
    pub stop_result: Mutex<Option<oneshot::Receiver<StopResult>>>,
    /// Whoever asked for it has gone away.
    pub caller: CancellationToken,
}

impl MotionRole {
    pub(super) fn send(&self, event: ProcessEvent) {
        let _ = self.drive.send(DriveRequest::Process(event));
    }

    /// What it is called when we end it.
    pub(super) fn cut_off(&self) -> End {
        if self.is_stop {
            End::TimedOut
        } else {
            End::Ended
        }
    }

    pub(super) fn grace(&self) -> Duration {
        if self.is_stop {
            Duration::ZERO
        } else {
            MOTION_GRACE
        }
    }

    pub(super) fn stop_result(&self) -> Option<oneshot::Receiver<StopResult>> {
        self.stop_result
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Tells when the last of its group is gone, and sees to it that this is soon.
    pub(super) fn reap(
        &self,
        left: GroupId,
        cancel: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let (drive, token) = (self.drive.clone(), self.token);
        async move {
            tokio::select! {
                () = left.kill_after(LEFTOVER_GRACE) => {}
                () = cancel.cancelled() => left.end(MOTION_GRACE).await,
            }
            let _ = drive.send(DriveRequest::Process(ProcessEvent::Reaped { token }));
        }
    }
}

/// By whom the car is to be stopped. Where a worker is asked and can't, the stop command's file
/// takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StopTarget {
    /// Any worker that serves the stop command.
    AnyWorker,
    /// The worker that serves it, if it is of one of these groups; and by the file, too, where it
    /// is not the only one.
    Workers { groups: Vec<i32>, and_file: bool },
    /// The file; where there is none, any worker is better than nobody.
    File,
}

/// What a motion that is answered at its stop waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopResult {
    /// The stop command has succeeded.
    Stands,
    /// It has failed three times.
    Failed,
}

/// How a motion ended that could not be stopped, and what is told of it before what it said
/// itself: it ran, and it is no success whatever its own process made of it.
pub(crate) fn stop_failed(said: &[u8]) -> (End, Bytes) {
    const SENTENCE: &[u8] =
        b"STOP FAILED: the motion ran, and the car's stop command failed three times: it may still move\n";
    let from = said
        .len()
        .saturating_sub(STDERR_KEPT.saturating_sub(SENTENCE.len()));
    (End::Exit(1), [SENTENCE, &said[from..]].concat().into())
}
