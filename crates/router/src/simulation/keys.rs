//! The keys of callers, consoles and pages, and what each must not do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use p2p_shared::key::{Key, KeyId, Role};
use tokio::time::Instant;

/// Time after which a revoked key works nowhere, once all routers have heard.
const HEARD: Duration = Duration::from_secs(1);

/// A key, and what became of it.
#[derive(Debug)]
pub(super) struct SimKey {
    pub name: String,
    pub id: KeyId,
    pub header: String,
    role: Role,
    is_for_car: bool,
    state: Mutex<KeyState>,
}

#[derive(Debug, Default)]
struct KeyState {
    is_revoked: bool,
    /// Since when it was revoked by the word of every router that runs.
    void_since: Option<Instant>,
}

impl SimKey {
    /// A key that was made; `is_for_car`: its ports, if it is limited, are those of the car.
    pub(super) fn new(name: &str, key: &Key, role: Role, is_for_car: bool) -> Self {
        Self {
            name: name.to_owned(),
            id: key.id(),
            header: format!("Bearer {}", key.expose()),
            role,
            is_for_car,
            state: Mutex::default(),
        }
    }

    /// Notes that it is revoked.
    pub(super) fn revoked(&self) {
        self.state.lock().unwrap().is_revoked = true;
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.state.lock().unwrap().is_revoked
    }

    /// Notes whether any router takes it now.
    pub(super) fn is_taken(&self, anywhere: bool) {
        let mut state = self.state.lock().unwrap();
        state.void_since = match anywhere {
            true => None,
            false => state.void_since.or_else(|| Some(Instant::now())),
        };
    }

    /// Returns true if it was revoked, and all have heard of it for long enough.
    pub(super) fn is_void(&self) -> bool {
        let state = self.state.lock().unwrap();
        let is_over = |since: Instant| since.elapsed() > HEARD;
        state.is_revoked && state.void_since.is_some_and(is_over)
    }

    /// Returns true if it may see the car.
    pub(super) fn may_see(&self) -> bool {
        self.is_for_car
    }

    /// Returns true if it may drive the car.
    pub(super) fn may_drive(&self) -> bool {
        self.is_for_car && self.role.may_run() && !self.is_void()
    }

    fn may(&self, query: &str) -> bool {
        self.is_for_car && (self.role.may_run() || query.ends_with("stop"))
    }
}

/// The key of a request; `None`: there are no keys.
#[derive(Debug, Clone)]
pub(super) struct KeyUse {
    key: Option<Arc<SimKey>>,
    was_void: bool,
}

impl KeyUse {
    /// A request that is made now.
    pub(super) fn begin(key: Option<Arc<SimKey>>) -> Self {
        let was_void = key.as_ref().is_some_and(|key| key.is_void());
        Self { key, was_void }
    }

    /// Returns true if nothing of this request, which is answered now, may have been executed.
    pub(super) fn is_forbidden(&self, query: &str) -> bool {
        let is_void = |key: &SimKey| self.was_void && key.is_void();
        (self.key.as_ref()).is_some_and(|key| is_void(key) || !key.may(query))
    }
}
