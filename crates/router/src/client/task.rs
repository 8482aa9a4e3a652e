//! Owns one console or page: the task that alone reads and writes its socket, checks its role on
//! every message, and passes on what it wants and what happens.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use p2p_shared::keepalive::{Due, Keepalive, PingMode};
use p2p_shared::protocol::{
    ConsoleToRouter, FeedEvent, PressId, RefusedReason, RouterToConsole, SendEvent,
};
use p2p_shared::timing;
use p2p_shared::websocket::{SocketEvent, WebSocketError};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};

use crate::car::session::SessionGuard;
use crate::car::{DriverSession, Refused};
use crate::client::client_socket::ClientSocket;
use crate::client::runs::ClientRuns;
use crate::context::Context;
use crate::feed::{Addressee, Snapshot, Tick};
use crate::net::quota::QuotaPermit;

mod answers;
mod requests;

/// The reason for which a console's connection ended, as the log has it.
#[derive(Debug)]
pub(crate) enum ConsoleEnd {
    Closed(String),
    Lost(String),
    Silent(Duration),
    ProtocolViolation(String),
    Revoked,
    GoAway,
}

impl std::fmt::Display for ConsoleEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(reason) if reason.is_empty() => f.write_str("the console closed it"),
            Self::Closed(reason) => write!(f, "the console closed it: {reason}"),
            Self::Lost(error) | Self::ProtocolViolation(error) => f.write_str(error),
            Self::Silent(silence) => write!(f, "silent for {} s", silence.as_secs()),
            Self::Revoked => f.write_str("the key was revoked, or its role has changed"),
            Self::GoAway => f.write_str("the router is going down"),
        }
    }
}

impl From<WebSocketError> for ConsoleEnd {
    fn from(error: WebSocketError) -> Self {
        if error.is_violation() {
            Self::ProtocolViolation(error.to_string())
        } else {
            Self::Lost(error.to_string())
        }
    }
}

/// The task of a console.
pub(crate) struct Console<'a, W> {
    context: &'a Arc<Context>,
    socket: W,
    person: DriverSession,
    addressee: Addressee,
    presence: SessionGuard,
    /// Presses that were refused after they had been taken.
    refused: mpsc::Receiver<(PressId, Refused)>,
    /// Its part in what all consoles of its key may ask for.
    permit: QuotaPermit,
    /// The port of the car that it looks at.
    watched: Option<u16>,
    feed: broadcast::Receiver<Arc<FeedEvent>>,
    ticks: broadcast::Receiver<Tick>,
    /// The parts of the snapshot that are still to be sent; events wait for them.
    snapshot: Snapshot,
    missed: u64,
    runs: ClientRuns,
    /// Answers of cars that are waited for.
    answers: FuturesUnordered<BoxFuture<'static, Vec<RouterToConsole>>>,
    /// Parts of lists, to be sent as there is room.
    parts: VecDeque<RouterToConsole>,
    keepalive: Keepalive,
    started: Instant,
}

impl<'a, W: ClientSocket> Console<'a, W> {
    pub(crate) fn new(
        context: &'a Arc<Context>,
        socket: W,
        person: DriverSession,
        presence: SessionGuard,
        refused: mpsc::Receiver<(PressId, Refused)>,
        permit: QuotaPermit,
    ) -> Self {
        let now = timing::now();
        let subscription = context.registry.subscribe(socket.only());
        let mut keepalive = Keepalive::new(PingMode::Always, now);
        keepalive.set_busy(true, now);
        Self {
            context,
            socket,
            addressee: Addressee {
                session: person.driver.session,
                key: person.key.clone(),
                role: person.role,
            },
            person,
            presence,
            refused,
            permit,
            watched: None,
            feed: subscription.events,
            ticks: context.feed.ticks(),
            snapshot: subscription.snapshot,
            missed: 0,
            runs: ClientRuns::default(),
            answers: FuturesUnordered::new(),
            parts: VecDeque::new(),
            keepalive,
            started: now,
        }
    }

    /// Runs the console to its end, at which its runs are cancelled and its control is given back. Returns
    /// the socket, for the farewell.
    pub(crate) async fn run(mut self, revoked: impl Future<Output = ()>) -> (ConsoleEnd, W) {
        let context = self.context;
        let end = tokio::select! {
            biased;
            () = revoked => ConsoleEnd::Revoked,
            () = context.shutdown.closed.cancelled() => ConsoleEnd::GoAway,
            Err(end) = self.serve() => end,
        };
        (end, self.socket)
    }

