//! Carries out what `motion` decides: starts and ends processes, keeps the timers, and informs the
//! router and the guardian. Decides nothing itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use p2p_shared::bounded::Text;
use p2p_shared::names::LinkName;
use p2p_shared::protocol::{
    ActiveMotion, End, MotionEvent, MotionRefusal, Refusal, RunRequest, StopCause, StopFailure,
};
use p2p_shared::timing::{micros, millis, millis_f64};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::field::display;

use crate::clock;
use crate::commands::Commands;
use crate::guardian::{self, Guardian};
use crate::motion::{
    GuardState, Motion, MotionCommand, MotionEffect, MotionInput, MotionOrigin, MotionOwner,
    MotionRules, ProcessEvent, ProcessToken, StopResult, StopTargets,
};
use crate::run::{Failure, LoggedIds, Run, RunReporter, draining};

/// Longest time for which the car may move without its timers being checked (the console uses the
/// same for itself). After that it is stopped: whatever kept this task from running may do it again,
/// and for longer.
const STALL: Duration = Duration::from_millis(200);

/// End of a stop command that could not be started, as shells say it.
const NOT_STARTED: End = End::Exit(127);

mod answers;
mod by_worker;
mod effects;
mod handle;

pub(crate) use handle::{DriveHandle, DriveRequest};

pub(crate) struct Drive {
    motion: Motion,
    commands: Arc<Commands>,
    reporter: RunReporter,
    tracker: TaskTracker,
    queue: mpsc::UnboundedReceiver<DriveRequest>,
    own: DriveHandle,
    guard: watch::Sender<GuardState>,
    /// State that the guardian has confirmed; `None`: there is no guardian.
    confirmed: Option<watch::Receiver<Option<GuardState>>>,
    /// False since a motion or a stop began, until the car stands or can't be stopped.
    is_settled: bool,
    /// Motions that have not begun, and who asked for them: the driver, or an address.
    waiting: HashMap<MotionOrigin, (Run, Text)>,
    /// Senders that report when the car stands: to motions with `for=`, and to the inner's start.
    until_it_stands: Vec<oneshot::Sender<StopResult>>,
    /// Motion processes that are not reaped yet.
    motions: HashMap<ProcessToken, (CancellationToken, ActiveMotion)>,
    stops: HashMap<ProcessToken, RunningStop>,
    /// Runs of the stop command that wait for a stop that begins after they came.
    stop_runs: Vec<Run>,
    /// Process group that moves the car; 0: none, or a worker's.
    group: i32,
    /// Everything that moved the car since it stood.
    stop_targets: StopTargets,
    /// Process groups of workers that had moved the car when they were killed, and still exist.
    dying: Vec<i32>,
    /// Run and driver that move the car, or moved it last.
    owner: MotionOwner,
    /// Motion that was reported last, until the car stands.
    moving: Option<ActiveMotion>,
    /// True if no motion may begin any more.
    is_draining: bool,
    /// Who asked last that the car stops, since it moves.
    asked_by: Option<Text>,
    /// Name of the link that the last request came by, or the one that the inner asks for.
    link: LinkName,
    /// Keeps this process alive until the car stands.
    leaving: Option<TaskTrackerToken>,
}

/// A stop command that runs.
struct RunningStop {
    cancel: CancellationToken,
    cause: StopCause,
    /// Ids for the log.
    ids: LoggedIds,
    /// True if others' runs are answered by this stop, too.
    is_shared: bool,
}

