//! Owns one worker, a resident process that serves commands, from the inner's start to its end:
//! started, started again when it dies, and how it is asked. What is said to it while it lives is
//! `worker/talk`; which commands it serves is `commands`.

use std::sync::Arc;
use std::time::Duration;

use p2p_shared::protocol::{Refusal, RunRequest};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::commands::Commands;
use crate::drive::{DriveHandle, ToDrive};
use crate::guardian;
use crate::process::{self, Pipes, ProcessGroup, Program};
use crate::runner::Job;

mod lines;
mod talk;

pub(crate) use lines::Answer;
use talk::{Talk, Why};

/// Between a worker's end and its next start: this, doubled each time, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(200);
/// See [`PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// One that lived so long begins with the shortest pause again (the dialler's figure).
const STABLE: Duration = Duration::from_secs(10);

/// Why there is no answer: of which kind, and in a sentence that says what to do.
pub(crate) type Failure = (Refusal, String);

/// A hold on a worker.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    name: Arc<str>,
    queue: mpsc::UnboundedSender<Ask>,
}

/// What is asked of a worker.
#[derive(Debug)]
enum Ask {
    /// A run, whose answer goes to the router.
    Run(Box<Job>),
    /// A part in the car's motion, whose answer goes back.
    Call {
        request: Box<RunRequest>,
        taken: oneshot::Sender<Result<Taken, Failure>>,
    },
    /// It hangs: kill it.
    Kill(String),
}

/// A request that the worker was given.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The number of the worker's process group.
    pub group: i32,
    /// What becomes of it.
    pub answer: oneshot::Receiver<Result<Answer, Failure>>,
}

impl Ask {
    fn fail(self, (refusal, message): Failure) {
        match self {
            Self::Run(job) => job.give_up(refusal, message),
            Self::Call { taken, .. } => {
                let _ = taken.send(Err((refusal, message)));
            }
            Self::Kill(_) => {}
        }
    }
}

impl Worker {
    /// A worker, and what its [task](Resident) needs to know of it.
    pub(crate) fn new(name: &str) -> (Self, Queue) {
        let (queue, asked) = mpsc::unbounded_channel();
        let worker = Self {
            name: name.into(),
            queue,
        };
        (worker, Queue(asked))
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
    pub(crate) fn run(&self, job: Job) {
        self.ask(Ask::Run(Box::new(job)));
    }

    /// Asks it to move or stop the car.
    pub(crate) async fn call(&self, request: &RunRequest) -> Result<Taken, Failure> {
        let (taken, reply) = oneshot::channel();
        let request = Box::new(request.clone());
        self.ask(Ask::Call { request, taken });
        reply.await.unwrap_or_else(|_| Err(ending()))
    }

    /// Kills it, and everything of its group; it is started again.
    pub(crate) fn kill(&self, why: &str) {
        self.ask(Ask::Kill(why.to_owned()));
    }

    fn ask(&self, ask: Ask) {
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
pub(crate) struct Workers {
    end: CancellationToken,
    tasks: TaskTracker,
}

impl Workers {
    /// Starts those that there are.
    ///
    /// # Errors
    /// If the command directory can't be read.
    pub(crate) fn start(
        commands: &Commands,
        drive: &DriveHandle,
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let (end, tasks) = (CancellationToken::new(), TaskTracker::new());
        for name in commands.files().workers()? {
            let (worker, queue) = Worker::new(&name);
            commands.expect(&worker);
            let resident = Resident {
                worker,
                queue,
                commands: commands.clone(),
                drive: drive.clone(),
                limit,
                end: end.clone(),
            };
            tasks.spawn(resident.live());
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

impl Drop for Workers {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Where what is asked of a worker arrives.
#[derive(Debug)]
pub(crate) struct Queue(mpsc::UnboundedReceiver<Ask>);

/// A worker's task.
pub(crate) struct Resident {
    pub worker: Worker,
    pub queue: Queue,
    pub commands: Commands,
    pub drive: DriveHandle,
    /// How long it may take over a run.
    pub limit: Duration,
    /// The inner ends.
    pub end: CancellationToken,
}

impl Resident {
    /// Keeps it running until the inner ends.
    pub(crate) async fn live(mut self) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let why = self.once().await;
            if matches!(why, Why::Ended) {
                return;
            }
            if began.elapsed() >= STABLE {
                failures = 0;
            }
            let pause = (PAUSE * (1 << failures)).min(LONGEST_PAUSE);
            failures = (failures + 1).min(10);
            let name = self.worker.name();
            let restart_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::error!(worker = name, %why, restart_ms, "the worker is gone; it is started again");
            let sentence = format!(
                "{name}, which serves this command, is gone ({why}) and is started again in {} s",
                pause.as_secs_f32()
            );
            let until = Instant::now() + pause;
            loop {
                tokio::select! {
                    () = self.end.cancelled() => return,
                    () = sleep_until(until) => break,
                    Some(ask) = self.queue.0.recv() => ask.fail((Refusal::WorkerAway, sentence.clone())),
                }
            }
        }
    }

    /// Its life from one start to its end.
    async fn once(&mut self) -> Why {
        let (mut group, pipes) = match self.start() {
            Ok(started) => started,
            Err(why) => return Why::Failed(why),
        };
        let id = group.id();
        let mut talk = Talk::new(self, id.as_raw(), pipes);
        let why = talk.until_its_end(self, &mut group).await;
        if let Why::Ended = why {
            // It had its end of input.
            drop(talk);
            group.end(p2p_shared::timing::KILL_GRACE).await;
            return why;
        }
        id.kill();
        // What it moved is moved by nobody now.
        self.drive.send(ToDrive::WorkerGone { group: id.as_raw() });
        talk.lose(&why);
        group.end(Duration::ZERO).await;
        why
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
