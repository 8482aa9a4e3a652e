//! Owns this member's records of ports, and what becomes of those of others: which are lifted above others,
//! and which are kept when a member is gone.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::Instant;

use super::{Orphan, State};
use crate::mesh::directory::Entry;
use crate::mesh::id::Start;
use crate::mesh::members::{Member, MemberState};
use crate::mesh::message::{Message, Topic};
use crate::mesh::record::{HeldState, PortRecord};
use crate::net::client_net::QuotaOwner;

/// Most orphans that nobody has taken yet: a record for each port.
const MOST_ORPHANS: usize = 65_536;

impl State {
    /// Sets what this router has of a port.
    pub(crate) fn set_own(&mut self, port: u16, mut record: Option<PortRecord>, now: Instant) {
        if record.is_none() && self.is_draining {
            // The others keep the ports of a router that ends, for cars that go to them.
            return;
        }
        if let Some(record) = &mut record {
            record.held_since = self.held_first(record);
            self.lift(record);
        }
        if self.directory.set_own(port, record, now) {
            self.outflow.changed(port, self.directory.own().rev);
            self.changed.insert(port);
        }
    }

    /// The moment from which the identity of a record has had its port, by all that is known.
    fn held_first(&self, record: &PortRecord) -> u64 {
        let all = self.directory.records(record.port);
        let same = all.filter(|(_, entry)| entry.record.identity == record.identity);
        let since = same.map(|(_, entry)| entry.record.held_since);
        since.chain([record.held_since]).min().unwrap_or_default()
    }

    /// Lifts the epoch of a link above those of the same process' earlier dials: the car itself is the judge of
    /// which is its last link, whatever the clocks say. One that does not count its dials has a link at most
    /// at one member: what is up counts more than what is lost. So it does of two processes: nothing that is
    /// lost ends a link that is up.
    fn lift(&self, record: &mut PortRecord) {
        let Some(link) = &mut record.link else { return };
        for (start, entry) in self.directory.records(record.port) {
            let Some(other) = entry.record.link else {
                continue;
            };
            if entry.record.identity != record.identity {
                continue;
            }
            let is_same = other.instance == link.instance;
            let is_lost = entry.record.state != HeldState::Up && record.state == HeldState::Up;
            let is_earlier = match other.dial.cmp(&link.dial) {
                Ordering::Less if is_same => true,
                Ordering::Greater if is_same => false,
                _ => is_lost,
            };
            if start == self.start && is_same && other.dial == link.dial {
                link.epoch = link.epoch.max(other.epoch);
            } else if start != self.start && is_earlier && other.epoch >= link.epoch {
                link.epoch = other.epoch.next();
            }
        }
    }

    pub(super) fn own_record(&self, port: u16) -> Option<PortRecord> {
        let entry = self.directory.own().entries.get(&port)?;
        Some(PortRecord::clone(&entry.record))
    }

    /// Notes that other members' records of these ports have changed. Of one identity all take over since when
    /// it has had the port, before anybody looks which of them counts.
    pub(super) fn touched(&mut self, ports: Vec<u16>, now: Instant) {
        for port in &ports {
            self.claims.recorded(*port);
            self.tell_freed(*port);
            self.tell_held_since(*port);
            self.forget_left_behind(*port);
            if let Some(own) = self.own_record(*port) {
                // What there is to be lifted is lifted.
                self.set_own(*port, Some(own), now);
            }
        }
        self.changed.extend(ports);
    }

    /// Tells those that are present since when their identity has had the port, if they may not know it: the own
    /// record may be withdrawn before they have seen it, and that of a member that is away they may never see.
    fn tell_held_since(&mut self, port: u16) {
        let has_own = self.own_record(port).is_some();
        let mut told = Vec::new();
        for (start, entry) in self.directory.records(port) {
            let PortRecord {
                identity,
                held_since,
                ..
            } = &*entry.record;
            let all = self.directory.records(port);
            let same = all.filter(|(_, other)| other.record.identity == *identity);
            let first = same.min_by_key(|(_, other)| other.record.held_since);
            let known = first.filter(|(first, other)| {
                let is_earlier = other.record.held_since < *held_since;
                is_earlier && (has_own || self.is_away(*first))
            });
            if let Some((_, first)) = known.filter(|_| !self.is_away(start)) {
                told.push((start, identity.clone(), first.record.held_since));
            }
        }
        for (start, identity, held_since) in told {
            let told = Message::HeldSince {
                port,
                identity,
                held_since,
            };
            self.send(Topic::Member(start), told);
        }
    }

