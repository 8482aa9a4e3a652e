//! Notes on the timelines what keys, cars and links do, and moves through the chosen car's.

use std::time::Instant;

use super::App;
use crate::app::contact::Contact;
use crate::app::fleet::FleetLink;
use crate::app::timeline::{Sign, Signs, Timeline};
use crate::drive::{Direction, DriveState};
use crate::screen::theme::MOVES;

impl App {
    /// The timeline that the Drive screen shows.
    pub fn timeline(&self) -> Option<&Timeline> {
        if !self.is_replay() {
            return self.link().map(|link| &link.timeline);
        }
        // Of the car whose run is selected.
        let run = self.log.selected_run();
        let car = run.and_then(|run| self.past.get(run.link.as_str()));
        car.or_else(|| self.past.values().next())
    }

    /// The newest moment on it.
    pub fn timeline_end(&self) -> Instant {
        match self.timeline().and_then(Timeline::end) {
            Some(end) if self.is_replay() => end,
            _ => self.now,
        }
    }

    /// The event at the cursor or before it; the last one, without a cursor.
    pub fn event_at_cursor<'a>(&self, timeline: &'a Timeline) -> Option<&'a (Instant, String)> {
        let cursor = self.timeline_view.cursor;
        let mut events = timeline.events();
        events.find(|(at, _)| cursor.is_none_or(|cursor| *at <= cursor))
    }

    /// Notes what the chosen car's tracks show now; those of the others once a second.
    pub(super) fn note_timelines(&mut self, all: bool) {
        if self.is_replay() {
            return;
        }
        let ports: Vec<u16> = match all {
            true => self.fleet.links.keys().copied().collect(),
            false => self.chosen.into_iter().collect(),
        };
        let keys = self.drive.asked().map(|(_, held)| held.glyph());
        if keys.is_some() {
            self.timeline_view.cursor = None;
        }
        for port in ports {
            let keys = keys.filter(|_| self.chosen == Some(port));
            let signs = (self.fleet.links.get(&port)).map(|link| self.signs(link, keys));
            if let (Some(link), Some(signs)) = (self.fleet.links.get_mut(&port), signs) {
                link.timeline.note(self.now, signs);
            }
        }
    }

    /// Notes that since then nothing is known of any car: this console stood still.
    pub(super) fn doubt_since(&mut self, then: Instant) {
        for link in self.fleet.links.values_mut() {
            let timeline = &mut link.timeline;
            timeline.note(then, [Sign::Blank, Sign::Doubt, Sign::Doubt]);
        }
    }

    fn signs(&self, link: &FleetLink, keys: Option<char>) -> Signs {
        let contact = self.contact(link);
        let moves = link.moving.as_ref().map(|(moving, _)| {
            let mut motion = link.info.motion.iter();
            glyph(motion.position(|name| *name == moving.command))
        });
        [
            keys.map_or(Sign::Blank, Sign::Active),
            match moves {
                _ if link.info.stop_failed => Sign::Bad,
                _ if contact != Contact::Answers => Sign::Doubt,
                Some(glyph) => Sign::Active(glyph),
                None => Sign::Calm,
            },
            match contact {
                Contact::Answers => Sign::Calm,
                Contact::Silent(_) => Sign::Doubt,
                Contact::Lost => Sign::Bad,
            },
        ]
    }

    /// Returns true if Left and Right move through the timeline: nothing would drive by them.
    pub(super) fn arrows_scrub(&self) -> bool {
        let takes_control = self.may_drive()
            && !self.drive.needs_arming()
            && self.holder() == crate::drive::ControlHolder::Nobody;
        self.is_replay() || self.state() == DriveState::View && !takes_control
    }

    pub(super) fn scrub(&mut self, steps: i8) {
        self.timeline_view.scrub(steps, self.timeline_end());
        self.dirty = true;
    }
}

impl App {
    /// Moves the cursor to the next event, or to the one before.
    pub(super) fn seek_event(&mut self, older: bool) {
        let end = self.timeline_end();
        let here = self.timeline_view.cursor.unwrap_or(end);
        let Some(timeline) = self.timeline() else {
            return;
        };
        let moments = || timeline.events().map(|(at, _)| *at);
        let there = match older {
            true => moments()
                .find(|at| *at < here)
                .or(self.timeline_view.cursor),
            false => moments().take_while(|at| *at > here).last(),
        };
        self.timeline_view.cursor = there.filter(|there| *there < end);
        self.dirty = true;
    }
}

/// The glyph of the motion command at this place.
pub(super) fn glyph(place: Option<usize>) -> char {
    let direction = place.and_then(|place| Direction::ALL.get(place));
    let other = MOVES.chars().next().unwrap_or('»');
    direction.map_or(other, |direction| direction.glyph())
}
