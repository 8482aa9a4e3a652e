//! Owns driving: from what is held down to presses, renewals, releases and stops. Pure: it is
//! given the facts and the time, and returns what to send. It never decides that the car stops by
//! itself: that is the lease's, at the car.
//!
//! ```text
//!   VIEW ──a, or first arrow──▶ ARMED ──hold──▶ DRIVING ──release──▶ ARMED
//!    ▲  Esc, idle                 │ Space           │ Space, or a failure
//!    └────────────────────────────┴──▶ STOPPED, FAILSAFE ──a──▶ ARMED
//! ```

pub mod facts;
pub mod hold;
mod types;

use std::time::{Duration, Instant};

use p2p_shared::protocol::console::{MotionEvent, MotionRefused, PressId, StopCause};

pub use facts::{Facts, Holder};
pub use hold::{Direction, Hold, Releases};
pub use types::{Order, State, Stroke, Why};

/// How often the lease of a press is renewed: eight times within the shortest usual lease.
pub const HEARTBEAT: Duration = Duration::from_millis(50);
/// How long a link must have been healthy before anything moves.
pub const HEALTHY: Duration = Duration::from_millis(500);
/// Above this round trip a press is one bounded pulse: nobody steers with that delay.
pub const PULSES_ONLY: Duration = Duration::from_millis(300);
/// Above this round trip the car would drop every renewal as too old.
pub const TOO_SLOW: Duration = Duration::from_secs(1);
/// A loop that finds itself later than this throws waiting input away and disarms.
pub const LATE: Duration = Duration::from_millis(200);
/// A press waits so long for control and for the car's clock; then it is an old one.
const WAIT: Duration = Duration::from_millis(500);

/// Why the car may not be moved until `a` was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Latch {
    Stopped,
    Failsafe,
    /// Nothing to show: Esc, or control that was lost.
    Plain,
}

/// A press that was sent and not released.
#[derive(Debug, Clone, Copy)]
struct Press {
    id: PressId,
    direction: Direction,
    sent: Instant,
}

/// The driving of one car.
#[derive(Debug)]
pub struct Drive {
    releases: Releases,
    latch: Option<Latch>,
    /// The epoch of our control, as far as we know.
    epoch: Option<u64>,
    number: u64,
    hold: Option<Hold>,
    /// A press that waits for control or for the car's clock, since then.
    waits: Option<Instant>,
    press: Option<Press>,
    /// The last press that was sent, held or not.
    last: Option<PressId>,
    /// The car has not said that the last press is over: without a link it may have run into its
    /// lease.
    unanswered: bool,
    /// The epoch of the control that we gave back: the router may not have said so yet.
    given_back: Option<u64>,
}

impl Drive {
    /// Nobody drives yet.
    #[must_use]
    pub fn new(releases: Releases) -> Self {
        Self {
            releases,
            latch: None,
            epoch: None,
            number: 0,
            hold: None,
            waits: None,
            press: None,
            last: None,
            unanswered: false,
            given_back: None,
        }
    }

    /// Another car is driven from now on, or the same over another link: nothing of the old counts,
    /// and nothing moves before `a`.
    pub fn start_anew(&mut self) {
        self.end_press();
        *self = Self {
            // Why it stands stays on the screen, for the same car may come back.
            latch: self.latch.or(Some(Latch::Plain)),
            hold: self.hold.take(),
            number: self.number,
            ..Self::new(self.releases)
        };
    }

