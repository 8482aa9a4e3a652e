//! Carries out the effects of `motion`: processes begin or end, and reports are sent.

use std::sync::Arc;
use std::time::Duration;

use p2p_shared::bounded::Text;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{ActiveMotion, MotionEvent, Refusal, StopCause};
use p2p_shared::text::Escaped;
use p2p_shared::timing::millis;
use tokio_util::sync::CancellationToken;
use tracing::field::display;

use super::by_worker::execute;
use super::{Drive, DriveRequest, RunningStop};
use crate::motion::{
    GuardState, MotionCommand, MotionEffect, MotionInput, MotionOrigin, MotionOwner, MotionRole,
    ProcessToken, RoleKind, StopResult,
};
use crate::run::{LoggedIds, Run};

/// Most characters of the driver's name in the guardian's log.
const MAX_WHO: usize = 200;

impl Drive {
    pub(super) fn act(&mut self, effect: MotionEffect) {
        match effect {
            MotionEffect::Start {
                token,
                order,
                origin,
            } => self.start(token, order, origin),
            MotionEffect::End(token) => {
                if let Some((cancel, _)) = self.motions.get(&token) {
                    cancel.cancel();
                }
            }
            MotionEffect::KillStop(token) => {
                if let Some(stop) = self.stops.get(&token) {
                    stop.cancel.cancel();
                }
            }
            MotionEffect::RunStop { token, cause } => {
                self.is_settled = false;
                let mut others = std::mem::take(&mut self.stop_runs);
                let mut run = others.pop().unwrap_or_else(|| self.own_stop());
                let is_shared = !others.is_empty();
                for other in &others {
                    tracing::info!(link = %other.link, run = %other.id(), by = %run.id(), "stop answered by another");
                }
                let kind = RoleKind::Stop {
                    target: self.stop_targets.stop_target(),
                    is_retry: run.id() == own_run() && self.motion.tries_by_itself(),
                };
                run.others = others;
                let ids = run.logged.clone();
                let stop = RunningStop {
                    cancel: self.spawn(token, run, kind),
                    cause,
                    ids,
                    is_shared,
                };
                self.stops.insert(token, stop);
            }
            MotionEffect::Refuse { origin, why } => self.refused(origin, why),
            MotionEffect::Extended { run, by } => {
                tracing::info!(link = %self.link, %run, %by, "motion extended");
                if let Some((asked, _)) = self.waiting.remove(&MotionOrigin::Timed(run)) {
                    self.extended(asked);
                }
            }
            MotionEffect::Over { origin, cause, at } => {
                let press = origin.press();
                let (link, run) = (&self.link, self.run_of(origin).map(display));
                let id = press.map(display);
                tracing::info!(%link, press = id, run, %cause, "motion over");
                let is_asked = matches!(cause, StopCause::Asked | StopCause::Beginning);
                let by = self.asked_by.take().filter(|_| is_asked);
                self.report(MotionEvent::Over {
                    press,
                    cause,
                    clock_ms: Some(millis(at)),
                    by,
                });
            }
            MotionEffect::Stands => {
                self.settle(StopResult::Stands);
                self.group = 0;
                self.stop_targets.clear();
                self.moving = None;
                self.asked_by = None;
                self.report(MotionEvent::Stands);
            }
            MotionEffect::StopFailed { again } => {
                self.settle(StopResult::Failed);
                // A further try that nobody asked for changes nothing: its end alone is told. Each new
                // link is told of the failure anyway.
                if !again {
                    let why = self.no_stop();
                    let why = why.as_ref().map(Text::raw);
                    tracing::error!(link = %self.link, why, "STOP FAILED: nothing moves until a stop has succeeded");
                    self.report(MotionEvent::StopFailed);
                }
            }
        }
    }

    /// Ends all waits for the car to stand: it stands, or can't be stopped.
    fn settle(&mut self, stopped: StopResult) {
        self.is_settled = true;
        self.leaving = None;
        for waits in self.until_it_stands.drain(..) {
            let _ = waits.send(stopped);
        }
    }

