//! Decides who drives one car: who has control, who asks for it, and which presses count. Pure: the
//! caller gives the time, and stops the car, informs people and passes presses on.
//!
//! ```text
//!            take                        grant, seize (another holds it)
//!   Free ─────────────▶ Held ◀──────────────────────────────┐
//!    ▲                   │ └───────────────────────────────-┘
//!    └───────────────────┘   take by another: a request, for 10 s; silence means no
//!      release, 60 s idle, 1.5 s of silence
//!      with a key held, its socket dies
//! ```
//!
//! Whenever control passes from somebody or to somebody, the car must be stopped first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use p2p_shared::protocol::{ControlEnd, ControlInfo, ControlRequest, Driver, PressId, SessionId};
use p2p_shared::timing;

/// Time that a holder has to answer a request.
pub(crate) const REQUEST: Duration = Duration::from_secs(10);
/// Time without a press after which control is released.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

/// Silence with a key held after which control is released: 30 heartbeats. (The car has stopped long
/// before, when the lease ran out.)
pub(crate) const SILENCE: Duration = Duration::from_millis(1500);

/// Source of the epochs under which drivers press. Epochs grow, also over a restart of the router:
/// they begin at the time in microseconds, and nobody takes control a million times a second. (They
/// stay below 2^53, which is as far as a page can count.)
#[derive(Debug)]
pub(crate) struct Epochs(AtomicU64);

impl Epochs {
    pub(crate) fn starting_at(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(AtomicU64::new(timing::micros(since)))
    }

    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Control of one car.
#[derive(Debug, Default)]
pub(crate) struct Control {
    holder: Option<Holder>,
    request: Option<Request>,
    /// Why the last holder has control no more, while nobody has it.
    ended: Option<ControlEnd>,
    /// Latest press that counted, of any driver.
    latest: Option<PressId>,
}

#[derive(Debug)]
struct Holder {
    driver: Driver,
    epoch: u64,
    used: Instant,
    /// Press that is renewed; `None` once it was released or stopped.
    held: Option<PressId>,
}

#[derive(Debug)]
struct Request {
    driver: Driver,
    until: Instant,
}

/// A change of a car's control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// This driver has control from now on; the car is to be stopped first.
    Taken { driver: Driver, how: Taken },
    /// This driver asks the holder for control.
    Requested { driver: Driver },
    /// The request of this driver has failed.
    Declined { driver: Driver, why: Declined },
    /// This driver has control no longer; the car is to be stopped.
    Released { driver: Driver, why: ControlEnd },
}

/// The way in which a driver got control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    Free,
    Granted { by: Driver },
    Seized { from: Driver },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declined {
    Denied,
    Silence,
    /// The session that asked has gone away.
    Gone,
    /// Another session has seized control meanwhile.
    Seized,
}

/// The reason for which a request or a press is refused. Its text is the sentence for the driver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("'{}' drives this car: ask for control", .0.name)]
    HeldByOther(Driver),
    #[error("'{}' has asked for control already: try again in a moment", .0.name)]
    AlreadyRequested(Driver),
    #[error("you don't have control: take it first")]
    NotHolder,
    #[error("nobody asks for control any more")]
    NoRequest,
    #[error("only an admin's key may seize control: ask for it")]
    NotAdmin,
    /// The press has an earlier epoch of this driver, or an unknown one.
    #[error("control has changed hands since this press: press again")]
    OldEpoch,
    #[error("a later press came before this one: press again")]
    OldPress,
}

impl Control {
    pub(crate) fn driver(&self) -> Option<&Driver> {
        self.holder.as_ref().map(|holder| &holder.driver)
    }

    /// The latest press that counted: after a stop, no press up to this one may move the car.
    pub(crate) fn latest(&self) -> Option<PressId> {
        self.latest
    }

