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
use crate::drive::{Asked, DriveHandle, ToDrive};
use crate::inputs::Inputs;
use crate::reports::Reports;
use crate::runner::{self, Job, Window};

/// How runs are done.
#[derive(Debug)]
pub(crate) struct Executor {
    commands: Commands,
    limit: Duration,
    max_runs: usize,
    reports: Reports,
    table: Arc<Mutex<Table>>,
    inputs: Inputs,
    tracker: TaskTracker,
    motion: MotionInfo,
    drive: DriveHandle,
    draining: bool,
}

pub(crate) type Table = HashMap<RunId, Hold>;

/// What a command is to the car's motion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    None,
    Motion,
    Stop,
}

/// How a run is reached.
#[derive(Debug)]
pub(crate) struct Hold {
    window: Window,
    cancel: CancellationToken,
    /// Whether it is one of those that `max_runs` bounds.
    counts: bool,
}

/// Takes a run out of the table when it ends, in whatever way.
#[derive(Debug)]
pub(crate) struct Entry(Arc<Mutex<Table>>, RunId);

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.0).remove(&self.1);
    }
}

impl Executor {
    pub(crate) fn new(
        commands: Commands,
        limit: Duration,
        max_runs: usize,
        reports: Reports,
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
            inputs: Inputs::default(),
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
        self.inputs.add(run, bytes);
    }

    /// Begins a run, or reports why not.
    pub(crate) fn begin(&mut self, request: RunRequest, link: &LinkName) {
        let run = request.run;
        let stdin = self.inputs.take(run);
        let part = self.part(&request.command);
        let worker = match part {
            Part::None => self.commands.worker(&request.command),
            // By what moves it is the drive's to find out.
            Part::Motion | Part::Stop => None,
        };
        let counts = part == Part::None && worker.is_none();
        if let Err((refusal, message)) = self.admit(&request, stdin.len(), part, counts) {
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
        let hold = Hold {
            window: window.clone(),
            cancel: cancel.clone(),
            counts,
        };
        lock(&self.table).insert(run, hold);
        let entry = Entry(self.table.clone(), run);
        let link = link.clone();
        if part != Part::None {
            let job = Asked {
                request,
                link,
                stdin,
                window,
                cancel,
                entry: Some(entry),
            };
            return self.drive.send(match part {
                Part::Stop => ToDrive::StopRun { job },
                _ => ToDrive::Timed { job },
            });
        }
        let job = Job {
            request,
            stdin,
            link,
            limit: Some(self.limit),
            window,
            cancel,
            reports: self.reports.clone(),
            tracker: self.tracker.clone(),
            part: None,
            _entry: Some(entry),
        };
        if let Some(worker) = worker {
            return worker.run(job);
        }
        let commands = self.commands.clone();
        self.tracker.spawn(async move { job.run(&commands).await });
    }

    fn part(&self, command: &CommandName) -> Part {
        if *command == self.motion.stop {
            Part::Stop
        } else if self.motion.commands.contains(command) {
            Part::Motion
        } else {
            Part::None
        }
    }

    /// Whether it may begin. A stop always may; a motion is bounded by its own limits.
    fn admit(
        &mut self,
        request: &RunRequest,
        input: usize,
        part: Part,
        counts: bool,
    ) -> Result<(), (Refusal, String)> {
        if part == Part::Stop {
            return self.check_new(request);
        }
        if self.draining {
            return Err((
                Refusal::Draining,
                "the car is restarting: try again in a moment".to_owned(),
            ));
        }
        runner::in_time(request)?;
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
        table.values().filter(|hold| hold.counts).count()
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
        if let Some(hold) = lock(&self.table).get(&run) {
            hold.window.grant(units);
        }
    }

    /// The caller of a run has gone away.
    pub(crate) fn cancel(&mut self, run: RunId) {
        self.inputs.take(run);
        if let Some(hold) = lock(&self.table).get(&run) {
            hold.cancel.cancel();
        }
    }

    /// The link is lost: what runs ends by itself within its limit, and nobody reads it.
    pub(crate) fn orphan(&mut self) {
        self.inputs.clear();
        for hold in lock(&self.table).values() {
            hold.window.close();
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
            for hold in lock(&table).values() {
                hold.cancel.cancel();
            }
        });
    }

    /// Resolves once it was [drained](Self::drain) and everything has ended, leftovers too.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        let tracker = self.tracker.clone();
        async move { tracker.wait().await }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // What runs has nobody left who could end it.
        for hold in lock(&self.table).values() {
            hold.cancel.cancel();
        }
    }
}

/// The table is whole whenever nobody holds it, even after a panic.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