    fn start(&mut self, token: ProcessToken, order: MotionCommand, origin: MotionOrigin) {
        let Some((run, who)) = self.waiting.remove(&origin) else {
            return self.decide(MotionInput::NotStarted(token));
        };
        let press = origin.press();
        if let Some(press) = press {
            tracing::info!(
                link = %run.link, %press, run = %run.id(), driver = %who,
                from = %run.request.remote_addr, command = %order.command,
                lease_ms = self.commands.motion.lease_ms, "press"
            );
        }
        let id = run.id();
        self.owner = MotionOwner {
            run: Some(id),
            press,
            who: Escaped(who.raw()).cut(MAX_WHO).to_string(),
        };
        let stopped = run.request.for_ms.map(|_| self.until_it_stands());
        self.is_settled = false;
        let motion = ActiveMotion {
            run: id,
            command: order.command,
            press,
        };
        let cancel = self.spawn(token, run, RoleKind::Motion { stopped });
        self.motions.insert(token, (cancel, motion));
    }

    /// Starts a process; a motion's only once the guardian knows of it. Returns the token that ends
    /// it.
    fn spawn(&self, token: ProcessToken, mut run: Run, kind: RoleKind) -> CancellationToken {
        let guarded = match kind {
            RoleKind::Motion { .. } => self.guarded(),
            RoleKind::Stop { .. } => None,
        };
        let cancel = CancellationToken::new();
        let own = self.own.clone();
        run.role = Some(MotionRole {
            kind,
            end: cancel.clone(),
            events: Arc::new(move |event| own.send(DriveRequest::Process(token, event))),
        });
        let commands = self.commands.clone();
        self.tracker.spawn(async move {
            if let Some(guarded) = guarded
                && run.cancelled_before(guarded).await
            {
                let message = "it was over before the car's guardian had answered";
                return run.give_up(Refusal::Late, message.to_owned());
            }
            execute(run, &commands).await;
        });
        cancel
    }

    /// Returns a future that waits until the guardian knows of the motion. Without this, an inner
    /// that dies at a motion's first moment, or while a guardian is replaced, would leave the car
    /// moving.
    fn guarded(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        self.update_guardian();
        let mut confirmed = self.confirmed.clone()?;
        let guard = self.guard.subscribe();
        Some(async move {
            let is_newest = |known: &Option<GuardState>| known.as_ref() == Some(&*guard.borrow());
            // Without a guardian to confirm it, the motion doesn't begin.
            if confirmed.wait_for(is_newest).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    /// Makes a run of the stop command for the drive itself: nobody waits for it.
    fn own_stop(&self) -> Run {
        let (command, nobody) = (self.commands.motion.stop.clone(), Text::default());
        let mut run = Run::unread(
            own_run(),
            command,
            nobody,
            self.link.clone(),
            &self.reporter,
            &self.tracker,
        );
        let moves = self.moving.is_some() || !self.motions.is_empty();
        run.logged = match moves {
            true => LoggedIds {
                run: self.owner.run,
                press: self.owner.press,
            },
            false => LoggedIds::default(),
        };
        run
    }

    /// The run that moves the car because of this press or request, or did last.
    fn run_of(&self, origin: MotionOrigin) -> Option<RunId> {
        match origin {
            MotionOrigin::Timed(run) => Some(run),
            MotionOrigin::Press(press) if self.owner.press == Some(press) => self.owner.run,
            MotionOrigin::Press(_) => None,
        }
    }

    pub(super) fn update_guardian(&self) {
        let until = |deadline_ms| GuardState::Until {
            deadline_ms,
            group: match self.group {
                0 => self.stop_targets.newest_worker(),
                group => group,
            },
            owner: self.owner.clone(),
        };
        let news = match self.motion.guard() {
            None => GuardState::Stand,
            Some(Duration::MAX) => until(0),
            Some(at) => until(millis(at)),
        };
        if *self.guard.borrow() != news {
            self.guard.send_replace(news);
        }
    }
}

/// Run id of stops by the drive itself, which nobody asks for by it. Their log lines have the ids of what they end.
fn own_run() -> RunId {
    RunId::from_number(0)
}
