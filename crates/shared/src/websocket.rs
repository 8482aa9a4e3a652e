//! Owns one WebSocket between two of our programs: messages in and out, several a write when
//! several wait, with the limits of the protocol. It decides nothing.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Message, Role, WebSocketConfig, frame::coding::CloseCode,
};
use tokio_tungstenite::tungstenite::{self, Error as WsError};

use crate::codec::{CodecError, Encoding, MessagePack};
use crate::protocol::MAX_MESSAGE;

/// A write is begun when this much waits, and nothing more is taken on until it is out.
const BATCH: usize = 32 * 1024;

/// The limits of a WebSocket of ours. tungstenite's own are 64 MiB a message, 16 MiB a frame, an
/// unbounded write buffer and 128 KiB of read buffer for each connection.
#[must_use]
pub fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(2 * BATCH)
        .max_write_buffer_size(2 * BATCH + 4 * MAX_MESSAGE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// What came from the peer, or became of what we sent.
#[derive(Debug)]
pub enum SocketEvent<M> {
    /// Nothing: what was queued is out, and [there is room](MessageSocket::has_room) again.
    Writable,
    /// A message.
    Message(M),
    /// A ping; its pong is already on its way.
    Ping,
    /// The answer to a ping of ours, with its payload.
    Pong(Bytes),
    /// The peer closed, with its reason if it gave one.
    Closed(String),
}

/// Why a wire broke.
#[derive(Debug, Error)]
pub enum WebSocketError {
    /// The connection was lost or the peer broke WebSocket.
    #[error("the connection was lost: {}", in_words(.0))]
    Lost(#[from] Box<WsError>),
    /// The peer sent something that is no message, or one that is too large.
    #[error("{0}")]
    Codec(#[from] CodecError),
}

/// What a broken connection means, where the library's words are for its own readers.
fn in_words(error: &WsError) -> String {
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof,
    };
    match error {
        WsError::Io(error) => match error.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => {
                "the other side is gone without a word (it was killed, or the network cut it off)"
                    .to_owned()
            }
            TimedOut => "the network lost it".to_owned(),
            _ => error.to_string(),
        },
        WsError::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            "the other side is gone without a word (it was killed, or the network cut it off)"
                .to_owned()
        }
        error => error.to_string(),
    }
}

impl WebSocketError {
    /// Whether the peer broke the protocol, rather than the network the connection.
    #[must_use]
    pub fn is_violation(&self) -> bool {
        match self {
            Self::Codec(_) => true,
            Self::Lost(error) => {
                matches!(
                    **error,
                    WsError::Capacity(_) | WsError::Utf8(_) | WsError::AttackAttempt
                ) || matches!(**error, WsError::Protocol(ref e)
                    if *e != tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)
            }
        }
    }
}

/// A WebSocket that carries `Out` to the peer and `In` from it, in the encoding `E`.
#[derive(Debug)]
pub struct MessageSocket<S, Out, In, E = MessagePack> {
    socket: WebSocketStream<S>,
    unflushed: usize,
    messages: PhantomData<fn(Out, E) -> In>,
}

impl<S, Out, In, E> MessageSocket<S, Out, In, E>
where
    S: AsyncRead + AsyncWrite + Unpin,
    Out: Serialize,
    In: DeserializeOwned,
    E: Encoding,
{
    /// The wire over a WebSocket that was made with [`limits`].
    pub fn new(socket: WebSocketStream<S>) -> Self {
        Self {
            socket,
            unflushed: 0,
            messages: PhantomData,
        }
    }

    /// The server's end, on a connection that was upgraded; `read` came behind the upgrade.
    pub async fn accepted(stream: S, read: Vec<u8>) -> Self {
        let config = Some(limits());
        let role = Role::Server;
        Self::new(if read.is_empty() {
            WebSocketStream::from_raw_socket(stream, role, config).await
        } else {
            WebSocketStream::from_partially_read(stream, read, role, config).await
        })
    }

    /// The connection underneath.
    pub fn get_ref(&self) -> &S {
        self.socket.get_ref()
    }

    /// Whether another message may be pushed now. [`event`](Self::event) makes room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.unflushed < BATCH
    }

    /// Queues a message; [`event`](Self::event) or [`close_with`](Self::close_with) sends it.
    ///
    /// # Errors
    /// If it is too large or the connection was lost.
    pub fn push(&mut self, message: &Out) -> Result<(), WebSocketError> {
        self.start(E::write(message)?)
    }

    /// Queues a ping with this payload, of at most 125 bytes.
    ///
    /// # Errors
    /// If the connection was lost.
    pub fn push_ping(&mut self, payload: Bytes) -> Result<(), WebSocketError> {
        self.start(Message::Ping(payload))
    }

    fn start(&mut self, message: Message) -> Result<(), WebSocketError> {
        self.unflushed += message.len() + 16;
        Pin::new(&mut self.socket)
            .start_send(message)
            .map_err(Box::new)?;
        Ok(())
    }

    /// Sends what is queued, and gives the next thing that comes from the peer. May be dropped
    /// and called again without loss.
    ///
    /// # Errors
    /// If the connection was lost or the peer broke the protocol.
    pub async fn event(&mut self) -> Result<SocketEvent<In>, WebSocketError> {
        std::future::poll_fn(|cx| {
            let had_room = self.has_room();
            if self.poll_flush(cx)?.is_ready() && !had_room {
                return Poll::Ready(Ok(SocketEvent::Writable));
            }
            self.poll_event(cx)
        })
        .await
    }

    /// Sends what is queued, then these last words and a close frame with this reason (cut to
    /// 120 bytes), and throws away what still comes until the peer has closed too: a connection
    /// that is closed with something unread is reset, and what was sent last is lost with it.
    /// Gives up when `patience` is over.
    pub async fn close_with(mut self, last_words: Option<&Out>, reason: &str, patience: Duration) {
        let cut = reason.floor_char_boundary(120);
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: reason[..cut].to_owned().into(),
        };
        let closing = async {
            if let Some(words) = last_words {
                self.push(words)?;
            }
            self.socket.close(Some(frame)).await.map_err(Box::new)?;
            let stream = self.socket.get_mut();
            if stream.shutdown().await.is_ok() {
                let mut ignored = vec![0; 4 * 1024];
                while matches!(stream.read(&mut ignored).await, Ok(1..)) {}
            }
            Ok::<_, WebSocketError>(())
        };
        // Whoever doesn't listen, or is gone, does without.
        let _ = tokio::time::timeout(patience, closing).await;
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        if self.unflushed > 0 {
            ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(Box::new)?;
            self.unflushed = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<SocketEvent<In>, WebSocketError>> {
        let event = match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
            Some(Ok(Message::Ping(_))) => SocketEvent::Ping,
            Some(Ok(Message::Pong(payload))) => SocketEvent::Pong(payload),
            Some(Ok(Message::Close(frame))) => {
                SocketEvent::Closed(frame.map(|f| f.reason.to_string()).unwrap_or_default())
            }
            Some(Ok(message)) => SocketEvent::Message(E::read(&message)?),
            Some(Err(WsError::ConnectionClosed)) | None => SocketEvent::Closed(String::new()),
            Some(Err(error)) => return Poll::Ready(Err(Box::new(error).into())),
        };
        Poll::Ready(Ok(event))
    }
}
