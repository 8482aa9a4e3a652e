//! Handles what router and car report of a press: refusals, ends, failures.

use p2p_shared::protocol::{MotionEvent, MotionRefusal, PressId, StopCause};

use super::{Blocked, Drive, DriveOrder, Latch};

impl Drive {
    /// Handles the router's refusal of a press, or of the control that a press waits for. Only a
    /// new press moves again.
    pub fn refused(&mut self, press: Option<PressId>) {
        match press {
            Some(refused) if self.press.is_some_and(|press| press.id == refused) => {
                self.end_press();
            }
            // The pulse is over already; the key may still be held.
            Some(refused) if self.press.is_none() && self.last_id() == Some(refused) => {
                self.void_hold()
            }
            None if self.waiting_since.take().is_some() => self.void_hold(),
            _ => {}
        }
    }

    /// The press whose end is the reason of a failsafe.
    pub fn failed_press(&self) -> Option<PressId> {
        let is_failsafe = self.latch == Some(Latch::Failsafe);
        is_failsafe.then(|| self.last_id().or(self.lost_press))?
    }

    pub(super) fn last_id(&self) -> Option<PressId> {
        self.last_press.map(|(id, ..)| id)
    }

    pub fn motion(&mut self, event: &MotionEvent) -> Vec<DriveOrder> {
        let last = self.last_id();
        let is_ours = |press: Option<PressId>| press.is_some() && press == last;
        let why = match event {
            MotionEvent::Over { press, cause, .. } if is_ours(*press) => {
                self.unacknowledged = false;
                match cause {
                    StopCause::Lease | StopCause::Watchdog => Some(Blocked::Lease),
                    // This side had released or replaced the press before.
                    StopCause::Released if self.press.is_none() => None,
                    _ if self.press.is_none() => {
                        self.void_hold();
                        None
                    }
                    StopCause::Asked => Some(Blocked::StoppedByAnother),
                    _ => {
                        self.end_press();
                        None
                    }
                }
            }
            MotionEvent::Refused { press, why } if is_ours(Some(*press)) => {
                self.unacknowledged = false;
                // Our own newer press has replaced this one.
                (*why != MotionRefusal::Replaced).then_some(Blocked::Refused(*why))
            }
            MotionEvent::Stands => {
                self.unacknowledged = self.press.is_some();
                None
            }
            // Nothing was tried: the car has no stop command, and stands.
            MotionEvent::Stopped {
                failure: Some(failure),
                ..
            } if failure.tries == 0 && self.latch == Some(Latch::Stopped) => {
                self.latch = Some(Latch::Disarmed);
                return vec![DriveOrder::Report(Blocked::NoStop(
                    failure.said.to_string(),
                ))];
            }
            // Between a pulse and the first repeat of its key nothing moves. A stop then means that
            // the repeats must not move the car.
            MotionEvent::Stopped {
                cause: StopCause::Asked,
                ..
            } if self.press.is_none() && self.waiting_since.is_none() => {
                self.void_hold();
                None
            }
            MotionEvent::StopFailed => Some(Blocked::StopFailed),
            _ => None,
        };
        let Some(why) = why else { return Vec::new() };
        self.end_press();
        if matches!(why, Blocked::Lease | Blocked::StopFailed) {
            self.latch = Some(Latch::Failsafe);
        }
        vec![DriveOrder::Report(why)]
    }
}
