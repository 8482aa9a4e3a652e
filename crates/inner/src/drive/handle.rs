//! Requests to the drive, and the handle that sends them.

use std::time::Duration;

use p2p_shared::names::LinkName;
use p2p_shared::protocol::{MotionInfo, PressId, RunRequest, StopCause};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::catalog::Catalog;
use crate::motion::ProcessEvent;
use crate::run::Run;

pub(crate) enum DriveRequest {
    /// A driver pressed a direction.
    Press {
        press: PressId,
        tick_ms: u64,
        driver: String,
        request: RunRequest,
        link: LinkName,
    },
    /// A driver still holds the press.
    Renew { press: PressId, tick_ms: u64 },
    /// A driver released the press.
    Release { press: PressId },
    /// Somebody stops the car.
    Stop {
        by: String,
        over: Option<PressId>,
        cause: StopCause,
    },
    /// `/cgi` or `send` asks for a motion.
    Timed(Box<Run>),
    /// `/cgi` or `send` asks for the stop command.
    StopRun(Box<Run>),
    /// The inner has started, and nobody knows whether the car moves: stop it.
    First,
    /// The guardian has died or hangs.
    Alarm,
    /// This process is ending: no motion may begin, and the car is not left moving.
    Drain { leaving: TaskTrackerToken },
    /// Proof that the queue is read; answered at once.
    Proof(oneshot::Sender<()>),
    /// A link came up, and its router knows nothing of the car.
    Linked,
    /// A worker with this process group is gone. With `lingers` the worker was only killed, and
    /// [`WorkerReaped`](Self::WorkerReaped) follows.
    WorkerGone { group: i32, lingers: bool },
    /// The last process of a killed worker is gone.
    WorkerReaped { group: i32 },
    /// Step in the life of a process.
    Process(ProcessEvent),
}

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

    /// Sends a request. The drive reads its queue at once, whatever runs.
    pub(crate) fn send(&self, ask: DriveRequest) {
        let _ = self.queue.send(ask);
    }

    /// Waits until the drive proves that it keeps the car's timers.
    pub(crate) async fn proof(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.send(DriveRequest::Proof(answer));
        answered.await.is_ok()
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

    /// Lets no motion begin any more, and stops the car if it moves. `leaving` is held until that
    /// is done, because between two tries of a stop no process runs.
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
