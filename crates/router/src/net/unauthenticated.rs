//! Bounds the connections that have shown no key yet: how many there may be, and which one is
//! closed to make room for another. A key's connections beyond those that it may have count as such.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use p2p_shared::logging::LogThrottle;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::net::auth_backoff::AuthBackoff;
use crate::net::client_net::{ClientNet, QuotaOwner};
use crate::net::known_nets::KnownNets;
use crate::net::limits::{self, OpenFileLimits};
use crate::net::places::{Place, Places};
use crate::net::quota::{Quota, QuotaPermit};
use crate::ops::metrics::Metrics;

/// Connections without a key, and the wrong keys of their client networks.
#[derive(Debug)]
pub(crate) struct Unauthenticated {
    places: Mutex<Places<CancellationToken>>,
    /// Connections that have shown a key.
    connections: Quota,
    known_nets: Mutex<KnownNets>,
    wrong_keys: Mutex<AuthBackoff>,
    log: Mutex<LogThrottle>,
    metrics: Arc<Metrics>,
}

impl Unauthenticated {
    pub(crate) fn new(metrics: Arc<Metrics>, limits: &OpenFileLimits) -> Self {
        Self {
            places: Mutex::new(Places::new(limits.unauthenticated)),
            connections: Quota::new(limits.connections, metrics.over_quota.clone()),
            known_nets: Mutex::default(),
            wrong_keys: Mutex::default(),
            log: Mutex::new(limits::UNAUTHENTICATED_LOG),
            metrics,
        }
    }

    /// Admits a connection, until `closed`. If there is no room, another one is closed.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: SocketAddr,
        closed: &CancellationToken,
    ) -> PendingConnection {
        let end = closed.child_token();
        let net = peer.ip().into();
        let is_known = self.is_known(net);
        let (place, gone) = self.places.lock().enter(net, is_known, end.clone());
        if let Some(gone) = gone {
            gone.cancel();
            self.metrics.strangers_sent_away.inc();
        }
        PendingConnection {
            unauthenticated: self.clone(),
            peer,
            place,
            permit: OnceLock::new(),
            closed: closed.clone(),
            end,
        }
    }

    /// Returns true if a right key came from this network.
    pub(crate) fn is_known(&self, net: ClientNet) -> bool {
        self.known_nets.lock().contains(net)
    }

    /// Returns true if an event that anybody can cause may be logged now, so that nobody can fill
    /// the log.
    pub(crate) fn may_be_logged(&self) -> bool {
        self.log.lock().allow(Instant::now()).is_some()
    }
}

/// Connection that has shown no key yet. Dropping it gives its place back.
#[derive(Debug)]
pub(crate) struct PendingConnection {
    unauthenticated: Arc<Unauthenticated>,
    pub peer: SocketAddr,
    place: Place,
    /// Permit of the connection's owner, for one that stays.
    permit: OnceLock<QuotaPermit>,
    closed: CancellationToken,
    /// Cancelled when the connection has to be closed.
    pub end: CancellationToken,
}

impl PendingConnection {
    /// Returns true if the connection is closed to make room for another, and not because its port
    /// is closed or its key was accepted just now.
    pub(crate) fn is_sent_away(&self) -> bool {
        self.end.is_cancelled() && !self.closed.is_cancelled() && self.permit.get().is_none()
    }

    /// Reports that the connection has shown this owner's key, so that its network has places of its own
    /// from now on. The connection stays, unless the owner has as many as it may.
    pub(crate) fn set_known(&self, owner: QuotaOwner) {
        if self.permit.get().is_none() {
            let mut nets = self.unauthenticated.known_nets.lock();
            nets.remember(self.peer.ip().into(), owner, Instant::now());
            drop(nets);
            self.stay(owner);
        }
    }

    /// Gives the place back, and lets the connection stay, if this owner may have one more.
    pub(crate) fn stay(&self, owner: QuotaOwner) {
        if self.permit.get().is_none()
            && let Some(permit) = self.unauthenticated.connections.take(owner)
        {
            self.unauthenticated.places.lock().leave(self.place);
            // One task answers the connection: nobody else has set it meanwhile.
            let _ = self.permit.set(permit);
        }
    }

    pub(crate) fn may_be_logged(&self) -> bool {
        self.unauthenticated.may_be_logged()
    }

    /// Counts a wrong key from this address. Returns the pause, if there is one: then wrong keys
    /// are answered 429. A correct key is accepted even in a pause: a key can't be guessed, and an
    /// honest car may be behind the same address.
    pub(crate) fn wrong_key(&self) -> Option<Duration> {
        let Unauthenticated {
            metrics,
            wrong_keys,
            ..
        } = &*self.unauthenticated;
        metrics.wrong_keys.inc();
        wrong_keys
            .lock()
            .wrong(self.peer.ip().into(), Instant::now())
    }
}

impl Drop for PendingConnection {
    fn drop(&mut self) {
        if self.permit.get().is_none() {
            self.unauthenticated.places.lock().leave(self.place);
        }
    }
}
