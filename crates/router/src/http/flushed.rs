//! Tells a body when its earlier parts are written, so that it makes the next part only then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Flag of an answer's body and its connection: true when everything so far is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flushed(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_waiting: AtomicBool,
    out: Notify,
}

impl Flushed {
    /// Reports a new part.
    pub(crate) fn say(&self) {
        self.0.is_waiting.store(true, Ordering::Relaxed);
    }

    /// Reports that everything is written.
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
