//! Owns the sessions of consoles and pages: the cars that each sees, which it asks for here alone, and
//! that control is given back when a session ends.

use std::sync::Arc;

use p2p_shared::protocol::{FeedEvent, SessionId};

use crate::car::Car;
use crate::car::registry::Registry;
use crate::feed::Subscription;
use crate::net::port_range::PortRange;

/// A session of a console or a page. Dropping it gives back whatever control it had.
#[derive(Debug)]
pub(crate) struct SessionGuard {
    registry: Arc<Registry>,
    pub session: SessionId,
    /// Service ports of the cars that the session sees.
    ports: PortRange,
    may_drive: bool,
}

impl SessionGuard {
    /// Begins a session that sees the cars with these service ports: a page the one whose port it came
    /// from, a console those of its key.
    pub(crate) fn new(registry: Arc<Registry>, ports: PortRange, may_drive: bool) -> Self {
        Self {
            session: registry.begin_session(ports),
            registry,
            ports,
            may_drive,
        }
    }

    /// The car with this service port, if the session sees it.
    pub(crate) fn car(&self, port: u16) -> Option<Arc<Car>> {
        let sees = self.ports.contains(port);
        sees.then(|| self.registry.shown(port)).flatten()
    }

    /// Returns true if this event is about a car that the session sees.
    pub(crate) fn sees(&self, event: &FeedEvent) -> bool {
        self.ports.contains(event.service_port())
    }

    /// The state of the cars that the session sees, and all events from then on.
    pub(crate) fn subscribe(&self) -> Subscription {
        self.registry.subscribe(self.ports)
    }

    /// Sets the one car that the session may drive next. Returns its port, if the session may.
    pub(crate) fn watch(&self, port: Option<u16>) -> Option<u16> {
        let port = port.filter(|port| self.may_drive && self.ports.contains(*port));
        self.registry.watch(self.session, port);
        port
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.registry.end_session(self.session);
    }
}
