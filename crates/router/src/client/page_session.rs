//! Owns a page's connection from its upgrade to its end. In between it is a console of one car:
//! `client/task`.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};
use p2p_shared::codec::Json;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{ConsoleToRouter, RouterToConsole};
use p2p_shared::timing;
use p2p_shared::websocket::{MessageSocket, SocketEvent, WebSocketError};

use crate::auth::access::Caller;
use crate::car::Car;
use crate::client::client_socket::ClientSocket;
use crate::client::page_protocol::{PageToRouter, RouterToPage};
use crate::client::session::{self, Session};
use crate::context::Context;
use crate::http::response::Problem;
use crate::http::websocket;
use crate::net::quota::QuotaPermit;
use crate::net::write_timeout::WriteTimeout;

/// WebSocket of a page, and the service port of its car.
struct PageSocket {
    socket: MessageSocket<WriteTimeout<Transport>, RouterToPage, PageToRouter, Json>,
    port: u16,
}

/// Upgrades a page's connection if its caller may see the car.
pub(crate) fn upgrade(
    context: &Arc<Context>,
    car: &Arc<Car>,
    caller: Caller,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Bytes>, Problem> {
    // In this order a page that asks without an upgrade is told, too, that there is no room: of a
    // WebSocket that is refused a browser tells it nothing.
    let permit = session::permit(context, &caller, peer)?;
    let switching = websocket::handshake_ours(&request)?;
    let (shared, car) = (context.clone(), car.clone());
    let serve = move |stream, read| async move {
        serve(&shared, &car, (caller, peer, permit), stream, read).await;
    };
    Ok(websocket::accept(
        &context.shutdown.links,
        request,
        switching,
        serve,
    ))
}

async fn serve(
    context: &Arc<Context>,
    car: &Car,
    (caller, peer, permit): (Caller, SocketAddr, QuotaPermit),
    stream: Transport,
    read: Vec<u8>,
) {
    stream.set_dead_after(timing::PACE_BUSY.dead);
    let page = PageSocket {
        socket: MessageSocket::accepted(WriteTimeout::new(stream), read).await,
        port: car.port,
    };
    let role = caller.role();
    let session = Session {
        caller,
        peer,
        role,
        permit,
    };
    let live = session.run(context, page, "a page");
    // Another car may get the port next.
    let Some((last_words, page)) = car.closed.run_until_cancelled(live).await else {
        return;
    };
    if let Some(words) = last_words.and_then(RouterToPage::of) {
        page.socket
            .close_with(Some(&words), "", session::FAREWELL)
            .await;
    }
}

impl ClientSocket for PageSocket {
    fn only(&self) -> Option<u16> {
        Some(self.port)
    }

    fn has_room(&self) -> bool {
        self.socket.has_room()
    }

    fn push(&mut self, message: RouterToConsole) -> Result<(), WebSocketError> {
        RouterToPage::of(message).map_or(Ok(()), |message| self.socket.push(&message))
    }

    fn push_ping(&mut self, payload: Bytes) -> Result<(), WebSocketError> {
        self.socket.push_ping(payload)
    }

    async fn event(&mut self) -> Result<SocketEvent<ConsoleToRouter>, WebSocketError> {
        Ok(match self.socket.event().await? {
            SocketEvent::Message(message) => match message.about(self.port) {
                Ok(message) => SocketEvent::Message(message),
                Err(probe) => {
                    // A page that asks on without reading is not answered.
                    if self.socket.has_room() {
                        self.socket.push(&RouterToPage::Probe(probe))?;
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
}
