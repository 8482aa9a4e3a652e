//! Owns one console or page: the task that alone reads and writes its socket. The task passes the
//! client's requests to the cars, and sends the client the events of the feed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use p2p_shared::bounded::Text;
use p2p_shared::keepalive::{Due, Keepalive, PingClock, PingMode};
use p2p_shared::os::jitter;
use p2p_shared::protocol::{
    ConsoleToRouter, FeedEvent, PressId, RefusedReason, RouterToConsole, SendEvent,
};
use p2p_shared::timing;
use p2p_shared::websocket::{SocketEvent, WebSocketError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use crate::auth::access::Revoked;
use crate::car::session::SessionGuard;
use crate::car::{DriverSession, Refused};
use crate::client::client_socket::ClientSocket;
use crate::client::elsewhere::{CarsElsewhere, News};
use crate::client::runs::ClientRuns;
use crate::client::task::answers::Answer;
use crate::client::via::Via;
use crate::context::Context;
use crate::feed::{Snapshot, Subscription, Tick};
use crate::link::end::closed_by;
use crate::net::quota::QuotaPermit;

mod answers;
mod requests;

/// The reason for which a client's connection ended, as the log has it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientEnd {
    /// The client closed the connection, or is gone: no message reaches it.
    #[error("{0}")]
    Lost(String),
    /// The client may not stay.
    #[error("{0}")]
    Refused(String),
    #[error("the router is going down")]
    GoAway { elsewhere: bool },
}

impl ClientEnd {
    /// Tells the client, if it can be reached, and closes the connection. Another router that has passed the client
    /// on is given a reason alone: words of one router are no answer to what the client asked of another.
    pub(crate) async fn tell(&self, socket: ClientSocket, is_passed_on: bool) {
        let words = match self {
            Self::Lost(_) => return,
            Self::Refused(why) if is_passed_on => return socket.close(None, why).await,
            Self::Refused(why) => refusal(None, Refused::new(RefusedReason::Denied, why)),
            Self::GoAway { elsewhere } => RouterToConsole::GoAway {
                reconnect_after_ms: timing::millis(timing::COME_BACK_SPREAD.mul_f64(jitter())),
                elsewhere: *elsewhere,
            },
        };
        socket.close(Some(words), "").await;
    }
}

impl From<WebSocketError> for ClientEnd {
    fn from(error: WebSocketError) -> Self {
        if error.is_violation() {
            Self::Refused(error.to_string())
        } else {
            Self::Lost(error.to_string())
        }
    }
}

/// The message about a refusal, of this press or of something else.
pub(crate) fn refusal(press: Option<PressId>, refused: Refused) -> RouterToConsole {
    RouterToConsole::Refused {
        reason: refused.reason,
        press,
        message: Text::new(refused.message),
    }
}

/// The task of a console or a page.
pub(crate) struct Console<'a> {
    context: &'a Arc<Context>,
    socket: ClientSocket,
    person: DriverSession,
    guard: SessionGuard,
    /// Presses that were refused after they had been passed on.
    refused: mpsc::Receiver<(PressId, Refused)>,
    /// Limits what all consoles of this key ask for.
    permit: QuotaPermit,
    /// The port of the car that the console may drive next.
    watched: Option<u16>,
    /// A snapshot, whose parts are sent before any event, and the events since then.
    subscription: Subscription,
    /// False until the other routers have told what they have: then the console is shown all.
    is_whole: bool,
    elsewhere: Option<Box<CarsElsewhere>>,
    via: Option<Via>,
    ticks: broadcast::Receiver<Tick>,
    /// The number of events that were missed before the snapshot.
    missed: u64,
    runs: ClientRuns,
    /// Answers of cars that have not come yet.
    answers: FuturesUnordered<BoxFuture<'static, Vec<Answer>>>,
    /// Answers that are to be sent as there is room.
    unread: VecDeque<Answer>,
    keepalive: Keepalive,
    pings: PingClock,
}

