//! Owns how the car is reached: what may be asked of it, and everyone's hold on it.

use std::time::Duration;

use p2p_shared::names::LinkName;
use p2p_shared::protocol::{MotionInfo, PressId, RunRequest, StopCause};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::catalog::Catalog;
use crate::motion::ProcessEvent;
use crate::run::Run;

/// What is asked of the car.
#[derive(Debug)]
pub(crate) enum DriveRequest {
    /// A driver presses.
    Press {
        press: PressId,
        tick_ms: u64,
        driver: String,
        request: RunRequest,
        link: LinkName,
    },
    /// A driver holds on.
    Renew { press: PressId, tick_ms: u64 },
    /// A driver lets go.
    Release { press: PressId },
    /// Anyone stops it.
    Stop {
        by: String,
        over: Option<PressId>,
        cause: StopCause,
    },
    /// `/cgi` or `send` asks for a motion.
    Timed(Box<Run>),
    /// `/cgi` or `send` asks for the stop command.
    StopRun(Box<Run>),
    /// Nobody knows whether the car moves: stop it.
    First,
    /// One of the two processes that watch each other is gone.
    Alarm,
    /// Our process ends: nothing may begin, and the car is not left moving.
    Drain { leaving: TaskTrackerToken },
    /// Whether this is read: answered at once.
    Proof(oneshot::Sender<()>),
    /// A link came up: its router knows nothing of the car.
    Linked,
    /// A worker is gone; its process group had this number. Where it lingers, it has only been
    /// killed, and [`WorkerReaped`](Self::WorkerReaped) follows.
    WorkerGone { group: i32, lingers: bool },
    /// The last of a worker is gone.
    WorkerReaped { group: i32 },
    /// What became of a process.
    Process(ProcessEvent),
}

/// Everyone's hold on the car.
#[derive(Debug, Clone)]
pub(crate) struct DriveHandle {
    queue: mpsc::UnboundedSender<DriveRequest>,
    stands: watch::Receiver<bool>,
}

impl DriveHandle {
    pub(super) fn new(
        queue: mpsc::UnboundedSender<DriveRequest>,
        stands: watch::Receiver<bool>,
    ) -> Self {
        Self { queue, stands }
    }

    /// Asks for something. The queue is read at once, whatever runs.
    pub(crate) fn send(&self, ask: DriveRequest) {
        let _ = self.queue.send(ask);
    }

    /// Waits until the car's timers are proved to be kept.
    pub(crate) async fn proof(&self) -> bool {
        let (tell, told) = oneshot::channel();
        self.send(DriveRequest::Proof(tell));
        told.await.is_ok()
    }

    /// Stops the car at the start, if it has a stop command, and waits until it stands.
    pub(crate) async fn stop_first(&self, catalog: &Catalog, info: &MotionInfo) {
        if catalog.resolve(&info.stop).is_ok() {
            return self.wait_for(DriveRequest::First).await;
        }
        if info
            .commands
            .iter()
            .any(|motion| catalog.resolve(motion).is_ok())
        {
            let stop = info.stop.as_str();
            tracing::warn!(
                stop,
                "there is no stop command that can be run: nothing moves without"
            );
        }
    }

    /// Begins no motion any more, and stops the car if it moves: `leaving` is held until that is
    /// done, since between two tries of a stop nothing runs.
    pub(crate) fn drain(&self, leaving: TaskTrackerToken) {
        self.send(DriveRequest::Drain { leaving });
    }

    async fn wait_for(&self, ask: DriveRequest) {
        let mut stands = self.stands.clone();
        stands.mark_unchanged();
        self.send(ask);
        let standing = async {
            while stands.changed().await.is_ok() {
                if *stands.borrow_and_update() {
                    return;
                }
            }
        };
        // Three tries of a second each.
        let _ = tokio::time::timeout(Duration::from_secs(4), standing).await;
    }
}
