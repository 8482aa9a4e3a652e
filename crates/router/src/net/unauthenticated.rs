//! Owns the callers that have shown no key yet: how many wait, who has to go when there is no
//! room for another, and when one may leave the queue.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::net::client_net::ClientNet;
use crate::net::limits;
use crate::net::quota::Rate;
use crate::ops::metrics::Metrics;

mod queue;

use crate::net::auth_backoff::AuthBackoff;
use queue::Queue;

/// All strangers, and what is remembered of where they come from.
#[derive(Debug)]
pub(crate) struct Unauthenticated {
    queue: Mutex<Queue<CancellationToken>>,
    wrong_keys: Mutex<AuthBackoff>,
    lines: Mutex<Rate>,
    metrics: Arc<Metrics>,
}

impl Unauthenticated {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            queue: Mutex::default(),
            wrong_keys: Mutex::default(),
            lines: Mutex::default(),
            metrics,
        }
    }

    /// Somebody has come, until `closed`. If there is no room, another goes.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: SocketAddr,
        closed: &CancellationToken,
    ) -> PendingConnection {
        let end = closed.child_token();
        let (place, gone) = lock(&self.queue).enter(peer.ip().into(), end.clone());
        if let Some(gone) = gone {
            gone.cancel();
            self.metrics.strangers_sent_away.inc();
        }
        PendingConnection {
            strangers: self.clone(),
            peer,
            place,
            is_known: AtomicBool::new(false),
            closed: closed.clone(),
            end,
        }
    }

    /// Whether what anybody can cause as often as he likes may be a line in the log now, which it
    /// must not fill.
    pub(crate) fn may_be_logged(&self) -> bool {
        lock(&self.lines).take(limits::LOG_LINES_OF_STRANGERS, Instant::now())
    }

    /// A wrong key came from there: for how long this and any other is answered with no more than
    /// that, if it was so before already. A right key is never asked whether there is a pause: a
    /// key can't be guessed, and an honest car may be behind the same address.
    fn wrong_key(&self, from: IpAddr) -> Option<Duration> {
        self.metrics.wrong_keys.inc();
        lock(&self.wrong_keys).wrong(ClientNet::from(from), Instant::now())
    }
}

/// A caller's connection: a stranger's until a key is known. Dropped, it leaves.
#[derive(Debug)]
pub(crate) struct PendingConnection {
    strangers: Arc<Unauthenticated>,
    peer: SocketAddr,
    place: u64,
    is_known: AtomicBool,
    closed: CancellationToken,
    end: CancellationToken,
}

impl PendingConnection {
    /// Where it is.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Cancelled when it has to go, for whatever reason.
    pub(crate) fn end(&self) -> &CancellationToken {
        &self.end
    }

    /// Whether it has to go for another: not if its port is closed, nor if its key was known just
    /// then.
    pub(crate) fn is_sent_away(&self) -> bool {
        let is_known = self.is_known.load(Ordering::Relaxed);
        self.end.is_cancelled() && !self.closed.is_cancelled() && !is_known
    }

    /// It is no stranger any more, and stays.
    pub(crate) fn is_known(&self) {
        if !self.is_known.swap(true, Ordering::Relaxed) {
            lock(&self.strangers.queue).leave(self.peer.ip().into(), self.place);
        }
    }

    /// See [`Unauthenticated::may_be_logged`].
    pub(crate) fn may_be_logged(&self) -> bool {
        self.strangers.may_be_logged()
    }

    /// See [`Unauthenticated::wrong_key`].
    pub(crate) fn wrong_key(&self) -> Option<Duration> {
        self.strangers.wrong_key(self.peer.ip())
    }
}

impl Drop for PendingConnection {
    fn drop(&mut self) {
        self.is_known();
    }
}

/// A lock that a panic elsewhere doesn't spoil.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
