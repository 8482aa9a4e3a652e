//! Sends and receives messages over one WebSocket, with the limits of the protocol. Several
//! messages that wait go into one write.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, Sink, Stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Message, Role, WebSocketConfig, frame::coding::CloseCode,
};

use crate::codec::{CodecError, Encoding, MessagePack};
use crate::protocol::{MAX_MESSAGE, MAX_PICTURE_MESSAGE};

mod read_ahead;

pub use read_ahead::ReadAhead;

/// A write begins when this many bytes wait; no more messages are accepted until they are out.
const BATCH: usize = 32 * 1024;

/// Most events that a task takes from its socket in one turn of its `select!`. A turn costs as much as a
/// message, so that those that have come together share one; what else there is has its turn after that.
pub const SHARED_TURN: usize = 32;

/// Read buffer of a WebSocket that was accepted: a link is idle most of the time, and there may be
/// thousands. What comes at once and is longer is [read ahead](ReadAhead).
const ACCEPTED_BUFFER: usize = 1024;

/// Limits of the programs' WebSockets. tungstenite's defaults are 64 MiB for a message, 16 MiB for
/// a frame, an unbounded write buffer and 128 KiB of read buffer for each connection.
#[must_use]
pub fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(2 * BATCH)
        .max_write_buffer_size(2 * BATCH + 4 * MAX_MESSAGE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// Limits of the WebSocket of a car's pictures, each of which is a message.
#[must_use]
pub fn limits_of_pictures() -> WebSocketConfig {
    limits()
        .max_message_size(Some(MAX_PICTURE_MESSAGE))
        .max_frame_size(Some(MAX_PICTURE_MESSAGE))
}

/// Event of a socket.
#[derive(Debug)]
pub enum SocketEvent<M> {
    /// The queued messages are out: [there is room](MessageSocket::has_room) again.
    Writable,
    /// A message arrived.
    Message(M),
    /// A ping arrived; its pong is already on its way.
    Ping,
    /// A pong arrived, with the payload of the ping that it answers.
    Pong(Bytes),
    /// The peer closed the socket, with this reason (empty if it gave none).
    Closed(String),
}

/// Reason why a socket broke.
#[derive(Debug, Error)]
pub enum WebSocketError {
    /// The connection was lost, or the peer broke the WebSocket protocol.
    #[error("the connection was lost: {}", in_words(.0))]
    Lost(#[from] Box<WsError>),
    /// The peer sent bytes that are not a message, or too many.
    #[error("{0}")]
    Codec(#[from] CodecError),
}

/// Says what a broken connection means, in plainer words than the library's.
fn in_words(error: &WsError) -> String {
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof,
    };
    match error {
        WsError::Io(error) if error.kind() == TimedOut => "the network lost it".to_owned(),
        WsError::Io(error)
            if !matches!(
                error.kind(),
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe
            ) =>
        {
            error.to_string()
        }
        WsError::Io(_) | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            "the other side is gone without a word (it was killed, or the network cut it off)"
                .to_owned()
        }
        error => error.to_string(),
    }
}

impl WebSocketError {
    /// Returns true if the peer broke the protocol, false if the network broke the connection.
    #[must_use]
    pub fn is_violation(&self) -> bool {
        let Self::Lost(error) = self else { return true };
        match &**error {
            WsError::Protocol(error) => *error != ProtocolError::ResetWithoutClosingHandshake,
            WsError::Capacity(_) | WsError::Utf8(_) | WsError::AttackAttempt => true,
            _ => false,
        }
    }
}

/// WebSocket that carries `Out` to the peer and `In` from the peer, in the encoding `E`.
#[derive(Debug)]
pub struct MessageSocket<S, Out, In, E = MessagePack> {
    socket: WebSocketStream<S>,
    unflushed: usize,
    messages: PhantomData<fn(Out, E) -> In>,
}

impl<S, Out, In, E> MessageSocket<ReadAhead<S>, Out, In, E>
where
    S: AsyncRead + AsyncWrite + Unpin,
    Out: Serialize,
    In: DeserializeOwned,
    E: Encoding,
{
    /// Makes the server's end on an upgraded connection. `read` has the bytes that came after the
    /// upgrade request.
    pub async fn accepted(stream: S, read: Vec<u8>) -> Self {
        Self::upgraded(stream, &read, Role::Server).await
    }

    /// Makes the client's end on an upgraded connection. `read` has the bytes that came after the
    /// answer to the upgrade request.
    pub async fn asked(stream: S, read: Vec<u8>) -> Self {
        Self::upgraded(stream, &read, Role::Client).await
    }

    async fn upgraded(stream: S, read: &[u8], role: Role) -> Self {
        let stream = ReadAhead::new(stream, read);
        let config = Some(limits().read_buffer_size(ACCEPTED_BUFFER));
        Self::new(WebSocketStream::from_raw_socket(stream, role, config).await)
    }
}

impl<S, Out, In, E> MessageSocket<S, Out, In, E>
where
    S: AsyncRead + AsyncWrite + Unpin,
    Out: Serialize,
    In: DeserializeOwned,
    E: Encoding,
{
    /// Uses a WebSocket that was made with [`limits`].
    pub fn new(socket: WebSocketStream<S>) -> Self {
        Self {
            socket,
            unflushed: 0,
            messages: PhantomData,
        }
    }

    /// Returns the connection underneath.
    pub fn get_ref(&self) -> &S {
        self.socket.get_ref()
    }

    /// Returns true if another message may be pushed now. [`event`](Self::event) makes room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.unflushed < BATCH
    }

    /// Returns true if no message is queued.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.unflushed == 0
    }

    /// Queues a message; [`event`](Self::event) or [`close_with`](Self::close_with) sends it.
    ///
    /// # Errors
    /// If the message is too large or the connection was lost.
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

    /// Sends queued messages and returns the next event. May be dropped and called again without
    /// loss.
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

    /// Sends queued messages, and reads nothing. May be dropped and called again without loss.
    ///
    /// # Errors
    /// If the connection was lost.
    pub async fn flush(&mut self) -> Result<(), WebSocketError> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Returns the next event, if it is here already.
    ///
    /// # Errors
    /// As for [`event`](Self::event).
    pub fn next_now(&mut self) -> Option<Result<SocketEvent<In>, WebSocketError>> {
        self.event().now_or_never()
    }

    /// Sends queued messages, then this last message and a close frame with this reason (cut to 120
    /// bytes). Discards what still arrives until the peer has closed too: a connection that is
    /// closed with unread bytes is reset, which loses the last message. Gives up after `patience`.
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
        // A peer that doesn't read, or is gone, doesn't get the last message.
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
