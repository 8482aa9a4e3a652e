//! Owns one link, from the hello to its end: the router's messages become runs, and their reports
//! go to the router.

use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::keepalive::{Due, Keepalive, PingMode};
use p2p_shared::names::LinkName;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{
    InnerToRouter, LinkHello, MAX_OPEN_RUNS, Rejection, RouterToInner, RunRequest,
};
use p2p_shared::text::Escaped;
use p2p_shared::timing;
use p2p_shared::websocket::{MessageSocket, SocketEvent, WebSocketError};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::camera::{CameraHandle, WatchTicket};
use crate::clock;
use crate::commands::CommandListing;
use crate::dispatch::Dispatcher;
use crate::drive::DriveRequest;
use crate::local_address::LocalAddress;

/// Most reports that wait while the router reads nothing: two of each run that may be open, and as
/// many of runs that it cancelled since. Reports of the car's motion are among them and need no
/// extra room: a press makes five at most and a stop two, and a router that has thousands of those
/// unread while it asks for more is not driving a car.
const MAX_UNREAD: usize = 4 * MAX_OPEN_RUNS;
/// Time for a router that refuses this inner to take the close frame.
const FAREWELL: Duration = Duration::from_secs(1);
/// Time for the router to take the last output when the inner ends, and to answer that it knows.
const LAST_OUTPUT: Duration = Duration::from_secs(5);
/// Payload of all pings after [`InnerToRouter::Draining`]: of several, a peer may answer only the
/// last (RFC 6455, 5.5.3).
const DRAINING: Bytes = Bytes::from_static(b"draining");

/// Interval of clock ticks while somebody drives or may soon: a tenth of the age at which a tick is
/// too old to drive by.
const TICK: Duration = Duration::from_millis(100);

pub(crate) type LinkSocket = MessageSocket<Transport, InnerToRouter, RouterToInner>;

/// Reports of the inner's tasks, whether there is a link or not.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub urgent: mpsc::UnboundedReceiver<InnerToRouter>,
    pub output: mpsc::Receiver<InnerToRouter>,
}

impl Outbox {
    /// Throws reports away while there is no link.
    pub(crate) async fn discard(&mut self) -> std::convert::Infallible {
        loop {
            tokio::select! {
                biased;
                _ = self.urgent.recv() => {}
                _ = self.output.recv() => {}
            }
        }
    }
}

