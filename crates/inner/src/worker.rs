//! Owns the workers, resident processes that serve commands, from the inner's start to its end:
//! each is started, and started again when it dies. `worker/connection` talks with a running
//! worker; `commands` knows which commands each worker serves.

use std::sync::Arc;
use std::time::Duration;

use p2p_shared::protocol::Refusal;
use p2p_shared::timing::{KILL_GRACE, millis};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::catalog::CommandFile;
use crate::commands::{Commands, WorkerHandle, WorkerQueue};
use crate::drive::{DriveHandle, DriveRequest};
use crate::process::{self, OWNER_VARIABLE, Pipes, ProcessGroup, Program};
use crate::run::draining;

mod connection;
mod protocol;

use connection::WorkerConnection;

/// Pause between a worker's end and its next start, doubled each time up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// Life of a worker after which the pauses begin anew (as for dialling).
const STABLE: Duration = Duration::from_secs(10);

/// Time for a worker to end after its input has ended.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// All workers of an inner. Dropping this ends them.
#[derive(Debug)]
pub(crate) struct WorkerTasks {
    end: DropGuard,
    tasks: TaskTracker,
}

impl WorkerTasks {
    pub(crate) fn start(
        commands: &Arc<Commands>,
        drive: &DriveHandle,
        limit: Duration,
        hello: Duration,
    ) -> Self {
        let (end, tasks) = (CancellationToken::new(), TaskTracker::new());
        let names = commands.files.workers().unwrap_or_else(|error| {
            tracing::error!(%error, "no worker is started, since the command directory can't be read: mend that, and start p2p-inner again");
            Vec::new()
        });
        for name in names {
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
        let end = end.drop_guard();
        Self { end, tasks }
    }

    pub(crate) async fn end(self) {
        drop(self.end);
        self.tasks.wait().await;
    }
}

struct WorkerSupervisor {
    worker: WorkerHandle,
    queue: WorkerQueue,
    commands: Arc<Commands>,
    drive: DriveHandle,
    /// Time limit of a run.
    limit: Duration,
    /// Time limit of the announcement.
    hello: Duration,
    /// Cancelled when the inner ends.
    end: CancellationToken,
}

impl WorkerSupervisor {
    /// Keeps the worker running until the inner ends.
    async fn run(mut self) {
        let mut pause = PAUSE;
        loop {
            let began = Instant::now();
            let Some((why, left)) = self.once().await else {
                return;
            };
            if began.elapsed() >= STABLE {
                pause = PAUSE;
            }
            let name = self.worker.name();
            let restart_ms = millis(pause);
            tracing::error!(
                worker = name,
                why,
                restart_ms,
                "the worker is gone; it is started again"
            );
            let what = format!(
                "is gone ({why}) and is started again in {} s",
                pause.as_secs_f32()
            );
            self.commands.away(&self.worker, &what);
            let sentence = format!("{name}, which serves this command, {what}");
            let drive = self.drive.clone();
            let mut again = std::pin::pin!(async move {
                if let Some((mut group, lingers)) = left {
                    // A killed process that the kernel still holds could act once more.
                    group.end(Duration::ZERO).await;
                    let group = group.id().number();
                    if lingers {
                        drive.send(DriveRequest::WorkerReaped { group });
                    }
                }
                sleep(pause).await;
            });
            loop {
                tokio::select! {
                    () = self.end.cancelled() => return,
                    () = &mut again => break,
                    Some(ask) = self.queue.recv() => {
                        ask.fail((Refusal::WorkerAway, sentence.clone()));
                    }
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Runs the worker from one start to its end: returns the reason, and its killed processes, with
    /// whether any of them lingers. `None`: the inner ends.
    async fn once(&mut self) -> Option<(String, Option<(ProcessGroup, bool)>)> {
        let (mut group, pipes) = match self.start() {
            Ok(started) => started,
            Err(why) => return Some((why, None)),
        };
        let id = group.id().clone();
        let drive = self.drive.clone();
        let mut connection = WorkerConnection::new(self, id.number(), pipes);
        let Err(why) = connection.serve(&mut group).await else {
            connection.abort(&draining().1);
            connection.stdin = None;
            let _ = timeout(LAST_MOMENT, group.ended()).await;
            group.end(KILL_GRACE).await;
            return None;
        };
        id.kill();
        let lingers = id.is_alive();
        // Nobody controls what the worker moved.
        drive.send(DriveRequest::WorkerGone {
            group: id.number(),
            lingers,
        });
        connection.abort(&why);
        Some((why, Some((group, lingers))))
    }

    fn start(&self) -> Result<(ProcessGroup, Pipes), String> {
        let found = self.commands.files.worker(self.worker.name());
        let CommandFile { file, folder } = found.map_err(|(_, why)| why)?;
        let program = Program {
            file: &file,
            arguments: &[],
            folder: &folder,
            variables: &[
                ("P2P_WORKER", self.worker.name().to_owned()),
                (OWNER_VARIABLE, std::process::id().to_string()),
            ],
            has_stdin: true,
        };
        ProcessGroup::start(&self.commands.processes, &program)
            .map_err(|error| process::why_not(&file, &error))
    }
}
