//! Decides driving: makes presses, renewals, releases and stops from the keys and pads that are
//! held. Pure: the caller gives the facts and the time, and sends what is returned. The car's own
//! stop, when its lease runs out, is not decided here.
//!
//! ```text
//!   VIEW ──a, or first arrow──▶ ARMED ──hold──▶ DRIVING ──release──▶ ARMED
//!    ▲  Esc, idle                 │ Space           │ Space, or a failure
//!    └────────────────────────────┴──▶ STOPPED, FAILSAFE ──a──▶ ARMED
//! ```

pub mod facts;
pub mod hold;
mod reports;
mod types;

use std::time::{Duration, Instant};

use p2p_shared::protocol::PressId;

pub use crossterm::event::KeyEventKind;
pub use facts::{ControlHolder, DriveFacts};
pub use hold::{Direction, Hold, KeyReleases};
pub use types::{Blocked, DriveOrder, DriveState};

/// Interval of the renewals of a press: 8 within the shortest usual lease.
pub const HEARTBEAT: Duration = Duration::from_millis(50);
/// Time for which a link must be healthy before anything moves.
pub const HEALTHY: Duration = Duration::from_millis(500);
/// Above this round trip a press is one short pulse: nobody steers with such a delay.
pub const PULSES_ONLY: Duration = Duration::from_millis(300);
/// Above this round trip the car drops every renewal as too old.
pub const TOO_SLOW: Duration = Duration::from_secs(1);
/// A loop that is later than this discards waiting input and disarms.
pub const LATE: Duration = Duration::from_millis(200);
/// Longest time that a press waits for control and for the car's clock.
const WAIT: Duration = Duration::from_millis(500);

/// Reason why nothing moves before `a` is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Latch {
    Stopped,
    Failsafe,
    /// Esc, or control that was lost: nothing is shown.
    Disarmed,
}

#[derive(Debug, Clone, Copy)]
struct SentPress {
    id: PressId,
    direction: Direction,
    sent: Instant,
}

#[derive(Debug, Default)]
pub struct Drive {
    pub releases: KeyReleases,
    /// True if a press goes on by itself until any key, at most 5 s. Only where releases are guessed.
    pub latches: bool,
    /// Time after which a held key repeats first on this terminal, once it is known.
    pub first_repeat: Option<Duration>,
    latch: Option<Latch>,
    /// Epoch of our control, as far as we know.
    epoch: Option<u64>,
    number: u64,
    hold: Option<Hold>,
    /// Time of the press of a held key that still waits for control or for the car's clock.
    waiting_since: Option<Instant>,
    press: Option<SentPress>,
    /// The last press that was sent, whether still held or not: its id, its direction and when it
    /// was sent.
    pub last_press: Option<(PressId, Direction, Instant)>,
    /// The car has not reported the end of the last press. If the link is lost now, the lease may
    /// have stopped the car.
    unacknowledged: bool,
    /// The press that was held when the way to the car was lost.
    lost_press: Option<PressId>,
    /// Epoch of the control that we gave back; the router may not have confirmed it.
    released_epoch: Option<u64>,
}

impl Drive {
    pub fn new(releases: KeyReleases) -> Self {
        Self {
            releases,
            ..Self::default()
        }
    }

    /// Forgets the old link: another car is driven now, or the same car over a new link. Nothing
    /// moves before `a`.
    pub fn restart(&mut self) {
        self.end_press();
        *self = Self {
            // The reason for standing stays on the screen: the same car may come back.
            latch: self.latch.or(Some(Latch::Disarmed)),
            hold: self.hold.take(),
            number: self.number,
            first_repeat: self.first_repeat,
            lost_press: self.lost_press,
            ..Self::new(self.releases)
        };
    }

    /// Drives another car. What is known of the keyboard stays.
    pub fn change_car(&mut self) {
        *self = Self {
            first_repeat: self.first_repeat,
            ..Self::new(self.releases)
        };
    }

    /// Motion by a tap, where releases are guessed.
    pub fn tap(&self) -> Duration {
        hold::tap(self.first_repeat)
    }

