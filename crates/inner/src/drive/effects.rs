//! What comes of what `motion` decides: processes that begin or end, and who is told.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use p2p_shared::names::{LinkName, RunId};
use p2p_shared::protocol::console::MotionEvent;
use p2p_shared::protocol::{RUN_WINDOW, Refusal, RunRequest};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Asked, Drive, Process, What};
use crate::guardian::{Guard, Mover};
use crate::motion::{Effect, Event, Order, Origin, Token};
use crate::runner::{Job, Part, Stood, Window};

impl Drive {
    pub(super) fn act(&mut self, effect: Effect, job: &mut Option<Asked>) {
        match effect {
            Effect::Start {
                token,
                order,
                origin,
            } => self.start(token, order, origin),
            Effect::End(token) | Effect::KillStop(token) => {
                if let Some(process) = self.processes.get(&token) {
                    process.cancel.cancel();
                }
            }
            Effect::RunStop { token, cause } => {
                self.stands.send_replace(false);
                let mut others = std::mem::take(&mut self.stop_runs);
                others.extend(job.take());
                let asked = others.pop().unwrap_or_else(|| self.own_stop());
                for other in &others {
                    let run = other.request.run;
                    tracing::info!(%run, by = %asked.request.run, "stop answered by another");
                }
                let what = What::Stop { cause, others };
                self.spawn(token, what, asked, None);
            }
            Effect::Refuse { origin, why } => self.refused(origin, why),
            Effect::Extended { run, by } => {
                tracing::info!(%run, %by, "motion extended");
                if let Some(asked) = self.waiting.remove(&run) {
                    self.extended(asked);
                }
            }
            Effect::Over { origin, cause } => {
                let press = match origin {
                    Origin::Press(press) => Some(press),
                    Origin::Timed(_) => None,
                };
                tracing::info!(%origin, %cause, "motion over");
                self.report(MotionEvent::Over { press, cause });
            }
            Effect::Stands => {
                self.stands.send_replace(true);
                self.group = 0;
                self.movers.clear();
                self.leaving = None;
                self.answer_those_who_wait(Stood::Stands);
                self.moving = None;
                self.report(MotionEvent::Stands);
            }
            Effect::StopFailed { again } => {
                self.stands.send_replace(true);
                self.leaving = None;
                self.answer_those_who_wait(Stood::Failed);
                // Later tries that nobody asked for are no news; each new link is told all the same.
                if !again {
                    tracing::error!("STOP FAILED: nothing moves until a stop has succeeded");
                    self.report(MotionEvent::StopFailed);
                }
            }
        }
    }

    fn start(&mut self, token: Token, order: Order, origin: Origin) {
        let begun = match origin {
            Origin::Timed(run) => self.waiting.remove(&run).map(|asked| {
                let who = asked.request.remote_addr.as_str().into();
                (asked, None, who)
            }),
            Origin::Press(press) => self.presses.remove(&press).map(|(request, link, driver)| {
                tracing::info!(
                    epoch = press.epoch, press = press.number, run = %request.run, driver,
                    from = request.remote_addr, command = %order.command,
                    lease_ms = self.info.lease_ms, "press"
                );
                (unheard(request, link), Some(press), driver.into())
            }),
        };
        let Some((asked, press, who)) = begun else {
            return self.decide(Event::NotStarted(token), None);
        };
        let run = asked.request.run;
        self.mover = Mover {
            run: Some(run),
            press,
            who,
        };
        let stood = asked.request.for_ms.map(|_| self.until_it_stands());
        self.stands.send_replace(false);
        self.spawn(
            token,
            What::Motion {
                run,
                command: order.command,
                press,
            },
            asked,
            stood,
        );
    }

    fn spawn(
        &mut self,
        token: Token,
        what: What,
        asked: Asked,
        stood: Option<oneshot::Receiver<Stood>>,
    ) {
        let Asked {
            request,
            link,
            stdin,
            window,
            cancel: caller,
            entry,
        } = asked;
        let cancel = CancellationToken::new();
        let guarded = match what {
            What::Motion { .. } => self.guarded(),
            What::Stop { .. } => None,
        };
        let part = Part {
            token,
            is_stop: matches!(what, What::Stop { .. }),
            is_retry: request.run == own_run() && self.motion.tries_by_itself(),
            stop_by: self.movers.stop_by(),
            drive: self.own.clone(),
            stood: Mutex::new(stood),
            caller,
        };
        self.processes.insert(
            token,
            Process {
                cancel: cancel.clone(),
                what,
            },
        );
        let job = Job {
            request,
            stdin,
            link,
            limit: None,
            window,
            cancel,
            reports: self.reports.clone(),
            tracker: self.tracker.clone(),
            part: Some(part),
            _entry: entry,
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
        self.tell_guardian();
        let mut confirmed = self.confirmed.clone()?;
        let guard = self.guard.subscribe();
        Some(async move {
            let is_newest = |known: &Option<Guard>| known.as_ref() == Some(&*guard.borrow());
            // Without anyone who could confirm it, it does not begin.
            if confirmed.wait_for(is_newest).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    /// The stop command as we run it ourselves: nobody waits for it.
    fn own_stop(&self) -> Asked {
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

    pub(super) fn tell_guardian(&self) {
        let until = |deadline_ms| Guard::Until {
            deadline_ms,
            group: match self.group {
                0 => self.movers.newest_worker(),
                group => group,
            },
            mover: self.mover.clone(),
        };
        let news = match self.motion.guard() {
            None => Guard::Stand,
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
fn unheard(request: RunRequest, link: LinkName) -> Asked {
    let window = Window::new(RUN_WINDOW);
    window.close();
    Asked {
        request,
        link,
        stdin: Bytes::new(),
        window,
        cancel: CancellationToken::new(),
        entry: None,
    }
}
