//! Brings tables from one member to another: changes as they happen, and the whole in pages where
//! something is missing. Says what to send; sends nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::mesh::directory::{Applied, Change, Directory, Entry, Table};
use crate::mesh::id::Start;
use crate::mesh::message::{Delta, PAGE, Page, WireEntry};

/// Time after which a table that was asked for, and has not come whole, is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// Time after which nobody waits any more for a table that is missing.
const HOPELESS: Duration = Duration::from_secs(3);
/// Time in which a member gets the whole table once, however often it asks.
const WHOLE_ONCE: Duration = Duration::from_millis(500);
/// Most pages of a table: as many as hold a record of each port.
const MOST_PAGES: u16 = 256;
/// Most changes that wait for the whole table; with more it is asked for again.
const MOST_WAITING: usize = 16 * PAGE;

/// Changes of this member's table that the others have not been told yet.
#[derive(Debug, Default)]
pub(crate) struct Outflow {
    /// Ports that have changed, by the revision of the last change.
    dirty: BTreeMap<u64, u16>,
    revs: BTreeMap<u16, u64>,
    told: u64,
    /// When each member was last sent the whole table.
    wholes: BTreeMap<Start, Instant>,
}

impl Outflow {
    /// Notes that a port has changed, with this revision of the table.
    pub(crate) fn changed(&mut self, port: u16, rev: u64) {
        if let Some(before) = self.revs.insert(port, rev) {
            self.dirty.remove(&before);
        }
        self.dirty.insert(rev, port);
    }

    /// Returns all changes that were not told yet.
    pub(crate) fn deltas(&mut self, own: &Table, now: Instant) -> Vec<Delta> {
        let dirty: Vec<(u64, u16)> = std::mem::take(&mut self.dirty).into_iter().collect();
        self.revs.clear();
        let mut deltas = Vec::new();
        for changes in dirty.chunks(PAGE) {
            let rev = changes.last().map_or(self.told, |(rev, _)| *rev);
            let change = |(_, port): &(u64, u16)| {
                let entry = own.entries.get(port);
                (*port, entry.map(|entry| WireEntry::new(entry, now)))
            };
            deltas.push(Delta {
                base: std::mem::replace(&mut self.told, rev),
                rev,
                changes: changes.iter().map(change).collect(),
            });
        }
        deltas
    }

    /// Returns the whole table for a member that asks for it. Nothing may be untold.
    pub(crate) fn whole(&mut self, own: &Table, by: Start, now: Instant) -> Vec<Page> {
        self.wholes
            .retain(|_, at| now.saturating_duration_since(*at) < WHOLE_ONCE);
        if self.wholes.insert(by, now).is_some() {
            return Vec::new();
        }
        let entries: Vec<&Entry> = own.entries.values().collect();
        let mut chunks: Vec<&[&Entry]> = entries.chunks(PAGE).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let pages = u16::try_from(chunks.len()).unwrap_or(u16::MAX);
        let page = |(index, entries): (u16, &[&Entry])| Page {
            rev: own.rev,
            index,
            pages,
            entries: (entries.iter())
                .map(|entry| WireEntry::new(entry, now))
                .collect(),
        };
        (0..pages).zip(chunks).map(page).collect()
    }
}

/// What is under way of the tables of other members.
#[derive(Debug, Default)]
pub(crate) struct Inflow {
    missing: BTreeMap<Start, Missing>,
}

/// A table that was asked for.
#[derive(Debug)]
struct Missing {
    /// Since when it is missing.
    since: Instant,
    asked_at: Instant,
    rev: u64,
    pages: BTreeMap<u16, Vec<(u16, Entry)>>,
    /// Changes that came meanwhile: they may begin where the whole ends.
    waiting: Vec<(u64, u64, Vec<Change>)>,
    waiting_changes: usize,
}