    async fn serve(&mut self) -> Result<Infallible, ConsoleEnd> {
        loop {
            let now = timing::now();
            match self.keepalive.poll(now).0 {
                Some(Due::Dead(silence)) => return Err(ConsoleEnd::Silent(silence)),
                Some(Due::Ping) => self.ping(now)?,
                None => {}
            }
            let timer = tokio::time::sleep_until(self.keepalive.next().into());
            let has_room = self.socket.has_room();
            let has_parts = !self.snapshot.is_over() || !self.parts.is_empty();
            tokio::select! {
                biased;
                event = self.socket.event() => self.on_event(event?)?,
                Some((press, refused)) = self.refused.recv(), if has_room => {
                    self.refuse(Some(press), refused)?;
                }
                Ok(tick) = self.ticks.recv(), if has_room => self.on_tick(tick)?,
                (request, event) = std::future::poll_fn(|cx| self.runs.poll_next(cx)),
                    if has_room && !self.runs.is_empty() =>
                {
                    self.socket.push(RouterToConsole::SendEvent { request, event })?;
                }
                Some(messages) = self.answers.next(), if !self.answers.is_empty() => {
                    self.parts.extend(messages);
                }
                () = std::future::ready(()), if has_room && has_parts => self.push_part()?,
                told = self.feed.recv(), if has_room && !has_parts => self.on_feed(told)?,
                () = timer => {}
            }
        }
    }

    /// Sends the next part of what is sent in parts.
    fn push_part(&mut self) -> Result<(), WebSocketError> {
        if !self.snapshot.is_over() {
            let part = self.snapshot.part(&self.addressee, self.missed);
            return self.socket.push(part);
        }
        match self.parts.pop_front() {
            Some(part) => self.socket.push(part),
            None => Ok(()),
        }
    }

    /// Sends this event and those after it, as long as there is room.
    fn on_feed(&mut self, told: Result<Arc<FeedEvent>, RecvError>) -> Result<(), WebSocketError> {
        let mut told = told.map_err(|error| match error {
            // The feed lives as long as the router: it is never closed before us.
            RecvError::Closed => TryRecvError::Closed,
            RecvError::Lagged(missed) => TryRecvError::Lagged(missed),
        });
        loop {
            match told {
                Ok(event) if self.socket.sees(&event) => {
                    let event = Arc::unwrap_or_clone(event);
                    self.socket.push(RouterToConsole::Feed(event))?;
                }
                Ok(_) => {}
                Err(TryRecvError::Lagged(missed)) => {
                    self.take_new_snapshot(missed);
                    return Ok(());
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
            }
            if !self.socket.has_room() {
                return Ok(());
            }
            told = self.feed.try_recv();
        }
    }

    /// Takes a new snapshot for a console that is too far behind.
    fn take_new_snapshot(&mut self, missed: u64) {
        self.missed = missed + self.feed.len() as u64;
        let subscription = self.context.registry.subscribe(self.socket.only());
        self.feed = subscription.events;
        self.snapshot = subscription.snapshot;
        let (session, missed) = (self.person.driver.session.0, self.missed);
        tracing::debug!(session, missed, "console lags");
    }

    fn on_tick(&mut self, tick: Tick) -> Result<(), WebSocketError> {
        let Tick {
            service_port,
            clock_ms,
        } = tick;
        let drives = || {
            let car = self.context.registry.shown(service_port);
            car.is_some_and(|car| car.is_driven_by(self.presence.session))
        };
        if self.watched != Some(service_port) && !drives() {
            return Ok(());
        }
        self.socket.push(RouterToConsole::Tick {
            service_port,
            clock_ms,
        })
    }

    fn ping(&mut self, now: Instant) -> Result<(), WebSocketError> {
        let sent = u64::try_from(now.duration_since(self.started).as_micros()).unwrap_or(u64::MAX);
        self.socket
            .push_ping(Bytes::copy_from_slice(&sent.to_be_bytes()))
    }

    fn on_event(&mut self, event: SocketEvent<ConsoleToRouter>) -> Result<(), ConsoleEnd> {
        if !matches!(event, SocketEvent::Writable) {
            self.keepalive.on_traffic(timing::now());
        }
        match event {
            SocketEvent::Message(message) => self.on_message(message),
            SocketEvent::Pong(payload) => {
                if let Ok(sent) = payload[..].try_into() {
                    let sent = Duration::from_micros(u64::from_be_bytes(sent));
                    self.person.rtt = (timing::now() - self.started).checked_sub(sent);
                }
                Ok(())
            }
            SocketEvent::Ping | SocketEvent::Writable => Ok(()),
            SocketEvent::Closed(reason) => Err(ConsoleEnd::Closed(reason)),
        }
    }

    /// Sends a refusal, of this press or of something else.
    fn refuse(&mut self, press: Option<PressId>, refused: Refused) -> Result<(), WebSocketError> {
        let Refused { reason, message } = refused;
        self.socket.push(RouterToConsole::Refused {
            reason,
            press,
            message,
        })
    }

    fn send(&mut self, request: u64, event: SendEvent) -> Result<(), WebSocketError> {
        self.socket
            .push(RouterToConsole::SendEvent { request, event })
    }

    /// Refuses `what` to a console whose role may only view.
    fn check_may_run(&self, what: &str) -> Result<(), Refused> {
        if self.person.role.may_run() {
            return Ok(());
        }
        let message = format!("this console may watch and stop, and not {what}: use a drive key");
        Err(Refused::new(RefusedReason::Denied, message))
    }
}
