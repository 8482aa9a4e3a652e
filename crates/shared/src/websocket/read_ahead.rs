//! Reads from a connection as much as has come, and keeps what its reader has no room for. So a reader
//! may have a small buffer, as each of thousands of idle links has, and a flood still costs few reads.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes of one read: a whole piece of output.
const MOST: usize = 16 * 1024;

/// Connection that is read ahead of its reader.
#[derive(Debug)]
pub struct ReadAhead<S> {
    stream: S,
    /// Bytes that were read and not yet asked for; mostly none.
    ahead: Bytes,
}

impl<S> ReadAhead<S> {
    /// Reads a copy of `ahead` first, and then from the connection.
    pub fn new(stream: S, ahead: &[u8]) -> Self {
        let ahead = Bytes::copy_from_slice(ahead);
        Self { stream, ahead }
    }

    /// Returns the connection underneath.
    pub fn stream(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            let mut room = [MaybeUninit::uninit(); MOST];
            let mut read = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            let read = read.filled();
            let (wanted, ahead) = read.split_at(read.len().min(buffer.remaining()));
            buffer.put_slice(wanted);
            if !ahead.is_empty() {
                self.ahead = Bytes::copy_from_slice(ahead);
            }
        } else {
            let wanted = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(wanted));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_a_small_buffer_has_no_room_for_is_kept_and_read_next() {
        let (mut peer, stream) = tokio::io::duplex(4 * MOST);
        let mut stream = ReadAhead::new(stream, b"first ");
        let sent: Vec<u8> = (0..=250).cycle().take(2 * MOST).collect();
        peer.write_all(&sent).await.unwrap();
        drop(peer);
        let mut first = [0; 6];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"first ");
        let (mut read, mut buffer) = (Vec::new(), [0; 1000]);
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                length => read.extend_from_slice(&buffer[..length]),
            }
            // At most one read is ahead.
            assert_eq!((read.len() + stream.ahead.len()) % MOST, 0);
        }
        assert!(read == sent);
    }
}
