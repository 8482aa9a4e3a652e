//! Owns one link, from the hello to its end: what the router says becomes runs, and what becomes
//! of them is said to the router.

use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::liveness::{Due, Liveness, Pings};
use p2p_shared::names::LinkName;
use p2p_shared::protocol::{
    CommandInfo, Hello, InnerToRouter, MAX_MESSAGE, Rejection, RouterToInner,
};
use p2p_shared::text::Escaped;
use p2p_shared::wire::{Event, Wire, WireError};
use p2p_shared::{socket, timing};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::executor::Executor;

/// The WebSocket of a link.
pub(crate) type LinkWire = Wire<TcpStream, InnerToRouter, RouterToInner>;

/// What the inner's parts have to say, whether there is a link or not.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub urgent: mpsc::UnboundedReceiver<InnerToRouter>,
    pub output: mpsc::Receiver<InnerToRouter>,
}

impl Outbox {
    /// Throws away what nobody hears, for as long as it is waited for.
    pub(crate) async fn discard(&mut self) -> std::convert::Infallible {
        loop {
            tokio::select! {
                _ = self.urgent.recv() => {}
                _ = self.output.recv() => {}
            }
        }
    }
}

/// Why a link ended, or never came up.
#[derive(Debug, Error)]
pub(crate) enum SessionEnd {
    /// The connection broke.
    #[error(transparent)]
    Lost(#[from] WireError),
    /// The router closed it without a word of ours.
    #[error("the router closed the link{}", reason(.0))]
    Closed(String),
    /// The router was silent.
    #[error("the router was silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// The router did not welcome us in time.
    #[error("the router did not answer the hello within {} s", timing::HELLO.as_secs())]
    NoWelcome,
    /// The router refuses us.
    #[error("the router refuses the link: {1}")]
    Rejected(Rejection, String),
    /// The router restarts.
    #[error("the router is restarting")]
    GoAway(Duration),
    /// We were told to end, and everything has.
    #[error("this inner is ending")]
    Drained,
}

fn reason(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {}", Escaped(text))
    }
}

/// What the router gave us.
#[derive(Debug, Clone)]
pub(crate) struct Welcome {
    pub name: LinkName,
    pub service_port: u16,
}

/// Says hello and waits to be welcomed.
pub(crate) async fn greet(wire: &mut LinkWire, hello: Hello) -> Result<Welcome, SessionEnd> {
    let greeting = async {
        wire.push(&InnerToRouter::Hello(hello))?;
        loop {
            match wire.event().await? {
                Event::Message(RouterToInner::Welcome { name, service_port }) => {
                    return Ok(Welcome { name, service_port });
                }
                Event::Message(RouterToInner::Rejected { rejection, message }) => {
                    return Err(rejected(wire, rejection, &message).await);
                }
                Event::Closed(reason) => return Err(SessionEnd::Closed(reason)),
                // Nothing else has a meaning yet.
                Event::Message(_) | Event::Ping | Event::Pong(_) | Event::Room => {}
            }
        }
    };
    tokio::time::timeout(timing::HELLO, greeting)
        .await
        .unwrap_or(Err(SessionEnd::NoWelcome))
}

/// Takes leave of a router that refuses us, so that it needn't wait for our close.
async fn rejected(wire: &mut LinkWire, rejection: Rejection, message: &str) -> SessionEnd {
    let _ = tokio::time::timeout(Duration::from_secs(1), wire.close("")).await;
    SessionEnd::Rejected(rejection, Escaped(message).to_string())
}

/// A link that is up.
pub(crate) struct Session<'a> {
    pub wire: LinkWire,
    pub name: LinkName,
    pub executor: &'a mut Executor,
    pub outbox: &'a mut Outbox,
    pub shutdown: &'a CancellationToken,
}

