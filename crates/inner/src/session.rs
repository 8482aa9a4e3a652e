//! Owns one link, from the hello to its end: the router's messages become runs, and their reports
//! go to the router.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::OptionFuture;
use p2p_shared::bounded::Text;
use p2p_shared::keepalive::{Due, Keepalive, PingMode};
use p2p_shared::names::LinkName;
use p2p_shared::net::dialer::{DialError, RouterAddress};
use p2p_shared::net::reconnect::Retry;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{
    InnerToRouter, LinkHello, MAX_OPEN_RUNS, OutputPiece, Rejection, RouterToInner,
};
use p2p_shared::text::Escaped;
use p2p_shared::websocket::{MessageSocket, SHARED_TURN, SocketEvent, WebSocketError};
use p2p_shared::{backoff, timing};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::camera::{RouterPlace, WatchTicket};
use crate::clock;
use crate::commands::{Listing, Question};
use crate::dispatch::Dispatcher;
use crate::drive::DriveRequest;
use crate::local_address::LocalAddress;
use crate::motion::MotionInput;
use crate::run::{Outbox, Run};

/// Most reports that wait while the router reads nothing: two of each run that may be open, and as
/// many of runs that it cancelled since. Reports of the car's motion are among them and need no
/// extra room: a press makes five at most and a stop two, and a router that leaves thousands of
/// them unread is not driving a car.
const MAX_UNREAD: usize = 4 * MAX_OPEN_RUNS;
/// Time for a router that refuses this inner to take the close frame.
const FAREWELL: Duration = Duration::from_secs(1);
/// Time for the router to take the last output at the inner's end, and to answer [`DRAINING`].
const LAST_OUTPUT: Duration = Duration::from_secs(5);
/// Time by which a timer is late when something holds up this process, and no router is to blame for the silence.
const HELD_UP: Duration = Duration::from_secs(1);
/// Payload of all pings after [`InnerToRouter::Draining`]: of several, a peer may answer only the
/// last (RFC 6455, 5.5.3).
const DRAINING: Bytes = Bytes::from_static(b"draining");

/// Interval of clock ticks while somebody drives or may soon: a tenth of the age at which a tick is
/// too old to drive by.
const TICK: Duration = Duration::from_millis(100);

pub(crate) type LinkSocket = MessageSocket<Transport, InnerToRouter, RouterToInner>;