impl Inflow {
    /// Takes changes of a member's table. Returns the ports that may have changed, and whether the whole is
    /// to be asked for now.
    pub(crate) fn delta(
        &mut self,
        directory: &mut Directory,
        of: Start,
        delta: Delta,
        now: Instant,
    ) -> (Vec<u16>, bool) {
        let (base, rev) = (delta.base, delta.rev);
        let Some(changes) = delta.checked(now) else {
            return (Vec::new(), self.ask(of, now));
        };
        let ports = changes.iter().map(|(port, _)| *port).collect();
        match directory.apply(of, base, rev, changes.clone()) {
            Applied::Changed => (ports, false),
            Applied::Known => (Vec::new(), false),
            Applied::Gap => {
                let asks = self.ask(of, now);
                if let Some(missing) = self.missing.get_mut(&of)
                    && missing.waiting_changes + changes.len() <= MOST_WAITING
                {
                    missing.waiting_changes += changes.len();
                    missing.waiting.push((base, rev, changes));
                }
                (Vec::new(), asks)
            }
        }
    }

    /// Takes a part of a member's whole table. Returns the ports that may have changed.
    pub(crate) fn page(
        &mut self,
        directory: &mut Directory,
        of: Start,
        page: Page,
        now: Instant,
    ) -> Vec<u16> {
        let Some(missing) = self.missing.get_mut(&of) else {
            return Vec::new();
        };
        if page.rev < missing.rev || page.index >= page.pages || page.pages > MOST_PAGES {
            return Vec::new();
        }
        if page.rev > missing.rev {
            missing.rev = page.rev;
            missing.pages.clear();
        }
        let entries = page.entries.into_iter();
        let entries: Option<Vec<_>> = entries.map(|entry| entry.checked(now)).collect();
        let Some(entries) = entries else {
            return Vec::new();
        };
        missing.pages.insert(page.index, entries);
        if missing.pages.len() < usize::from(page.pages) {
            return Vec::new();
        }
        let Some(whole) = self.missing.remove(&of) else {
            return Vec::new();
        };
        let entries = whole.pages.into_values().flatten().collect();
        let mut ports = directory.replace(of, whole.rev, entries);
        for (base, rev, changes) in whole.waiting {
            let changed: Vec<u16> = changes.iter().map(|(port, _)| *port).collect();
            if directory.apply(of, base, rev, changes) == Applied::Changed {
                ports.extend(changed);
            }
        }
        ports
    }

    /// Compares what is known of a member's table with what the member says of it. Returns true if the whole
    /// is to be asked for now.
    pub(crate) fn compare(
        &mut self,
        directory: &Directory,
        of: Start,
        (rev, digest): (u64, u64),
        now: Instant,
    ) -> bool {
        let known = directory
            .table(of)
            .map_or((0, 0), |table| (table.rev, table.digest));
        // What is known may be newer than what was under way.
        if known.0 > rev || known == (rev, digest) {
            if known.0 == rev {
                self.missing.remove(&of);
            }
            return false;
        }
        self.ask(of, now)
    }

    fn ask(&mut self, of: Start, now: Instant) -> bool {
        if let Some(missing) = self.missing.get(&of)
            && now.saturating_duration_since(missing.asked_at) < AGAIN
        {
            return false;
        }
        let since = self.missing.get(&of).map_or(now, |missing| missing.since);
        let missing = Missing {
            since,
            asked_at: now,
            rev: 0,
            pages: BTreeMap::new(),
            waiting: Vec::new(),
            waiting_changes: 0,
        };
        self.missing.insert(of, missing);
        true
    }

    pub(crate) fn forget(&mut self, of: Start) {
        self.missing.remove(&of);
    }

    /// True if some table is under way, and not missing for too long.
    pub(crate) fn is_waiting(&self, now: Instant) -> bool {
        let mut missing = self.missing.values();
        missing.any(|missing| now.saturating_duration_since(missing.since) < HOPELESS)
    }
}
