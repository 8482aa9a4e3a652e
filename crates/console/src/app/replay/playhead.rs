//! What is known of a car at one moment of its past, made of the events until then as the live screens make it. Pure.

use std::time::{Duration, Instant};

use p2p_shared::names::CommandName;
use p2p_shared::protocol::{ControlInfo, FeedEvent, LinkInfo, MotionEvent, RunInfo, RunSource};

use super::recording::{Change, PastCar, PastEvent, Recording};
use crate::app::contact::Contact;
use crate::app::fleet::{Fleet, FleetLink, MotionTold, Told, before};
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
        // Who drove and what moved then, the first event tells.
        let info = LinkInfo {
            control: ControlInfo::default(),
            moving: None,
            stop_failed: false,
            stop_failure: None,
            ..car.info.clone()
        };
        head.fleet.update(info, began);
        head.set_told(Told::default());
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
            Change::Remembered(event) => self.motion(event, at, MotionTold::Car),
            Change::LinkUp => {
                let was_up = self.link().is_some_and(|link| link.info.is_up);
                self.is_heard(at)?;
                self.motion_is_open(MotionTold::Router);
                (!was_up || event.said.is_none()).then(|| "link up".to_owned())
            }
            Change::Answers => {
                self.is_heard(at)?;
                None
            }
            Change::SilenceOver => {
                let link = self.link()?;
                if link.silent_since.take().is_some() && link.info.is_up {
                    link.told.get_or_insert_default().link = false;
                }
                None
            }
            Change::Started => {
                self.key = None;
                self.motion_is_open(MotionTold::Car);
                None
            }
            Change::NotKnown => {
                self.key = None;
                self.motion_is_open(MotionTold::Router);
                let link = self.link()?;
                link.told.get_or_insert_default().link = false;
                (link.silent_since, link.info.control) = (None, ControlInfo::default());
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

    fn set_told(&mut self, told: Told) {
        if let Some(link) = self.link() {
            link.told = Some(told);
        }
    }

    /// Notes that the car is heard at its router.
    fn is_heard(&mut self, at: Instant) -> Option<()> {
        let link = self.link()?;
        if !std::mem::replace(&mut link.info.is_up, true) {
            link.since = at;
        }
        link.silent_since = None;
        link.told.get_or_insert_default().link = true;
        Some(())
    }

    /// Notes that what moves the car is not known until it is told anew, if nobody knows it better than who knew it so.
    fn motion_is_open(&mut self, by: MotionTold) {
        if let Some(link) = self.link()
            && let Some(told) = &mut link.told
            && (told.motion == MotionTold::Router || told.motion == by)
        {
            told.motion = MotionTold::Nobody;
            (link.moving, link.info.stop_failed) = (None, false);
        }
    }

    fn feed(&mut self, event: &FeedEvent, at: Instant) -> Option<String> {
        match event {
            FeedEvent::Link(info) => {
                let link = self.link()?;
                let (was, was_up) = (link.told.unwrap_or_default(), link.info.is_up);
                let mut info = (**info).clone();
                // It is one car, whatever port the file has for it, or none.
                info.service_port = link.info.service_port;
                let is_back = info.is_up && was.link && !was_up;
                // The router does not know yet what moves a car that has come back.
                let motion = match is_back && info.moving.is_none() {
                    true => MotionTold::Nobody,
                    false => MotionTold::Router,
                };
                self.fleet.update(info, at);
                self.set_told(Told { link: true, motion });
                is_back.then(|| "link up".to_owned())
            }
            FeedEvent::LinkDown { why, .. } => {
                let why = why.raw();
                self.link_down(why, at)?;
                Some(format!("link down: {why}"))
            }
            FeedEvent::LinkGone { .. } => {
                let why = "its port was given up";
                self.link_down(why, at)?;
                Some(why.to_owned())
            }
            FeedEvent::Rtt {
                rtt_us, silent_ms, ..
            } => {
                let was_silent = self.link()?.silent_since.is_some();
                self.is_heard(at)?;
                let link = self.link()?;
                link.silent_since = before(*silent_ms, at);
                if silent_ms.is_some() {
                    return Some("no answer".to_owned());
                }
                link.rtts.push(*rtt_us);
                was_silent.then(|| "answers again".to_owned())
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
            FeedEvent::Motion { event, .. } => self.motion(event, at, MotionTold::Router),
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

    /// Notes that the link is down. What the car itself remembers is so all the same.
    fn link_down(&mut self, why: &str, at: Instant) -> Option<()> {
        self.key = None;
        let link = self.link()?;
        let port = link.info.service_port;
        let told = link.told.get_or_insert_default();
        told.link = true;
        let moving = link
            .moving
            .take()
            .filter(|_| told.motion == MotionTold::Car);
        self.fleet.link_down(port, why.to_owned(), at);
        self.link()?.moving = moving;
        Some(())
    }

    fn motion(&mut self, event: &MotionEvent, at: Instant, by: MotionTold) -> Option<String> {
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
        let told = link.told.get_or_insert_default();
        let tells_all = matches!(
            event,
            MotionEvent::Started(_) | MotionEvent::Stands | MotionEvent::StopFailed
        );
        // Who tells of an end has not told what moved the car before.
        if tells_all && told.motion != MotionTold::Car {
            told.motion = by;
        }
        link.on_motion(event, None, at);
        link.timeline.events().next().map(|(_, said)| said.clone())
    }
}
