//! Owns the runs that there are: how many, and that each can be reached until it ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use p2p_shared::names::{CommandName, LinkName, RunId};
use p2p_shared::protocol::{InnerToRouter, MotionInfo, RUN_WINDOW, Refusal, RunRequest};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::commands::Commands;
use crate::drive::{DriveHandle, DriveRequest, PendingMotion};
use crate::run::reporter::RunReporter;
use crate::run::stdin_buffer::StdinBuffer;
use crate::run::{self, Run, Window};

/// How runs are done.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    commands: Commands,
    limit: Duration,
    max_runs: usize,
    reports: RunReporter,
    table: Arc<Mutex<Table>>,
    stdin: StdinBuffer,
    tracker: TaskTracker,
    motion: MotionInfo,
    drive: DriveHandle,
    draining: bool,
}

pub(crate) type Table = HashMap<RunId, RunEntry>;

/// What a command is to the car's motion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommandKind {
    None,
    Motion,
    Stop,
}

/// How a run is reached.
#[derive(Debug)]
pub(crate) struct RunEntry {
    window: Window,
    cancel: CancellationToken,
    /// Whether it is one of those that `max_runs` bounds.
    counts: bool,
}

/// Takes a run out of the table when it ends, in whatever way.
#[derive(Debug)]
pub(crate) struct EntryGuard(Arc<Mutex<Table>>, RunId);

impl Drop for EntryGuard {
    fn drop(&mut self) {
        lock(&self.0).remove(&self.1);
    }
}

impl Dispatcher {
    pub(crate) fn new(
        commands: Commands,
        limit: Duration,
        max_runs: usize,
        reports: RunReporter,
        tracker: TaskTracker,
        motion: MotionInfo,
        drive: DriveHandle,
    ) -> Self {
        Self {
            commands,
            limit,
            max_runs,
            reports,
            table: Arc::default(),
            stdin: StdinBuffer::default(),
            tracker,
            motion,
            drive,
            draining: false,
        }
    }

    /// Whether nothing runs.
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.table).is_empty()
    }

    /// Keeps input for a run that is to come.
    pub(crate) fn input(&mut self, run: RunId, bytes: &Bytes) {
        self.stdin.add(run, bytes);
    }

    /// Begins a run, or reports why not.
    pub(crate) fn begin(&mut self, request: RunRequest, link: &LinkName) {
        let run = request.run;
        let stdin = self.stdin.take(run);
        let kind = self.kind(&request.command);
        let worker = match kind {
            CommandKind::None => self.commands.worker(&request.command),
            // By what moves it is the drive's to find out.
            CommandKind::Motion | CommandKind::Stop => None,
        };
        let counts = kind == CommandKind::None && worker.is_none();
        if let Err((refusal, message)) = self.admit(&request, stdin.len(), kind, counts) {
            tracing::info!(link = %link, run = %run, command = %request.command, why = message, "run refused");
            self.reports.urgent(InnerToRouter::Refused {
                run,
                refusal,
                message,
            });
            return;
        }
        let window = Window::new(RUN_WINDOW);
        let cancel = CancellationToken::new();
        let entry = RunEntry {
            window: window.clone(),
            cancel: cancel.clone(),
            counts,
        };
        lock(&self.table).insert(run, entry);
        let guard = EntryGuard(self.table.clone(), run);
        let link = link.clone();
        if kind != CommandKind::None {
            let job = PendingMotion {
                request,
                link,
                stdin,
                window,
                cancel,
                guard: Some(guard),
            };
            return self.drive.send(match kind {
                CommandKind::Stop => DriveRequest::StopRun { job },
                _ => DriveRequest::Timed { job },
            });
        }
        let job = Run {
            request,
            stdin,
            link,
            limit: Some(self.limit),
            window,
            cancel,
            reports: self.reports.clone(),
            tracker: self.tracker.clone(),
            role: None,
            _guard: Some(guard),
        };
        if let Some(worker) = worker {
            return worker.run(job);
        }
        let commands = self.commands.clone();
        self.tracker.spawn(async move { job.run(&commands).await });
    }

    fn kind(&self, command: &CommandName) -> CommandKind {
        if *command == self.motion.stop {
            CommandKind::Stop
        } else if self.motion.commands.contains(command) {
            CommandKind::Motion
        } else {
            CommandKind::None
        }
    }

    /// Whether it may begin. A stop always may; a motion is bounded by its own limits.
    fn admit(
        &mut self,
        request: &RunRequest,
        input: usize,
        kind: CommandKind,
        counts: bool,
    ) -> Result<(), (Refusal, String)> {
        if kind == CommandKind::Stop {
            return self.check_new(request);
        }
        if self.draining {
            return Err((
                Refusal::Draining,
                "the car is restarting: try again in a moment".to_owned(),
            ));
        }
        run::in_time(request)?;
        if input as u64 != request.stdin_bytes {
            let message =
                "the command's input did not come whole: more waits than this car can keep";
            return Err((Refusal::Busy, message.to_owned()));
        }
        if counts && self.running() >= self.max_runs {
            let message = format!(
                "this car runs {} commands already (p2p-inner --max-runs): try again in a moment",
                self.max_runs
            );
            return Err((Refusal::Busy, message));
        }
        self.check_new(request)
    }

    /// How many processes run that `max_runs` bounds.
    fn running(&self) -> usize {
        let table = lock(&self.table);
        table.values().filter(|entry| entry.counts).count()
    }

    fn check_new(&self, request: &RunRequest) -> Result<(), (Refusal, String)> {
        if self.reports.begin(request.run, &request.command) {
            return Ok(());
        }
        let message = format!(
            "run {} was asked for twice: a router gives each id once",
            request.run
        );
        Err((Refusal::Repeated, message))
    }

    /// The caller of a run has read on.
    pub(crate) fn grant(&self, run: RunId, units: u32) {
        if let Some(entry) = lock(&self.table).get(&run) {
            entry.window.grant(units);
        }
    }

    /// The caller of a run has gone away.
    pub(crate) fn cancel(&mut self, run: RunId) {
        self.stdin.take(run);
        if let Some(entry) = lock(&self.table).get(&run) {
            entry.cancel.cancel();
        }
    }

    /// The link is lost: what runs ends by itself within its limit, and nobody reads it.
    pub(crate) fn detach_output(&mut self) {
        self.stdin.clear();
        for entry in lock(&self.table).values() {
            entry.window.close();
        }
    }

    /// What became of a run, for who lost its answer.
    pub(crate) fn tell(&self, run: RunId) {
        let story = self.reports.story(run);
        self.reports.urgent(InnerToRouter::Run { run, story });
    }

    /// The car's motion.
    pub(crate) fn drive(&self) -> &DriveHandle {
        &self.drive
    }

    /// The commands.
    pub(crate) fn commands(&self) -> &Commands {
        &self.commands
    }

    /// Begins nothing more, and stops the car; what runs after `grace` is ended.
    pub(crate) fn drain(&mut self, grace: Duration) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        self.drive.drain(self.tracker.token());
        self.tracker.close();
        let table = self.table.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            for entry in lock(&table).values() {
                entry.cancel.cancel();
            }
        });
    }

    /// Resolves once it was [drained](Self::drain) and everything has ended, leftovers too.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        let tracker = self.tracker.clone();
        async move { tracker.wait().await }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        // What runs has nobody left who could end it.
        for entry in lock(&self.table).values() {
            entry.cancel.cancel();
        }
    }
}

/// The table is whole whenever nobody holds it, even after a panic.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
