//! Owns the sessions of consoles and pages as cars see them: what each looks at, and that it gives
//! back control when it ends.

use std::sync::Arc;

use p2p_shared::protocol::SessionId;

use crate::car::registry::Registry;

/// A session of a console or a page. Dropped, it gives back whatever control it had.
#[derive(Debug)]
pub(crate) struct SessionGuard {
    registry: Arc<Registry>,
    pub session: SessionId,
    only: Option<u16>,
    may_drive: bool,
}

impl SessionGuard {
    /// Begins a session of a console, or of a page of `only` one car.
    pub(crate) fn new(registry: Arc<Registry>, only: Option<u16>, may_drive: bool) -> Self {
        registry.count_session(only, true);
        Self {
            session: registry.next_session(),
            registry,
            only,
            may_drive,
        }
    }

    /// Sets the one car that it looks at.
    pub(crate) fn watch(&self, port: Option<u16>) {
        if self.may_drive {
            self.registry.watch(self.session, port);
        }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.watch(None);
        self.registry.count_session(self.only, false);
        for car in self.registry.cars() {
            car.session_left(self.session);
        }
    }
}
