//! Tells the other members what this router knows of keys, and hears what they know.

use std::time::{Duration, Instant};

use p2p_shared::timing;

use crate::mesh::id::Start;
use crate::mesh::message::KeyDigests;
use crate::mesh::state::State;
use crate::mesh::{Mesh, ToldKeys};

impl Mesh {
    /// Tells the others what this router knows of keys.
    pub(crate) fn set_keys(&self, keys: KeyDigests) {
        self.state.write().set_keys(keys);
        self.wake.notify_one();
    }

    /// What this router knows of keys, as it was told.
    pub(crate) fn keys(&self) -> Option<KeyDigests> {
        self.state.read().members.own_keys
    }

    /// Notes what a member knows of keys that was asked at this time.
    pub(crate) fn told_keys(&self, member: Start, keys: KeyDigests, asked_at: Instant) {
        let mut state = self.state.write();
        state.members.told_keys(member, keys, asked_at);
        self.tell_key_news(&mut state);
    }

    /// Notes that all is known here of which this member told by these digests.
    pub(crate) fn merged_keys(&self, member: Start, told: Option<KeyDigests>) {
        self.state.write().members.merged_keys(member, told);
    }

    pub(super) fn tell_key_news(&self, state: &mut State) {
        if state.members.take_have_keys_changed() {
            self.key_news.notify_one();
        }
    }

    /// Waits until a member has told of other keys. Only one task calls this.
    pub(crate) async fn key_news(&self) {
        self.key_news.notified().await;
    }

    /// When another member was last known to know the same keys.
    pub(crate) fn keys_agreed_at(&self) -> Option<Instant> {
        self.state.read().members.agreed_at
    }

    /// Takes over from a previous router when another member was last known to know the same keys.
    pub(crate) fn set_keys_agreed_at(&self, at: Option<Instant>) {
        self.state.write().members.agreed_at = at;
    }

    /// Returns true if no other member was known to know the same keys for this time, or since the start.
    pub(crate) fn are_keys_stale(&self, limit: Duration) -> bool {
        let is_over = |at| timing::now().saturating_duration_since(at) > limit;
        let are_stale = self.keys_agreed_at().is_none_or(is_over);
        self.metrics.keys_stale.set(are_stale.into());
        are_stale
    }

    /// What the other routers of the mesh know of keys.
    pub(crate) fn told(&self) -> Vec<ToldKeys> {
        self.state.read().members.told(timing::now())
    }
}
