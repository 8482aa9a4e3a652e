//! Says what the mesh knows of cars that no router tells of.

use std::collections::BTreeMap;
use std::time::Instant;

use p2p_shared::bounded::Text;
use p2p_shared::protocol::LinkInfo;
use p2p_shared::timing;

use super::CarsElsewhere;
use super::merge::Directory;
use super::other_router::OtherRouter;
use crate::mesh::id::Start;
use crate::mesh::{Elsewhere, MemberState, Mesh};

/// The mesh, and the routers that a console reaches.
pub(super) struct KnownMesh<'a>(pub &'a Mesh, pub &'a BTreeMap<Start, OtherRouter>);

impl Directory for KnownMesh<'_> {
    fn holder(&self, port: u16) -> Option<(Start, Option<u64>)> {
        self.0.holder(port)
    }

    fn why_away(&self, port: u16, was_at: Start) -> String {
        match self.0.holder_elsewhere(port) {
            Some(there) if there.member.start != was_at || !self.is_reached(was_at) => {
                self.why(&there)
            }
            _ => "it goes to another router".to_owned(),
        }
    }
}

impl KnownMesh<'_> {
    pub(super) fn is_reached(&self, router: Start) -> bool {
        self.1.get(&router).is_some_and(|it| it.is_reached)
    }

    pub(super) fn why(&self, there: &Elsewhere) -> String {
        let (address, router) = (&there.member.address, self.1.get(&there.member.start));
        match (there.member.state, router) {
            (MemberState::Away { since }, _) => format!(
                "its router {address} has not been heard of for {} s",
                since.elapsed().as_secs()
            ),
            (_, Some(router)) if !router.is_reached => format!(
                "its router {address} is not reached from this one: {}",
                router.why
            ),
            _ => format!("it goes to the router {address}"),
        }
    }
}

impl CarsElsewhere {
    /// Shows the cars of routers that have told nothing.
    pub(super) fn show_away(&mut self) {
        let (mesh, now) = (KnownMesh(&self.mesh, &self.routers), timing::now());
        for there in self.mesh.all_elsewhere() {
            let is_seen = self.ports.contains(there.record.port);
            if is_seen
                && !self.feed.is_whole(there.member.start)
                && let Some(link) = link(&there, now)
            {
                self.feed.show_away(link, &mesh.why(&there));
            }
        }
    }
}

/// What is known of a car whose router is not heard.
fn link(there: &Elsewhere, now: Instant) -> Option<LinkInfo> {
    let record = &there.record;
    let since = match there.member.state {
        MemberState::Away { since } => since,
        _ => now,
    };
    // Only its router knows.
    let stop = "stop".parse().ok()?;
    Some(LinkInfo {
        is_up: false,
        since_ms: timing::millis(now.saturating_duration_since(since)),
        router: Some(Text::new(there.member.address.to_string())),
        ..LinkInfo::new(record.port, record.name.clone(), stop)
    })
}