    /// Who has control, but for what we have given back already.
    #[must_use]
    pub fn holder<'a>(&self, facts: &'a Facts) -> &'a Holder {
        match &facts.holder {
            Holder::Us { epoch } if self.given_back == Some(*epoch) => &Holder::Nobody,
            holder => holder,
        }
    }

    /// How this terminal tells of releases.
    #[must_use]
    pub fn releases(&self) -> Releases {
        self.releases
    }

    /// The state to show.
    #[must_use]
    pub fn state(&self, facts: &Facts) -> State {
        match (self.press, self.latch) {
            _ if !facts.is_up => State::Offline,
            (Some(press), _) => State::Driving(press.direction),
            (None, Some(Latch::Stopped)) => State::Stopped,
            (None, Some(Latch::Failsafe)) => State::Failsafe,
            (None, None) if matches!(self.holder(facts), Holder::Us { .. }) => State::Armed,
            (None, _) => State::View,
        }
    }

    /// The direction asked for, and the press, if one is out.
    #[must_use]
    pub fn asked(&self) -> Option<(PressId, Direction)> {
        self.press.map(|press| (press.id, press.direction))
    }

    /// Whether control is ours or on its way: keys drive.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.epoch.is_some() || self.waits.is_some()
    }

    /// Whether nothing moves before `a` was pressed.
    #[must_use]
    pub fn needs_arming(&self) -> bool {
        self.latch.is_some()
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let heartbeat = self.press.map(|press| press.sent + HEARTBEAT);
        let hold = self.hold.as_ref().map(|hold| {
            if self.press.is_some() {
                hold.moves_until()
            } else {
                hold.known_until()
            }
        });
        let waits = self.waits.map(|since| since + WAIT);
        [heartbeat, hold, waits].into_iter().flatten().min()
    }

    /// An arrow key.
    pub fn key(&mut self, direction: Direction, stroke: Stroke, facts: &Facts) -> Vec<Order> {
        let now = facts.now;
        let held = self
            .hold
            .as_mut()
            .filter(|hold| !hold.is_pad() && hold.direction() == direction);
        match (stroke, held) {
            (Stroke::Release, Some(_)) => self.up(),
            (Stroke::Release, None) => Vec::new(),
            (Stroke::Repeat, held) => {
                if let Some(hold) = held {
                    hold.heard(now);
                }
                Vec::new()
            }
            (Stroke::Press, Some(hold))
                if now < hold.held_until() && hold.repeats_as_press(now) =>
            {
                let doubtful = hold.is_doubtful(now);
                hold.heard(now);
                doubtful
                    .then_some(Order::Say(Why::StillHeld))
                    .into_iter()
                    .collect()
            }
            (Stroke::Press, _) => self.down(Hold::key(direction, self.releases, now), facts),
        }
    }

    /// The mouse went down on the pad.
    pub fn pad_down(&mut self, direction: Direction, facts: &Facts) -> Vec<Order> {
        self.down(Hold::pad(direction, facts.now), facts)
    }

    /// The mouse was let go, or left the pad.
    pub fn pad_up(&mut self) -> Vec<Order> {
        match &self.hold {
            Some(hold) if hold.is_pad() => self.up(),
            _ => Vec::new(),
        }
    }

    /// What is held moves nothing any more: a paste came, or another shall drive. A key may well
    /// be down all the same.
    pub fn let_go(&mut self) -> Vec<Order> {
        self.waits = None;
        self.cut();
        self.hold.take_if(|hold| hold.is_pad());
        self.release()
    }

    /// The terminal lost its focus: where releases are reported, this one will be told elsewhere.
    pub fn lose_focus(&mut self) -> Vec<Order> {
        let orders = self.let_go();
        if self.releases == Releases::Reported {
            self.hold = None;
        }
        orders
    }

    /// What is held was let go.
    fn up(&mut self) -> Vec<Order> {
        self.hold = None;
        self.waits = None;
        self.release()
    }

    /// `a`: take control, or ask for it.
    pub fn arm(&mut self, facts: &Facts) -> Vec<Order> {
        if self
            .hold
            .as_ref()
            .is_some_and(|hold| facts.now < hold.held_until())
        {
            return vec![Order::Say(match self.releases {
                Releases::Reported => Why::KeyHeld,
                Releases::Guessed => Why::StillHeld,
            })];
        }
        if let Some(why) = facts.obstacle() {
            return vec![Order::Say(why)];
        }
        self.latch = None;
        match self.holder(facts) {
            Holder::Us { .. } => Vec::new(),
            Holder::Nobody => vec![Order::Take],
            Holder::Other(name) => vec![Order::Take, Order::Say(Why::Asked(name.clone()))],
        }
    }

    /// Esc: stand, and give control back; `a` takes it again.
    pub fn disarm(&mut self, facts: &Facts) -> Vec<Order> {
        let orders = self.leave(facts);
        self.latch = Some(Latch::Plain);
        orders
    }

    /// The Drive screen is left, or a text is typed: stand, and give control back.
    pub fn leave(&mut self, facts: &Facts) -> Vec<Order> {
        let mut orders = self.let_go();
        self.epoch = None;
        if let Holder::Us { epoch } = self.holder(facts) {
            self.given_back = Some(*epoch);
            orders.push(Order::GiveBack);
        }
        orders
    }

    /// Space: stop, whoever drives. Needs no control, and is never refused here.
    pub fn stop(&mut self) -> Vec<Order> {
        self.end_press();
        self.latch = Some(Latch::Stopped);
        vec![Order::Stop]
    }

    /// The loop was late, or the input side is dead: what was held is not held any more.
    pub fn fail(&mut self, why: Why, facts: &Facts) -> Vec<Order> {
        self.cut();
        if let Some(hold) = self.hold.as_mut() {
            hold.unheard_until(facts.now);
        }
        if self.press.is_none() && self.epoch.is_none() && self.waits.is_none() {
            return Vec::new();
        }
        let was_driving = self.press.is_some();
        self.end_press();
        let mut orders = vec![Order::Stop];
        orders.extend(self.leave(facts));
        self.latch = Some(if was_driving {
            Latch::Failsafe
        } else {
            Latch::Plain
        });
        orders.push(Order::Say(why));
        orders
    }

    /// This key went down too long ago to move anything. It may still be held: then its repeats
    /// move nothing either.
    pub fn stale(&mut self, direction: Direction, facts: &Facts) {
        if self.press.is_none() && self.waits.is_none() {
            let mut hold = Hold::key(direction, self.releases, facts.now);
            hold.cut();
            self.hold = Some(hold);
        }
    }

    /// The router refused this press, or what one waits for: nothing more is sent of it, and only
    /// a fresh one counts.
    pub fn refused(&mut self, press: Option<PressId>) {
        match press {
            Some(refused) if self.press.is_some_and(|press| press.id == refused) => {
                self.end_press();
            }
            // Its pulse is over already; the key may be held on.
            Some(refused) if self.press.is_none() && self.last == Some(refused) => self.cut(),
            None if self.waits.take().is_some() => self.cut(),
            _ => {}
        }
    }

    /// What the car says of its motion.
    pub fn motion(&mut self, event: &MotionEvent) -> Vec<Order> {
        let last = self.last;
        let ours = |press: &Option<PressId>| press.is_some() && *press == last;
        match event {
            MotionEvent::Over { press, .. } if ours(press) => self.unanswered = false,
            MotionEvent::Refused { press, .. } if ours(&Some(*press)) => self.unanswered = false,
            MotionEvent::Stands => self.unanswered = self.press.is_some(),
            // Between a pulse and the first repeat of its key nothing moves that a stop could end:
            // it ends what the key would do next.
            MotionEvent::Stopped {
                cause: StopCause::Asked,
                ..
            } if self.press.is_none() && self.waits.is_none() => self.cut(),
            _ => {}
        }
        let why = match event {
            MotionEvent::Over { press, cause } if ours(press) => match cause {
                StopCause::Lease | StopCause::Watchdog => Why::Lease,
                // Released or replaced by this side, before the car said so.
                StopCause::Released if self.press.is_none() => return Vec::new(),
                _ if self.press.is_none() => {
                    self.cut();
                    return Vec::new();
                }
                StopCause::Asked => Why::StoppedByAnother,
                _ => {
                    self.end_press();
                    return Vec::new();
                }
            },
            MotionEvent::Refused { press, why } if ours(&Some(*press)) => match why {
                // Of our own presses only the newest counts.
                MotionRefused::Replaced => return Vec::new(),
                why => Why::Refused(*why),
            },
            MotionEvent::StopFailed => Why::StopFailed,
            _ => return Vec::new(),
        };
        self.end_press();
        if matches!(why, Why::Lease | Why::StopFailed) {
            self.latch = Some(Latch::Failsafe);
        }
        vec![Order::Say(why)]
    }

    /// Something changed, or time went by.
    pub fn tick(&mut self, facts: &Facts) -> Vec<Order> {
        let mut orders = Vec::new();
        if !facts.is_up {
            if self.press.is_some() || self.epoch.is_some() || self.waits.is_some() {
                let driving = self.press.is_some() || self.unanswered;
                self.end_press();
                self.unanswered = false;
                self.epoch = None;
                self.latch = Some(if driving {
                    Latch::Failsafe
                } else {
                    Latch::Plain
                });
            }
            self.forget_hold(facts.now);
            return orders;
        }
        self.follow_control(facts, &mut orders);
        if self.waits.is_some() {
            self.begin_if_possible(facts, &mut orders);
        }
        if self.press.is_some() {
            self.keep_moving(facts, &mut orders);
        }
        self.forget_hold(facts.now);
        orders
    }

    fn follow_control(&mut self, facts: &Facts, orders: &mut Vec<Order>) {
        match (self.epoch, self.holder(facts)) {
            (None, Holder::Us { epoch }) => self.epoch = Some(*epoch),
            (Some(ours), Holder::Us { epoch }) if ours != *epoch => {
                self.end_press();
                self.epoch = Some(*epoch);
            }
            (Some(_), Holder::Nobody | Holder::Other(_)) => {
                self.end_press();
                self.epoch = None;
                self.latch.get_or_insert(Latch::Plain);
                orders.push(Order::Say(Why::ControlGone));
            }
            _ => {}
        }
    }

    fn down(&mut self, hold: Hold, facts: &Facts) -> Vec<Order> {
        let direction = hold.direction();
        self.waits = None;
        let mut orders = Vec::new();
        let obstacle = match self.holder(facts) {
            Holder::Other(name) => facts.obstacle().or(Some(Why::Held(name.clone()))),
            _ => facts.obstacle(),
        };
        let obstacle = obstacle
            .or_else(|| self.latch.map(|_| Why::NeedsArming))
            .or_else(|| (direction.index() >= facts.directions).then_some(Why::NoCommand));
        self.hold = Some(hold);
        if let Some(why) = obstacle {
            orders.extend(self.release());
            self.cut();
            orders.push(Order::Say(why));
            return orders;
        }
        self.waits = Some(facts.now);
        if *self.holder(facts) == Holder::Nobody {
            orders.push(Order::Take);
        }
        self.follow_control(facts, &mut orders);
        self.begin_if_possible(facts, &mut orders);
        orders
    }

    fn begin_if_possible(&mut self, facts: &Facts, orders: &mut Vec<Order>) {
        let holder = self.holder(facts);
        let (Some(since), Some(hold)) = (self.waits, self.hold.as_mut()) else {
            self.waits = None;
            return;
        };
        let (Holder::Us { epoch }, Some(_)) = (holder, facts.tick_ms) else {
            if facts.now >= since + WAIT {
                self.waits = None;
                hold.cut();
                orders.push(Order::Say(Why::NoAnswer));
            }
            return;
        };
        let slow = facts.round_trip.filter(|rtt| *rtt > PULSES_ONLY);
        hold.began(facts.now, slow.is_some());
        self.waits = None;
        self.number += 1;
        let id = PressId {
            epoch: *epoch,
            number: self.number,
        };
        let direction = hold.direction();
        self.press = Some(Press {
            id,
            direction,
            sent: facts.now,
        });
        self.last = Some(id);
        self.unanswered = true;
        orders.push(Order::Press(id, direction));
        orders.extend(slow.map(|rtt| Order::Say(Why::PulseOnly(rtt))));
    }

    fn keep_moving(&mut self, facts: &Facts, orders: &mut Vec<Order>) {
        let now = facts.now;
        if !facts.input_is_alive {
            orders.extend(self.fail(Why::InputDead, facts));
            return;
        }
        if let Some(rtt) = facts.round_trip.filter(|rtt| *rtt > PULSES_ONLY)
            && let Some(hold) = self.hold.as_mut()
            && hold.make_pulse()
        {
            orders.push(Order::Say(if rtt > TOO_SLOW {
                Why::TooSlow(rtt)
            } else {
                Why::PulseOnly(rtt)
            }));
        }
        let held = self.hold.as_ref().filter(|hold| !hold.is_spent());
        if held.is_none_or(|hold| now >= hold.moves_until()) {
            orders.extend(self.release());
            if let Some(hold) = self.hold.as_mut() {
                hold.spend();
            }
            return;
        }
        if let Some(press) = self.press.as_mut()
            && now >= press.sent + HEARTBEAT
        {
            press.sent = now;
            orders.push(Order::Renew(press.id));
        }
    }

    fn release(&mut self) -> Vec<Order> {
        let press = self.press.take();
        press
            .map(|press| Order::Release(press.id))
            .into_iter()
            .collect()
    }

    /// The press is over, and what is held moves nothing any more.
    fn end_press(&mut self) {
        self.press = None;
        self.waits = None;
        self.cut();
    }

    fn cut(&mut self) {
        if let Some(hold) = self.hold.as_mut() {
            hold.cut();
        }
    }

    fn forget_hold(&mut self, now: Instant) {
        if self.press.is_none() && self.waits.is_none() {
            self.hold.take_if(|hold| now >= hold.known_until());
        }
    }
}

#[cfg(test)]
mod tests;
