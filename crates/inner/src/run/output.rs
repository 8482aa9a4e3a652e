//! Window of a run's output, as its caller grants it, and the tail of its standard error.

use std::sync::Arc;

use bytes::BytesMut;
use p2p_shared::protocol::{STDERR_KEPT, StderrTail};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

/// Output that the caller still accepts. When the window is closed, output is thrown away.
#[derive(Debug, Clone)]
pub(crate) struct Window(Arc<Semaphore>);

impl Window {
    pub(crate) fn new(units: u32) -> Self {
        Self(Arc::new(Semaphore::new(units as usize)))
    }

    pub(crate) fn grant(&self, units: u32) {
        // Without this, a router that grants without end would overflow the count.
        let room =
            Semaphore::MAX_PERMITS / 2 - self.0.available_permits().min(Semaphore::MAX_PERMITS / 2);
        self.0.add_permits((units as usize).min(room));
    }

    /// Closes the window: nobody reads the output any more.
    pub(crate) fn close(&self) {
        self.0.close();
    }

    /// Takes room for this many units, if there is as much now.
    pub(super) fn try_take(&self, units: u32) -> bool {
        let permits = self.0.try_acquire_many(units);
        permits.map(SemaphorePermit::forget).is_ok()
    }

    /// Waits for room for this many units. Returns false if nobody reads any more.
    pub(super) async fn take(&self, units: u32) -> bool {
        let permits = self.0.acquire_many(units).await;
        permits.map(SemaphorePermit::forget).is_ok()
    }
}

/// Last bytes of a stream, and its length.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    buffer: BytesMut,
    pub(crate) total: u64,
}

impl Tail {
    pub(crate) async fn collect(
        &mut self,
        mut stream: impl AsyncRead + Unpin,
        no_more: &CancellationToken,
    ) {
        loop {
            self.buffer.reserve(STDERR_KEPT);
            let reading = stream.read_buf(&mut self.buffer);
            match no_more.run_until_cancelled(reading).await {
                None | Some(Ok(0) | Err(_)) => return,
                Some(Ok(length)) => self.total += length as u64,
            }
            if self.buffer.len() > 2 * STDERR_KEPT {
                let excess = self.buffer.len() - STDERR_KEPT;
                bytes::Buf::advance(&mut self.buffer, excess);
            }
        }
    }

    /// Takes the last bytes of a whole text.
    pub(crate) fn of(text: &[u8]) -> Self {
        let from = text.len().saturating_sub(STDERR_KEPT);
        Self {
            buffer: text[from..].into(),
            total: text.len() as u64,
        }
    }

    pub(crate) fn kept(&self) -> StderrTail {
        StderrTail::last_of(&self.buffer)
    }
}