    /// The control as people see it now.
    pub(crate) fn info(&self, now: Instant) -> ControlInfo {
        ControlInfo {
            driver: self.driver().cloned(),
            request: self.request.as_ref().map(|request| {
                let left = request.until.saturating_duration_since(now);
                (request.driver.clone(), timing::millis(left))
            }),
            epoch: self.holder.as_ref().map_or(0, |holder| holder.epoch),
            recording: None,
            ended: self.ended,
        }
    }

    fn request_until(&self) -> Option<Instant> {
        self.request.as_ref().map(|request| request.until)
    }

    /// Carries out a request of this driver.
    pub(crate) fn request(
        &mut self,
        who: &Driver,
        request: ControlRequest,
        may_seize: bool,
        epochs: &Epochs,
        now: Instant,
    ) -> Result<Vec<Event>, ControlError> {
        match request {
            ControlRequest::Take => self.take(who, epochs, now),
            ControlRequest::Seize if may_seize => Ok(self.seize(who, epochs, now)),
            ControlRequest::Seize => Err(ControlError::NotAdmin),
            ControlRequest::Grant => {
                let by = self.held_by(who.session)?.driver.clone();
                let asks = self.request.take().ok_or(ControlError::NoRequest)?.driver;
                Ok(vec![self.give(asks, Taken::Granted { by }, epochs, now)])
            }
            ControlRequest::Deny => {
                self.held_by(who.session)?;
                let declined = self.decline(Declined::Denied);
                Ok(vec![declined.ok_or(ControlError::NoRequest)?])
            }
            ControlRequest::Release => {
                self.held_by(who.session)?;
                Ok(self.give_back(ControlEnd::Given, epochs, now))
            }
        }
    }

    /// Takes back what a session had or asked for.
    pub(crate) fn session_left(
        &mut self,
        session: SessionId,
        epochs: &Epochs,
        now: Instant,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let asks = self.request.as_ref();
        if asks.is_some_and(|request| request.driver.session == session) {
            events.extend(self.decline(Declined::Gone));
        }
        if self.held_by(session).is_ok() {
            events.extend(self.give_back(ControlEnd::Gone, epochs, now));
        }
        events
    }

    /// Takes control from everyone.
    pub(crate) fn close(&mut self) -> Vec<Event> {
        let mut events = Vec::from_iter(self.decline(Declined::Denied));
        events.extend(self.end_hold(ControlEnd::Closing));
        events
    }

    /// Ends what has run out by now. Call again at [`next`](Self::next).
    pub(crate) fn poll(&mut self, epochs: &Epochs, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        if self.request_until().is_some_and(|until| until <= now) {
            events.extend(self.decline(Declined::Silence));
        }
        if let Some((until, why)) = self.held_until()
            && until <= now
        {
            events.extend(self.give_back(why, epochs, now));
        }
        events
    }

    /// The moment at which the holder loses control without a sign of life, and the reason.
    fn held_until(&self) -> Option<(Instant, ControlEnd)> {
        let holder = self.holder.as_ref()?;
        Some(match holder.held {
            Some(_) => (holder.used + SILENCE, ControlEnd::Silence),
            None => (holder.used + IDLE, ControlEnd::Idle),
        })
    }

    /// The moment at which the next timer runs out.
    pub(crate) fn next(&self) -> Option<Instant> {
        let held_until = self.held_until().map(|(until, _)| until);
        self.request_until().into_iter().chain(held_until).min()
    }

    /// Notes a press, if it counts: then it is passed on.
    pub(crate) fn press(
        &mut self,
        session: SessionId,
        press: PressId,
        now: Instant,
    ) -> Result<(), ControlError> {
        let latest = self.latest;
        let holder = self.held_by(session)?;
        if press.epoch != holder.epoch {
            return Err(ControlError::OldEpoch);
        }
        if latest.is_some_and(|latest| press <= latest) {
            return Err(ControlError::OldPress);
        }
        holder.held = Some(press);
        holder.used = now;
        self.latest = Some(press);
        Ok(())
    }

