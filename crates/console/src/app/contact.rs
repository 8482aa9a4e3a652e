//! Decides whether what is shown of a car is so now: the one place that makes of the last sign of life on
//! each hop what every screen says.

use std::time::{Duration, Instant};

use p2p_shared::protocol::RunInfo;
use p2p_shared::timing::NO_ANSWER;

use super::{App, ConnectionState};
use crate::app::fleet::{FleetLink, MotionTold};
use crate::text::outcome;

/// Pause between two drawings of how long a silence lasts.
const COUNTED: Duration = Duration::from_millis(100);
/// The hop from the car's router to the car.
const CAR: &str = "router → car";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// Every hop answers: what the car told last is so now.
    Answers,
    /// A hop is silent: what the car told last may have changed.
    Silent(Silence),
    /// There is no connection to the router, or the router has none to the car.
    Lost,
    /// The file of a replay does not tell whether the router had a connection to the car.
    NotKnown,
}

/// A connection on which a sign of life is overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// The hop that is silent, as far as one can tell.
    pub hop: &'static str,
    pub since: Instant,
}

impl Silence {
    /// The length of the silence so far: `1.2 s`, `23 s`.
    pub fn length(&self, now: Instant) -> String {
        let secs = now.saturating_duration_since(self.since).as_secs_f64();
        match secs {
            ..10.0 => format!("{secs:.1} s"),
            _ => format!("{secs:.0} s"),
        }
    }
}

impl Contact {
    /// The contact of the router with a car at a moment of its past.
    pub fn of_past(link: &FleetLink) -> Self {
        let silence = |since| Silence { hop: CAR, since };
        match link.silent_since {
            _ if link.told.is_none_or(|told| !told.link) => Self::NotKnown,
            _ if !link.info.is_up => Self::Lost,
            Some(since) => Self::Silent(silence(since)),
            None => Self::Answers,
        }
    }

    /// Returns true if it is known whether this car moves.
    pub fn knows_motion(self, link: &FleetLink) -> bool {
        match link.told.map(|told| told.motion) {
            None | Some(MotionTold::Router) => self == Self::Answers,
            Some(MotionTold::Car) => true,
            Some(MotionTold::Nobody) => false,
        }
    }

    pub fn silence(self) -> Option<Silence> {
        match self {
            Self::Silent(silence) => Some(silence),
            _ => None,
        }
    }
}

impl App {
    /// The contact with a car.
    pub fn contact(&self, link: &FleetLink) -> Contact {
        if self.is_replay() {
            return Contact::of_past(link);
        }
        if !(self.is_connected() && link.info.is_up) {
            return Contact::Lost;
        }
        let car = || {
            let ticks = self.watched == Some(link.info.service_port);
            // A car whose clock ticks does so ten times a second.
            let ticked = link.tick.filter(|_| ticks).map(|(_, at)| at);
            let ticked = ticked.filter(|at| self.now >= *at + NO_ANSWER);
            Some(Silence {
                hop: match link.info.router {
                    Some(_) => "router → router → car",
                    None => CAR,
                },
                since: link.silent_since.or(ticked)?,
            })
        };
        let silence = self.router_silence().or_else(car);
        silence.map_or(Contact::Answers, Contact::Silent)
    }

    /// The contact with the chosen car; [`Contact::Lost`] without one.
    pub fn chosen_contact(&self) -> Contact {
        self.link().map_or(Contact::Lost, |link| self.contact(link))
    }

    /// The result of a run; that of an open one is unknown while its car is not heard, and where a file has no end of
    /// it.
    pub fn outcome(&self, run: &RunInfo) -> String {
        let link = self.fleet.links.get(&run.service_port);
        let is_known =
            !self.is_replay() && link.is_some_and(|link| self.contact(link) == Contact::Answers);
        match run.result {
            None if !is_known => "unknown".to_owned(),
            _ => outcome(run),
        }
    }

    /// The silence of a router that is connected.
    pub fn router_silence(&self) -> Option<Silence> {
        let is_overdue = self.is_connected() && self.now >= self.heard + NO_ANSWER;
        is_overdue.then_some(Silence {
            hop: "console → router",
            since: self.heard,
        })
    }

    /// Returns true if there is a connection on which the router has told what there is.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.connection, ConnectionState::Up) && self.has_snapshot
    }

    /// Time until the screens may change by a silence.
    pub(super) fn next_of_silence(&self) -> Option<Duration> {
        if !self.is_connected() {
            return None;
        }
        if self.was_silent {
            return Some(COUNTED);
        }
        // Of another car, or of one that nobody looks at, the last tick stays what it was.
        let ticks = self.link().filter(|_| self.watched == self.chosen);
        let ticked = ticks.and_then(|link| link.tick).map(|(_, at)| at);
        let heard = [Some(self.heard), ticked].into_iter().flatten().min()?;
        Some((heard + NO_ANSWER).saturating_duration_since(self.now))
    }

    /// Has the screen drawn again when a silence begins, grows or ends.
    pub(super) fn show_silence(&mut self) {
        let is_silent = self.is_anything_silent() || self.motion_elsewhere().is_some();
        let was_silent = std::mem::replace(&mut self.was_silent, is_silent);
        let is_old = self.now.saturating_duration_since(self.aged) >= COUNTED;
        if was_silent != is_silent || (is_silent && is_old) {
            self.aged = self.now;
            self.dirty = true;
        }
    }

    fn is_anything_silent(&self) -> bool {
        let mut links = self.fleet.links.values();
        self.router_silence().is_some() || links.any(|link| self.contact(link).silence().is_some())
    }
}