impl Session<'_> {
    /// Serves the link until it ends. What runs then goes on without it.
    pub(crate) async fn serve(mut self) -> SessionEnd {
        socket::set_dead_after(self.wire.get_ref(), timing::PACE_IDLE.dead);
        let end = match self.live().await {
            Ok(end) | Err(end) => end,
        };
        self.executor.orphan();
        if matches!(end, SessionEnd::Drained) {
            let farewell = async {
                self.wire.flush().await?;
                self.wire.close("the inner is ending").await
            };
            let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
        }
        end
    }

    async fn live(&mut self) -> Result<SessionEnd, SessionEnd> {
        let mut liveness = Liveness::new(Pings::WhenSilent, Instant::now());
        let (listed, mut listings) = mpsc::channel(4);
        let shutdown = self.shutdown.clone();
        let mut drained = std::pin::pin!(self.executor.ended());
        let mut draining = false;
        loop {
            let now = Instant::now();
            let mut pace = liveness.set_busy(!self.executor.is_idle(), now);
            let (due, changed) = liveness.poll(now);
            pace = changed.or(pace);
            if let Some(pace) = pace {
                socket::set_dead_after(self.wire.get_ref(), pace.dead);
            }
            match due {
                Some(Due::Dead(silence)) => return Ok(SessionEnd::Silent(silence)),
                Some(Due::Ping) => self.wire.push_ping(Bytes::new())?,
                None => {}
            }
            let has_room = self.wire.has_room();
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if !draining => {
                    draining = true;
                    self.executor.drain(timing::DRAIN);
                    self.wire.push(&InnerToRouter::Draining)?;
                }
                Some(message) = self.outbox.urgent.recv(), if has_room => {
                    self.wire.push(&message)?;
                }
                event = self.wire.event() => {
                    let event = event?;
                    if !matches!(event, Event::Room) {
                        liveness.heard(Instant::now());
                    }
                    if let Some(end) = self.on_event(event, &listed).await? {
                        return Ok(end);
                    }
                }
                Some(message) = self.outbox.output.recv(), if has_room => {
                    self.wire.push(&message)?;
                    // Several messages a write when several wait: a run's output and its end.
                    while self.wire.has_room() && let Ok(message) = self.outbox.output.try_recv() {
                        self.wire.push(&message)?;
                    }
                }
                Some(message) = listings.recv(), if has_room => self.wire.push(&message)?,
                () = &mut drained, if draining => {
                    while let Ok(message) = self.outbox.output.try_recv() {
                        self.wire.push(&message)?;
                    }
                    return Ok(SessionEnd::Drained);
                }
                () = tokio::time::sleep_until(liveness.next().into()) => {}
            }
        }
    }

    async fn on_event(
        &mut self,
        event: Event<RouterToInner>,
        listed: &mpsc::Sender<InnerToRouter>,
    ) -> Result<Option<SessionEnd>, WireError> {
        let message = match event {
            Event::Message(message) => message,
            Event::Ping => {
                self.wire.push(&InnerToRouter::Clock {
                    clock_ms: clock::now_ms(),
                })?;
                return Ok(None);
            }
            Event::Pong(_) | Event::Room => return Ok(None),
            Event::Closed(reason) => return Ok(Some(SessionEnd::Closed(reason))),
        };
        match message {
            RouterToInner::Stdin { run, bytes } => self.executor.input(run, &bytes),
            RouterToInner::Run(request) => self.executor.begin(request, &self.name),
            RouterToInner::Window { run, more } => self.executor.grant(run, more),
            RouterToInner::Cancel { run } => self.executor.cancel(run),
            RouterToInner::ListCommands { request } => self.list(request, listed.clone()),
            RouterToInner::Notice { message } => {
                tracing::warn!(said = message, "the router says");
            }
            RouterToInner::Rejected { rejection, message } => {
                return Ok(Some(rejected(&mut self.wire, rejection, &message).await));
            }
            RouterToInner::GoAway { reconnect_after_ms } => {
                let after = Duration::from_millis(reconnect_after_ms).min(timing::DRAIN);
                return Ok(Some(SessionEnd::GoAway(after)));
            }
            // Said once, at the beginning.
            RouterToInner::Welcome { .. } => {}
        }
        Ok(None)
    }

    /// Lists the commands off the link's task, since a folder may be slow.
    fn list(&self, request: u64, listed: mpsc::Sender<InnerToRouter>) {
        let catalog = self.executor.catalog();
        tokio::task::spawn_blocking(move || {
            let commands = catalog.list().unwrap_or_default();
            for message in in_parts(request, commands) {
                if listed.blocking_send(message).is_err() {
                    return;
                }
            }
        });
    }
}

/// The commands in messages that are small enough.
fn in_parts(request: u64, commands: Vec<CommandInfo>) -> Vec<InnerToRouter> {
    let size = |info: &CommandInfo| {
        64 + info.name.as_str().len() + info.problem.as_ref().map_or(0, String::len)
    };
    let mut parts = vec![Vec::new()];
    let mut filled = 0;
    for info in commands {
        filled += size(&info);
        if filled > MAX_MESSAGE / 2 {
            parts.push(Vec::new());
            filled = size(&info);
        }
        if let Some(part) = parts.last_mut() {
            part.push(info);
        }
    }
    let last = parts.len() - 1;
    let message = |(n, commands)| InnerToRouter::Commands {
        request,
        commands,
        more: n < last,
    };
    parts.into_iter().enumerate().map(message).collect()
}

#[cfg(test)]
mod tests {
    use p2p_shared::codec::encode;

    use super::*;

    #[test]
    fn long_lists_go_in_parts_that_fit() {
        let info = |n| CommandInfo {
            name: format!("command-{n}").parse().unwrap(),
            problem: Some("x".repeat(500)),
        };
        let parts = in_parts(7, (0..1000).map(info).collect());
        let mut total = 0;
        for (n, part) in parts.iter().enumerate() {
            encode(part).unwrap();
            let InnerToRouter::Commands {
                request: 7,
                commands,
                more,
            } = part
            else {
                panic!("{part:?}")
            };
            assert_eq!(*more, n + 1 < parts.len());
            total += commands.len();
        }
        assert_eq!(total, 1000);
        assert_eq!(in_parts(7, Vec::new()).len(), 1);
    }
}
