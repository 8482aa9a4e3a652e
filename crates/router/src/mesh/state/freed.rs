//! Frees ports: who had one before has it no more, at whichever member, and however late that hears of it.

use super::{Now, State};
use crate::mesh::id::{Epoch, Start};
use crate::mesh::members::Member;
use crate::mesh::message::{Message, Topic};
use crate::mesh::record::HeldState;

impl State {
    /// Frees a port at all members. Returns false, and does nothing, if its link is up somewhere.
    pub(crate) fn free(&mut self, port: u16, now: Now) -> bool {
        let mut at = self.members.limit_clock(now.clock, now.instant);
        for (start, entry) in self.directory.told(port) {
            let is_away = (self.members.get(start)).is_some_and(Member::is_away);
            if entry.record.state == HeldState::Up && !is_away {
                return false;
            }
            at = at.max(entry.record.held_since);
        }
        self.note_freed(port, at);
        self.send(Topic::All, Message::Freed { port, at });
        true
    }

    /// Notes that a port was freed.
    pub(super) fn note_freed(&mut self, port: u16, at: u64) {
        // No number that no member has makes a port free for ever.
        let at = at.min(Epoch::HIGHEST.number() - 2);
        self.directory.free(port, at);
        self.changed.insert(port);
    }

    /// True if what this router has of a port is void, as the port was freed.
    pub(crate) fn is_own_freed(&self, port: u16) -> bool {
        let own = self.own_record(port);
        own.is_some_and(|own| self.directory.is_freed(&own))
    }

    /// Tells, again and again, those who still have a port of before it was freed: a message may be lost.
    pub(super) fn tell_all_freed(&mut self) {
        for port in self.directory.freed_ports() {
            self.tell_freed(port);
        }
    }

    /// Tells those who still have a port of before it was freed.
    pub(super) fn tell_freed(&mut self, port: u16) {
        let Some(at) = self.directory.freed_at(port) else {
            return;
        };
        let told = self.directory.told(port);
        let void = told.filter(|(start, entry)| {
            *start != self.start && self.directory.is_freed(&entry.record)
        });
        let void: Vec<Start> = void.map(|(start, _)| start).collect();
        for start in void {
            self.send(Topic::Member(start), Message::Freed { port, at });
        }
    }
}