    /// Notes a renewal. Returns whether it is passed on.
    pub(crate) fn renew(&mut self, session: SessionId, press: PressId, now: Instant) -> bool {
        match self.held_by(session) {
            Ok(holder) if holder.held == Some(press) => {
                holder.used = now;
                true
            }
            _ => false,
        }
    }

    /// Notes a release. Returns whether it is passed on.
    pub(crate) fn release(&mut self, session: SessionId, press: PressId, now: Instant) -> bool {
        let was_held = self.renew(session, press, now);
        if was_held {
            self.stop();
        }
        was_held
    }

    /// Voids the present press: after a stop only a new one counts.
    pub(crate) fn stop(&mut self) {
        if let Some(holder) = &mut self.holder {
            holder.held = None;
        }
    }

    /// Voids this press, if it is the present one: it was dropped on its way.
    pub(crate) fn refuse(&mut self, press: PressId) {
        if let Some(holder) = &mut self.holder {
            holder.held.take_if(|held| *held == press);
        }
    }

    fn take(
        &mut self,
        who: &Driver,
        epochs: &Epochs,
        now: Instant,
    ) -> Result<Vec<Event>, ControlError> {
        match (&self.holder, &self.request) {
            (None, _) => Ok(vec![self.give(who.clone(), Taken::Free, epochs, now)]),
            (Some(holder), _) if holder.driver.session == who.session => Ok(Vec::new()),
            (_, Some(request)) if request.driver.session == who.session => Ok(Vec::new()),
            (_, Some(request)) => Err(ControlError::AlreadyRequested(request.driver.clone())),
            (Some(_), None) => {
                let (driver, until) = (who.clone(), now + REQUEST);
                self.request = Some(Request { driver, until });
                let driver = who.clone();
                Ok(vec![Event::Requested { driver }])
            }
        }
    }

    fn seize(&mut self, who: &Driver, epochs: &Epochs, now: Instant) -> Vec<Event> {
        let how = match self.driver() {
            Some(driver) if driver.session == who.session => return Vec::new(),
            Some(from) => Taken::Seized { from: from.clone() },
            None => Taken::Free,
        };
        (self.request).take_if(|request| request.driver.session == who.session);
        let mut events = Vec::from_iter(self.decline(Declined::Seized));
        events.push(self.give(who.clone(), how, epochs, now));
        events
    }

    /// Takes control from its holder, and gives it to the one who asks for it, if there is one.
    fn give_back(&mut self, why: ControlEnd, epochs: &Epochs, now: Instant) -> Vec<Event> {
        let mut events = Vec::from_iter(self.end_hold(why));
        if let Some(Request { driver, .. }) = self.request.take() {
            events.push(self.give(driver, Taken::Free, epochs, now));
        }
        events
    }

    /// Ends the open request, if there is one.
    fn decline(&mut self, why: Declined) -> Option<Event> {
        let driver = self.request.take()?.driver;
        Some(Event::Declined { driver, why })
    }

    /// Ends the control of its holder, if there is one.
    fn end_hold(&mut self, why: ControlEnd) -> Option<Event> {
        let driver = self.holder.take()?.driver;
        self.ended = Some(why);
        Some(Event::Released { driver, why })
    }

    fn give(&mut self, driver: Driver, how: Taken, epochs: &Epochs, now: Instant) -> Event {
        self.ended = None;
        self.holder = Some(Holder {
            driver: driver.clone(),
            epoch: epochs.next(),
            used: now,
            held: None,
        });
        Event::Taken { driver, how }
    }

    fn held_by(&mut self, session: SessionId) -> Result<&mut Holder, ControlError> {
        let holder = self.holder.as_mut().ok_or(ControlError::NotHolder)?;
        if holder.driver.session == session {
            Ok(holder)
        } else {
            Err(ControlError::HeldByOther(holder.driver.clone()))
        }
    }
}

#[cfg(test)]
mod tests;
