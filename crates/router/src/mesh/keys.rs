//! Tells the other members what this router knows of keys, and hears what they know.

use std::time::Duration;

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
        self.state.read().keys()
    }

    /// Notes what a member that was reached knows of keys.
    pub(crate) fn told_keys(&self, member: Start, keys: KeyDigests) {
        let mut state = self.state.write();
        state.members.told_keys(member, keys, timing::now());
        self.tell_key_news(&mut state);
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

    /// For how long no other member has told what it knows of keys.
    pub(crate) fn alone_for(&self) -> Duration {
        let heard_at = self.state.read().members.heard_at();
        timing::now().saturating_duration_since(heard_at)
    }

    /// What all other routers of the mesh know of keys.
    pub(crate) fn told(&self) -> Vec<ToldKeys> {
        self.state.read().members.told(timing::now())
    }
}
