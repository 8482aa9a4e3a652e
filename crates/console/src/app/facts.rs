//! Gathers the facts that driving decides by, and notes since when the way to the car is healthy.

use std::time::{Duration, Instant};

use super::App;
use crate::app::contact::Contact;
use crate::app::fleet::FleetLink;
use crate::drive::{ControlHolder, DriveFacts, TOO_SLOW};

/// Greatest age of a clock tick that proves that the car hears us. The car drops what is 1 s old.
const TICK_FRESH: Duration = Duration::from_secs(1);
/// Longest pause between two ticks of a driven car (10 a second) on a link that is not slow.
const TICK_DUE: Duration = Duration::from_millis(300);

/// Longest silence of the input thread before it counts as dead.
const INPUT_ALIVE: Duration = Duration::from_millis(400);

impl App {
    /// Returns true if the router, which answers, says that it records this car.
    pub(crate) fn is_recorded(&self, link: &FleetLink) -> bool {
        let is_told = self.is_connected() && self.router_silence().is_none() && !self.is_replay();
        is_told && link.info.control.is_recorded()
    }

    /// Says that the chosen car is recorded.
    pub(crate) fn recording_word(&self) -> &'static str {
        match self.link().is_some_and(|link| self.is_recorded(link)) {
            true => "REC",
            false => "",
        }
    }

    /// The facts that driving is decided by.
    pub fn facts(&self) -> DriveFacts {
        let link = self.link();
        let tick = link.and_then(|link| link.tick);
        let age = |at: Instant| self.now.saturating_duration_since(at);
        let control = link.map(|link| &link.info.control);
        let driver = control.and_then(|control| control.driver.as_ref());
        let holder = match driver {
            None => ControlHolder::Nobody,
            Some(driver) if Some(driver.session) == self.session => ControlHolder::Us {
                epoch: control.map_or(0, |control| control.epoch),
            },
            Some(driver) => ControlHolder::Other(driver.name.to_string()),
        };
        DriveFacts {
            now: self.now,
            may_drive: self.may_drive(),
            is_up: self.is_up(),
            is_silent: self.chosen_contact().silence().is_some(),
            healthy_since: self.healthy_since,
            round_trip: self.round_trip(),
            input_is_alive: age(self.input_seen) <= INPUT_ALIVE,
            holder,
            stop_failed: self.stop_failed(),
            directions: link.map_or(0, |link| link.info.motion.len()),
            tick_ms: tick.and_then(|(ms, at)| (age(at) < TICK_FRESH).then_some(ms)),
        }
    }

    /// Returns true if console and router, and router and car, are connected.
    fn is_up(&self) -> bool {
        self.chosen_contact() != Contact::Lost
    }

    /// Round trip to the car over both hops, or the time that we are waiting for one, if that is
    /// longer.
    pub fn round_trip(&self) -> Option<Duration> {
        let age = |at: Instant| self.now.saturating_duration_since(at);
        let waiting = self.pinged.map(age);
        let ours = self.rtts.last().max(waiting)?;
        let link = self.link()?;
        let hops = [&link.hops, &link.rtts].map(|rtts| rtts.last().unwrap_or_default());
        let both = ours + hops.iter().sum::<Duration>();
        // Ticks come steadily only while this console drives.
        let silence = link.tick.map(|(_, at)| age(at));
        let silence = silence.filter(|silence| self.drive.is_armed() && *silence > TICK_DUE);
        Some(both.max(silence.unwrap_or_default()))
    }

    pub(super) fn update_health(&mut self) {
        let slow = self.round_trip().is_some_and(|rtt| rtt > TOO_SLOW);
        if self.chosen_contact() != Contact::Answers || slow {
            self.healthy_since = None;
        } else {
            self.healthy_since.get_or_insert(self.now);
        }
    }
}
