//! The connection of one command (`list`, `send`) to a router that has sent its first snapshot.

use std::collections::BTreeMap;

use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::net::reconnect::Retry;
use p2p_shared::protocol::{ConsoleToRouter, LinkInfo, RouterToConsole};
use p2p_shared::text::Escaped;
use p2p_shared::timing::HELLO;
use p2p_shared::websocket::SocketEvent;

use crate::app::fleet::find_link;
use crate::connection::{ConsoleSocket, FAREWELL, RouterTarget};
use crate::exit_code::{Failure, OFFLINE, UNREACHABLE, closed_connection, connection_error};
use crate::text::closest;

/// Sends a question.
pub(super) fn ask(socket: &mut ConsoleSocket, question: &ConsoleToRouter) -> Result<(), Failure> {
    let pushed = socket.push(question);
    pushed.map_err(|error| Failure::new(UNREACHABLE, connection_error(&error)))
}

/// Waits for the next message.
///
/// # Errors
/// If the router refuses what was asked, or the connection ends.
pub(super) async fn next_message(socket: &mut ConsoleSocket) -> Result<RouterToConsole, Failure> {
    loop {
        match socket.event().await {
            Ok(SocketEvent::Message(RouterToConsole::Refused {
                reason, message, ..
            })) => return Err(Failure::refused(Some(reason), message.raw())),
            Ok(SocketEvent::Message(message)) => return Ok(message),
            Ok(SocketEvent::Closed(why)) => {
                return Err(Failure::new(UNREACHABLE, closed_connection(&why)));
            }
            Err(error) => return Err(Failure::new(UNREACHABLE, connection_error(&error))),
            Ok(_) => {}
        }
    }
}

/// A connection to a router that has sent its first snapshot.
pub(super) struct RouterClient {
    pub(super) router: RouterAddress,
    pub(super) socket: ConsoleSocket,
    pub(super) links: Vec<LinkInfo>,
    has_key: bool,
}

impl RouterClient {
    /// Connects and waits for the first snapshot.
    pub(super) async fn connect(target: &RouterTarget) -> Result<Self, Failure> {
        let (router, socket) = Self::dial(target).await?;
        let late = || format!("{router} did not answer in time");
        let received = tokio::time::timeout(
            HELLO,
            Self::receive(router.clone(), target.key.is_some(), socket),
        )
        .await;
        received.map_err(|_| Failure::new(UNREACHABLE, late()))?
    }

    /// Connects to the first router that answers. Fails when each of them has failed.
    async fn dial(target: &RouterTarget) -> Result<(RouterAddress, ConsoleSocket), Failure> {
        let mut reconnect = target.reconnect();
        let mut failures = BTreeMap::new();
        loop {
            let dialled = target.connect(&mut reconnect).await;
            let (number, router) = reconnect.router();
            let error = match dialled {
                Ok(socket) => return Ok((router.clone(), socket)),
                Err(error) => error,
            };
            let retry = Retry::NotHere(error.least_pause());
            failures.insert(number, Failure::from(error));
            if failures.len() == target.routers.len() {
                return Err(Failure::of_all(failures.into_values()));
            }
            let pause = reconnect.pause(retry);
            reconnect.wait(pause).await;
        }
    }

    async fn receive(
        router: RouterAddress,
        has_key: bool,
        mut socket: ConsoleSocket,
    ) -> Result<Self, Failure> {
        let mut links = Vec::new();
        loop {
            if let RouterToConsole::Snapshot {
                last, links: more, ..
            } = next_message(&mut socket).await?
            {
                links.extend(more);
                if last {
                    return Ok(Self {
                        router,
                        socket,
                        links,
                        has_key,
                    });
                }
            }
        }
    }

    /// Says goodbye. On every way out: the router would take a connection that breaks off for one that
    /// was lost.
    pub(super) async fn close(self) {
        self.socket.close_with(None, "bye", FAREWELL).await;
    }

    /// The link of this name or service port, if it is up.
    pub(super) fn find(&self, wanted: &str) -> Result<&LinkInfo, Failure> {
        let link = self.known(wanted)?;
        if !link.is_up {
            let at = link.router.as_ref();
            let at = at.map_or(String::new(), |router| format!(" at the router {router}"));
            let why = format!("{} is offline{at}: nothing was run", link.name);
            return Err(Failure::new(OFFLINE, why));
        }
        Ok(link)
    }

    /// Sentence for who sees no link: a key may be for others.
    pub(super) fn nobody(&self) -> &'static str {
        match self.has_key {
            true => "no machine is linked that this key is for",
            false => "no machine is linked",
        }
    }

    /// The link of this name or service port, up or not.
    pub(super) fn known(&self, wanted: &str) -> Result<&LinkInfo, Failure> {
        find_link(self.links.iter(), wanted).ok_or_else(|| {
            let names = || self.links.iter().map(|link| link.name.as_str());
            let there = match names().take(20).collect::<Vec<_>>().as_slice() {
                [] => self.nobody().to_owned(),
                few => format!("the links there: {}", few.join(", ")),
            };
            let meant = closest(wanted, names());
            let meant = meant.map(|name| format!("did you mean {name}? "));
            let wanted = Escaped(wanted).cut(64);
            let meant = meant.unwrap_or_default();
            let why = format!(
                "no link is called {wanted} at {}: {meant}{there}",
                self.router
            );
            Failure::new(OFFLINE, why)
        })
    }
}
