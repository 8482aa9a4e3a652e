//! Window of a run's output, as its caller grants it, and the tail of its standard error.

use std::sync::Arc;

use bytes::BytesMut;
use p2p_shared::bounded::Text;
use p2p_shared::protocol::{STDERR_KEPT, StderrTail};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

/// Most characters of a line that people are told.
const LINE: usize = 200;

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

/// Last bytes of a stream, and its length. They may be looked at while it is read.
#[derive(Debug, Default)]
pub(crate) struct Tail(Mutex<(BytesMut, u64)>);

impl Tail {
    pub(crate) async fn collect(
        &self,
        mut stream: impl AsyncRead + Unpin,
        no_more: &CancellationToken,
    ) {
        let mut read = BytesMut::new();
        loop {
            read.clear();
            read.reserve(STDERR_KEPT);
            let reading = stream.read_buf(&mut read);
            match no_more.run_until_cancelled(reading).await {
                None | Some(Ok(0) | Err(_)) => return,
                Some(Ok(length)) => {
                    let (buffer, total) = &mut *self.0.lock();
                    *total += length as u64;
                    buffer.extend_from_slice(&read);
                    if buffer.len() > 2 * STDERR_KEPT {
                        let excess = buffer.len() - STDERR_KEPT;
                        bytes::Buf::advance(buffer, excess);
                    }
                }
            }
        }
    }

    /// Takes the last bytes of a whole text.
    pub(crate) fn of(text: &[u8]) -> Self {
        let from = text.len().saturating_sub(STDERR_KEPT);
        Self(Mutex::new((text[from..].into(), text.len() as u64)))
    }

    pub(crate) fn kept(&self) -> StderrTail {
        StderrTail::last_of(&self.0.lock().0)
    }

    /// Bytes of the whole stream so far.
    pub(crate) fn total(&self) -> u64 {
        self.0.lock().1
    }

    /// Returns the last line that is not empty, cut to what people read.
    pub(crate) fn last_line(&self) -> Text {
        let kept = self.kept();
        let text = String::from_utf8_lossy(&kept);
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        Text::new(
            last.unwrap_or_default()
                .chars()
                .take(LINE)
                .collect::<String>(),
        )
    }
}
