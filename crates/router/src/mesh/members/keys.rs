//! Knows which member knows what of keys, and which are to be named because they can't be asked.

use std::time::{Duration, Instant};

use super::{Member, Members};
use crate::mesh::id::Start;
use crate::mesh::message::KeyDigests;

/// What another router of the mesh knows of keys, by what it told last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToldKeys {
    pub router: String,
    pub keys: Option<KeyDigests>,
    /// For how long it has been silent, if it is away.
    pub silence: Option<Duration>,
}

impl Members {
    /// Notes what a member that was reached knows of keys.
    pub(crate) fn told_keys(&mut self, of: Start, keys: KeyDigests, now: Instant) {
        if let Some(known) = self.known.get_mut(&of) {
            self.have_keys_changed |= known.member.keys != Some(keys);
            known.member.keys = Some(keys);
            known.told_at = now;
            self.heard_at = self.heard_at.max(now);
        }
    }

    /// When it was last heard from any other member what it knows of keys; at the beginning, when this one
    /// started.
    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// Returns true if some member has told of other keys since this was called.
    pub(crate) fn take_have_keys_changed(&mut self) -> bool {
        std::mem::take(&mut self.have_keys_changed)
    }

    /// What all other members know of keys, those that are gone, too: each router once.
    pub(crate) fn told(&self, now: Instant) -> Vec<ToldKeys> {
        let since = |at| now.saturating_duration_since(at);
        let is_replaced =
            |it: &Member| it.is_away() && self.present().any(|other| other.address == it.address);
        let known = self.known.values().filter(|it| !is_replaced(&it.member));
        let known = known.map(|it| ToldKeys {
            router: it.member.address.to_string(),
            keys: it.member.keys,
            silence: it.member.is_away().then(|| since(it.told_at)),
        });
        let gone = self.gone.iter().map(|(router, at)| ToldKeys {
            router: router.clone(),
            keys: None,
            silence: Some(since(*at)),
        });
        known.chain(gone).collect()
    }
}