#[derive(Debug, Error)]
pub(crate) enum SessionEnd {
    #[error(transparent)]
    Lost(#[from] WebSocketError),
    #[error("the router closed the link{}", reason(.0))]
    Closed(String),
    #[error("the router was silent for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("this machine no longer has the address that its link was made from")]
    AddressLost,
    #[error("the router did not answer the hello within {} s", timing::HELLO.as_secs())]
    NoWelcome,
    #[error("the router refuses the link: {1}")]
    Rejected(Rejection, String),
    #[error("the router {0}: is it of another version?")]
    Unreasonable(&'static str),
    #[error("the router is restarting")]
    GoAway(Duration),
    /// The inner was told to end, and all runs have ended.
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

/// Says hello. Returns what the router calls the link, and its service port.
pub(crate) async fn greet(
    mut socket: LinkSocket,
    hello: LinkHello,
) -> Result<(LinkSocket, LinkName, u16), SessionEnd> {
    let greeting = async {
        socket.push(&InnerToRouter::Hello(hello))?;
        loop {
            match socket.event().await? {
                SocketEvent::Message(RouterToInner::Welcome { name, service_port }) => {
                    return Ok((name, service_port));
                }
                SocketEvent::Message(RouterToInner::Rejected { rejection, message }) => {
                    return Err(SessionEnd::rejected(rejection, &message));
                }
                SocketEvent::Message(RouterToInner::GoAway { reconnect_after_ms }) => {
                    return Err(SessionEnd::go_away(reconnect_after_ms));
                }
                SocketEvent::Closed(reason) => return Err(SessionEnd::Closed(reason)),
                // Other messages have no meaning yet.
                SocketEvent::Message(_)
                | SocketEvent::Ping
                | SocketEvent::Pong(_)
                | SocketEvent::Writable => {}
            }
        }
    };
    let greeted = tokio::time::timeout(timing::HELLO, greeting).await;
    match greeted.unwrap_or(Err(SessionEnd::NoWelcome)) {
        Ok((name, service_port)) => Ok((socket, name, service_port)),
        Err(end) => {
            end.close(socket).await;
            Err(end)
        }
    }
}

impl SessionEnd {
    fn rejected(rejection: Rejection, message: &str) -> Self {
        Self::Rejected(rejection, Escaped(message).to_string())
    }

    fn go_away(after_ms: u64) -> Self {
        Self::GoAway(Duration::from_millis(after_ms).min(timing::DRAIN))
    }

    async fn close(&self, socket: LinkSocket) {
        match self {
            // The router then needn't wait for the close frame.
            Self::Rejected(..) | Self::GoAway(_) => socket.close_with(None, "", FAREWELL).await,
            Self::Drained => {
                socket
                    .close_with(None, "the inner is ending", LAST_OUTPUT)
                    .await
            }
            Self::Unreasonable(what) => socket.close_with(None, what, FAREWELL).await,
            Self::Lost(_)
            | Self::Closed(_)
            | Self::Silent(_)
            | Self::AddressLost
            | Self::NoWelcome => {}
        }
    }
}

/// State after [`InnerToRouter::Draining`] was sent.
struct DrainState {
    /// Time until which the inner waits for the router to have heard it.
    patience: Instant,
    heard: bool,
}

impl DrainState {
    /// Returns true if no run can be under way to this inner, which would be lost, and all reports
    /// are out.
    fn may_leave(&self, now: Instant, has_room: bool) -> bool {
        self.heard && has_room || now >= self.patience
    }
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

pub(crate) struct Session<'a> {
    pub socket: LinkSocket,
    pub name: LinkName,
    pub service_port: u16,
    pub camera: Option<&'a CameraHandle>,
    pub dispatcher: &'a mut Dispatcher,
    pub outbox: &'a mut Outbox,
    pub shutdown: &'a CancellationToken,
    /// Timer of clock ticks, while somebody drives or may soon.
    pub ticks: Option<Interval>,
    /// True if somebody watches: a dead link must be noticed soon.
    pub watched: bool,
}

impl Session<'_> {
    /// Serves the link until it ends. Open runs go on without it.
    pub(crate) async fn serve(mut self) -> SessionEnd {
        self.socket.get_ref().set_dead_after(timing::PACE_IDLE.dead);
        let end = match self.run().await {
            Ok(end) | Err(end) => end,
        };
        self.dispatcher.detach_output();
        end.close(self.socket).await;
        end
    }

    async fn run(&mut self) -> Result<SessionEnd, SessionEnd> {
        let mut keepalive = Keepalive::new(PingMode::WhenSilent, timing::now());
        let mut listing = CommandListing::new(self.dispatcher.commands.clone());
        let shutdown = self.shutdown.clone();
        let mut drained = std::pin::pin!(self.dispatcher.ended());
        let mut draining: Option<DrainState> = None;
        let socket = self.socket.get_ref().socket();
        let address = socket.and_then(|socket| socket.local_addr().ok());
        let mut local_address = LocalAddress::new(address, timing::now());
        loop {
            let now = timing::now();
            let busy = self.watched || self.ticks.is_some() || !self.dispatcher.table.is_empty();
            let mut pace = keepalive.set_busy(busy, now);
            let (due, changed) = keepalive.poll(now);
            pace = changed.or(pace);
            if let Some(pace) = pace {
                self.socket.get_ref().set_dead_after(pace.dead);
            }
            match due {
                Some(Due::Dead(silence)) => return Ok(SessionEnd::Silent(silence)),
                Some(Due::Ping) if draining.is_some() => self.socket.push_ping(DRAINING)?,
                Some(Due::Ping) => self.socket.push_ping(Bytes::new())?,
                None => {}
            }
            if local_address.is_lost(now) {
                return Ok(SessionEnd::AddressLost);
            }
            if self.outbox.urgent.len() > MAX_UNREAD {
                return Ok(SessionEnd::Unreasonable(
                    "asks for runs and does not read what becomes of them",
                ));
            }
            let has_room = self.socket.has_room();
            let may_leave = draining
                .as_ref()
                .is_some_and(|draining| draining.may_leave(now, has_room));
            let mut timer = keepalive.next();
            if let Some(look) = local_address.next(busy) {
                timer = timer.min(look);
            }
            if let Some(draining) = draining.as_ref().filter(|_| !may_leave) {
                timer = timer.min(draining.patience);
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if draining.is_none() => {
                    draining = Some(DrainState { patience: now + LAST_OUTPUT, heard: false });
                    self.dispatcher.drain(timing::DRAIN);
                    self.socket.push(&InnerToRouter::Draining)?;
                    self.socket.push_ping(DRAINING)?;
                }
                Some(message) = self.outbox.urgent.recv(), if has_room => {
                    self.socket.push(&message)?;
                }
                () = tick(&mut self.ticks), if has_room && self.ticks.is_some() => {
                    self.socket.push(&InnerToRouter::Clock { clock_ms: clock::now_ms() })?;
                }
                event = self.socket.event() => {
                    let event = event?;
                    if !matches!(event, SocketEvent::Writable) {
                        keepalive.on_traffic(timing::now());
                    }
                    if let (SocketEvent::Pong(payload), Some(draining)) = (&event, &mut draining) {
                        draining.heard |= *payload == DRAINING;
                    }
                    if let Some(end) = self.on_event(event, &mut listing)? {
                        return Ok(end);
                    }
                }
                Some(message) = self.outbox.output.recv(), if has_room => {
                    self.push_output(&message)?;
                    // Several waiting messages go into one write: a run's output and its end.
                    while self.socket.has_room() && let Ok(message) = self.outbox.output.try_recv() {
                        self.push_output(&message)?;
                    }
                }
                message = listing.next(), if has_room => self.socket.push(&message)?,
                () = &mut drained, if may_leave => {
                    while let Ok(message) = self.outbox.output.try_recv() {
                        self.push_output(&message)?;
                    }
                    self.push_urgent()?;
                    return Ok(SessionEnd::Drained);
                }
                () = tokio::time::sleep_until(timer.into()) => {}
            }
        }
    }

    /// Queues output or a run's end, behind all earlier reports of the run.
    fn push_output(&mut self, message: &InnerToRouter) -> Result<(), WebSocketError> {
        self.push_urgent()?;
        self.socket.push(message)
    }

    fn push_urgent(&mut self) -> Result<(), WebSocketError> {
        while let Ok(message) = self.outbox.urgent.try_recv() {
            self.socket.push(&message)?;
        }
        Ok(())
    }

    fn on_event(
        &mut self,
        event: SocketEvent<RouterToInner>,
        listing: &mut CommandListing,
    ) -> Result<Option<SessionEnd>, WebSocketError> {
        let message = match event {
            SocketEvent::Message(message) => message,
            SocketEvent::Ping => {
                self.socket.push(&InnerToRouter::Clock {
                    clock_ms: clock::now_ms(),
                })?;
                return Ok(None);
            }
            SocketEvent::Pong(_) | SocketEvent::Writable => return Ok(None),
            SocketEvent::Closed(reason) => return Ok(Some(SessionEnd::Closed(reason))),
        };
        let drive = &self.dispatcher.drive;
        match message {
            RouterToInner::Stdin { run, bytes } => self.dispatcher.input(run, &bytes),
            RouterToInner::Run(request) => self.dispatcher.begin(request, &self.name),
            RouterToInner::Window { run, more } => self.dispatcher.table.grant(run, more),
            RouterToInner::Cancel { run } => self.dispatcher.cancel(run),
            RouterToInner::AskRun { run } => self.dispatcher.report(run),
            RouterToInner::ListCommands { request } => {
                if !listing.ask(request) {
                    let what = "asks for more lists of commands than it can need";
                    return Ok(Some(SessionEnd::Unreasonable(what)));
                }
            }
            RouterToInner::Notice { message } => {
                tracing::warn!(said = message, "the router says");
            }
            RouterToInner::Rejected { rejection, message } => {
                return Ok(Some(SessionEnd::rejected(rejection, &message)));
            }
            RouterToInner::GoAway { reconnect_after_ms } => {
                return Ok(Some(SessionEnd::go_away(reconnect_after_ms)));
            }
            // Sent once, at the beginning.
            RouterToInner::Welcome { .. } => {}
            RouterToInner::Press {
                press,
                run,
                command,
                tick_ms,
                driver,
                remote_addr,
            } => {
                let request = RunRequest {
                    run,
                    command,
                    arguments: Vec::new(),
                    // The lease limits its duration.
                    deadline_ms: u64::MAX,
                    remote_addr,
                    stdin_bytes: 0,
                    for_ms: None,
                };
                let link = self.name.clone();
                drive.send(DriveRequest::Press {
                    press,
                    tick_ms,
                    driver,
                    request,
                    link,
                });
            }
            RouterToInner::Renew { press, tick_ms } => {
                drive.send(DriveRequest::Renew { press, tick_ms })
            }
            RouterToInner::Release { press } => drive.send(DriveRequest::Release { press }),
            RouterToInner::Stop { by, over, cause } => {
                drive.send(DriveRequest::Stop { by, over, cause })
            }
            RouterToInner::Video { ticket } => {
                if let Some(camera) = self.camera {
                    let service_port = self.service_port;
                    camera.watched(ticket.map(|ticket| WatchTicket {
                        service_port,
                        ticket,
                    }));
                }
            }
            RouterToInner::Ticks { wanted, watched } => {
                self.watched = watched;
                if wanted != self.ticks.is_some() {
                    self.ticks = wanted.then(|| {
                        let mut ticks = tokio::time::interval(TICK);
                        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                        ticks
                    });
                }
            }
        }
        Ok(None)
    }
}
