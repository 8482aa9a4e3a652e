//! The connection under a hop. Notes whether anything of a request was written: if not, nobody has it; and
//! when something was read last: then the other end lives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use p2p_shared::net::transport::Transport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::heard::LastHeard;

/// True once a byte of the present request was given to the connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Written(Arc<AtomicBool>);

impl Written {
    pub(super) fn reset(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_so(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn note(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub(super) struct HopStream {
    pub(super) stream: Transport,
    pub(super) written: Written,
    pub(super) heard: Arc<LastHeard>,
}

impl AsyncRead for HopStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.heard.note();
        }
        polled
    }
}

/// Notes before it writes: of a write that fails nobody knows how much has left. Head and body go out in one
/// piece, as without vectored writes.
impl AsyncWrite for HopStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.note();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
