//! Owns one worker, a supervisor process that serves commands, from the inner's start to its end:
//! started, started again when it dies, and how it is asked. What is said to it while it lives is
//! `worker/talk`; which commands it serves is `commands`.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use p2p_shared::protocol::{Refusal, RunRequest};
use p2p_shared::timing::KILL_GRACE;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::commands::Commands;
use crate::drive::{DriveHandle, DriveRequest};
use crate::guardian;
use crate::motion::ProcessToken;
use crate::process::{self, Pipes, ProcessGroup, Program};
use crate::run::Run;

mod connection;
mod protocol;

use connection::{ConnectionEnd, WorkerConnection};
pub(crate) use protocol::WorkerAnswer;

/// Between a worker's end and its next start: this, doubled each time, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(200);
/// See [`PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// One that lived so long begins with the shortest pause again (the dialler's figure).
const STABLE: Duration = Duration::from_secs(10);

/// How long a worker may take to end when it has had all its input.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// ConnectionEnd there is no answer: of which kind, and in a sentence that says what to do.
pub(crate) type Failure = (Refusal, String);

/// A hold on a worker.
#[derive(Debug, Clone)]
pub(crate) struct WorkerHandle {
    name: Arc<str>,
    queue: mpsc::UnboundedSender<WorkerRequest>,
}

/// What is asked of a worker.
#[derive(Debug)]
enum WorkerRequest {
    /// A run, whose answer goes to the router; the inner waits for it before it ends.
    Run(Box<Run>, TaskTrackerToken),
    /// A part in the car's motion.
    Call(Box<WorkerCall>),
    /// The process of this group hangs: kill it.
    Kill { group: i32, why: String },
}

/// A part in the car's motion, whose answer goes back.
#[derive(Debug)]
struct WorkerCall {
    request: RunRequest,
    /// What the drive calls it, which is told before the worker.
    token: ProcessToken,
    /// Only these process groups may do it.
    among: Option<Vec<i32>>,
    /// Closed, nobody wants it any more.
    taken: oneshot::Sender<Result<AcceptedCall, Failure>>,
}

/// A request that the worker was given.
#[derive(Debug)]
pub(crate) struct AcceptedCall {
    /// The number of the worker's process group.
    pub group: i32,
    /// What becomes of it.
    pub answer: oneshot::Receiver<Result<WorkerAnswer, Failure>>,
}

impl WorkerRequest {
    fn fail(self, (refusal, message): Failure) {
        match self {
            Self::Run(job, _) => job.give_up(refusal, message),
            Self::Call(call) => {
                let _ = call.taken.send(Err((refusal, message)));
            }
            Self::Kill { .. } => {}
        }
    }
}

impl WorkerHandle {
    /// A worker, and what its [task](WorkerSupervisor) needs to know of it.
    pub(crate) fn new(name: &str) -> (Self, WorkerQueue) {
        let (queue, asked) = mpsc::unbounded_channel();
        let worker = Self {
            name: name.into(),
            queue,
        };
        (worker, WorkerQueue(asked))
    }

    /// The name of its file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.queue.same_channel(&other.queue)
    }

    /// Has it do a run, and answer it.
    pub(crate) fn run(&self, job: Run) {
        let token = job.tracker.token();
        self.ask(WorkerRequest::Run(Box::new(job), token));
    }

    /// Asks it to move or stop the car, unless what is returned is closed before it has come to
    /// that.
    pub(crate) fn call(
        &self,
        request: RunRequest,
        token: ProcessToken,
        among: Option<Vec<i32>>,
    ) -> oneshot::Receiver<Result<AcceptedCall, Failure>> {
        let (taken, reply) = oneshot::channel();
        self.ask(WorkerRequest::Call(Box::new(WorkerCall {
            request,
            token,
            among,
            taken,
        })));
        reply
    }

    /// Kills the process of this group, and everything of the group; it is started again.
    pub(crate) fn kill(&self, group: i32, why: &str) {
        let why = why.to_owned();
        self.ask(WorkerRequest::Kill { group, why });
    }

    fn ask(&self, ask: WorkerRequest) {
        if let Err(mpsc::error::SendError(ask)) = self.queue.send(ask) {
            ask.fail(ending());
        }
    }
}

fn ending() -> Failure {
    (
        Refusal::Draining,
        "the car is restarting: try again in a moment".to_owned(),
    )
}

/// All workers of an inner. Dropped, they end.
#[derive(Debug)]
pub(crate) struct WorkerTasks {
    end: CancellationToken,
    tasks: TaskTracker,
}

