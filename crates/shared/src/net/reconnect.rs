//! Reconnects to one of several routers: the part that inner and console have in common. `dial_plan`
//! decides which is dialled, and when.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;

pub use super::dial_plan::Retry;
use super::dial_plan::{DialPlan, Step};
use super::dialer::{self, DialError, RouterAddress};
use super::transport::Transport;
use crate::backoff::Backoff;
use crate::key::Key;
use crate::os::jitter;
use crate::timing;

/// Most routers of an inner or a console.
const MAX_ROUTERS: usize = 16;

/// Returns the routers, each once.
///
/// # Errors
/// A sentence that says how many there may be.
pub fn distinct(
    routers: impl IntoIterator<Item = RouterAddress>,
) -> Result<Vec<RouterAddress>, String> {
    let mut all = Vec::new();
    for router in routers {
        if !all.contains(&router) {
            all.push(router);
        }
    }
    match all.len() {
        0..=MAX_ROUTERS => Ok(all),
        more => Err(format!(
            "{more} routers are too many: {MAX_ROUTERS} at most"
        )),
    }
}

/// One attempt to open a WebSocket to a router.
pub type Dialling =
    Pin<Box<dyn Future<Output = Result<WebSocketStream<Transport>, DialError>> + Send>>;

/// Opens WebSockets to routers: over the network, or in a simulation.
pub trait Dial: fmt::Debug + Send + Sync {
    /// Dials this router, which was reached at the address `last`.
    fn dial(&self, router: &RouterAddress, last: Option<SocketAddr>) -> Dialling;
}

/// Dials over the network: see [`dialer::dial`].
#[derive(Debug)]
pub struct OverNetwork {
    /// Path of the WebSocket.
    pub path: &'static str,
    /// Key of the program.
    pub key: Option<Key>,
    /// True to go without protection.
    pub open: bool,
}

impl Dial for OverNetwork {
    fn dial(&self, router: &RouterAddress, last: Option<SocketAddr>) -> Dialling {
        let (router, path) = (router.clone(), self.path);
        let (key, open) = (self.key.clone(), self.open);
        Box::pin(async move { dialer::dial(last, &router, path, key.as_ref(), open).await })
    }
}

/// Dials again and again, and remembers earlier attempts.
///
/// Loop of the caller: [`dial`](Self::dial), [`connected`](Self::connected) once the router has
/// welcomed it, and after the connection's end or a failed attempt [`pause`](Self::pause) and
/// [`wait`](Self::wait).
#[derive(Debug)]
pub struct Reconnect {
    routers: Vec<RouterAddress>,
    /// Address at which each router was reached last.
    reached: Vec<Option<SocketAddr>>,
    plan: DialPlan,
    dial: Box<dyn Dial>,
    attempts: FuturesUnordered<Pin<Box<dyn Future<Output = Attempt> + Send>>>,
    /// Router of the last connection or of the attempt that failed last.
    current: usize,
    backoff: Backoff,
    reconnect_now: Arc<Notify>,
}

type Attempt = (usize, Result<WebSocketStream<Transport>, DialError>);

impl Reconnect {
    /// Makes a schedule for these routers, of which there is at least one.
    #[must_use]
    pub fn new(routers: Vec<RouterAddress>, dial: Box<dyn Dial>) -> Self {
        Self {
            reached: vec![None; routers.len()],
            plan: DialPlan::new(routers.len()),
            routers,
            dial,
            attempts: FuturesUnordered::new(),
            current: 0,
            backoff: Backoff::default(),
            reconnect_now: Arc::default(),
        }
    }

    /// Returns what ends a pause early, each time that it is notified.
    #[must_use]
    pub fn now(&self) -> Arc<Notify> {
        self.reconnect_now.clone()
    }

    /// Opens a WebSocket to the router that can be reached first. Returns as soon as one of them
    /// fails, too: the attempts at the others go on as soon as the caller is back.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn dial(&mut self) -> Result<WebSocketStream<Transport>, DialError> {
        loop {
            let until = match self.plan.poll(timing::now(), jitter) {
                Step::Dial(n) => {
                    let dialling = self.dial.dial(&self.routers[n], self.reached[n]);
                    let attempt = async move { (n, dialling.await) };
                    self.attempts.push(Box::pin(attempt));
                    continue;
                }
                Step::Wait(until) => until,
            };
            let timer = async {
                match until {
                    Some(until) => sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some((n, dialled)) = self.attempts.next() => {
                    self.current = n;
                    let socket = dialled?;
                    let tcp = socket.get_ref().socket();
                    self.reached[n] = tcp.and_then(|tcp| tcp.peer_addr().ok());
                    self.attempts.clear();
                    self.plan.reached(n);
                    return Ok(socket);
                }
                () = timer => {}
            }
        }
    }

    /// Returns the router of the last connection, or of the attempt that failed last, and its place
    /// in the list.
    #[must_use]
    pub fn router(&self) -> (usize, &RouterAddress) {
        (self.current, &self.routers[self.current])
    }

    /// Notes that the connection is up. If it lasts, the next outage begins with short pauses.
    pub fn connected(&mut self) {
        let now = timing::now();
        self.backoff.connected(now);
        self.plan.connected(self.current, now, jitter);
    }

    /// Returns the pause before [`dial`](Self::dial) is called again: that of [`Backoff`] with jitter,
    /// or what the router wants if that is longer; none while others are dialled.
    #[must_use]
    pub fn pause(&mut self, retry: Retry) -> Duration {
        if self.plan.is_up() {
            // Who asked meanwhile has what he wanted, and wants nothing of this outage.
            let _ = self.reconnect_now.notified().now_or_never();
        }
        let now = timing::now();
        let backoff = || self.backoff.pause(now, jitter());
        self.plan.failed(self.current, now, retry, backoff);
        match self.attempts.is_empty() {
            true => self.plan.pause(now),
            false => Duration::ZERO,
        }
    }

    /// Waits for this pause, or until someone asks for an attempt at once: then the pauses are
    /// short again.
    pub async fn wait(&mut self, pause: Duration) {
        tokio::select! {
            biased;
            () = sleep(pause) => {}
            () = self.reconnect_now.notified() => {
                self.backoff.restart();
                self.plan.restart(timing::now());
            }
        }
    }
}

#[cfg(test)]
mod tests;
