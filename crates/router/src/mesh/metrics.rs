//! Counters of the mesh for `GET /metrics`; there are none in a router without one.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::mesh::state::Load;
use crate::ops::metrics::Metrics;

#[derive(Debug, Clone)]
pub(crate) struct MeshMetrics {
    pub members: Gauge,
    pub bus_up: Gauge,
    pub keys_stale: Gauge,
    pub dropped: Counter,
    pub refused: Counter,
    links: Gauge,
    consoles: Gauge,
}

impl MeshMetrics {
    pub(crate) fn new(all: &Metrics) -> Self {
        Self {
            members: all.add(
                "mesh_members",
                "Members of the mesh that are present, with this one",
            ),
            bus_up: all.add("mesh_bus_up", "1 while the mesh's bus is up"),
            keys_stale: all.add(
                "mesh_keys_stale",
                "1 while keys may only stop cars (--mesh-keys-stale)",
            ),
            dropped: all.add(
                "mesh_messages_dropped",
                "Messages to other members that were dropped",
            ),
            refused: all.add(
                "mesh_messages_refused",
                "Messages on the mesh's bus that came twice, or of no member",
            ),
            links: all.links.clone(),
            consoles: all.consoles.clone(),
        }
    }

    /// Counts messages that were refused, and takes them from `count`.
    pub(crate) fn refused(&self, count: &mut u64) {
        self.refused.inc_by(std::mem::take(count));
    }

    pub(crate) fn load(&self) -> Load {
        let number = |gauge: &Gauge| u32::try_from(gauge.get()).unwrap_or_default();
        Load {
            links: number(&self.links),
            consoles: number(&self.consoles),
        }
    }
}
