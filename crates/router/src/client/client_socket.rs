//! Connection of a session's task to its client: a console, which handles all cars in MessagePack,
//! or a page, which handles its own car in JSON.

use bytes::Bytes;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{ConsoleToRouter, FeedEvent, RouterToConsole};
use p2p_shared::websocket::{MessageSocket, SocketEvent, WebSocketError};

use crate::net::write_timeout::WriteTimeout;

/// The connection to a console or a page.
pub(crate) trait ClientSocket {
    /// Service port of the only car; `None`: all cars.
    fn only(&self) -> Option<u16>;

    fn has_room(&self) -> bool;

    /// Queues a message, if it is one for this kind of client.
    fn push(&mut self, message: RouterToConsole) -> Result<(), WebSocketError>;

    fn push_ping(&mut self, payload: Bytes) -> Result<(), WebSocketError>;

    /// Sends what is queued, and returns what comes next. May be dropped and called again.
    fn event(
        &mut self,
    ) -> impl Future<Output = Result<SocketEvent<ConsoleToRouter>, WebSocketError>> + Send;

    /// Whether this event is for this client.
    fn sees(&self, event: &FeedEvent) -> bool {
        self.only().is_none_or(|port| service_port(event) == port)
    }
}

pub(crate) type ConsoleSocket =
    MessageSocket<WriteTimeout<Transport>, RouterToConsole, ConsoleToRouter>;

impl ClientSocket for ConsoleSocket {
    fn only(&self) -> Option<u16> {
        None
    }

    fn has_room(&self) -> bool {
        MessageSocket::has_room(self)
    }

    fn push(&mut self, message: RouterToConsole) -> Result<(), WebSocketError> {
        MessageSocket::push(self, &message)
    }

    fn push_ping(&mut self, payload: Bytes) -> Result<(), WebSocketError> {
        MessageSocket::push_ping(self, payload)
    }

    async fn event(&mut self) -> Result<SocketEvent<ConsoleToRouter>, WebSocketError> {
        MessageSocket::event(self).await
    }
}

fn service_port(event: &FeedEvent) -> u16 {
    match event {
        FeedEvent::Link(link) => link.service_port,
        FeedEvent::Run(run) => run.service_port,
        FeedEvent::LinkDown { service_port, .. }
        | FeedEvent::LinkGone { service_port }
        | FeedEvent::Rtt { service_port, .. }
        | FeedEvent::Control { service_port, .. }
        | FeedEvent::Motion { service_port, .. } => *service_port,
    }
}
