//! Writes pictures onto a WebSocket without copying them: the head of a WebSocket frame, then the
//! picture's own memory. The WebSocket library's writes wait meanwhile.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Connection under a server's WebSocket.
#[derive(Debug)]
pub(super) struct PictureWriter<S> {
    stream: S,
    /// Rest of the picture that is being written.
    head: Bytes,
    body: Bytes,
}

impl<S: AsyncWrite + Unpin> PictureWriter<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            head: Bytes::new(),
            body: Bytes::new(),
        }
    }

    /// Begins a binary message; the next flush writes it. Call this only after a flush, when the
    /// library has nothing left to write.
    pub(super) fn begin(&mut self, message: Bytes) {
        self.head = head(message.len());
        self.body = message;
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.head.has_remaining() || self.body.has_remaining() {
            let slices = [IoSlice::new(&self.head), IoSlice::new(&self.body)];
            let slices = if self.head.is_empty() {
                &slices[1..]
            } else {
                &slices[..]
            };
            let stream = Pin::new(&mut self.stream);
            let written = ready!(stream.poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = written.min(self.head.len());
            self.head.advance(of_head);
            self.body.advance(written - of_head);
        }
        // This may be the last owner of the memory.
        self.body = Bytes::new();
        Poll::Ready(Ok(()))
    }
}

/// Makes the head of a server's frame that is a whole binary message (RFC 6455, 5.2).
fn head(length: usize) -> Bytes {
    let mut head = vec![0x82];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..=125), _) => head.push(length),
        (_, Ok(length)) => {
            head.push(126);
            head.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    head.into()
}

impl<S: AsyncRead + Unpin> AsyncRead for PictureWriter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PictureWriter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_message(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_message(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::{Message, Role};

    use super::*;

    #[tokio::test]
    async fn pictures_of_any_size_come_whole_between_other_messages() {
        let (ours, theirs) = tokio::io::duplex(100);
        let ours = PictureWriter::new(ours);
        let mut server = WebSocketStream::from_raw_socket(ours, Role::Server, None).await;
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let sizes = [0, 1, 125, 126, 65_535, 65_536, 1 << 20];
        let sending = tokio::spawn(async move {
            for size in sizes {
                server.get_mut().begin(vec![7; size].into());
                server.flush().await.unwrap();
                server.send(Message::text(size.to_string())).await.unwrap();
            }
        });
        for size in sizes {
            let picture = client.next().await.unwrap().unwrap();
            assert_eq!(picture, Message::Binary(vec![7; size].into()));
            let text = client.next().await.unwrap().unwrap();
            assert_eq!(text, Message::text(size.to_string()));
        }
        sending.await.unwrap();
    }
}
