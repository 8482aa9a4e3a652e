//! Knows what each member holds: a table of records for each start of a member, as that member last told
//! it. Nobody but a member changes its table, so tables never conflict; which of several records of
//! a port counts is asked of [`winner`]. Without a clock and a socket.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use p2p_shared::names::{Identity, LinkName};

use crate::mesh::id::{Epoch, Start};
use crate::mesh::record::{HeldState, PortRecord, winner};
use crate::net::client_net::QuotaOwner;

/// Most records of all members together: four for each port. Each port has one as a rule, and two while it
/// moves.
const MOST_RECORDS: usize = 4 * 65_536;

/// A record, as it is in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub record: Arc<PortRecord>,
    /// The table's revision with which this record came.
    pub rev: u64,
    /// When the record's state began.
    pub since: Instant,
}

/// Records of one start of a member, by port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Grows by one with each change.
    pub rev: u64,
    /// Sum over the records that tells one table from another: of ports and revisions, so that it does not
    /// depend on which fields a program knows.
    pub digest: u64,
    pub entries: BTreeMap<u16, Entry>,
}

/// Change of a table: the new record of a port, or none.
pub(crate) type Change = (u16, Option<Entry>);

/// All tables.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    own: Start,
    tables: BTreeMap<Start, Table>,
    /// Members that have a record of the port.
    holders: HashMap<u16, Vec<Start>>,
    /// By names in small letters.
    names: Index<LinkName>,
    identities: Index<Identity>,
    owners: Index<QuotaOwner>,
    /// Ports that were freed, and when: who had one before has it no more, unless the link is up.
    freed: BTreeMap<u16, u64>,
    records: usize,
}

/// Outcome of a change of another member's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    Changed,
    /// It was known already.
    Known,
    /// Something before it is missing, or there is no room: the whole has to be asked for.
    Gap,
}

impl Directory {
    pub(crate) fn new(own: Start) -> Self {
        Self {
            own,
            tables: BTreeMap::from([(own, Table::default())]),
            holders: HashMap::new(),
            names: Index::default(),
            identities: Index::default(),
            owners: Index::default(),
            freed: BTreeMap::new(),
            records: 0,
        }
    }

    /// Number of records of all members.
    pub(crate) fn len(&self) -> usize {
        self.records
    }

    pub(crate) fn own(&self) -> &Table {
        // No table is the same as one without records.
        static EMPTY: Table = Table {
            rev: 0,
            digest: 0,
            entries: BTreeMap::new(),
        };
        self.table(self.own).unwrap_or(&EMPTY)
    }

    pub(crate) fn table(&self, of: Start) -> Option<&Table> {
        self.tables.get(&of)
    }

    /// Sets or removes the record of a port in this member's own table. Returns false if it was so already.
    pub(crate) fn set_own(&mut self, port: u16, record: Option<PortRecord>, now: Instant) -> bool {
        let own = self.own();
        let before = own.entries.get(&port);
        let is_same = match (&record, before) {
            (None, None) => true,
            (Some(record), Some(before)) => *record == *before.record,
            _ => false,
        };
        if is_same {
            return false;
        }
        let rev = own.rev + 1;
        let is_same_state =
            |record: &PortRecord, before: &Entry| record.state == before.record.state;
        let entry = record.map(|record| Entry {
            since: (before.filter(|before| is_same_state(&record, before)))
                .map_or(now, |before| before.since),
            record: Arc::new(record),
            rev,
        });
        self.put(self.own, port, entry);
        self.tables.entry(self.own).or_default().rev = rev;
        true
    }

    /// Applies what another member has changed since revision `base`.
    pub(crate) fn apply(
        &mut self,
        of: Start,
        base: u64,
        rev: u64,
        changes: Vec<Change>,
    ) -> Applied {
        let known = self.table(of).map_or(0, |table| table.rev);
        if of == self.own || rev <= known {
            return Applied::Known;
        }
        if base > known || self.records + changes.len() > MOST_RECORDS {
            return Applied::Gap;
        }
        for (port, entry) in changes {
            self.put(of, port, entry);
        }
        self.tables.entry(of).or_default().rev = rev;
        Applied::Changed
    }

    /// Puts the whole table of another member in place of what was known. Returns the ports in either.
    pub(crate) fn replace(&mut self, of: Start, rev: u64, entries: Vec<(u16, Entry)>) -> Vec<u16> {
        if of == self.own || self.table(of).is_some_and(|table| table.rev > rev) {
            return Vec::new();
        }
        let mut ports = self.forget(of);
        for (port, entry) in entries {
            if self.records < MOST_RECORDS {
                ports.push(port);
                self.put(of, port, Some(entry));
            }
        }
        self.tables.entry(of).or_default().rev = rev;
        ports
    }

    /// Forgets a member's records. Returns their ports.
    pub(crate) fn forget(&mut self, of: Start) -> Vec<u16> {
        let table = self.tables.get(&of);
        let ports: Vec<u16> =
            table.map_or_else(Vec::new, |table| table.entries.keys().copied().collect());
        for port in &ports {
            self.put(of, *port, None);
        }
        self.tables.remove(&of);
        ports
    }