    /// Returns true while a press goes on by itself, or is about to.
    pub fn is_latched(&self) -> bool {
        (self.press.is_some() || self.waiting_since.is_some())
            && self.hold.as_ref().is_some_and(Hold::is_latch)
    }

    /// Ends a press that goes on by itself, for any key. An arrow key that does it moves nothing while it
    /// is held.
    pub fn end_latched(&mut self, key: Option<Direction>, now: Instant) -> Vec<DriveOrder> {
        if !self.is_latched() {
            return Vec::new();
        }
        self.waiting_since = None;
        self.hold = key.map(|direction| {
            let mut hold = Hold::key(direction, self.releases, now);
            hold.void();
            hold
        });
        let mut orders = self.release();
        orders.push(DriveOrder::LatchEnded("a key or a click"));
        orders
    }

    /// The session that controls the car; none, if we have just given control back.
    pub fn holder<'a>(&self, facts: &'a DriveFacts) -> &'a ControlHolder {
        match &facts.holder {
            ControlHolder::Us { epoch } if self.released_epoch == Some(*epoch) => {
                &ControlHolder::Nobody
            }
            holder => holder,
        }
    }

    pub fn state(&self, facts: &DriveFacts) -> DriveState {
        match (self.press, self.latch) {
            _ if !facts.is_up => DriveState::Offline,
            _ if facts.is_silent => DriveState::NoAnswer,
            (Some(press), _) => DriveState::Driving(press.direction),
            (None, Some(Latch::Stopped)) => DriveState::Stopped,
            (None, Some(Latch::Failsafe)) => DriveState::Failsafe,
            (None, None) if matches!(self.holder(facts), ControlHolder::Us { .. }) => {
                DriveState::Armed
            }
            (None, _) => DriveState::View,
        }
    }

    /// Returns true as long as what this reason speaks of is so.
    pub fn holds(&self, why: &Blocked, facts: &DriveFacts) -> bool {
        match why {
            Blocked::Offline => !facts.is_up,
            Blocked::Silent => facts.is_silent,
            Blocked::StopFailed => facts.stop_failed,
            Blocked::Unsettled => facts.obstacle() == Some(Blocked::Unsettled),
            Blocked::TooSlow(_) | Blocked::PulseOnly(_) => {
                !facts.is_silent && facts.round_trip.is_some_and(|rtt| rtt > PULSES_ONLY)
            }
            Blocked::Held(name) | Blocked::Asked(name) => {
                *self.holder(facts) == ControlHolder::Other(name.clone())
            }
            Blocked::NeedsArming
            | Blocked::NoStop(_)
            | Blocked::Lease
            | Blocked::ControlGone
            | Blocked::Late(_)
            | Blocked::InputDead => self.latch.is_some(),
            Blocked::StoppedByAnother | Blocked::Refused(_) => self.press.is_none(),
            Blocked::MayNot
            | Blocked::KeyHeld
            | Blocked::StillHeld
            | Blocked::NoAnswer
            | Blocked::NoCommand => true,
        }
    }

    /// The press that is sent and held, and its direction.
    pub fn asked(&self) -> Option<(PressId, Direction)> {
        self.press.map(|press| (press.id, press.direction))
    }

    /// Returns true if we have or expect control, so that arrow keys drive.
    pub fn is_armed(&self) -> bool {
        self.epoch.is_some() || self.waiting_since.is_some()
    }

    /// Returns true if nothing moves before `a` is pressed.
    pub fn needs_arming(&self) -> bool {
        self.latch.is_some()
    }

    /// Time of the next call of [`tick`](Self::tick).
    pub fn next(&self) -> Option<Instant> {
        let heartbeat = self.press.map(|press| press.sent + HEARTBEAT);
        let hold = self.hold.as_ref().map(|hold| match self.press {
            Some(_) => hold.moves_until(),
            None => hold.known_until(),
        });
        let waiting_since = self.waiting_since.map(|since| since + WAIT);
        [heartbeat, hold, waiting_since].into_iter().flatten().min()
    }

    /// Handles an arrow key. Where releases are guessed, a press may also be a repeat.
    pub fn key(
        &mut self,
        direction: Direction,
        kind: KeyEventKind,
        facts: &DriveFacts,
    ) -> Vec<DriveOrder> {
        let now = facts.now;
        if kind != KeyEventKind::Release && self.is_latched() {
            return self.end_latched(Some(direction), now);
        }
        let is_same = |hold: &&mut Hold| !hold.is_pad() && hold.direction == direction;
        let held = self.hold.as_mut().filter(is_same);
        match (kind, held) {
            (KeyEventKind::Release, Some(_)) => self.key_up(),
            (KeyEventKind::Release, None) => Vec::new(),
            (KeyEventKind::Repeat, held) => {
                if let Some(hold) = held {
                    hold.repeated(now);
                }
                Vec::new()
            }
            (KeyEventKind::Press, Some(hold))
                if now < hold.held_until() && hold.repeats_as_press(now) =>
            {
                let doubtful = hold.may_be_held_on(now);
                hold.repeated(now);
                self.first_repeat = hold.first_repeat().or(self.first_repeat);
                Vec::from_iter(doubtful.then_some(DriveOrder::Report(Blocked::StillHeld)))
            }
            (KeyEventKind::Press, _) => {
                let hold = match self.latches {
                    true => Hold::latch(direction, now),
                    false => Hold::key(direction, self.releases, now)
                        .with_first_repeat(self.first_repeat)
                        .after(self.hold.as_ref()),
                };
                self.key_down(hold, facts)
            }
        }
    }

    pub fn pad_down(&mut self, direction: Direction, facts: &DriveFacts) -> Vec<DriveOrder> {
        self.key_down(Hold::pad(direction, facts.now), facts)
    }

    /// Handles a mouse button that was released, or a mouse that left the pad.
    pub fn pad_up(&mut self) -> Vec<DriveOrder> {
        match &self.hold {
            Some(hold) if hold.is_pad() => self.key_up(),
            _ => Vec::new(),
        }
    }

    /// Ends the press. The key may still be down and moves nothing then. For a paste, or when
    /// control is handed over.
    pub fn release_all(&mut self) -> Vec<DriveOrder> {
        self.waiting_since = None;
        self.void_hold();
        self.hold.take_if(|hold| hold.is_pad());
        self.release()
    }

    /// Handles a lost focus. Where releases are reported, the release of a held key goes to another
    /// window.
    pub fn focus_lost(&mut self) -> Vec<DriveOrder> {
        let orders = self.release_all();
        if self.releases == KeyReleases::Reported {
            self.hold = None;
        }
        orders
    }

    fn key_up(&mut self) -> Vec<DriveOrder> {
        self.hold = None;
        self.waiting_since = None;
        self.release()
    }

    /// `a`: takes control, or asks for it.
    pub fn arm(&mut self, facts: &DriveFacts) -> Vec<DriveOrder> {
        let hold = self.hold.as_ref();
        if hold.is_some_and(|hold| facts.now < hold.held_until()) {
            return vec![DriveOrder::Report(match self.releases {
                KeyReleases::Reported => Blocked::KeyHeld,
                KeyReleases::Guessed => Blocked::StillHeld,
            })];
        }
        if let Some(why) = facts.obstacle() {
            return vec![DriveOrder::Report(why)];
        }
        self.latch = None;
        match self.holder(facts) {
            ControlHolder::Us { .. } => Vec::new(),
            ControlHolder::Nobody => vec![DriveOrder::Take],
            ControlHolder::Other(name) => vec![
                DriveOrder::Take,
                DriveOrder::Report(Blocked::Asked(name.clone())),
            ],
        }
    }

    /// Esc: ends the press and gives control back. Nothing moves before `a`.
    pub fn disarm(&mut self, facts: &DriveFacts) -> Vec<DriveOrder> {
        let orders = self.leave(facts);
        self.latch = Some(Latch::Disarmed);
        orders
    }

    /// Ends the press and gives control back, when the Drive screen is left or a text is typed.
    pub fn leave(&mut self, facts: &DriveFacts) -> Vec<DriveOrder> {
        let mut orders = self.release_all();
        self.epoch = None;
        if let ControlHolder::Us { epoch } = self.holder(facts) {
            self.released_epoch = Some(*epoch);
            orders.push(DriveOrder::GiveBack);
        }
        orders
    }

    /// Space: stops the car, whoever drives. Needs no control and is never refused here.
    pub fn stop(&mut self) -> Vec<DriveOrder> {
        self.end_press();
        self.latch = Some(Latch::Stopped);
        vec![DriveOrder::Stop]
    }

    /// Stops and disarms after a failure on this side: a late loop or a dead input thread.
    pub fn fail(&mut self, why: Blocked, facts: &DriveFacts) -> Vec<DriveOrder> {
        self.void_hold();
        if let Some(hold) = self.hold.as_mut() {
            hold.assume_held_until(facts.now);
        }
        if self.press.is_none() && !self.is_armed() {
            return Vec::new();
        }
        self.latch = Some(self.press.map_or(Latch::Disarmed, |_| Latch::Failsafe));
        self.end_press();
        let mut orders = vec![DriveOrder::Stop];
        orders.extend(self.leave(facts));
        orders.push(DriveOrder::Report(why));
        orders
    }

    /// Handles an arrow key that went down too long ago to move anything. The key may still be
    /// held, so its repeats move nothing either.
    pub fn stale(&mut self, direction: Direction, facts: &DriveFacts) {
        if self.press.is_none() && self.waiting_since.is_none() {
            let mut hold = Hold::key(direction, self.releases, facts.now);
            hold.void();
            self.hold = Some(hold);
        }
    }

    /// Called after each change and when time has passed.
    pub fn tick(&mut self, facts: &DriveFacts) -> Vec<DriveOrder> {
        let mut orders = Vec::new();
        if !facts.is_up {
            if self.press.is_some() || self.is_armed() {
                if self.press.is_some() || self.unacknowledged {
                    self.lost_press = self.last_id();
                    self.latch = Some(Latch::Failsafe);
                }
                // A reason that is shown already stays.
                self.latch.get_or_insert(Latch::Disarmed);
                self.end_press();
                self.unacknowledged = false;
                self.epoch = None;
            }
            self.forget_hold(facts.now);
            return orders;
        }
        self.follow_control(facts, &mut orders);
        if self.waiting_since.is_some() {
            self.begin_if_possible(facts, &mut orders);
        }
        if self.press.is_some() {
            self.keep_moving(facts, &mut orders);
        }
        self.forget_hold(facts.now);
        orders
    }

    fn follow_control(&mut self, facts: &DriveFacts, orders: &mut Vec<DriveOrder>) {
        match (self.epoch, self.holder(facts)) {
            (None, ControlHolder::Us { epoch }) => self.epoch = Some(*epoch),
            (Some(ours), ControlHolder::Us { epoch }) if ours != *epoch => {
                self.end_press();
                self.epoch = Some(*epoch);
            }
            (Some(_), ControlHolder::Nobody | ControlHolder::Other(_)) => {
                self.end_press();
                self.epoch = None;
                self.latch.get_or_insert(Latch::Disarmed);
                orders.push(DriveOrder::Report(Blocked::ControlGone));
            }
            _ => {}
        }
    }

    fn key_down(&mut self, hold: Hold, facts: &DriveFacts) -> Vec<DriveOrder> {
        let direction = hold.direction;
        self.waiting_since = None;
        let mut orders = Vec::new();
        let obstacle = match self.holder(facts) {
            ControlHolder::Other(name) => facts.obstacle().or(Some(Blocked::Held(name.clone()))),
            _ => facts.obstacle(),
        };
        let obstacle = obstacle
            .or_else(|| self.latch.map(|_| Blocked::NeedsArming))
            .or_else(|| (direction.index() >= facts.directions).then_some(Blocked::NoCommand));
        self.hold = Some(hold);
        if let Some(why) = obstacle {
            orders.extend(self.release());
            self.void_hold();
            orders.push(DriveOrder::Report(why));
            return orders;
        }
        self.waiting_since = Some(facts.now);
        if *self.holder(facts) == ControlHolder::Nobody {
            orders.push(DriveOrder::Take);
        }
        self.follow_control(facts, &mut orders);
        self.begin_if_possible(facts, &mut orders);
        orders
    }

    fn begin_if_possible(&mut self, facts: &DriveFacts, orders: &mut Vec<DriveOrder>) {
        let holder = self.holder(facts);
        let (Some(since), Some(hold)) = (self.waiting_since, self.hold.as_mut()) else {
            self.waiting_since = None;
            return;
        };
        let (ControlHolder::Us { epoch }, Some(_)) = (holder, facts.tick_ms) else {
            if facts.now >= since + WAIT {
                self.waiting_since = None;
                hold.void();
                orders.push(DriveOrder::Report(Blocked::NoAnswer));
            }
            return;
        };
        let slow = facts.round_trip.filter(|rtt| *rtt > PULSES_ONLY);
        hold.press_sent(facts.now, slow.is_some());
        self.waiting_since = None;
        self.number += 1;
        let id = PressId {
            epoch: *epoch,
            number: self.number,
        };
        let (direction, sent) = (hold.direction, facts.now);
        self.press = Some(SentPress {
            id,
            direction,
            sent,
        });
        self.last_press = Some((id, direction, sent));
        self.unacknowledged = true;
        orders.push(DriveOrder::Press(id, direction));
        orders.extend(slow.map(|rtt| DriveOrder::Report(Blocked::PulseOnly(rtt))));
    }

    fn keep_moving(&mut self, facts: &DriveFacts, orders: &mut Vec<DriveOrder>) {
        let now = facts.now;
        if !facts.input_is_alive {
            orders.extend(self.fail(Blocked::InputDead, facts));
            return;
        }
        if let Some(rtt) = facts.round_trip.filter(|rtt| *rtt > PULSES_ONLY)
            && let Some(hold) = self.hold.as_mut()
            && hold.limit_to_pulse()
        {
            orders.push(DriveOrder::Report(if rtt > TOO_SLOW {
                Blocked::TooSlow(rtt)
            } else {
                Blocked::PulseOnly(rtt)
            }));
        }
        let held = self.hold.as_ref().filter(|hold| !hold.is_finished);
        // Nobody may be there who would notice that the car is not heard.
        let held = held.filter(|hold| !(hold.is_latch() && facts.is_silent));
        if held.is_none_or(|hold| now >= hold.moves_until()) {
            let why = match self.hold.as_ref() {
                _ if !self.is_latched() => None,
                _ if facts.is_silent => Some("no answer"),
                Some(hold) if hold.is_pulse() => Some("the link is slow"),
                _ => Some("its 5 s are over"),
            };
            orders.extend(self.release());
            orders.extend(why.map(DriveOrder::LatchEnded));
            if let Some(hold) = self.hold.as_mut() {
                hold.is_finished = true;
            }
            return;
        }
        if let Some(press) = self.press.as_mut()
            && now >= press.sent + HEARTBEAT
        {
            press.sent = now;
            orders.push(DriveOrder::Renew(press.id));
        }
    }

    fn release(&mut self) -> Vec<DriveOrder> {
        let press = self.press.take();
        Vec::from_iter(press.map(|press| DriveOrder::Release(press.id)))
    }

    fn end_press(&mut self) {
        self.press = None;
        self.waiting_since = None;
        self.void_hold();
    }

    fn void_hold(&mut self) {
        if let Some(hold) = self.hold.as_mut() {
            hold.void();
        }
    }

    fn forget_hold(&mut self, now: Instant) {
        if self.press.is_none() && self.waiting_since.is_none() {
            self.hold.take_if(|hold| now >= hold.known_until());
        }
    }
}

#[cfg(test)]
mod tests;
