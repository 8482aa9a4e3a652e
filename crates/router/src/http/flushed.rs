//! Owns how a body learns that what it gave so far is written: so that it makes the next part only
//! then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Whether all that an answer had to say so far is out: its body and its connection share this.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flushed(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_waiting: AtomicBool,
    out: Notify,
}

impl Flushed {
    /// Something is said.
    pub(crate) fn say(&self) {
        self.0.is_waiting.store(true, Ordering::Relaxed);
    }

    /// Everything is out.
    pub(crate) fn is_out(&self) {
        if self.0.is_waiting.swap(false, Ordering::Relaxed) {
            self.0.out.notify_one();
        }
    }

    pub(crate) async fn out(&self) {
        while self.0.is_waiting.load(Ordering::Relaxed) {
            self.0.out.notified().await;
        }
    }
}
