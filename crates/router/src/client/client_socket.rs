//! Connection of a session's task to its client: a console, which handles many cars in MessagePack, or a page
//! in JSON, which handles its own car, or shows and stops all.

use std::time::Duration;

use bytes::Bytes;
use p2p_shared::codec::Json;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{ConsoleToRouter, FeedEvent, MotionEvent, RouterToConsole, RunInfo};
use p2p_shared::websocket::{MessageSocket, ReadAhead, SocketEvent, WebSocketError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::page_protocol::{FleetToRouter, PageToRouter, RouterToFleet, RouterToPage};
use crate::net::write_timeout::WriteTimeout;

/// Time for a client to take the last message.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// The connection to a console or a page.
pub(crate) enum ClientSocket {
    Console(MessageSocket<ReadAhead<WriteTimeout<Transport>>, RouterToConsole, ConsoleToRouter>),
    /// A page, the service port of its car, and the run that was asked for last, which may move the car.
    Page(
        MessageSocket<ReadAhead<WriteTimeout<Transport>>, RouterToPage, PageToRouter, Json>,
        u16,
        Option<Box<RunInfo>>,
    ),
    /// The page of all cars.
    Fleet(MessageSocket<ReadAhead<WriteTimeout<Transport>>, RouterToFleet, FleetToRouter, Json>),
}

impl ClientSocket {
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Self::Console(socket) => socket.has_room(),
            Self::Page(socket, ..) => socket.has_room(),
            Self::Fleet(socket) => socket.has_room(),
        }
    }

    /// Queues a message, if it is one for this kind of client.
    pub(crate) fn push(&mut self, message: RouterToConsole) -> Result<(), WebSocketError> {
        match self {
            Self::Console(socket) => socket.push(&message),
            Self::Page(socket, _, asked) => {
                let message = match message {
                    RouterToConsole::Feed(FeedEvent::Run(run)) if run.result.is_none() => {
                        *asked = Some(run);
                        return Ok(());
                    }
                    message => message,
                };
                if let RouterToConsole::Feed(FeedEvent::Motion { event, .. }) = &message
                    && let MotionEvent::Started(motion) = event
                    && let Some(run) = asked.take_if(|run| run.run == motion.run)
                    && motion.press.is_none()
                {
                    socket.push(&RouterToPage::asked(&run))?;
                }
                if let Some(hop) = RouterToPage::hop_of(&message) {
                    socket.push(&hop)?;
                }
                RouterToPage::of(message).map_or(Ok(()), |message| socket.push(&message))
            }
            Self::Fleet(socket) => {
                RouterToFleet::of(message).map_or(Ok(()), |message| socket.push(&message))
            }
        }
    }

    pub(crate) fn push_ping(&mut self, payload: Bytes) -> Result<(), WebSocketError> {
        match self {
            Self::Console(socket) => socket.push_ping(payload),
            Self::Page(socket, ..) => socket.push_ping(payload),
            Self::Fleet(socket) => socket.push_ping(payload),
        }
    }

    /// Sends the queued messages, and returns the next event. May be dropped and called again.
    pub(crate) async fn event(&mut self) -> Result<SocketEvent<ConsoleToRouter>, WebSocketError> {
        match self {
            Self::Console(socket) => socket.event().await,
            Self::Page(socket, port, _) => {
                let event = socket.event().await?;
                translated(
                    socket,
                    event,
                    |message| message.about(*port),
                    RouterToPage::Probe,
                )
            }
            Self::Fleet(socket) => {
                let event = socket.event().await?;
                translated(socket, event, FleetToRouter::message, RouterToFleet::Probe)
            }
        }
    }

    /// Sends the last message, if there is one for this kind of client, and closes the connection with this reason.
    pub(crate) async fn close(self, last_words: Option<RouterToConsole>, why: &str) {
        match self {
            Self::Console(socket) => {
                socket.close_with(last_words.as_ref(), why, FAREWELL).await;
            }
            Self::Page(socket, ..) => {
                if let Some(words) = last_words.and_then(RouterToPage::of) {
                    socket.close_with(Some(&words), "", FAREWELL).await;
                }
            }
            Self::Fleet(socket) => {
                if let Some(words) = last_words.and_then(RouterToFleet::of) {
                    socket.close_with(Some(&words), "", FAREWELL).await;
                }
            }
        }
    }
}

/// Translates an event of a page into one of a console. A probe is answered at once.
fn translated<Out: Serialize, In: DeserializeOwned>(
    socket: &mut MessageSocket<ReadAhead<WriteTimeout<Transport>>, Out, In, Json>,
    event: SocketEvent<In>,
    read: impl FnOnce(In) -> Result<ConsoleToRouter, u64>,
    probe: impl FnOnce(u64) -> Out,
) -> Result<SocketEvent<ConsoleToRouter>, WebSocketError> {
    Ok(match event {
        SocketEvent::Message(message) => match read(message) {
            Ok(message) => SocketEvent::Message(message),
            Err(number) => {
                // A page that sends without reading is not answered.
                if socket.has_room() {
                    socket.push(&probe(number))?;
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
