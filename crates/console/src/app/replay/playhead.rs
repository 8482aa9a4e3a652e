//! What is known of a car at one moment of its past, made of the events until then as the live screens make it. Pure.

use std::time::{Duration, Instant};

use p2p_shared::names::CommandName;
use p2p_shared::protocol::{FeedEvent, MotionEvent, RunInfo, RunSource};

use super::recording::{Change, PastCar, PastEvent, Recording};
use crate::app::contact::Contact;
use crate::app::fleet::{Fleet, FleetLink, before};
use crate::app::log_lines::control_change;
use crate::app::timeline::{Timeline, glyph};
use crate::app::watched_timeline::signs;
use crate::text::{outcome, source_word};

impl Recording {
    /// What happened in words, car by car, oldest first: the car's name, the time since 1970, and what.
    pub fn events(&self) -> Vec<(&str, Duration, String)> {
        let mut told = Vec::new();
        for (name, car) in &self.cars {
            let timeline = Playhead::timeline(car, |event| self.moment(event.at));
            let events: Vec<_> = timeline.events().collect();
            let time = |at: Instant| self.began + at.saturating_duration_since(self.base);
            let events = events.into_iter().rev();
            told.extend(events.map(|(at, said)| (name.as_str(), time(*at), said.clone())));
        }
        told
    }
}

/// State of one car after so many events.
#[derive(Debug, Default)]
pub(super) struct Playhead {
    pub fleet: Fleet,
    /// The key that a driver held.
    pub key: Option<char>,
    /// Number of the next event.
    pub next: usize,
}

impl Playhead {
    /// Begins before the first event.
    pub(super) fn new(car: &PastCar, began: Instant) -> Self {
        let mut head = Self::default();
        head.fleet.update(car.info.clone(), began);
        head
    }

    /// The whole timeline of a car.
    pub(super) fn timeline(car: &PastCar, moment: impl Fn(&PastEvent) -> Instant) -> Timeline {
        let mut timeline = Timeline::unbounded();
        let began = car.events.front().map_or_else(Instant::now, &moment);
        let mut head = Self::new(car, began);
        for event in &car.events {
            let at = moment(event);
            let said = head.apply(event, at);
            if let Some(link) = head.fleet.links.values().next() {
                timeline.note(at, signs(link, Contact::of_past(link), head.key));
            }
            if let Some(said) = said {
                timeline.tell(at, said);
            }
        }
        timeline
    }

    /// Applies an event that was at this moment. Returns it in words, if it is worth any.
    pub(super) fn apply(&mut self, event: &PastEvent, at: Instant) -> Option<String> {
        let own = match &event.change {
            Change::Feed(event) => self.feed(event, at),
            Change::Key(command) => {
                self.key = command.as_ref().map(|command| self.glyph(command));
                None
            }
            Change::Answers => {
                self.link()?.silent_since = None;
                None
            }
            Change::Guardian(by, press) => {
                self.key = None;
                Some(self.link()?.on_guardian(by.clone(), *press, at))
            }
            Change::None => None,
        };
        event.said.clone().or(own)
    }

    fn link(&mut self) -> Option<&mut FleetLink> {
        self.fleet.links.values_mut().next()
    }

    fn glyph(&mut self, command: &CommandName) -> char {
        let link = self.link();
        let mut motion = link.iter().flat_map(|link| link.info.motion.iter());
        glyph(motion.position(|name| name == command))
    }

    fn feed(&mut self, event: &FeedEvent, at: Instant) -> Option<String> {
        match event {
            FeedEvent::Link(info) => {
                let was_up = self.link().is_some_and(|link| link.info.is_up);
                let mut info = (**info).clone();
                // It is one car, whatever port the file has for it, or none.
                info.service_port = self.link()?.info.service_port;
                let is_back = info.is_up && !was_up;
                self.fleet.update(info, at);
                is_back.then(|| "link up".to_owned())
            }
            FeedEvent::LinkDown { why, .. } => {
                self.key = None;
                let why = why.raw();
                let port = self.link()?.info.service_port;
                self.fleet.link_down(port, why.to_owned(), at);
                Some(format!("link down: {why}"))
            }
            FeedEvent::LinkGone { .. } => {
                self.key = None;
                let port = self.link()?.info.service_port;
                let why = "its port was given up";
                self.fleet.link_down(port, why.to_owned(), at);
                Some(why.to_owned())
            }
            FeedEvent::Rtt {
                rtt_us, silent_ms, ..
            } => {
                let link = self.link()?;
                link.silent_since = before(*silent_ms, at);
                if silent_ms.is_some() {
                    return Some("no answer".to_owned());
                }
                link.rtts.push(*rtt_us);
                None
            }
            FeedEvent::Run(run) => self.run(run, at),
            FeedEvent::Control { control, .. } => {
                if control.driver.is_none() {
                    self.key = None;
                }
                let link = self.link()?;
                let port = link.info.service_port;
                let said = control_change(&link.info.control, control);
                self.fleet.set_control(port, control.clone(), at);
                said.map(|said| format!("control: {said}"))
            }
            FeedEvent::Motion { event, .. } => self.motion(event, at),
        }
    }

    fn run(&mut self, run: &RunInfo, at: Instant) -> Option<String> {
        let is_open = run.result.is_none();
        self.fleet.count_run(run, is_open, at);
        match (run.source, is_open) {
            (RunSource::Drive, true) => {
                self.key = Some(self.glyph(&run.command));
                None
            }
            (RunSource::Drive, false) | (_, true) => None,
            (source, false) => Some(format!(
                "{} by {}: {}",
                run.command,
                source_word(source),
                outcome(run)
            )),
        }
    }

    fn motion(&mut self, event: &MotionEvent, at: Instant) -> Option<String> {
        match event {
            MotionEvent::Started(moving) if moving.press.is_some() && self.key.is_none() => {
                self.key = Some(self.glyph(&moving.command));
            }
            MotionEvent::Over { .. } | MotionEvent::Refused { .. } | MotionEvent::Stands => {
                self.key = None;
            }
            _ => {}
        }
        let link = self.link()?;
        link.on_motion(event, None, at);
        link.timeline.events().next().map(|(_, said)| said.clone())
    }
}
