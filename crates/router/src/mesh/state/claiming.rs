//! Says who may have a port: to an inner of this router, and to another member that asks.

use std::collections::BTreeSet;
use std::time::Instant;

use p2p_shared::bounded::Text;

use super::{Now, State};
use crate::mesh::claims::{ClaimRefused, Outcome, PortClaim};
use crate::mesh::directory::Entry;
use crate::mesh::id::{Epoch, Start};
use crate::mesh::message::{ClaimAnswer, ClaimAsk, Message, Topic};
use crate::mesh::record::{HeldState, PortRecord};

/// What comes of a claim at once.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The claim of this number is open, and asks other members.
    Asks(u64),
    Granted(u64, Outcome),
}

impl State {
    /// Begins a claim.
    ///
    /// # Errors
    /// If the port is another identity's.
    pub(crate) fn begin(&mut self, claim: &PortClaim, now: Now) -> Result<Begun, ClaimRefused> {
        let mut asks = BTreeSet::new();
        let mut known = Outcome::default();
        match self.directory.holder(claim.port) {
            Some((start, entry)) if start != self.start => {
                if entry.record.identity != claim.identity {
                    return Err(ClaimRefused(self.why_not(start, entry)));
                }
                known = outcome_of(&entry.record);
            }
            // The registry decides about what is held here; of what was taken over from a member that is gone
            // it may not have heard yet.
            Some((_, entry)) if entry.record.identity == claim.identity => {
                known = outcome_of(&entry.record);
            }
            Some((start, entry)) if entry.record.state == HeldState::Kept => {
                return Err(ClaimRefused(self.why_not(start, entry)));
            }
            Some(_) => {}
            None if self.connected.is_some() => {
                asks = self.members.present().map(|member| member.start).collect();
            }
            None => {}
        }
        let is_granted = asks.is_empty();
        let asked_at = self.members.limit_clock(now.clock, now.instant);
        let opened = (self.claims).open(claim.port, &claim.identity, asked_at, asks, now.instant);
        let number = opened.map_err(ClaimRefused)?;
        if is_granted {
            return Ok(Begun::Granted(number, known));
        }
        self.ask_again(number);
        Ok(Begun::Asks(number))
    }

    /// Asks the members that have not answered.
    pub(crate) fn ask_again(&mut self, number: u64) {
        let Some(ask) = self.claims.ask(number) else {
            return;
        };
        for member in self.claims.waits_for(number) {
            self.send(Topic::Member(member), Message::AskClaim(ask.clone()));
        }
    }

    pub(super) fn answer(&mut self, by: Start, ask: &ClaimAsk, now: Instant) -> ClaimAnswer {
        let mut answer = ClaimAnswer {
            ask: ask.ask,
            refused: None,
            epoch: None,
            held_since: None,
        };
        match self.directory.holder(ask.port) {
            Some((_, entry)) if entry.record.identity == ask.identity => {
                let known = outcome_of(&entry.record);
                answer.epoch = Some(known.epoch);
                answer.held_since = known.held_since;
            }
            Some((start, entry)) if start != by => {
                answer.refused = Some(Text::new(self.why_not(start, entry)));
            }
            _ => {
                let refused = self.claims.asked(self.start, by, ask, now);
                answer.refused = refused.map(Text::new);
            }
        }
        answer
    }

    /// Says why another inner can't have a port.
    fn why_not(&self, holder: Start, entry: &Entry) -> String {
        let PortRecord { port, name, .. } = &*entry.record;
        let at = match self.members.get(holder) {
            Some(member) => format!("the router {}", member.address),
            None if holder == self.start => format!("the router {}", self.address),
            None => "another router".to_owned(),
        };
        match entry.record.state {
            HeldState::Up => format!(
                "service port {port} is held by '{name}', an inner with another key, at {at}: ask for another port"
            ),
            HeldState::Away => format!(
                "service port {port} is kept for '{name}', which is away, at {at}: ask for another port"
            ),
            HeldState::Kept => format!(
                "service port {port} is kept for '{name}', of the key that had it last: ask for another port, or free it at {at} (p2p-router port free {port})"
            ),
        }
    }

    /// Since when an identity has a port that it gets now: not before one that was forgotten, and may come
    /// back.
    pub(crate) fn new_holder(&self, port: u16, now: Now) -> u64 {
        let clock = self.members.limit_clock(now.clock, now.instant);
        let before = self.forgotten.get(&port).copied().unwrap_or_default();
        let freed = self.directory.freed_at(port).unwrap_or_default();
        clock.max(before.max(freed).saturating_add(1))
    }

    /// The epoch of a link that begins now.
    pub(crate) fn next_epoch(&self, port: u16, known: Epoch, now: Now) -> Epoch {
        let clock = self.members.limit_clock(now.clock, now.instant);
        let known = self.directory.highest_epoch(port).max(known);
        known.next().max(Epoch::from_number(clock))
    }
}

fn outcome_of(record: &PortRecord) -> Outcome {
    Outcome {
        refused: None,
        epoch: record.epoch(),
        held_since: Some(record.held_since),
    }
}
