//! Owns what the answer to one request on a car port is made from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use p2p_shared::names::RunId;

use crate::car::Car;
use crate::context::Context;
use crate::http::response::Timing;
use crate::net::unauthenticated::PendingConnection;

/// A request on a service port, and its car.
pub(crate) struct RequestContext<'a> {
    pub context: &'a Arc<Context>,
    pub car: &'a Arc<Car>,
    pub pending: &'a PendingConnection,
    pub peer: SocketAddr,
    pub run: RunId,
    pub begun: Instant,
    /// Whether nobody on the way can listen, or may.
    pub is_private: bool,
    /// Whether it came over TLS.
    pub is_tls: bool,
}

impl RequestContext<'_> {
    pub(crate) fn timing(&self) -> Timing {
        Timing {
            link: self.begun.elapsed(),
            exec: None,
        }
    }
}