impl<'a> Console<'a> {
    pub(crate) fn new(
        context: &'a Arc<Context>,
        socket: ClientSocket,
        person: DriverSession,
        guard: SessionGuard,
        refused: mpsc::Receiver<(PressId, Refused)>,
        permit: QuotaPermit,
        (elsewhere, via): (Option<CarsElsewhere>, Option<Via>),
    ) -> Self {
        let now = timing::now();
        let mut keepalive = Keepalive::new(PingMode::Always, now);
        keepalive.set_busy(true, now);
        let mut subscription = guard.subscribe();
        let mut elsewhere = elsewhere.map(Box::new);
        if let Some(elsewhere) = &mut elsewhere {
            elsewhere.all_here(subscription.snapshot.take(), 0);
        }
        Self {
            context,
            person,
            refused,
            permit,
            watched: None,
            subscription,
            is_whole: elsewhere.is_none(),
            elsewhere,
            via,
            ticks: context.feed.ticks(),
            guard,
            socket,
            missed: 0,
            runs: ClientRuns::default(),
            answers: FuturesUnordered::new(),
            unread: VecDeque::new(),
            keepalive,
            pings: PingClock::new(now),
        }
    }

    /// Runs the console to its end, at which its runs are cancelled and its control is given back. Returns
    /// the socket, for the farewell.
    pub(crate) async fn run(
        mut self,
        revoked: impl Future<Output = Revoked>,
    ) -> (ClientEnd, ClientSocket) {
        let context = self.context;
        let end = tokio::select! {
            biased;
            why = revoked => match why {
                // It may stop as soon as it is back, here or elsewhere.
                Revoked::Stale => ClientEnd::GoAway { elsewhere: true },
                _ => ClientEnd::Refused(why.to_string()),
            },
            () = context.shutdown.closed.cancelled() => ClientEnd::GoAway {
                elsewhere: !context.shutdown.handing_over.is_cancelled(),
            },
            Err(end) = self.serve() => end,
        };
        (end, self.socket)
    }

    async fn serve(&mut self) -> Result<Infallible, ClientEnd> {
        loop {
            let now = timing::now();
            match self.keepalive.poll(now).0 {
                Some(Due::Dead(silence)) => {
                    let why = format!("silent for {} s", silence.as_secs());
                    return Err(ClientEnd::Lost(why));
                }
                Some(Due::Ping) => self.socket.push_ping(self.pings.payload(now))?,
                None => {}
            }
            let mut next = self.keepalive.next();
            if let Some(elsewhere) = &mut self.elsewhere {
                elsewhere.pass_time(now);
                next = next.min(elsewhere.next());
            }
            let timer = tokio::time::sleep_until(next.into());
            let has_room = self.socket.has_room();
            let has_snapshot = self.is_whole && !self.subscription.snapshot.is_over();
            let has_parts = has_snapshot || !self.unread.is_empty();
            tokio::select! {
                biased;
                event = self.socket.event() => self.on_event(event?)?,
                Some((press, refused)) = self.refused.recv(), if has_room => {
                    self.socket.push(refusal(Some(press), refused))?;
                }
                Ok(tick) = self.ticks.recv(), if has_room => self.on_tick(tick)?,
                (request, event) = std::future::poll_fn(|cx| self.runs.poll_next(cx)),
                    if has_room && !self.runs.is_empty() =>
                {
                    self.socket.push(RouterToConsole::SendEvent { request, event })?;
                }
                Some(answers) = self.answers.next(), if !self.answers.is_empty() => {
                    self.unread.extend(answers);
                }
                // Also while a picture is sent: answers and ticks don't wait for it, and the lines are read.
                news = news(self.elsewhere.as_deref_mut(), (has_room, !has_parts)) => self.on_news(news)?,
                () = std::future::ready(()), if has_room && has_parts => self.push_part()?,
                event = self.subscription.events.recv(), if has_room && !has_parts && self.is_whole => {
                    self.on_feed(event)?;
                }
                () = timer => {}
            }
        }
    }

