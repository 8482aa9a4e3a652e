//! Tells the consoles and pages that came by another router of the mesh which router their cars are at, and how
//! far the two routers are from each other.

use std::sync::Arc;

use p2p_shared::bounded::Text;
use p2p_shared::protocol::{FeedEvent, RouterToConsole};

use crate::context::Context;
use crate::mesh::hop::Hops;
use crate::mesh::id::Start;

/// The router that a client came by.
#[derive(Debug, Clone)]
pub(crate) struct Via {
    hops: Arc<Hops>,
    from: Start,
    /// This router's own address.
    here: Text,
}

impl Via {
    /// A client that came by this member. `None` without a mesh.
    pub(crate) fn new(context: &Context, from: Start) -> Option<Self> {
        let (mesh, hops) = (context.mesh.as_ref()?, context.hops.clone()?);
        Some(Self {
            hops,
            from,
            here: Text::new(mesh.address().to_string()),
        })
    }

    /// Adds to a message what only a client of another router needs to know.
    pub(super) fn add_to(&self, message: &mut RouterToConsole) {
        let here = || Some(self.here.clone());
        match message {
            RouterToConsole::Snapshot { links, .. } => {
                links.iter_mut().for_each(|link| link.router = here());
            }
            RouterToConsole::Feed(FeedEvent::Link(link)) => link.router = here(),
            RouterToConsole::Feed(FeedEvent::Rtt { hop_us, .. }) => {
                let hop = self.hops.round_trip(self.from);
                *hop_us = hop.map(|hop| u32::try_from(hop.as_micros()).unwrap_or(u32::MAX));
            }
            _ => {}
        }
    }
}
