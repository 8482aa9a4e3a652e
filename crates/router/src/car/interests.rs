//! Owns which cars consoles and pages look at, and what they therefore want of each.

use std::collections::HashMap;

use p2p_shared::protocol::SessionId;

use crate::link::priority_queue::Interest;

/// The cars that consoles and pages look at.
#[derive(Debug, Default)]
pub(super) struct Interests {
    /// The number of consoles, which see all cars, and of pages of one car each.
    pub consoles: usize,
    pages: HashMap<u16, usize>,
    /// The car that each session looks at, of those that may drive.
    watched: HashMap<SessionId, u16>,
}

impl Interests {
    /// The sum of what is wanted of the car with this port.
    pub(super) fn of(&self, port: u16) -> Interest {
        Interest {
            seen: self.consoles > 0 || self.pages.contains_key(&port),
            ticks: self.watched.values().any(|watched| *watched == port),
        }
    }

    pub(super) fn add_page(&mut self, port: u16) {
        *self.pages.entry(port).or_default() += 1;
    }

    pub(super) fn remove_page(&mut self, port: u16) {
        if let Some(pages) = self.pages.get_mut(&port) {
            *pages -= 1;
            if *pages == 0 {
                self.pages.remove(&port);
            }
        }
    }

    /// Has the session look at this car and at no other. Returns the one that it looked at before.
    pub(super) fn watch(&mut self, session: SessionId, port: Option<u16>) -> Option<u16> {
        match port {
            Some(port) => self.watched.insert(session, port),
            None => self.watched.remove(&session),
        }
    }
}