#[derive(Debug, Error)]
pub(crate) enum SessionEnd {
    #[error(transparent)]
    NotReached(#[from] DialError),
    #[error(transparent)]
    Lost(#[from] WebSocketError),
    #[error("the router closed the link{}", reason(.0))]
    Closed(String),
    #[error("the router was silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// The inner was stopped, or its machine too slow: nobody knows whether the router was there.
    #[error("this inner did not get to run for {} s", .0.as_secs())]
    HeldUp(Duration),
    #[error("this machine no longer has the address that its link was made from")]
    AddressLost,
    #[error("the router did not answer the hello within {} s", timing::HELLO.as_secs())]
    NoWelcome,
    #[error("the router refuses the link: {1}")]
    Rejected(Rejection, Text),
    #[error("the router {0}: is it of another version?")]
    Unreasonable(&'static str),
    #[error("the router {}", match .0 { Retry::Elsewhere(_) => "ends", _ => "is restarting" })]
    GoAway(Retry),
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

/// The router's welcome to a new link.
pub(crate) struct Welcome {
    pub name: LinkName,
    pub service_port: u16,
    /// Address at which this router takes the camera's pictures; `None`: the one that the link dialled.
    pub media: Option<RouterAddress>,
    /// Host name at which callers reach the car, if its service port is not open.
    pub host: Option<Text>,
}

/// Says hello.
pub(crate) async fn greet(
    mut socket: LinkSocket,
    hello: LinkHello,
) -> Result<(LinkSocket, Welcome), SessionEnd> {
    let greeting = async {
        socket.push(&InnerToRouter::Hello(hello))?;
        loop {
            match socket.event().await? {
                SocketEvent::Message(RouterToInner::Welcome {
                    name,
                    service_port,
                    media,
                    host,
                }) => {
                    return Ok(Welcome {
                        name,
                        service_port,
                        media: media.and_then(|media| media.raw().parse().ok()),
                        host,
                    });
                }
                SocketEvent::Message(RouterToInner::Rejected { rejection, message }) => {
                    return Err(SessionEnd::Rejected(rejection, message));
                }
                SocketEvent::Message(RouterToInner::GoAway {
                    reconnect_after_ms,
                    elsewhere,
                }) => {
                    let retry = Retry::go_away(reconnect_after_ms, elsewhere);
                    return Err(SessionEnd::GoAway(retry));
                }
                SocketEvent::Closed(reason) => return Err(SessionEnd::Closed(reason)),
                // Other messages have no meaning yet.
                _ => {}
            }
        }
    };
    let greeted = tokio::time::timeout(timing::HELLO, greeting).await;
    match greeted.unwrap_or(Err(SessionEnd::NoWelcome)) {
        Ok(welcome) => Ok((socket, welcome)),
        Err(end) => {
            end.close(socket).await;
            Err(end)
        }
    }
}

impl SessionEnd {
    /// Returns the effect of the end on the next attempt.
    pub(crate) fn retry(&self) -> Retry {
        use Rejection::{Contended, Denied, TakenOver};
        match self {
            Self::NotReached(error) => Retry::NotHere(error.least_pause()),
            Self::Rejected(Denied, _) => Retry::NotHere(backoff::DENIED),
            // Another inner is in our place, and would be at every router.
            Self::Rejected(TakenOver | Contended, _) => Retry::Nowhere(backoff::DENIED),
            Self::GoAway(retry) => *retry,
            _ => Retry::NotHere(Duration::ZERO),
        }
    }

    /// Returns true if the next attempt at this router ends alike, until somebody changes key or port.
    pub(crate) fn lasts(&self) -> bool {
        use DialError::{Denied, NoKey, ServicePort, Unprotected};
        match self {
            Self::NotReached(error) => matches!(
                error,
                Denied(..) | NoKey(_) | ServicePort(_) | Unprotected(_)
            ),
            Self::Rejected(why, _) => {
                matches!(why, Rejection::Denied | Rejection::PortUnavailable)
            }
            _ => false,
        }
    }

    async fn close(&self, socket: LinkSocket) {
        let (reason, patience) = match self {
            // The router then needn't wait for the close frame.
            Self::Rejected(..) | Self::GoAway(_) => ("", FAREWELL),
            Self::Drained => ("the inner is ending", LAST_OUTPUT),
            Self::Unreasonable(what) => (*what, FAREWELL),
            _ => return,
        };
        socket.close_with(None, reason, patience).await;
    }
}

pub(crate) struct Session<'a> {
    pub socket: LinkSocket,
    pub name: LinkName,
    pub service_port: u16,
    /// Where the link is.
    pub place: RouterPlace,
    pub camera: Option<&'a watch::Sender<Option<WatchTicket>>>,
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
        let Err(end) = self.run().await;
        self.dispatcher.detach_output();
        end.close(self.socket).await;
        end
    }

    async fn run(&mut self) -> Result<Infallible, SessionEnd> {
        let mut keepalive = Keepalive::new(PingMode::WhenSilent, timing::now());
        let ring = self.dispatcher.reporter.ring().clone();
        let mut listing = Listing::new(self.dispatcher.commands.clone(), ring);
        let shutdown = self.shutdown.clone();
        let tracker = self.dispatcher.tracker.clone();
        let mut drained = std::pin::pin!(tracker.wait());
        // Once `Draining` was sent: the end of the wait for the router's answer.
        let mut draining = None;
        let mut has_heard = false;
        let socket = self.socket.get_ref().socket();
        let address = socket.and_then(|socket| socket.local_addr().ok());
        let mut local_address = LocalAddress::new(address, timing::now());
        let mut wakes_at = timing::now();
        loop {
            let now = timing::now();
            let late = now.saturating_duration_since(wakes_at);
            let busy = self.watched || self.ticks.is_some() || !self.dispatcher.table.is_empty();
            let pace = keepalive.set_busy(busy, now);
            let (due, changed) = keepalive.poll(now);
            if let Some(pace) = changed.or(pace) {
                self.socket.get_ref().set_dead_after(pace.dead);
            }
            match due {
                Some(Due::Dead(_)) if late >= HELD_UP => return Err(SessionEnd::HeldUp(late)),
                Some(Due::Dead(silence)) => return Err(SessionEnd::Silent(silence)),
                Some(Due::Ping) if draining.is_some() => self.socket.push_ping(DRAINING)?,
                Some(Due::Ping) => self.socket.push_ping(Bytes::new())?,
                None => {}
            }
            if local_address.is_lost(now) {
                return Err(SessionEnd::AddressLost);
            }
            if self.outbox.urgent.len() > MAX_UNREAD {
                return Err(SessionEnd::Unreasonable(
                    "asks for runs and does not read what becomes of them",
                ));
            }
            let has_room = self.socket.has_room();
            // True if no run, which would be lost, can be on its way here, and all reports are out.
            let may_leave =
                draining.is_some_and(|patience| has_heard && has_room || now >= patience);
            let patience = draining.filter(|_| !may_leave);
            let timers = [Some(keepalive.next()), local_address.next(busy), patience];
            let timer = timers.into_iter().flatten().min().unwrap_or(now);
            wakes_at = timer;
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if draining.is_none() => {
                    draining = Some(now + LAST_OUTPUT);
                    self.dispatcher.drain(timing::DRAIN);
                    self.socket.push(&InnerToRouter::Draining)?;
                    self.socket.push_ping(DRAINING)?;
                }
                Some(message) = self.outbox.urgent.recv(), if has_room => {
                    self.socket.push(&message)?;
                    // One write sends all reports that wait.
                    while self.socket.has_room() && let Ok(message) = self.outbox.urgent.try_recv() {
                        self.socket.push(&message)?;
                    }
                }
                Some(_) = OptionFuture::from(self.ticks.as_mut().map(Interval::tick)), if has_room => {
                    self.push_clock()?;
                }
                event = self.socket.event() => {
                    let now = timing::now();
                    let mut event = event?;
                    for taken in 1.. {
                        if !matches!(event, SocketEvent::Writable) {
                            keepalive.on_traffic(now);
                        }
                        has_heard |= matches!(&event, SocketEvent::Pong(payload) if *payload == DRAINING);
                        self.on_event(event, &listing)?;
                        let next = if taken < SHARED_TURN { self.socket.next_now() } else { None };
                        let Some(next) = next else { break };
                        event = next?;
                    }
                }
                Some(message) = self.outbox.output.recv(), if has_room => {
                    self.push_output(&message)?;
                    // Several waiting messages go into one write: a run's output and its end.
                    while self.socket.has_room() && let Ok(message) = self.outbox.output.try_recv() {
                        self.push_output(&message)?;
                    }
                }
                Some(message) = listing.answers.recv(), if has_room => self.socket.push(&message)?,
                () = &mut drained, if may_leave => {
                    while let Ok(message) = self.outbox.output.try_recv() {
                        self.push_output(&message)?;
                    }
                    self.push_urgent()?;
                    return Err(SessionEnd::Drained);
                }
                () = tokio::time::sleep_until(timer.into()) => {}
            }
        }
    }

    fn push_clock(&mut self) -> Result<(), WebSocketError> {
        let clock_ms = clock::now_ms();
        self.socket.push(&InnerToRouter::Clock { clock_ms })
    }

    /// Queues output or a run's end, after all earlier reports of the run.
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
        listing: &Listing,
    ) -> Result<(), SessionEnd> {
        let message = match event {
            SocketEvent::Message(message) => message,
            SocketEvent::Ping => return Ok(self.push_clock()?),
            SocketEvent::Pong(_) | SocketEvent::Writable => return Ok(()),
            SocketEvent::Closed(reason) => return Err(SessionEnd::Closed(reason)),
        };
        let drive = &self.dispatcher.drive;
        match message {
            RouterToInner::Stdin { run, bytes } => self.dispatcher.stdin.add(run, &bytes),
            RouterToInner::Run(request) => self.dispatcher.begin(request, &self.name),
            RouterToInner::Window { run, more } => self.dispatcher.table.grant(run, more),
            RouterToInner::Cancel { run } => self.dispatcher.cancel(run),
            RouterToInner::AskRun { run } => self.dispatcher.reporter.report(run),
            RouterToInner::ListCommands { request } => {
                return asked(listing.ask(Question::Commands(request)));
            }
            RouterToInner::AskPast { request, last_ms } => {
                let last = Duration::from_millis(last_ms);
                if !listing.ask(Question::Past { request, last }) {
                    // Anyone who sees the car may ask: that must not cost the link.
                    self.socket.push(&InnerToRouter::Past {
                        request,
                        lines: OutputPiece::default(),
                        more: false,
                    })?;
                }
            }
            RouterToInner::Notice { message } => {
                tracing::warn!(said = %message, "the router says");
            }
            RouterToInner::Rejected { rejection, message } => {
                return Err(SessionEnd::Rejected(rejection, message));
            }
            RouterToInner::GoAway {
                reconnect_after_ms,
                elsewhere,
            } => {
                let retry = Retry::go_away(reconnect_after_ms, elsewhere);
                return Err(SessionEnd::GoAway(retry));
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
                let link = self.name.clone();
                let Dispatcher {
                    reporter, tracker, ..
                } = &*self.dispatcher;
                // The lease limits its duration.
                let run = Run::unread(run, command, remote_addr, link, reporter, tracker);
                drive.send(DriveRequest::Press {
                    press,
                    tick_ms,
                    driver,
                    run: Box::new(run),
                });
            }
            RouterToInner::Renew { press, tick_ms } => {
                let tick = Duration::from_millis(tick_ms);
                drive.send(DriveRequest::Input(MotionInput::Renew { id: press, tick }));
            }
            RouterToInner::Release { press } => {
                drive.send(DriveRequest::Input(MotionInput::Release { id: press }));
            }
            RouterToInner::Stop { by, over, cause } => {
                drive.send(DriveRequest::Stop { by, over, cause })
            }
            RouterToInner::Video { ticket } => {
                if let Some(camera) = self.camera {
                    let (service_port, at) = (self.service_port, self.place.clone());
                    camera.send_replace(ticket.map(|ticket| WatchTicket {
                        at,
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
        Ok(())
    }
}

fn asked(has_room: bool) -> Result<(), SessionEnd> {
    let what = "asks for more lists of commands than it can need";
    has_room.then_some(()).ok_or(SessionEnd::Unreasonable(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_for_its_key_or_for_another_inner_waits_a_minute() {
        let refused = |rejection| SessionEnd::Rejected(rejection, "".into()).retry();
        let minute = Duration::from_secs(60);
        assert_eq!(refused(Rejection::Denied), Retry::NotHere(minute));
        for rejection in [Rejection::TakenOver, Rejection::Contended] {
            assert_eq!(refused(rejection), Retry::Nowhere(minute));
        }
        let at_once = Retry::NotHere(Duration::ZERO);
        assert_eq!(refused(Rejection::PortUnavailable), at_once);
    }
}
