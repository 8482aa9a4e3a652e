//! Takes what comes from the bus: opens it, without the lock of what is known, and does what it says.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{Now, State};
use crate::mesh::id::Start;
use crate::mesh::members::MemberEvent;
use crate::mesh::message::{Message, Topic};
use crate::mesh::record::PortRecord;
use crate::mesh::seal::{Sealed, StartKey};
use crate::mesh::secret::MeshSecret;

/// A message that was opened. That takes some time, and no lock.
#[derive(Debug)]
pub(crate) struct Opened {
    of: Start,
    number: u64,
    /// The key of its sender.
    key: Arc<StartKey>,
    message: Message,
}

impl Opened {
    /// Opens what came from the bus for this start, with the keys of those that are known. `None` if it is
    /// no message of one who knows the secret.
    pub(crate) fn new(
        bytes: &Bytes,
        own: Start,
        secret: &MeshSecret,
        key_of: impl Fn(Start) -> Option<Arc<StartKey>>,
    ) -> Option<Self> {
        let sealed = Sealed::parse(bytes).filter(|sealed| sealed.is_for(own))?;
        let of = sealed.start;
        let key = match key_of(of) {
            Some(key) => key,
            None => Arc::new(StartKey::new(secret, of).ok()?),
        };
        let message = Message::decode(&sealed.open(&key)?)?;
        Some(Self {
            of,
            number: sealed.number,
            key,
            message,
        })
    }
}

impl State {
    /// Opens and takes a message from the bus.
    pub(crate) fn receive(&mut self, bytes: &Bytes, now: Now) -> Option<MemberEvent> {
        let opened = Opened::new(bytes, self.start, &self.secret, |of| self.members.key(of));
        self.take(opened, now)
    }

    /// Takes a message from the bus.
    pub(crate) fn take(&mut self, opened: Option<Opened>, now: Now) -> Option<MemberEvent> {
        let Some(opened) = opened else {
            self.refused_messages += 1;
            return None;
        };
        let (of, number) = (opened.of, opened.number);
        if of == self.start {
            // The bus, or whoever has it, repeats what we said.
            return None;
        }
        if self.members.key(of).is_none() {
            return self.meet(opened, now);
        }
        if !self.members.take(of, number) {
            self.refused_messages += 1;
            return None;
        }
        self.on_message(of, opened.message, now)
    }

    /// Hears of a start that is not known: nothing else that it says is believed yet.
    fn meet(&mut self, opened: Opened, now: Now) -> Option<MemberEvent> {
        let Message::Alive(alive) = opened.message else {
            return None;
        };
        let of = opened.of;
        let event = (self.members).meet(of, opened.number, opened.key, &alive, now.instant);
        if event.is_some() {
            // It hears no question of one that has not repeated its challenge.
            self.say_alive(now);
            self.compare(of, now.instant);
            self.settle_id();
        }
        event
    }

    fn on_message(&mut self, of: Start, message: Message, now: Now) -> Option<MemberEvent> {
        let instant = now.instant;
        match message {
            Message::Alive(alive) => {
                let event = self.members.alive(of, &alive, instant);
                self.compare(of, instant);
                self.settle_id();
                if event.is_some() {
                    self.touch_all(of, instant);
                }
                return event;
            }
            Message::Left => {
                let event = self.members.left(of, instant);
                self.on_event(event.as_ref(), now);
                return event;
            }
            Message::Delta(delta) => {
                let (ports, asks) = self.inflow.delta(&mut self.directory, of, delta, instant);
                self.touched(ports, instant);
                if asks {
                    self.send(Topic::Member(of), Message::AskWhole);
                }
            }
            Message::AskWhole => {
                self.flush(instant);
                for page in self.outflow.whole(self.directory.own(), of, instant) {
                    self.send(Topic::Member(of), Message::Page(page));
                }
            }
            Message::Page(page) => {
                let ports = self.inflow.page(&mut self.directory, of, page, instant);
                self.touched(ports, instant);
            }
            Message::AskClaim(ask) => {
                let answer = self.answer(of, &ask, instant);
                self.send(Topic::Member(of), Message::AnswerClaim(answer));
            }
            Message::AnswerClaim(answer) => self.claims.answered(of, &answer),
            Message::Freed { port, at } => self.note_freed(port, at),
            // It says so of a time before the port was freed.
            Message::HeldSince {
                port, held_since, ..
            } if Some(held_since) <= self.directory.freed_at(port) => {}
            Message::HeldSince {
                port,
                identity,
                held_since,
            } => {
                let own = self.own_record(port);
                if let Some(own) =
                    own.filter(|own| own.identity == identity && held_since < own.held_since)
                {
                    self.set_own(port, Some(PortRecord { held_since, ..own }), instant);
                }
            }
        }
        None
    }

    /// Compares what is known of a member's table with what it says.
    fn compare(&mut self, of: Start, now: Instant) {
        if let Some(told) = self.members.table_of(of)
            && self.inflow.compare(&self.directory, of, told, now)
        {
            self.send(Topic::Member(of), Message::AskWhole);
        }
    }
}
