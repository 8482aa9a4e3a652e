//! Presses of one car: each is passed on by the priority queue, and recorded as a run from the car's
//! reports.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::bounded::{Arguments, Text};
use p2p_shared::names::{CommandName, RunId};
use p2p_shared::protocol::{
    ActiveMotion, MotionEvent, PressId, RouterToInner, RunSource, SessionId, StopFailure,
};
use p2p_shared::timing;

use super::{Car, DriverSession, Refused, State, log};
use crate::net::address_text;
use crate::run::NewRun;
use crate::run::error::status_of;

/// Most presses whose end is waited for: an inner that never reports one must not fill the memory.
const OPEN_PRESSES: usize = 64;

impl Car {
    /// Passes on a driver's press of this command, as this run.
    pub(crate) fn press(
        &self,
        who: &DriverSession,
        press: PressId,
        command: CommandName,
        tick_ms: u64,
        run: RunId,
    ) -> Result<(), Refused> {
        let mut state = self.state.lock();
        let begun = timing::now();
        let Some(link) = state.link.clone() else {
            return Err(Refused::offline(&state.name));
        };
        if self.services.closing.load(Ordering::Relaxed) {
            return Err(Refused::router_restarts());
        }
        if link.is_draining() {
            return Err(Refused::car_restarts(&state.name));
        }
        let mut motions = state
            .motion
            .iter()
            .flat_map(|motion| motion.commands.iter());
        if !motions.any(|motion| *motion == command) {
            return Err(Refused::no_motion(&command));
        }
        state.control.press(who.driver.session, press, begun)?;
        let new = NewRun {
            run,
            command,
            arguments: Arguments::default(),
            stdin: Bytes::new(),
            for_ms: None,
            source: RunSource::Drive,
            by: who.driver.name.clone(),
            key: who.key.clone(),
            from: who.from,
            begun,
        };
        log::pressed(&state.name, who, press, &new, state.rtt);
        let record = self.record_as(state.name.clone(), &new);
        state.presses.insert(press, record);
        state.newest = Some((press, who.refusals.clone()));
        // The time limit for a silent driver ends sooner than that for an idle one.
        self.services.changed.notify_one();
        let message = RouterToInner::Press {
            press,
            run,
            command: new.command,
            tick_ms,
            driver: new.by,
            remote_addr: Text::new(address_text::of_ip(who.from.ip())),
        };
        let replaced = link.drive().press(press, begun, message);
        state.press_dropped(replaced, "a newer press took its place before it was sent");
        if state.presses.len() > OPEN_PRESSES
            && let Some((_, mut oldest)) = state.presses.pop_first()
        {
            oldest.finish(502, "the car did not say what became of it");
        }
        Ok(())
    }

    /// Drops a press that is too old to be sent, and tells its driver.
    pub(crate) fn too_late(&self, press: PressId) {
        let mut state = self.state.lock();
        state.control.refuse(press);
        let refused = Refused::too_slow(&state.name);
        tracing::info!(link = %state.name, %press, "press dropped: too old");
        state.press_dropped(Some(press), &refused.message);
        if let Some((_, refusals)) = state.newest.take_if(|(newest, _)| *newest == press) {
            // A console with that many unread refusals learns of this one by its run.
            let _ = refusals.try_send((press, refused));
        }
    }

    /// Passes on a renewal. One that is not in order is old and dropped.
    pub(crate) fn renew(&self, session: SessionId, press: PressId, tick_ms: u64) {
        let mut state = self.state.lock();
        let counts = state.control.renew(session, press, timing::now());
        if let (true, Some(link)) = (counts, &state.link) {
            link.drive().renew(press, tick_ms);
        }
    }

    /// Passes on a release. One that is not in order is dropped: the car is stopped already.
    pub(crate) fn release(&self, session: SessionId, press: PressId) {
        let mut state = self.state.lock();
        let counts = state.control.release(session, press, timing::now());
        if let (true, Some(link)) = (counts, state.link.clone())
            && link.drive().release(press)
        {
            state.press_dropped(Some(press), "it was let go before it was sent");
        }
    }
}

impl State {
    /// Ends the record of a press that did not reach the car.
    pub(super) fn press_dropped(&mut self, press: Option<PressId>, why: &str) {
        let record = press.and_then(|press| self.presses.remove(&press));
        if let Some(mut record) = record {
            record.finish(503, why);
        }
    }

    /// Returns what people see of the motion: an event that changes it is always shown. What becomes
    /// of a press is for whoever pressed; only of the newest press, since a car may say it of any.
    pub(super) fn seen(&self) -> (Option<ActiveMotion>, bool, Option<PressId>) {
        (self.moving.clone(), self.stop_failed, self.over)
    }

    /// Updates the car's motion and the records of presses from the car's report.
    pub(super) fn follow(&mut self, event: &MotionEvent) {
        if let MotionEvent::Refused { press, .. }
        | MotionEvent::Over {
            press: Some(press), ..
        } = event
            && self.control.latest() == Some(*press)
        {
            self.over = Some(*press);
        }
        match event {
            MotionEvent::Started(moving) => {
                self.moving = Some(moving.clone());
                if let Some(record) = moving.press.and_then(|p| self.presses.get_mut(&p)) {
                    record.started();
                }
            }
            MotionEvent::Refused { press, why } => {
                self.control.refuse(*press);
                self.press_dropped(Some(*press), &why.to_string());
            }
            MotionEvent::Ended { run, end, exec_us } => {
                let mut presses = self
                    .presses
                    .extract_if(.., |_, record| record.run() == *run);
                if let Some((_, mut record)) = presses.next() {
                    record.ended(*end, Duration::from_micros(*exec_us));
                    record.finish(status_of(*end), "");
                }
            }
            MotionEvent::Stands => {
                self.moving = None;
                (self.stop_failed, self.stop_failure) = (false, None);
            }
            MotionEvent::StopFailed => self.stop_failed = true,
            MotionEvent::Stopped { failure, .. } => {
                self.stop_failure = failure.clone().map(|failure| (failure, timing::now()));
            }
            MotionEvent::Over { .. } => {}
        }
    }

    /// The newest failure of the stop command, with what is left by now of the time until the next try.
    pub(super) fn stop_failure_of(&self, now: Instant) -> Option<StopFailure> {
        let (failure, told) = self.stop_failure.as_ref()?;
        let past_ms = timing::millis(now.saturating_duration_since(*told));
        let again_ms = failure.again_ms.map(|ms| ms.saturating_sub(past_ms));
        let failure = failure.clone();
        Some(StopFailure {
            again_ms,
            ..failure
        })
    }

    /// Ends the records of all presses: nobody will report what becomes of them.
    pub(super) fn abort_presses(&mut self) {
        for mut record in std::mem::take(&mut self.presses).into_values() {
            record.finish(502, "the link to the car was lost");
        }
    }
}
