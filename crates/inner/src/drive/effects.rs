//! What comes of what `motion` decides: processes that begin or end, and who is told.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use p2p_shared::names::{LinkName, RunId};
use p2p_shared::protocol::{MotionEvent, RUN_WINDOW, Refusal, RunRequest};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Drive, PendingMotion, Process, ProcessPurpose};
use crate::guardian::{GuardState, MotionOwner};
use crate::motion::{MotionCommand, MotionEffect, MotionInput, MotionOrigin, ProcessToken};
use crate::run::{MotionRole, Run, StopResult, Window};

impl Drive {
    pub(super) fn act(&mut self, effect: MotionEffect, job: &mut Option<PendingMotion>) {
        match effect {
            MotionEffect::Start {
                token,
                order,
                origin,
            } => self.start(token, order, origin),
            MotionEffect::End(token) | MotionEffect::KillStop(token) => {
                if let Some(process) = self.processes.get(&token) {
                    process.cancel.cancel();
                }
            }
            MotionEffect::RunStop { token, cause } => {
                self.stands.send_replace(false);
                let mut others = std::mem::take(&mut self.stop_runs);
                others.extend(job.take());
                let asked = others.pop().unwrap_or_else(|| self.own_stop());
                for other in &others {
                    let run = other.request.run;
                    tracing::info!(%run, by = %asked.request.run, "stop answered by another");
                }
                let purpose = ProcessPurpose::Stop { cause, others };
                self.spawn(token, purpose, asked, None);
            }
            MotionEffect::Refuse { origin, why } => self.refused(origin, why),
            MotionEffect::Extended { run, by } => {
                tracing::info!(%run, %by, "motion extended");
                if let Some(asked) = self.waiting.remove(&run) {
                    self.extended(asked);
                }
            }
            MotionEffect::Over { origin, cause } => {
                let press = match origin {
                    MotionOrigin::Press(press) => Some(press),
                    MotionOrigin::Timed(_) => None,
                };
                tracing::info!(%origin, %cause, "motion over");
                self.report(MotionEvent::Over { press, cause });
            }
            MotionEffect::Stands => {
                self.stands.send_replace(true);
                self.group = 0;
                self.stop_targets.clear();
                self.leaving = None;
                self.answer_waiting(StopResult::Stands);
                self.moving = None;
                self.report(MotionEvent::Stands);
            }
            MotionEffect::StopFailed { again } => {
                self.stands.send_replace(true);
                self.leaving = None;
                self.answer_waiting(StopResult::Failed);
                // Later tries that nobody asked for are no news; each new link is told all the same.
                if !again {
                    tracing::error!("STOP FAILED: nothing moves until a stop has succeeded");
                    self.report(MotionEvent::StopFailed);
                }
            }
        }
    }

    fn start(&mut self, token: ProcessToken, order: MotionCommand, origin: MotionOrigin) {
        let begun = match origin {
            MotionOrigin::Timed(run) => self.waiting.remove(&run).map(|asked| {
                let who = asked.request.remote_addr.as_str().into();
                (asked, None, who)
            }),
            MotionOrigin::Press(press) => {
                self.presses.remove(&press).map(|(request, link, driver)| {
                    tracing::info!(
                        epoch = press.epoch, press = press.number, run = %request.run, driver,
                        from = request.remote_addr, command = %order.command,
                        lease_ms = self.info.lease_ms, "press"
                    );
                    (unheard(request, link), Some(press), driver.into())
                })
            }
        };
        let Some((asked, press, who)) = begun else {
            return self.decide(MotionInput::NotStarted(token), None);
        };
        let run = asked.request.run;
        self.owner = MotionOwner {
            run: Some(run),
            press,
            who,
        };
        let stop_result = asked.request.for_ms.map(|_| self.wait_until_it_stands());
        self.stands.send_replace(false);
        self.spawn(
            token,
            ProcessPurpose::Motion {
                run,
                command: order.command,
                press,
            },
            asked,
            stop_result,
        );
    }

    fn spawn(
        &mut self,
        token: ProcessToken,
        purpose: ProcessPurpose,
        asked: PendingMotion,
        stop_result: Option<oneshot::Receiver<StopResult>>,
    ) {
        let PendingMotion {
            request,
            link,
            stdin,
            window,
            cancel: caller,
            guard,
        } = asked;
        let cancel = CancellationToken::new();
        let guarded = match purpose {
            ProcessPurpose::Motion { .. } => self.guarded(),
            ProcessPurpose::Stop { .. } => None,
        };
        let role = MotionRole {
            token,
            is_stop: matches!(purpose, ProcessPurpose::Stop { .. }),
            is_retry: request.run == own_run() && self.motion.tries_by_itself(),
            stop_target: self.stop_targets.stop_target(),
            drive: self.own.clone(),
            stop_result: Mutex::new(stop_result),
            caller,
        };
        self.processes.insert(
            token,
            Process {
                cancel: cancel.clone(),
                purpose,
            },
        );
        let job = Run {
            request,
            stdin,
            link,
            limit: None,
            window,
            cancel,
            reports: self.reports.clone(),
            tracker: self.tracker.clone(),
            role: Some(role),
            _guard: guard,
        };
        let commands = self.commands.clone();
        self.tracker.spawn(async move {
            if let Some(guarded) = guarded
                && job.cancelled_before(guarded).await
            {
                return job.give_up(
                    Refusal::Late,
                    "it was over before the car's guardian had answered".to_owned(),
                );
            }
            job.run(&commands).await;
        });
    }

    /// When the guardian knows what is to begin now: an inner that dies or is stopped at a
    /// motion's first moment, or while a guardian is replaced, would else leave the car moving.
    fn guarded(&self) -> Option<impl Future<Output = ()> + Send + 'static> {
        self.update_guardian();
        let mut confirmed = self.confirmed.clone()?;
        let guard = self.guard.subscribe();
        Some(async move {
            let is_newest = |known: &Option<GuardState>| known.as_ref() == Some(&*guard.borrow());
            // Without anyone who could confirm it, it does not begin.
            if confirmed.wait_for(is_newest).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    /// The stop command as we run it ourselves: nobody waits for it.
    fn own_stop(&self) -> PendingMotion {
        let request = RunRequest {
            run: own_run(),
            command: self.info.stop.clone(),
            arguments: Vec::new(),
            deadline_ms: u64::MAX,
            remote_addr: String::new(),
            stdin_bytes: 0,
            for_ms: None,
        };
        let link = "-"
            .parse()
            .unwrap_or_else(|_| unreachable!("a dash is a name"));
        unheard(request, link)
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
            Some(at) => until(u64::try_from(at.as_millis()).unwrap_or(u64::MAX)),
        };
        self.guard.send_if_modified(|guard| {
            let is_news = *guard != news;
            *guard = news;
            is_news
        });
    }
}

/// The number of the stops that are our own.
fn own_run() -> RunId {
    RunId::from_number(0)
}

/// A run whose output nobody waits for.
fn unheard(request: RunRequest, link: LinkName) -> PendingMotion {
    let window = Window::new(RUN_WINDOW);
    window.close();
    PendingMotion {
        request,
        link,
        stdin: Bytes::new(),
        window,
        cancel: CancellationToken::new(),
        guard: None,
    }
}
