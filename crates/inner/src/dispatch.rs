//! Decides whether a run that the router asks for may begin, and hands it to a worker, to the drive
//! or to a process of its own.

use std::sync::Arc;
use std::time::Duration;

use p2p_shared::bounded::Text;
use p2p_shared::names::{LinkName, RunId};
use p2p_shared::protocol::{InnerToRouter, Refusal, RunRequest};
use tokio_util::task::TaskTracker;

use crate::commands::Commands;
use crate::drive::{DriveHandle, DriveRequest};
use crate::run::{self, Failure, Run, RunReporter, RunTable, StdinBuffer};

#[derive(Debug)]
pub(crate) struct Dispatcher {
    pub commands: Arc<Commands>,
    /// Time limit of a command that is no motion.
    pub limit: Duration,
    pub max_runs: usize,
    pub reporter: RunReporter,
    pub tracker: TaskTracker,
    pub drive: DriveHandle,
    pub table: RunTable,
    pub stdin: StdinBuffer,
    pub draining: bool,
}

/// Kind of a command: what it does to the car's motion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommandKind {
    Other,
    Motion,
    Stop,
}

impl Dispatcher {
    pub(crate) fn begin(&mut self, request: RunRequest, link: &LinkName) {
        let run = request.run;
        let stdin = self.stdin.take(run);
        let motion = &self.commands.motion;
        let kind = if request.command == motion.stop {
            CommandKind::Stop
        } else if motion.commands.contains(&request.command) {
            CommandKind::Motion
        } else {
            CommandKind::Other
        };
        let worker = match kind {
            CommandKind::Other => self.commands.worker(&request.command),
            // The drive chooses a file or a worker for a motion or a stop.
            CommandKind::Motion | CommandKind::Stop => None,
        };
        let counts = kind == CommandKind::Other && worker.is_none();
        if let Err((refusal, message)) = self.admit(&request, stdin.len(), kind, counts) {
            tracing::info!(link = %link, run = %run, command = %request.command, why = message, "run refused");
            self.reporter.urgent(InnerToRouter::Refused {
                run,
                refusal,
                message: Text::new(message),
            });
            return;
        }
        let mut run = Run::new(request, link.clone(), &self.reporter, &self.tracker);
        run.stdin = stdin;
        run.limit = (kind == CommandKind::Other).then_some(self.limit);
        run._entry = Some(self.table.add(&run, counts));
        match (kind, worker) {
            (CommandKind::Stop, _) => self.drive.send(DriveRequest::StopRun(Box::new(run))),
            (CommandKind::Motion, _) => self.drive.send(DriveRequest::Timed(Box::new(run))),
            (CommandKind::Other, Some(worker)) => worker.run(run),
            (CommandKind::Other, None) => {
                let commands = self.commands.clone();
                // Boxed, because all of it would be copied several times on its way into the task.
                let execution = Box::pin(async move { commands.execute(run).await });
                self.tracker.spawn(execution);
            }
        }
    }

    /// Checks that a run may begin. A stop is refused only for a repeated id. A motion doesn't
    /// count in `--max-runs`: it has limits of its own.
    fn admit(
        &mut self,
        request: &RunRequest,
        input: usize,
        kind: CommandKind,
        counts: bool,
    ) -> Result<(), Failure> {
        if kind != CommandKind::Stop {
            if self.draining {
                return Err(run::draining());
            }
            run::in_time(request)?;
            if input as u64 != request.stdin_bytes {
                let message = "the command's input did not come whole: more input waits than this car can keep";
                return Err((Refusal::Busy, message.to_owned()));
            }
            if counts && self.table.counted() >= self.max_runs {
                let message = format!(
                    "this car runs {} commands already (p2p-inner --max-runs): try again in a moment",
                    self.max_runs
                );
                return Err((Refusal::Busy, message));
            }
        }
        if self.reporter.begin(request.run, &request.command) {
            return Ok(());
        }
        let message = format!(
            "run {} was asked for twice: a router gives each id once",
            request.run
        );
        Err((Refusal::Repeated, message))
    }

    /// Cancels a run, whose caller has gone away.
    pub(crate) fn cancel(&mut self, run: RunId) {
        self.stdin.take(run);
        self.table.cancel(run);
    }

    /// Reports that the link is lost: open runs go on within their limits, without a reader.
    pub(crate) fn detach_output(&mut self) {
        self.stdin.clear();
        self.table.detach_output();
    }

    /// Begins nothing more, and stops the car; cancels the runs that are open after `grace`.
    pub(crate) fn drain(&mut self, grace: Duration) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        let leaving = self.tracker.token();
        self.drive.send(DriveRequest::Drain { leaving });
        self.tracker.close();
        let table = self.table.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            table.cancel_all();
        });
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        // Nobody else could end the open runs.
        self.table.cancel_all();
    }
}