    /// Forgets what a member that is away said of a car whose link another one has now, who may not know of it:
    /// if it lives, it says so again. Without this only those that were there before would believe the dead.
    fn forget_left_behind(&mut self, port: u16) {
        let (away, present): (Vec<_>, Vec<_>) =
            (self.directory.records(port)).partition(|(start, _)| self.is_away(*start));
        let is_left_behind = |(start, old): &&(Start, &Entry)| {
            let is_over = self.members.is_over(*start);
            present.iter().any(|(_, new)| {
                new.record.state == HeldState::Up && is_later(&new.record, &old.record, is_over)
            })
        };
        let gone = away.iter().filter(is_left_behind);
        let gone: Vec<Start> = gone.map(|(start, _)| *start).collect();
        for start in gone {
            self.directory.remove(start, port);
        }
    }

    fn is_away(&self, start: Start) -> bool {
        start != self.start && self.members.get(start).is_none_or(Member::is_away)
    }

    pub(super) fn touch_all(&mut self, of: Start, now: Instant) {
        let table = self.directory.table(of);
        let ports = table.map(|table| table.entries.keys().copied().collect());
        self.touched(ports.unwrap_or_default(), now);
    }

    /// Forgets what a former start of a router said of the ports of which its new one says something. The cars
    /// of the others have yet to come back.
    pub(super) fn replace(&mut self, former: Start, by: Start, now: Instant) {
        let ports = |of| {
            let table = self.directory.table(of).into_iter();
            table.flat_map(|table| table.entries.keys().copied())
        };
        let told: BTreeSet<u16> = ports(by).collect();
        let known: Vec<u16> = ports(former).filter(|port| told.contains(port)).collect();
        for port in &known {
            self.directory.remove(former, *port);
        }
        self.touched(known, now);
    }

    /// Forgets what a member held. What nobody else holds is kept for its key by the first of the members; by
    /// the others, too, if that did nothing.
    pub(super) fn bury(&mut self, member: &Member, now: Instant) {
        self.inflow.forget(member.start);
        let away = match member.state {
            MemberState::Away { since } => since,
            _ => now,
        };
        let is_first = self.members.is_first(self.id, away);
        let held: Vec<Entry> = (self.directory.table(member.start))
            .map_or_else(Vec::new, |table| table.entries.values().cloned().collect());
        let ports = self.directory.forget(member.start);
        for Entry { record, since, .. } in held {
            let last = self.forgotten.entry(record.port).or_default();
            *last = record.held_since.max(*last);
            let is_kept = matches!(record.owner, QuotaOwner::Key(_));
            let is_held = self.directory.holder(record.port).is_some();
            if is_held || !(is_first || is_kept) || self.orphans.len() >= MOST_ORPHANS {
                continue;
            }
            if is_kept {
                let state = HeldState::Kept;
                let kept = PortRecord::clone(&record);
                self.set_own(record.port, Some(PortRecord { state, ..kept }), now);
            }
            let since = match record.state {
                HeldState::Up => away,
                _ => since,
            };
            self.orphans.push(Orphan {
                record,
                away: now.saturating_duration_since(since),
            });
        }
        self.touched(ports, now);
    }
}

/// Returns true if a link came after another of the same identity, whose holder `is_over` or may still live.
fn is_later(new: &PortRecord, old: &PortRecord, is_over: bool) -> bool {
    let (Some(link), Some(before)) = (new.link, old.link) else {
        return new.identity == old.identity && is_over;
    };
    let by_dial = match link.dial.cmp(&before.dial) {
        _ if link.instance != before.instance => is_over,
        Ordering::Less => false,
        Ordering::Equal => is_over,
        Ordering::Greater => true,
    };
    new.identity == old.identity && by_dial
}
