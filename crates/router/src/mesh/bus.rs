//! What brings sealed messages from each member to the others: may lose, delay, repeat and reorder them.

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::mesh::message::Topic;

/// The sending side of a bus.
pub(crate) trait Bus: Send + Sync {
    /// Sends a message, or drops it. Never waits.
    fn publish(&self, to: Topic, message: Bytes);
}

/// A member's end of a bus.
pub(crate) struct BusEnd {
    pub bus: Box<dyn Bus>,
    /// Messages to all members and to this one.
    pub incoming: mpsc::Receiver<Bytes>,
    /// True while the bus is up.
    pub is_connected: watch::Receiver<bool>,
    /// Sends what was published, once `bus` is dropped.
    pub task: Option<JoinHandle<()>>,
}
