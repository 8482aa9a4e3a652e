//! Reports the car's motion to the router: answers to those who asked for it, and the state.

use bytes::Bytes;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{End, InnerToRouter, MotionEvent, MotionRefusal, Refusal};
use tokio::sync::oneshot;

use super::Drive;
use crate::motion::{MotionOrigin, StopResult};
use crate::run::{Run, stop_failed};

impl Drive {
    /// Answers a stop with the result of another one that began later.
    pub(super) fn answer_stop(&self, run: RunId, end: End, exec_us: u64) {
        let finished = InnerToRouter::Finished {
            run,
            end,
            exec_us,
            stderr: Bytes::new(),
        };
        self.reporter.urgent(InnerToRouter::Started { run });
        self.reporter.urgent(finished);
    }

    /// Returns a receiver of the result when the car stands, or can't be stopped.
    pub(super) fn until_it_stands(&mut self) -> oneshot::Receiver<StopResult> {
        let (stands, stopped) = oneshot::channel();
        // Receivers that were dropped are removed.
        self.until_it_stands.retain(|waits| !waits.is_closed());
        self.until_it_stands.push(stands);
        stopped
    }

    pub(super) fn answer_waiting(&mut self, stopped: StopResult) {
        for waits in self.until_it_stands.drain(..) {
            let _ = waits.send(stopped);
        }
    }

    /// Answers a motion that only extended the running one: at once, or with `for=` when the car
    /// stands.
    pub(super) fn extended(&mut self, asked: Run) {
        let run = asked.id();
        self.reporter.urgent(InnerToRouter::Started { run });
        if asked.request.for_ms.is_none() {
            self.reporter
                .urgent(finished(run, End::Ended, Bytes::new()));
            return;
        }
        let stopped = self.until_it_stands();
        let reporter = self.reporter.clone();
        self.tracker.spawn(async move {
            let stopped = tokio::select! {
                biased;
                stopped = stopped => stopped,
                () = asked.caller.cancelled() => return,
            };
            let (end, said) = match stopped {
                Ok(StopResult::Failed) => stop_failed(&[]),
                _ => (End::Ended, Bytes::new()),
            };
            reporter.output([finished(run, end, said)]).await;
        });
    }

    pub(super) fn refused(&mut self, origin: MotionOrigin, why: MotionRefusal) {
        match origin {
            MotionOrigin::Press(press) => {
                if let Some((run, driver)) = self.presses.remove(&press) {
                    tracing::info!(
                        epoch = press.epoch, press = press.number, run = %run.id(), driver,
                        from = run.request.remote_addr, %why, "press refused"
                    );
                    self.report(MotionEvent::Refused { press, why });
                }
            }
            MotionOrigin::Timed(run) => {
                if self.waiting.remove(&run).is_some() {
                    let (refusal, message) = match why {
                        MotionRefusal::StopFailed => (
                            Refusal::StopFailed,
                            "the car's stop command fails: nothing moves until a stop has succeeded",
                        ),
                        _ => (
                            Refusal::Late,
                            "a newer motion or a stop came before it began",
                        ),
                    };
                    self.refuse(run, refusal, message.to_owned());
                }
            }
        }
    }

    pub(super) fn refuse(&self, run: RunId, refusal: Refusal, message: String) {
        tracing::info!(%run, why = message, "run refused");
        self.reporter.urgent(InnerToRouter::Refused {
            run,
            refusal,
            message,
        });
    }

    pub(super) fn report(&self, event: MotionEvent) {
        self.reporter.urgent(InnerToRouter::Motion(event));
    }

    /// Reports the state again, because reports without a link were lost.
    pub(super) fn report_state(&self) {
        if let Some(moving) = &self.moving {
            self.report(MotionEvent::Started(moving.clone()));
        }
        if self.motion.has_failed() {
            self.report(MotionEvent::StopFailed);
        } else if self.motion.guard().is_none() {
            self.report(MotionEvent::Stands);
        }
    }
}

/// Makes the end of a run that only extended another one.
fn finished(run: RunId, end: End, stderr: Bytes) -> InnerToRouter {
    InnerToRouter::Finished {
        run,
        end,
        exec_us: 0,
        stderr,
    }
}
