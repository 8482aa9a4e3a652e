//! Owns the sessions of consoles and pages as cars see them: the cars that each looks at, and that
//! control is given back when a session ends.

use std::sync::Arc;

use p2p_shared::protocol::SessionId;

use crate::car::registry::Registry;

/// A session of a console or a page. Dropping it gives back whatever control it had.
#[derive(Debug)]
pub(crate) struct SessionGuard {
    registry: Arc<Registry>,
    pub session: SessionId,
    may_drive: bool,
}

impl SessionGuard {
    /// Begins a session of a console, or of a page of `only` one car.
    pub(crate) fn new(registry: Arc<Registry>, only: Option<u16>, may_drive: bool) -> Self {
        Self {
            session: registry.begin_session(only),
            registry,
            may_drive,
        }
    }

    /// Sets the one car that the session may drive next.
    pub(crate) fn watch(&self, port: Option<u16>) {
        if self.may_drive {
            self.registry.watch(self.session, port);
        }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.registry.end_session(self.session);
    }
}