impl Drive {
    pub(crate) fn new(
        commands: Arc<Commands>,
        reporter: RunReporter,
        tracker: TaskTracker,
        link: LinkName,
    ) -> (Self, DriveHandle) {
        let (own, queue) = mpsc::unbounded_channel();
        let handle = DriveHandle(own);
        let info = &commands.motion;
        let mut motion = Motion::new(MotionRules {
            lease: Duration::from_millis(info.lease_ms),
            limit: (info.limit_ms > 0).then(|| Duration::from_millis(info.limit_ms)),
        });
        // Nothing moves without a stop command, so nothing has moved the car. A stop command that is
        // there and can't be run may have been fine when the car last moved.
        if !commands.has_stop() {
            motion.stands_still();
        }
        if !commands.may_move() {
            motion.has_no_motions();
        }
        let drive = Self {
            motion,
            commands,
            reporter,
            tracker,
            queue,
            own: handle.clone(),
            guard: watch::Sender::new(GuardState::Stand),
            confirmed: None,
            is_settled: true,
            waiting: HashMap::new(),
            until_it_stands: Vec::new(),
            motions: HashMap::new(),
            stops: HashMap::new(),
            stop_runs: Vec::new(),
            group: 0,
            stop_targets: StopTargets::unknown(),
            dying: Vec::new(),
            owner: MotionOwner::default(),
            moving: None,
            is_draining: false,
            asked_by: None,
            link,
            leaving: None,
        };
        (drive, handle)
    }

    /// From now on lets a motion begin only after a guardian has confirmed that it knows of the
    /// motion. The returned task keeps a guardian running.
    pub(crate) fn guarded_by<S: Fn() -> anyhow::Result<Guardian>>(
        &mut self,
        start: S,
    ) -> impl Future<Output = ()> + use<S> {
        let (confirmed, confirms) = watch::channel(None);
        self.confirmed = Some(confirms);
        let car = self.own.clone();
        let alarm = move || {
            let stop = MotionInput::Stop(StopCause::Watchdog);
            car.send(DriveRequest::Input(stop));
        };
        guardian::supervise(start, self.guard.subscribe(), confirmed, alarm)
    }

