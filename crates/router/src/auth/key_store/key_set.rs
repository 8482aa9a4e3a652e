//! The keys there are and the ids of those that were revoked, and what becomes of two such sets that meet:
//! routers of a mesh each have one, and change it on their own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use p2p_shared::key::{KeyId, Role};

use super::record::{KeyRecord, KeyTime, whole_seconds};
use crate::auth::digest_of;

/// Most keys of a router: the whole file is read at each change, and stays under 4 MB.
pub(super) const MAX_KEYS: usize = 10_000;
/// Most revoked ids that are remembered one by one: as many as there may be keys.
pub(super) const MAX_REVOKED: usize = 10_000;

/// All that a router knows of keys.
///
/// Of two routers each may have revoked a key that the other still has. So a revoked id is remembered, and
/// wins over the key. Beyond `MAX_REVOKED` those of the keys that were made first are forgotten; from then
/// on a key is taken from others only if it was made later, or is known here. The time at which a key was made
/// never changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    /// Each id once. In the order in which they were made, after a merge.
    pub(super) records: Vec<KeyRecord>,
    /// Ids of revoked keys, with the time at which each key was made. None of them is in `records`.
    pub(super) revoked: BTreeMap<KeyId, KeyTime>,
    /// Revoked keys that were made until then may be forgotten.
    pub(super) forgotten: Option<KeyTime>,
    /// Other routers may have these keys, too: what is revoked is remembered.
    pub(super) is_shared: bool,
}

impl KeySet {
    pub fn records(&self) -> &[KeyRecord] {
        &self.records
    }

    /// Returns what is known by who knows both. The order and the number of merges change nothing, as long as
    /// nothing is beyond the bounds. Beyond them no revoked key comes back, but keys may be left out: the newest, and
    /// those that were made before one of which it is forgotten that it was revoked.
    #[must_use]
    pub(crate) fn merge(&self, other: &Self) -> Self {
        let mut revoked = self.revoked.clone();
        for (id, made) in &other.revoked {
            let known = revoked.entry(*id).or_insert(*made);
            *known = (*known).max(*made);
        }
        let mut records = BTreeMap::<KeyId, &KeyRecord>::new();
        for (here, there) in [(self, other), (other, self)] {
            let ids: HashSet<KeyId> = there.records.iter().map(|record| record.id).collect();
            for record in &here.records {
                let is_forgotten = there.has_forgotten(record) && !ids.contains(&record.id);
                if revoked.contains_key(&record.id) || is_forgotten {
                    continue;
                }
                let known = records.entry(record.id).or_insert(record);
                if rank(record) > rank(known) {
                    *known = record;
                }
            }
        }
        let mut records: Vec<KeyRecord> = records.into_values().cloned().collect();
        records.sort_by_key(|record| (record.created, record.id));
        records.truncate(MAX_KEYS);
        let mut merged = Self {
            records,
            revoked,
            forgotten: self.forgotten.max(other.forgotten),
            is_shared: self.is_shared || other.is_shared,
        };
        merged.forget(MAX_REVOKED);
        merged
    }

    /// Returns true if this set, which does not have the key, may have had it.
    fn has_forgotten(&self, record: &KeyRecord) -> bool {
        (self.forgotten).is_some_and(|forgotten| record.created <= forgotten.0)
    }

    /// Forgets the revoked keys beyond `most` that were made first.
    pub(super) fn forget(&mut self, most: usize) {
        if let Some(beyond) = self.revoked.len().checked_sub(most + 1) {
            let mut times: Vec<KeyTime> = self.revoked.values().copied().collect();
            let (_, last, _) = times.select_nth_unstable(beyond);
            self.forgotten = self.forgotten.max(Some(*last));
        }
        if let Some(forgotten) = self.forgotten {
            self.revoked.retain(|_, made| *made > forgotten);
        }
    }

    /// Time for a key that is made now: to the second, and later than what may be forgotten, whatever the
    /// clock shows.
    pub(super) fn time_for_new(&self, now: SystemTime) -> SystemTime {
        let now = whole_seconds(now);
        match self.forgotten {
            Some(forgotten) => now.max(forgotten.0 + Duration::from_secs(1)),
            None => now,
        }
    }

    /// Takes the key at this place out, and remembers that, if others may have the key.
    pub(super) fn revoke(&mut self, at: usize) -> KeyRecord {
        let record = self.records.remove(at);
        if self.is_shared {
            self.revoked.insert(record.id, KeyTime(record.created));
            self.forget(MAX_REVOKED);
        }
        record
    }

    /// Number that tells one set from another.
    pub(crate) fn digest(&self) -> u64 {
        let mut records: Vec<&KeyRecord> = self.records.iter().collect();
        records.sort_by_key(|record| record.id);
        let mut text = String::new();
        // Writing to a string can't fail.
        for record in records {
            let KeyRecord {
                id,
                name,
                role,
                ports,
                hash,
                created,
            } = record;
            let ports = ports.map(|ports| ports.to_string()).unwrap_or_default();
            let created = KeyTime(*created);
            let _ = writeln!(text, "{id} {role} {ports} {hash} {created} {name}");
        }
        for (id, made) in &self.revoked {
            let _ = writeln!(text, "{id} {made}");
        }
        if let Some(forgotten) = self.forgotten {
            let _ = writeln!(text, "{forgotten}");
        }
        digest_of(&text)
    }
}

/// Order of records of one key that differ, as after a change by hand: the one with the fewest rights is the
/// highest, and counts.
fn rank(record: &KeyRecord) -> impl Ord + use<> {
    let rights = Role::ALL.iter().position(|role| *role == record.role);
    let ports = record.ports.map_or(1..=u16::MAX, |ports| ports.ports());
    let rest = (
        *ports.start(),
        record.name.as_str().to_owned(),
        record.hash.to_string(),
        record.created,
    );
    (Reverse((rights, ports.len())), rest)
}

#[cfg(test)]
mod tests;
