//! Owns the router's first answer: the whole picture, or why there is none.

use std::time::Duration;

use p2p_shared::net::reconnect::Reconnect;
use p2p_shared::protocol::{LinkInfo, RouterToConsole};
use p2p_shared::timing::HELLO;
use p2p_shared::websocket::SocketEvent;

use crate::connection::{ConsoleSocket, RouterTarget};
use crate::exit_code::{Failure, UNREACHABLE, connection_error, for_refusal};

/// Longest wait for the router to close a connection that we close.
pub(super) const FAREWELL: Duration = Duration::from_millis(500);

/// A connection to a router that has sent its first snapshot.
pub(super) struct RouterClient {
    pub(super) socket: ConsoleSocket,
    pub(super) links: Vec<LinkInfo>,
}

/// Connects and waits for the first snapshot.
pub(super) async fn connect(target: &RouterTarget) -> Result<RouterClient, Failure> {
    let socket = target.connect(&mut Reconnect::default()).await?;
    let late = || {
        Failure::new(
            UNREACHABLE,
            format!("{} did not answer in time", target.router),
        )
    };
    tokio::time::timeout(HELLO, receive(socket))
        .await
        .map_err(|_| late())?
}

async fn receive(socket: ConsoleSocket) -> Result<RouterClient, Failure> {
    let mut client = RouterClient {
        socket,
        links: Vec::new(),
    };
    loop {
        match client.socket.event().await {
            Ok(SocketEvent::Message(RouterToConsole::Snapshot { last, links, .. })) => {
                client.links.extend(links);
                if last {
                    return Ok(client);
                }
            }
            Ok(SocketEvent::Message(RouterToConsole::Refused {
                reason, message, ..
            })) => {
                return Err(Failure::new(for_refusal(Some(reason)), message));
            }
            Ok(SocketEvent::Closed(why)) => return Err(Failure::new(UNREACHABLE, closed(&why))),
            Err(error) => return Err(Failure::new(UNREACHABLE, connection_error(&error))),
            Ok(_) => {}
        }
    }
}

/// Describes a connection that the router closed.
pub(super) fn closed(why: &str) -> String {
    match why {
        "" => "the router closed the connection".to_owned(),
        why => {
            let why = p2p_shared::text::Escaped(why);
            format!("the router closed the connection: {why}")
        }
    }
}