    pub(crate) async fn run(mut self) {
        loop {
            let left = self.motion.next().map(|at| at.saturating_sub(clock::now()));
            let timer = left.map(|left| Instant::now() + clock::step(left));
            // With a timer the clock is read again soon: see `clock::step`.
            let looked = (timer.is_some() && self.motion.guard().is_some()).then(clock::now);
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => {
                    self.decide(MotionInput::Tick);
                }
                ask = self.queue.recv() => match ask {
                    Some(ask) => self.on(ask),
                    None => return,
                },
            }
            let stall = looked.map(|looked| clock::now().saturating_sub(looked));
            if let Some(stall) = stall.filter(|stall| *stall >= STALL)
                && self.motion.guard().is_some()
            {
                tracing::warn!(
                    stalled_ms = millis_f64(stall),
                    "the inner did not get to run while the car moved: it is stopped (is the machine too slow, or out of memory?)"
                );
                self.decide(MotionInput::Stop(StopCause::Watchdog));
            }
            self.update_guardian();
        }
    }

    fn on(&mut self, ask: DriveRequest) {
        match ask {
            DriveRequest::Press {
                press,
                tick_ms,
                driver,
                run,
            } => {
                self.link.clone_from(&run.link);
                // A motion that can't be stopped doesn't begin, nor one that would outlive this
                // process.
                if let Err((refusal, problem)) = self.may_begin() {
                    tracing::warn!(
                        link = %run.link,
                        %press,
                        run = %run.id(),
                        %driver,
                        why = problem,
                        "press refused"
                    );
                    let why = match refusal {
                        Refusal::Draining => MotionRefusal::NotStarted,
                        _ => MotionRefusal::StopFailed,
                    };
                    return self.report(MotionEvent::Refused { press, why });
                }
                let order = motion_command(&run.request);
                let origin = MotionOrigin::Press(press);
                let mut run = *run;
                run.logged.press = Some(press);
                self.waiting.insert(origin, (run, driver));
                self.decide(MotionInput::Press {
                    id: press,
                    order,
                    tick: Duration::from_millis(tick_ms),
                });
                // Only the newest press may wait.
                let is_older = |origin: &MotionOrigin| origin.press().is_some_and(|id| id < press);
                self.waiting.retain(|origin, _| !is_older(origin));
            }
            DriveRequest::Stop { by, over, cause } => {
                if let Err((_, why)) = self.may_stop() {
                    tracing::warn!(
                        link = %self.link,
                        %by,
                        %cause,
                        why,
                        "nothing is run to stop the car, which stands"
                    );
                    self.report(MotionEvent::Stopped {
                        cause,
                        end: NOT_STARTED,
                        exec_us: 0,
                        failure: Some(StopFailure {
                            said: Text::new(why),
                            tries: 0,
                            again_ms: None,
                        }),
                    });
                    self.report(MotionEvent::Stands);
                } else {
                    tracing::info!(link = %self.link, %by, %cause, "stop");
                    self.asked_by = Some(by);
                    self.decide(MotionInput::Stop(cause));
                }
                // First the stop, which has the cause; then the presses up to `over` are void.
                if let Some(press) = over {
                    self.decide(MotionInput::Release { id: press });
                }
            }
            DriveRequest::Timed(run) => self.timed(*run),
            DriveRequest::StopRun(run) => {
                self.link.clone_from(&run.link);
                if let Err((refusal, why)) = self.may_stop() {
                    return self.refuse(run.id(), refusal, why);
                }
                tracing::info!(link = %self.link, by = %run.request.who(), run = %run.id(), "stop");
                self.asked_by = Some(run.request.who().clone());
                // If as many stops run as may, the next stop answers this run.
                self.stop_runs.push(*run);
                self.decide(MotionInput::Stop(StopCause::Asked));
            }
            DriveRequest::Proof(answer) => {
                let _ = answer.send(());
            }
            DriveRequest::First(stands) => {
                self.until_it_stands.push(stands);
                self.decide(MotionInput::Stop(StopCause::Beginning));
            }
            DriveRequest::Drain { leaving } => {
                self.is_draining = true;
                if !self.is_settled {
                    self.leaving = Some(leaving);
                    tracing::info!(by = "shutdown", "stop");
                    self.decide(MotionInput::Stop(StopCause::Asked));
                }
            }
            DriveRequest::Linked => {
                self.decide(MotionInput::Linked);
                self.report_state();
            }
            DriveRequest::Input(event) => self.decide(event),
            DriveRequest::WorkerGone { group, lingers } => {
                if self.stop_targets.is_gone(group) && self.motion.guard().is_some() {
                    self.dying.extend(lingers.then_some(group));
                    self.decide(MotionInput::Stop(StopCause::Worker));
                }
            }
            DriveRequest::WorkerReaped { group } => {
                let before = self.dying.len();
                self.dying.retain(|other| *other != group);
                // The worker may have moved the car since that stop began.
                if self.dying.len() < before {
                    self.decide(MotionInput::Stop(StopCause::Worker));
                }
            }
            DriveRequest::Process(token, event) => self.on_process_event(token, event),
        }
    }

    /// Checks that a motion may begin: the inner goes on, and there is a stop command.
    fn may_begin(&self) -> Result<(), Failure> {
        if self.is_draining {
            return Err(draining());
        }
        // The stop command must be a file: it has to work without this process and without any
        // worker.
        let found = self.commands.files.resolve(&self.commands.motion.stop);
        found.map(drop).map_err(|(_, why)| {
            let message = format!("the car has no stop command that works ({why}): nothing moves");
            (Refusal::StopFailed, message)
        })
    }

    /// Returns why there is no stop command, if there is none.
    fn no_stop(&self) -> Option<Text> {
        let stop = self.commands.files.resolve(&self.commands.motion.stop);
        stop.err().map(|(_, why)| Text::new(why))
    }

    /// Checks that there is a stop command, unless the car moves: then a stop is tried anyway.
    fn may_stop(&self) -> Result<(), Failure> {
        let stop = &self.commands.motion.stop;
        if self.motion.guard().is_some() || self.commands.worker(stop).is_some() {
            return Ok(());
        }
        self.commands.files.resolve(stop).map(drop)
    }

    fn timed(&mut self, run: Run) {
        let id = run.id();
        self.link.clone_from(&run.link);
        // A motion that can't be stopped doesn't begin.
        if let Err((refusal, message)) = self.may_begin() {
            return self.refuse(id, refusal, message);
        }
        let lasts = run.request.for_ms.map(Duration::from_millis);
        let order = motion_command(&run.request);
        let who = run.request.who().clone();
        self.waiting.insert(MotionOrigin::Timed(id), (run, who));
        let run = id;
        self.decide(MotionInput::Timed { run, order, lasts });
    }

    fn on_process_event(&mut self, token: ProcessToken, event: ProcessEvent) {
        match event {
            ProcessEvent::Started { group, is_workers } => {
                if let Some((_, motion)) = self.motions.get(&token) {
                    if is_workers {
                        self.stop_targets.add_worker(group);
                    } else {
                        self.group = group;
                        self.stop_targets.add_file();
                    }
                    self.moving = Some(motion.clone());
                    self.report(MotionEvent::Started(motion.clone()));
                }
                self.decide(MotionInput::Started(token));
            }
            ProcessEvent::NotStarted => {
                if let Some(stop) = self.stops.remove(&token) {
                    // As a shell says it of a command that is not there, or can't be executed.
                    let why = self
                        .no_stop()
                        .unwrap_or_else(|| "it could not be started".into());
                    self.stop_ended(token, &stop, NOT_STARTED, Duration::ZERO, why);
                } else if let Some((_, motion)) = self.motions.remove(&token) {
                    if let Some(press) = motion.press {
                        let why = MotionRefusal::NotStarted;
                        self.report(MotionEvent::Refused { press, why });
                    }
                    self.decide(MotionInput::NotStarted(token));
                }
            }
            ProcessEvent::Ended { end, exec, said } => {
                if let Some(stop) = self.stops.remove(&token) {
                    self.stop_ended(token, &stop, end, exec, said);
                } else if let Some((_, motion)) = self.motions.get(&token) {
                    let (run, exec_us) = (motion.run, micros(exec));
                    self.report(MotionEvent::Ended { run, end, exec_us });
                }
            }
            ProcessEvent::Reaped => {
                if self.motions.remove(&token).is_some() {
                    self.group = 0;
                    self.decide(MotionInput::Reaped(token));
                }
            }
            ProcessEvent::Abandoned { run } => self.decide(MotionInput::Abandoned { run }),
        }
    }

    fn stop_ended(
        &mut self,
        token: ProcessToken,
        stop: &RunningStop,
        end: End,
        exec: Duration,
        said: Text,
    ) {
        let &RunningStop {
            cause,
            is_shared,
            ref ids,
            ..
        } = stop;
        let (ok, exec_us) = (end == End::Exit(0), micros(exec));
        let now = clock::now();
        let effects = self.motion.on(now, MotionInput::StopEnded { token, ok });
        if !ok && !is_shared && self.motion.tries_by_itself() {
            tracing::debug!(exit = %end, exec_ms = millis_f64(exec), "the stop still fails");
        } else {
            let link = &self.link;
            let (run, press) = (ids.run.map(display), ids.press.map(display));
            let exec_ms = millis_f64(exec);
            tracing::info!(%link, run, press, %cause, exit = %end, exec_ms, "stopped");
        }
        let (tries, again) = self.motion.failures();
        let failure = (!ok).then(|| StopFailure {
            said,
            tries,
            again_ms: again.map(|at| millis(at.saturating_sub(now))),
        });
        self.report(MotionEvent::Stopped {
            cause,
            end,
            exec_us,
            failure,
        });
        self.act_all(effects);
    }

    /// Lets `motion` decide, and does what it decides.
    fn decide(&mut self, event: MotionInput) {
        let effects = self.motion.on(clock::now(), event);
        self.act_all(effects);
    }

    fn act_all(&mut self, effects: Vec<MotionEffect>) {
        for effect in effects {
            self.act(effect);
        }
    }
}

fn motion_command(request: &RunRequest) -> MotionCommand {
    MotionCommand {
        command: request.command.clone(),
        arguments: request.arguments.clone(),
    }
}

#[cfg(test)]
mod tests;
