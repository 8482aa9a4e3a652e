//! Defines the queue of a worker's task, and the requests in it.

use std::sync::Arc;

use p2p_shared::protocol::RunRequest;
use tokio::sync::{mpsc, oneshot};

use crate::motion::ProcessEvents;
use crate::run::{Failure, Run, WorkerResult, draining};

/// The sending end of a worker's queue, with the worker's name.
#[derive(Debug, Clone)]
pub(crate) struct WorkerHandle {
    name: Arc<str>,
    queue: mpsc::UnboundedSender<WorkerRequest>,
}

pub(crate) type WorkerQueue = mpsc::UnboundedReceiver<WorkerRequest>;

pub(crate) enum WorkerRequest {
    /// A run, whose answer goes to the router.
    Run(Box<Run>),
    /// A motion or a stop, whose answer goes back to the drive.
    Call(Box<WorkerCall>),
    /// Kill the process of this group: it hangs.
    Kill { group: i32, why: String },
}

pub(crate) struct WorkerCall {
    pub request: RunRequest,
    /// Tells the drive of the start, before the worker gets the request.
    pub events: ProcessEvents,
    /// The process groups that may take the request; `None`: any.
    pub among: Option<Vec<i32>>,
    /// Closed when nobody wants the call any more.
    pub accepted: oneshot::Sender<Result<AcceptedCall, Failure>>,
}

/// A call that was written to the worker.
#[derive(Debug)]
pub(crate) struct AcceptedCall {
    pub group: i32,
    pub answer: oneshot::Receiver<Result<WorkerResult, Failure>>,
}

impl WorkerRequest {
    pub(crate) fn fail(self, (refusal, message): Failure) {
        match self {
            Self::Run(run) => run.give_up(refusal, message),
            Self::Call(call) => {
                let _ = call.accepted.send(Err((refusal, message)));
            }
            Self::Kill { .. } => {}
        }
    }
}

impl WorkerHandle {
    /// Makes the two ends of a new worker's queue.
    pub(crate) fn new(name: &str) -> (Self, WorkerQueue) {
        let (queue, requests) = mpsc::unbounded_channel();
        let name = name.into();
        (Self { name, queue }, requests)
    }

    /// The name of the worker's file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.queue.same_channel(&other.queue)
    }

    /// Hands a run to the worker, which reports its answer.
    pub(crate) fn run(&self, run: Run) {
        self.send(WorkerRequest::Run(Box::new(run)));
    }

    /// Asks the worker to move or stop the car, unless the returned receiver is closed before the
    /// worker has the request.
    pub(crate) fn call(
        &self,
        request: RunRequest,
        events: ProcessEvents,
        among: Option<Vec<i32>>,
    ) -> oneshot::Receiver<Result<AcceptedCall, Failure>> {
        let (accepted, reply) = oneshot::channel();
        self.send(WorkerRequest::Call(Box::new(WorkerCall {
            request,
            events,
            among,
            accepted,
        })));
        reply
    }

    /// Kills everything of this process group; the worker is started again.
    pub(crate) fn kill(&self, group: i32, why: &str) {
        let why = why.to_owned();
        self.send(WorkerRequest::Kill { group, why });
    }

    fn send(&self, request: WorkerRequest) {
        if let Err(mpsc::error::SendError(request)) = self.queue.send(request) {
            request.fail(draining());
        }
    }
}
