//! Knows which member knows what of keys, and when one knew the same as this one.

use std::time::{Duration, Instant};

use super::{Member, Members};
use crate::mesh::id::Start;
use crate::mesh::message::KeyDigests;

/// What another router of the mesh knows of keys, by what it told last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToldKeys {
    pub router: String,
    pub keys: Option<KeyDigests>,
    pub silence: Duration,
    pub is_away: bool,
}

impl Members {
    /// Notes what a member knows of keys that was asked directly at this time. It is in agreement if all of that is
    /// known here: one of the two may know more that can't be written. What the bus brings may be older than it
    /// seems, and is no agreement.
    pub(crate) fn told_keys(&mut self, of: Start, keys: KeyDigests, asked_at: Instant) {
        let Some(known) = self.known.get_mut(&of) else {
            return;
        };
        self.have_keys_changed |= known.member.keys != Some(keys);
        known.member.keys = Some(keys);
        known.told_at = asked_at;
        let mut known = [self.own_keys, known.merged_keys].into_iter().flatten();
        if known.any(|known| known.keys == keys.keys) {
            self.agreed_at = self.agreed_at.max(Some(asked_at));
        }
    }

    /// Notes that all is known here of which this member told by these digests.
    pub(crate) fn merged_keys(&mut self, of: Start, told: Option<KeyDigests>) {
        if let Some(known) = self.known.get_mut(&of) {
            known.merged_keys = told;
        }
    }

    /// Returns true if some member has told of other keys since this was called.
    pub(crate) fn take_have_keys_changed(&mut self) -> bool {
        std::mem::take(&mut self.have_keys_changed)
    }

    /// What all other members know of keys, but for the former starts of those that are present.
    pub(crate) fn told(&self, now: Instant) -> Vec<ToldKeys> {
        let since = |at| now.saturating_duration_since(at);
        let is_replaced =
            |it: &Member| it.is_away() && self.present().any(|other| other.address == it.address);
        let known = self.known.values().filter(|it| !is_replaced(&it.member));
        let told = known.map(|it| ToldKeys {
            router: it.member.address.to_string(),
            keys: it.member.keys,
            silence: since(it.told_at),
            is_away: it.member.is_away(),
        });
        told.collect()
    }
}
