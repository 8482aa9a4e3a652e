//! Notes on the timelines what keys, cars and links do, and moves through the chosen car's.

use std::time::Instant;

use super::App;
use crate::app::contact::Contact;
use crate::app::fleet::FleetLink;
use crate::app::timeline::{Sign, Signs, Timeline};
use crate::drive::DriveState;

impl App {
    /// The timeline that the Drive screen shows.
    pub fn timeline(&self) -> Option<&Timeline> {
        match &self.replay {
            Some(replay) => Some(replay.timeline()),
            None => self.link().map(|link| &link.timeline),
        }
    }

    /// The newest moment on it.
    pub fn timeline_end(&self) -> Instant {
        (self.replay.as_ref()).map_or(self.now, |replay| replay.end())
    }

    /// The event at the cursor or before it; the last one, without a cursor.
    pub fn event_at_cursor<'a>(&self, timeline: &'a Timeline) -> Option<&'a (Instant, String)> {
        let cursor = self.timeline_view.cursor;
        let mut events = timeline.events();
        events.find(|(at, _)| cursor.is_none_or(|cursor| *at <= cursor))
    }

    /// Notes what the chosen car's tracks show now; those of the others once a second.
    pub(super) fn note_timelines(&mut self, all: bool) {
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
            let link = self.fleet.links.get(&port);
            let signs = link.map(|link| signs(link, self.contact(link), keys));
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

    /// Returns true if Left and Right move through the timeline: nothing would drive by them.
    pub(super) fn arrows_scrub(&self) -> bool {
        let takes_control = self.may_drive()
            && !self.drive.needs_arming()
            && self.holder() == crate::drive::ControlHolder::Nobody;
        self.state() == DriveState::View && !takes_control
    }

    pub(super) fn scrub(&mut self, steps: i8) {
        if self.is_replay() {
            return self.seek_by(steps, self.timeline_view.step());
        }
        self.timeline_view.scrub(steps, self.timeline_end());
        self.dirty = true;
    }
}

/// What the tracks show of a car with this contact, while this key is held.
pub(super) fn signs(link: &FleetLink, contact: Contact, keys: Option<char>) -> Signs {
    let moves = link.moving.as_ref().map(|(moving, _)| link.sign_of(moving));
    [
        keys.map_or(Sign::Blank, Sign::Active),
        match moves {
            _ if link.info.stop_failed => Sign::Bad,
            _ if !contact.knows_motion(link) => Sign::Doubt,
            Some(sign) => sign,
            None => Sign::Calm,
        },
        match contact {
            Contact::Answers => Sign::Calm,
            Contact::Silent(_) | Contact::NotKnown => Sign::Doubt,
            Contact::Lost => Sign::Bad,
        },
    ]
}
