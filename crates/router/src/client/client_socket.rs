//! Connection of a session's task to its client: a console, which handles many cars in MessagePack,
//! or a page, which handles its own car in JSON.

use std::time::Duration;

use bytes::Bytes;
use p2p_shared::codec::Json;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{ConsoleToRouter, RouterToConsole};
use p2p_shared::websocket::{MessageSocket, ReadAhead, SocketEvent, WebSocketError};

use crate::client::page_protocol::{PageToRouter, RouterToPage};
use crate::net::write_timeout::WriteTimeout;

/// Time for a client to take the last message.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// The connection to a console or a page.
pub(crate) enum ClientSocket {
    Console(MessageSocket<ReadAhead<WriteTimeout<Transport>>, RouterToConsole, ConsoleToRouter>),
    /// A page, and the service port of its car.
    Page(
        MessageSocket<ReadAhead<WriteTimeout<Transport>>, RouterToPage, PageToRouter, Json>,
        u16,
    ),
}

impl ClientSocket {
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Self::Console(socket) => socket.has_room(),
            Self::Page(socket, _) => socket.has_room(),
        }
    }

    /// Queues a message, if it is one for this kind of client.
    pub(crate) fn push(&mut self, message: RouterToConsole) -> Result<(), WebSocketError> {
        match self {
            Self::Console(socket) => socket.push(&message),
            Self::Page(socket, _) => {
                if let Some(hop) = RouterToPage::hop_of(&message) {
                    socket.push(&hop)?;
                }
                RouterToPage::of(message).map_or(Ok(()), |message| socket.push(&message))
            }
        }
    }

    pub(crate) fn push_ping(&mut self, payload: Bytes) -> Result<(), WebSocketError> {
        match self {
            Self::Console(socket) => socket.push_ping(payload),
            Self::Page(socket, _) => socket.push_ping(payload),
        }
    }

    /// Sends the queued messages, and returns the next event. May be dropped and called again.
    pub(crate) async fn event(&mut self) -> Result<SocketEvent<ConsoleToRouter>, WebSocketError> {
        let (socket, port) = match self {
            Self::Console(socket) => return socket.event().await,
            Self::Page(socket, port) => (socket, *port),
        };
        Ok(match socket.event().await? {
            SocketEvent::Message(message) => match message.about(port) {
                Ok(message) => SocketEvent::Message(message),
                Err(probe) => {
                    // A page that sends without reading is not answered.
                    if socket.has_room() {
                        socket.push(&RouterToPage::Probe(probe))?;
                    }
                    SocketEvent::Ping
                }
            },
            SocketEvent::Writable => SocketEvent::Writable,
            SocketEvent::Ping => SocketEvent::Ping,
            SocketEvent::Pong(payload) => SocketEvent::Pong(payload),
            SocketEvent::Closed(reason) => SocketEvent::Closed(reason),
        })
    }

    /// Sends the last message, if there is one for this kind of client, and closes the connection.
    pub(crate) async fn close(self, last_words: RouterToConsole) {
        match self {
            Self::Console(socket) => socket.close_with(Some(&last_words), "", FAREWELL).await,
            Self::Page(socket, _) => {
                if let Some(words) = RouterToPage::of(last_words) {
                    socket.close_with(Some(&words), "", FAREWELL).await;
                }
            }
        }
    }
}