impl WorkerTasks {
    /// Starts those that there are.
    ///
    /// # Errors
    /// If the command directory can't be read.
    pub(crate) fn start(
        commands: &Commands,
        drive: &DriveHandle,
        limit: Duration,
        hello: Duration,
    ) -> anyhow::Result<Self> {
        let (end, tasks) = (CancellationToken::new(), TaskTracker::new());
        for name in commands.files().workers()? {
            let (worker, queue) = WorkerHandle::new(&name);
            commands.expect(&worker);
            let supervisor = WorkerSupervisor {
                worker,
                queue,
                commands: commands.clone(),
                drive: drive.clone(),
                limit,
                hello,
                end: end.clone(),
            };
            tasks.spawn(supervisor.run());
        }
        tasks.close();
        Ok(Self { end, tasks })
    }

    /// Ends them, and waits for it.
    pub(crate) async fn end(&self) {
        self.end.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for WorkerTasks {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Where what is asked of a worker arrives.
#[derive(Debug)]
pub(crate) struct WorkerQueue(mpsc::UnboundedReceiver<WorkerRequest>);

/// A worker's task.
pub(crate) struct WorkerSupervisor {
    pub worker: WorkerHandle,
    pub queue: WorkerQueue,
    pub commands: Commands,
    pub drive: DriveHandle,
    /// How long it may take over a run.
    pub limit: Duration,
    /// How long it may take to say what it serves.
    pub hello: Duration,
    /// The inner ends.
    pub end: CancellationToken,
}

impl WorkerSupervisor {
    /// Keeps it running until the inner ends.
    pub(crate) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let Some((why, left)) = self.once().await else {
                return;
            };
            if began.elapsed() >= STABLE {
                failures = 0;
            }
            let pause = (PAUSE * (1 << failures)).min(LONGEST_PAUSE);
            failures = (failures + 1).min(10);
            let restart_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::error!(
                worker = self.worker.name(),
                why,
                restart_ms,
                "the worker is gone; it is started again"
            );
            let what = format!(
                "is gone ({why}) and is started again in {} s",
                pause.as_secs_f32()
            );
            self.commands.away(&self.worker, &what);
            let drive = self.drive.clone();
            let until = async move {
                if let Some(left) = left {
                    left.reap(&drive).await;
                }
                sleep(pause).await;
            };
            if self.refuse_until(until, &what).await.is_break() {
                return;
            }
        }
    }

    /// Refuses what is asked of it until it may be started again, or the inner ends.
    async fn refuse_until(
        &mut self,
        again: impl Future<Output = ()>,
        what: &str,
    ) -> ControlFlow<()> {
        let sentence = format!("{}, which serves this command, {what}", self.worker.name());
        let mut again = std::pin::pin!(again);
        loop {
            tokio::select! {
                () = self.end.cancelled() => return ControlFlow::Break(()),
                () = &mut again => return ControlFlow::Continue(()),
                Some(ask) = self.queue.0.recv() => ask.fail((Refusal::WorkerAway, sentence.clone())),
            }
        }
    }

    /// Its life from one start to its end: why that was, and what is left of it. Nothing, where
    /// the inner ends.
    async fn once(&mut self) -> Option<(String, Option<KilledWorker>)> {
        let (mut group, pipes) = match self.start() {
            Ok(started) => started,
            Err(why) => return Some((why, None)),
        };
        let id = group.id();
        let mut connection = WorkerConnection::new(self, id.as_raw(), pipes);
        let why = connection.until_its_end(self, &mut group).await;
        let ConnectionEnd::Failed(why) = why else {
            connection.abort(&ending().1);
            connection.end_input();
            let _ = timeout(LAST_MOMENT, group.ended()).await;
            group.end(KILL_GRACE).await;
            return None;
        };
        id.kill();
        let lingers = id.is_alive();
        // What it moved is moved by nobody now.
        let group_number = id.as_raw();
        self.drive.send(DriveRequest::WorkerGone {
            group: group_number,
            lingers,
        });
        connection.abort(&why);
        Some((why, Some(KilledWorker { group, lingers })))
    }

    fn start(&self) -> Result<(ProcessGroup, Pipes), String> {
        let file = (self.commands.files().worker(self.worker.name())).map_err(|(_, why)| why)?;
        let program = Program {
            file: &file,
            arguments: &[],
            folder: self.commands.files().path(),
            variables: &[
                ("P2P_WORKER", self.worker.name().to_owned()),
                (guardian::MARK, std::process::id().to_string()),
            ],
            has_stdin: true,
        };
        ProcessGroup::start(&program).map_err(|error| process::why_not(&file, &error))
    }
}

/// A worker that was killed.
struct KilledWorker {
    group: ProcessGroup,
    lingers: bool,
}

impl KilledWorker {
    /// Waits until it is gone: one that the kernel doesn't let go of could act once more.
    async fn reap(mut self, drive: &DriveHandle) {
        self.group.end(Duration::ZERO).await;
        if self.lingers {
            let group = self.group.id().as_raw();
            drive.send(DriveRequest::WorkerReaped { group });
        }
    }
}