    /// Sends the next part of a snapshot or a list.
    fn push_part(&mut self) -> Result<(), WebSocketError> {
        if self.is_whole && !self.subscription.snapshot.is_over() {
            let DriverSession {
                driver, key, role, ..
            } = &self.person;
            let part = (self.subscription.snapshot).part(driver.session, key, *role, self.missed);
            return self.push(part);
        }
        match self.next_answer() {
            Some(message) => self.socket.push(message),
            None => Ok(()),
        }
    }

    /// Sends this event and those after it, as long as there is room.
    fn on_feed(
        &mut self,
        mut event: Result<Arc<FeedEvent>, RecvError>,
    ) -> Result<(), WebSocketError> {
        loop {
            match event {
                Ok(event) if self.guard.sees(&event) => {
                    let event = Arc::unwrap_or_clone(event);
                    match &mut self.elsewhere {
                        Some(elsewhere) => elsewhere.here(event),
                        None => self.push(RouterToConsole::Feed(event))?,
                    }
                    while let Some(event) = self.elsewhere.as_mut().and_then(|it| it.told()) {
                        self.push(RouterToConsole::Feed(event))?;
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    self.take_new_snapshot(missed);
                    return Ok(());
                }
                // The feed lives as long as the router: it is never closed before us.
                Err(RecvError::Closed) => return Ok(()),
            }
            if !self.socket.has_room() {
                return Ok(());
            }
            let Some(next) = self.subscription.events.recv().now_or_never() else {
                return Ok(());
            };
            event = next;
        }
    }

    /// Takes a new snapshot for a console that is too far behind.
    fn take_new_snapshot(&mut self, missed: u64) {
        self.missed = missed + self.subscription.events.len() as u64;
        let (session, missed) = (self.person.driver.session.0, self.missed);
        tracing::debug!(session, missed, "console lags");
        self.subscription = self.guard.subscribe();
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.all_here(self.subscription.snapshot.take(), self.missed);
        }
    }

    fn on_news(&mut self, news: News) -> Result<(), ClientEnd> {
        match news {
            News::Message(message) => self.socket.push(message)?,
            News::Here(message) => self.do_here(message)?,
            News::Picture(links, runs) => {
                self.subscription.snapshot = Snapshot::new(links, runs);
                self.is_whole = true;
            }
            News::Missed(missed) => {
                let DriverSession {
                    driver, key, role, ..
                } = &self.person;
                let part = Snapshot::missed(driver.session, key, *role, missed);
                self.socket.push(part)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, mut message: RouterToConsole) -> Result<(), WebSocketError> {
        if let Some(via) = &self.via {
            via.add_to(&mut message);
        }
        self.socket.push(message)
    }

    fn on_tick(&mut self, tick: Tick) -> Result<(), WebSocketError> {
        let Tick {
            service_port,
            clock_ms,
        } = tick;
        let drives = || {
            let car = self.guard.car(service_port);
            car.is_some_and(|car| car.is_driven_by(self.guard.session))
        };
        if self.watched != Some(service_port) && !drives() {
            return Ok(());
        }
        self.socket.push(RouterToConsole::Tick {
            service_port,
            clock_ms,
        })
    }

    fn on_event(&mut self, event: SocketEvent<ConsoleToRouter>) -> Result<(), ClientEnd> {
        if !matches!(event, SocketEvent::Writable) {
            self.keepalive.on_traffic(timing::now());
        }
        match event {
            SocketEvent::Message(message) => self.on_message(message),
            SocketEvent::Pong(payload) => {
                let rtt = self.pings.round_trip(&payload, timing::now());
                // Of one that another router passes on this is the way to that router.
                if self.via.is_none() {
                    self.person.rtt = rtt.or(self.person.rtt);
                }
                Ok(())
            }
            SocketEvent::Ping | SocketEvent::Writable => Ok(()),
            SocketEvent::Closed(reason) => Err(ClientEnd::Lost(closed_by("console", &reason))),
        }
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

/// Waits for what is new of cars elsewhere.
async fn news(elsewhere: Option<&mut CarsElsewhere>, may: (bool, bool)) -> News {
    match elsewhere {
        Some(elsewhere) => std::future::poll_fn(|cx| elsewhere.poll(cx, may)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