    /// Forgets a member's record of a port.
    pub(crate) fn remove(&mut self, of: Start, port: u16) {
        self.put(of, port, None);
    }

    fn put(&mut self, of: Start, port: u16, entry: Option<Entry>) {
        let table = self.tables.entry(of).or_default();
        if let Some(old) = table.entries.remove(&port) {
            table.digest = table.digest.wrapping_sub(mixed(port, old.rev));
            self.records -= 1;
            if let Some(holders) = self.holders.get_mut(&port) {
                holders.retain(|holder| *holder != of);
                if holders.is_empty() {
                    self.holders.remove(&port);
                }
            }
            self.names.remove(&old.record.name.folded(), port);
            self.identities.remove(&old.record.identity, port);
            self.owners.remove(&old.record.owner, port);
        }
        if let Some(entry) = entry {
            table.digest = table.digest.wrapping_add(mixed(port, entry.rev));
            self.records += 1;
            self.holders.entry(port).or_default().push(of);
            self.names.add(&entry.record.name.folded(), port);
            self.identities.add(&entry.record.identity, port);
            self.owners.add(&entry.record.owner, port);
            table.entries.insert(port, entry);
        }
    }

    /// Notes that a port was freed then.
    pub(crate) fn free(&mut self, port: u16, at: u64) {
        let freed = self.freed.entry(port).or_default();
        *freed = at.max(*freed);
    }

    pub(crate) fn freed_ports(&self) -> Vec<u16> {
        self.freed.keys().copied().collect()
    }

    /// When a port was freed last.
    pub(crate) fn freed_at(&self, port: u16) -> Option<u64> {
        self.freed.get(&port).copied()
    }

    /// True if a record is void, as its port was freed.
    pub(crate) fn is_freed(&self, record: &PortRecord) -> bool {
        record.state != HeldState::Up && Some(record.held_since) <= self.freed_at(record.port)
    }

    /// All records of a port that are not void, with their holders.
    pub(crate) fn records(&self, port: u16) -> impl Iterator<Item = (Start, &Entry)> {
        let all = self.told(port);
        all.filter(|(_, entry)| !self.is_freed(&entry.record))
    }

    /// All records of a port, with their holders.
    pub(crate) fn told(&self, port: u16) -> impl Iterator<Item = (Start, &Entry)> {
        let holders = self.holders.get(&port).into_iter().flatten();
        holders.filter_map(move |start| {
            let entry = self.tables.get(start)?.entries.get(&port)?;
            Some((*start, entry))
        })
    }

    /// The record of a port that counts, and whose it is.
    pub(crate) fn holder(&self, port: u16) -> Option<(Start, &Entry)> {
        let records = self.records(port);
        let (start, _) = winner(records.map(|(start, entry)| (start, &*entry.record)))?;
        let entry = self.tables.get(&start)?.entries.get(&port)?;
        Some((start, entry))
    }

    /// The record of a port that counts, if another member has it.
    pub(crate) fn holder_elsewhere(&self, port: u16) -> Option<(Start, &Entry)> {
        self.holder(port).filter(|(start, _)| *start != self.own)
    }

    /// The records that count, of all ports that other members have.
    pub(crate) fn all_elsewhere(&self) -> impl Iterator<Item = (Start, &Entry)> {
        let ports = self.holders.keys();
        ports.filter_map(|port| self.holder_elsewhere(*port))
    }

    pub(crate) fn highest_epoch(&self, port: u16) -> Epoch {
        let epochs = self.records(port).map(|(_, entry)| entry.record.epoch());
        epochs.max().unwrap_or_default()
    }

    /// The ports, each once, that have this name, at whichever member.
    pub(crate) fn ports_named(&self, name: &LinkName) -> Vec<u16> {
        self.names.ports(&name.folded())
    }

    pub(crate) fn ports_of_identity(&self, identity: &Identity) -> Vec<u16> {
        self.identities.ports(identity)
    }

    pub(crate) fn ports_of_owner(&self, owner: QuotaOwner) -> Vec<u16> {
        self.owners.ports(&owner)
    }
}

/// A number that tells (port, revision) pairs apart: the last step of splitmix64, which maps one to one.
fn mixed(port: u16, rev: u64) -> u64 {
    let mut bits = (u64::from(port) << 48) ^ rev;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Ports, in order, by what their records have; a port is there once for each record.
#[derive(Debug, Clone)]
struct Index<K>(HashMap<K, Vec<u16>>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash> Index<K> {
    fn add(&mut self, key: &K, port: u16) {
        match self.0.get_mut(key) {
            Some(ports) => ports.insert(ports.partition_point(|other| *other < port), port),
            None => {
                self.0.insert(key.clone(), vec![port]);
            }
        }
    }

    fn remove(&mut self, key: &K, port: u16) {
        let Some(ports) = self.0.get_mut(key) else {
            return;
        };
        if let Ok(at) = ports.binary_search(&port) {
            ports.remove(at);
        }
        if ports.is_empty() {
            self.0.remove(key);
        }
    }

    fn ports(&self, key: &K) -> Vec<u16> {
        let mut ports = self.0.get(key).cloned().unwrap_or_default();
        ports.dedup();
        ports
    }
}
