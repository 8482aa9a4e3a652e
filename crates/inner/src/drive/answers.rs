//! Reports the car's motion to the router: answers to those who asked for it, and the state.

use p2p_shared::bounded::Text;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{
    End, InnerToRouter, MotionEvent, MotionRefusal, PastEvent, Refusal, StderrTail,
};
use p2p_shared::timing::millis;
use tokio::sync::oneshot;

use super::Drive;
use crate::clock;
use crate::motion::{MotionOrigin, StopResult};
use crate::ring;
use crate::run::{Run, stop_failed};

impl Drive {
    /// Returns a receiver of the result when the car stands, or can't be stopped.
    pub(super) fn until_it_stands(&mut self) -> oneshot::Receiver<StopResult> {
        let (stands, stopped) = oneshot::channel();
        // Receivers that were dropped are removed.
        self.until_it_stands.retain(|waits| !waits.is_closed());
        self.until_it_stands.push(stands);
        stopped
    }

    /// Answers a motion that only extended the running one: at once, or with `for=` when the car
    /// stands.
    pub(super) fn extended(&mut self, asked: Run) {
        let run = asked.id();
        self.reporter.urgent(InnerToRouter::Started { run });
        if asked.request.for_ms.is_none() {
            self.reporter
                .urgent(finished(run, End::Ended, 0, StderrTail::default()));
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
                _ => (End::Ended, StderrTail::default()),
            };
            reporter.output([finished(run, end, 0, said)]).await;
        });
    }

    pub(super) fn refused(&mut self, origin: MotionOrigin, why: MotionRefusal) {
        let Some((run, who)) = self.waiting.remove(&origin) else {
            return;
        };
        if let Some(press) = origin.press() {
            tracing::info!(
                link = %run.link, %press, run = %run.id(), driver = %who,
                from = %run.request.remote_addr, %why, "press refused"
            );
            return self.report(MotionEvent::Refused { press, why });
        }
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
        self.refuse(run.id(), refusal, message.to_owned());
    }

    pub(super) fn refuse(&self, run: RunId, refusal: Refusal, message: String) {
        tracing::info!(link = %self.link, %run, why = message, "run refused");
        self.reporter.urgent(InnerToRouter::Refused {
            run,
            refusal,
            message: Text::new(message),
        });
    }

    /// Tells the router what happened, and notes it in the ring.
    pub(super) fn report(&self, event: MotionEvent) {
        let mut entry = ring::entry(PastEvent::Motion(event.clone()));
        let (left, rtt) = self.motion.heard();
        match &event {
            MotionEvent::Started(_) => entry.who = Some(Text::new(self.owner.who.clone())),
            MotionEvent::Over { .. } => entry.left_ms = left.map(millis),
            _ => {}
        }
        if matches!(
            event,
            MotionEvent::Started(_) | MotionEvent::Over { .. } | MotionEvent::Refused { .. }
        ) {
            entry.rtt_ms = rtt.map(millis);
        }
        self.reporter.ring().add(entry);
        self.tell(event);
    }

    fn tell(&self, event: MotionEvent) {
        let clock_ms = clock::now_ms();
        self.reporter.urgent(InnerToRouter::Clock { clock_ms });
        self.reporter.urgent(InnerToRouter::Motion(event));
    }

    /// Reports the state again, because reports without a link were lost; what happened meanwhile is in
    /// the ring.
    pub(super) fn report_state(&self) {
        if let Some(moving) = &self.moving {
            self.tell(MotionEvent::Started(moving.clone()));
        }
        if self.motion.has_failed() {
            self.tell(MotionEvent::StopFailed);
        } else if self.motion.guard().is_none() {
            self.tell(MotionEvent::Stands);
        }
    }
}

/// Makes the end of a run that another run's motion or stop has answered.
pub(super) fn finished(run: RunId, end: End, exec_us: u64, stderr: StderrTail) -> InnerToRouter {
    InnerToRouter::Finished {
        run,
        end,
        exec_us,
        stderr,
    }
}
