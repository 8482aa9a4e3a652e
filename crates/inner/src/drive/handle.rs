//! Requests to the drive, and the handle that sends them.

use std::time::Duration;

use p2p_shared::bounded::Text;
use p2p_shared::protocol::{PressId, StopCause};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::commands::Commands;
use crate::motion::{MotionInput, ProcessEvent, ProcessToken, StopResult};
use crate::run::Run;

pub(crate) enum DriveRequest {
    /// A driver pressed a direction.
    Press {
        press: PressId,
        tick_ms: u64,
        driver: Text,
        run: Box<Run>,
    },
    /// Somebody stops the car.
    Stop {
        by: Text,
        over: Option<PressId>,
        cause: StopCause,
    },
    /// `/cgi` or `send` asks for a motion.
    Timed(Box<Run>),
    /// `/cgi` or `send` asks for the stop command.
    StopRun(Box<Run>),
    /// The inner has started, and nobody knows whether the car moves: stop it.
    First(oneshot::Sender<StopResult>),
    /// This process is ending: no motion may begin, and the car is stopped if it moves. `leaving`
    /// keeps this process alive until that is done, also between two tries of a stop.
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
    Process(ProcessToken, ProcessEvent),
    /// An event for `motion` alone.
    Input(MotionInput),
}

#[derive(Debug, Clone)]
pub(crate) struct DriveHandle(pub(super) mpsc::UnboundedSender<DriveRequest>);

impl DriveHandle {
    /// Sends a request. The drive reads its queue at once, whatever runs.
    pub(crate) fn send(&self, ask: DriveRequest) {
        let _ = self.0.send(ask);
    }

    /// Waits until the drive proves that it keeps the car's timers.
    pub(crate) async fn proof(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.send(DriveRequest::Proof(answer));
        answered.await.is_ok()
    }

    /// Stops the car at the start, if it has a stop command, and waits until it stands. A stop command
    /// that can't be run is tried, too, and fails: the car may still move.
    pub(crate) async fn stop_first(&self, commands: &Commands) {
        let (files, motion) = (&commands.files, &commands.motion);
        if commands.has_stop() {
            let (stands, stopped) = oneshot::channel();
            self.send(DriveRequest::First(stands));
            // Three tries of a second each.
            let _ = tokio::time::timeout(Duration::from_secs(4), stopped).await;
        } else if (motion.commands.iter()).any(|motion| files.resolve(motion).is_ok()) {
            tracing::warn!(
                stop = motion.stop.as_str(),
                "there is no stop command that can be run: nothing moves without"
            );
        }
    }
}
