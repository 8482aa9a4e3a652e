//! Owns the workers, resident processes that serve commands, from the inner's start to its end: each
//! is started, and started again when it dies. What is said to a worker while it lives is
//! `worker/connection`; which commands it serves is `commands`.

use std::ops::ControlFlow;
use std::time::Duration;

use p2p_shared::protocol::Refusal;
use p2p_shared::timing::{KILL_GRACE, millis};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::commands::{Commands, WorkerHandle, WorkerQueue};
use crate::drive::{DriveHandle, DriveRequest};
use crate::process::{self, OWNER_VARIABLE, Pipes, ProcessGroup, Program};
use crate::run::draining;

mod connection;
mod protocol;

use connection::{ConnectionEnd, WorkerConnection};

/// Pause between a worker's end and its next start, doubled each time up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// Life after which the pauses begin anew (the dialler's figure).
const STABLE: Duration = Duration::from_secs(10);

/// Time for a worker to end when it has had all its input.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// All workers of an inner. Dropped, they end.
#[derive(Debug)]
pub(crate) struct WorkerTasks {
    end: CancellationToken,
    tasks: TaskTracker,
}

impl WorkerTasks {
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

pub(crate) struct WorkerSupervisor {
    pub worker: WorkerHandle,
    pub queue: WorkerQueue,
    pub commands: Commands,
    pub drive: DriveHandle,
    /// Time limit of a run.
    pub limit: Duration,
    /// Time limit of the announcement.
    pub hello: Duration,
    /// Cancelled when the inner ends.
    pub end: CancellationToken,
}

impl WorkerSupervisor {
    /// Keeps the worker running until the inner ends.
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
            let restart_ms = millis(pause);
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

    /// Refuses requests until the worker may be started again, or the inner ends.
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
                Some(ask) = self.queue.recv() => ask.fail((Refusal::WorkerAway, sentence.clone())),
            }
        }
    }

    /// Runs the worker from one start to its end: returns the reason, and what is left of it.
    /// `None`: the inner ends.
    async fn once(&mut self) -> Option<(String, Option<KilledWorker>)> {
        let (mut group, pipes) = match self.start() {
            Ok(started) => started,
            Err(why) => return Some((why, None)),
        };
        let id = group.id().clone();
        let mut connection = WorkerConnection::new(self, id.number(), pipes);
        let why = connection.until_its_end(self, &mut group).await;
        let ConnectionEnd::Failed(why) = why else {
            connection.abort(&draining().1);
            connection.end_input();
            let _ = timeout(LAST_MOMENT, group.ended()).await;
            group.end(KILL_GRACE).await;
            return None;
        };
        id.kill();
        let lingers = id.is_alive();
        // What it moved is moved by nobody now.
        self.drive.send(DriveRequest::WorkerGone {
            group: id.number(),
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
                (OWNER_VARIABLE, std::process::id().to_string()),
            ],
            has_stdin: true,
        };
        ProcessGroup::start(self.commands.processes(), &program)
            .map_err(|error| process::why_not(&file, &error))
    }
}

struct KilledWorker {
    group: ProcessGroup,
    lingers: bool,
}

impl KilledWorker {
    /// Waits until the process is gone: one that the kernel doesn't let go of could act once more.
    async fn reap(mut self, drive: &DriveHandle) {
        self.group.end(Duration::ZERO).await;
        if self.lingers {
            let group = self.group.id().number();
            drive.send(DriveRequest::WorkerReaped { group });
        }
    }
}
