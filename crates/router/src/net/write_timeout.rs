//! Ends a connection of a console or viewer that takes no written byte for 2 s.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Longest time without progress of a write (DERP and NATS use the same).
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Timer that runs while a write waits.
#[derive(Debug, Default)]
pub(crate) struct WriteTimer(Option<Pin<Box<Sleep>>>);

impl WriteTimer {
    /// Returns the result of a write, or an error if writes have waited for `patience`.
    pub(crate) fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        patience: Duration,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.0 = None;
            return written;
        }
        let sleep = || Box::pin(tokio::time::sleep(patience));
        ready!(self.0.get_or_insert_with(sleep).as_mut().poll(cx));
        let message = format!("it read nothing for {} s", patience.as_secs());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }
}

/// Connection whose writes must make progress.
#[derive(Debug)]
pub(crate) struct WriteTimeout<S> {
    stream: S,
    timer: WriteTimer,
}

impl<S> WriteTimeout<S> {
    pub(crate) fn new(stream: S) -> Self {
        let timer = WriteTimer::default();
        Self { stream, timer }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timer.watch(cx, PATIENCE, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.timer.watch(cx, PATIENCE, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS buffers what is written: then only the flush waits.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.timer.watch(cx, PATIENCE, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_kept_and_one_that_reads_nothing_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(10);
        let mut ours = WriteTimeout::new(ours);
        let slow = tokio::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(1900)).await;
                theirs.read_exact(&mut [0; 10]).await.unwrap();
            }
            theirs
        });
        ours.write_all(&[0; 100]).await.unwrap();
        let _theirs = slow.await.unwrap();
        ours.write_all(&[0; 10]).await.unwrap();
        let error = ours.write_all(&[0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
