//! Bounds connections: how many may have shown no key yet, and which of those is closed to make room for
//! another; and how many may have shown one, of each key and in all. One beyond these counts as one without
//! a key, and is never closed while something runs for it: nothing is run for it but a stop.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use p2p_shared::logging::LogThrottle;
use p2p_shared::timing;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
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
    /// Connections of balancers that have not said yet for whom they are.
    balanced: Semaphore,
    /// Connections that have shown a key.
    connections: Quota,
    /// Those of all keys together.
    all: Arc<Semaphore>,
    /// Connections beyond these, for a stop alone.
    stops: Quota,
    known_nets: Mutex<KnownNets>,
    wrong_keys: Mutex<AuthBackoff>,
    log: Mutex<LogThrottle>,
    metrics: Arc<Metrics>,
}

impl Unauthenticated {
    pub(crate) fn new(metrics: Arc<Metrics>, limits: &OpenFileLimits) -> Self {
        Self {
            places: Mutex::new(Places::new(limits.unauthenticated)),
            balanced: Semaphore::new(limits.balanced),
            connections: Quota::new(limits.connections, metrics.over_quota.clone()),
            all: Arc::new(Semaphore::new(limits.callers.min(Semaphore::MAX_PERMITS))),
            stops: Quota::new(limits.stops, metrics.over_quota.clone()),
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
            place: Some(place),
            stay: OnceLock::new(),
            is_over: false,
            is_vouched_for: false,
            passed_on: Arc::default(),
            closed: closed.clone(),
            end,
        }
    }

    /// Admits a connection of a balancer until it has said for whom it is; `None` if too many have not.
    pub(crate) fn admit_balanced(&self) -> Option<SemaphorePermit<'_>> {
        self.balanced.try_acquire().ok()
    }

    /// Admits a connection whose caller has shown this owner's key, until `closed`. It stays, unless the owner
    /// has as many as it may.
    pub(crate) fn admit_known(
        self: &Arc<Self>,
        peer: SocketAddr,
        owner: QuotaOwner,
        closed: &CancellationToken,
    ) -> PendingConnection {
        let Some(stay) = self.take(owner) else {
            return self.admit(peer, closed);
        };
        PendingConnection {
            unauthenticated: self.clone(),
            peer,
            place: None,
            stay: stay.into(),
            is_over: false,
            is_vouched_for: false,
            passed_on: Arc::default(),
            closed: closed.clone(),
            end: closed.child_token(),
        }
    }

    /// Admits a connection of another router of the mesh, until `closed`. It counts nowhere: what is asked on
    /// it counts for whoever asks.
    pub(crate) fn admit_member(
        self: &Arc<Self>,
        peer: SocketAddr,
        closed: &CancellationToken,
    ) -> PendingConnection {
        let net = peer.ip().into();
        let mut nets = self.known_nets.lock();
        nets.remember(net, QuotaOwner::At(net), timing::now());
        drop(nets);
        self.admit_passed_on(peer, closed, false)
    }

    /// Admits a caller whose request another router of the mesh passes on, which counts the connection. If
    /// the caller `is_over` the limit there, it may bring nothing but a stop.
    pub(crate) fn admit_passed_on(
        self: &Arc<Self>,
        caller: SocketAddr,
        closed: &CancellationToken,
        is_over: bool,
    ) -> PendingConnection {
        let stay = OnceLock::new();
        if !is_over {
            // It was empty.
            let _ = stay.set(Stay {
                is_for_stop: false,
                _permits: None,
            });
        }
        PendingConnection {
            unauthenticated: self.clone(),
            peer: caller,
            place: None,
            stay,
            is_over,
            is_vouched_for: false,
            passed_on: Arc::default(),
            closed: closed.clone(),
            // Nobody but `closed` ends it.
            end: closed.clone(),
        }
    }

    /// Takes what lets one of this owner's connections stay; `None` if there are as many as there may be.
    fn take(&self, owner: QuotaOwner) -> Option<Stay> {
        let permit = self.connections.take(owner)?;
        let Ok(of_all) = self.all.clone().try_acquire_owned() else {
            self.metrics.over_quota.inc();
            return None;
        };
        Some(Stay {
            is_for_stop: false,
            _permits: Some((permit, Some(of_all))),
        })
    }

    /// Returns true if a right key came from this network.
    pub(crate) fn is_known(&self, net: ClientNet) -> bool {
        self.known_nets.lock().contains(net)
    }

    /// Returns true if an event that anybody can cause may be logged now, so that nobody can fill
    /// the log.
    pub(crate) fn may_be_logged(&self) -> bool {
        self.log.lock().allow(timing::now()).is_some()
    }
}

/// Connection of a caller, which has a place among those without a key or stays. Dropping it gives that
/// back.
#[derive(Debug)]
pub(crate) struct PendingConnection {
    unauthenticated: Arc<Unauthenticated>,
    pub peer: SocketAddr,
    /// The place that it had before it could stay.
    place: Option<Place>,
    /// Set once the connection stays: then it is not closed to make room for another.
    stay: OnceLock<Stay>,
    /// True if its owner has as many others as it may, at the router that it came to.
    is_over: bool,
    /// True if another router has let the caller in: a key that is not known here yet is no guess.
    pub(crate) is_vouched_for: bool,
    /// Shared while another router has its request: something may run for it.
    passed_on: Arc<()>,
    closed: CancellationToken,
    /// Cancelled when the connection has to be closed.
    pub end: CancellationToken,
}

/// A connection's request that another router has.
#[derive(Debug)]
pub(crate) struct PassingOn(#[expect(dead_code, reason = "it is counted")] Arc<()>);

/// Permits that let a connection stay.
#[derive(Debug)]
struct Stay {
    /// True if the connection is for one stop, and ends with the answer.
    is_for_stop: bool,
    _permits: Option<(QuotaPermit, Option<OwnedSemaphorePermit>)>,
}

impl PendingConnection {
    /// Returns true if the connection is closed to make room for another, and not because its port
    /// is closed or its key was accepted just now. Nothing runs for it then.
    pub(crate) fn is_sent_away(&self) -> bool {
        self.end.is_cancelled()
            && !self.closed.is_cancelled()
            && !self.stays()
            && Arc::strong_count(&self.passed_on) == 1
    }

    /// Notes that another router has the request of this connection, until what is returned is dropped.
    pub(crate) fn pass_on(&self) -> PassingOn {
        PassingOn(self.passed_on.clone())
    }

    /// Returns true if the connection is not closed to make room for another.
    pub(crate) fn stays(&self) -> bool {
        self.stay.get().is_some()
    }

    /// Returns true if the connection ends with the answer to a stop, since its owner has as many others as
    /// it may.
    pub(crate) fn is_for_stop(&self) -> bool {
        self.stay.get().is_some_and(|stay| stay.is_for_stop)
    }

    /// Reports that the connection has shown this owner's key, so that its network has places of its own
    /// from now on. The connection stays, unless the owner has as many as it may.
    pub(crate) fn set_known(&self, owner: QuotaOwner) {
        if !self.stays() {
            let mut nets = self.unauthenticated.known_nets.lock();
            nets.remember(self.peer.ip().into(), owner, timing::now());
            drop(nets);
            self.stay(owner);
        }
    }

    /// Gives the place back, and lets the connection stay, if this owner may have one more.
    pub(crate) fn stay(&self, owner: QuotaOwner) {
        if !self.stays()
            && !self.is_over
            && let Some(stay) = self.unauthenticated.take(owner)
        {
            self.set_stay(stay);
        }
    }

    /// Lets the connection stay until a stop is answered, though its owner has as many others as it may.
    /// Returns false if too many stops of this owner are under way.
    pub(crate) fn stay_for_stop(&self, owner: QuotaOwner) -> bool {
        if !self.stays()
            && let Some(permit) = self.unauthenticated.stops.take(owner)
        {
            self.set_stay(Stay {
                is_for_stop: true,
                _permits: Some((permit, None)),
            });
        }
        self.stays()
    }

    fn set_stay(&self, stay: Stay) {
        self.leave();
        // One task answers the connection: nobody else has set it meanwhile.
        let _ = self.stay.set(stay);
    }

    fn leave(&self) {
        if let Some(place) = self.place {
            self.unauthenticated.places.lock().leave(place);
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
        if self.is_vouched_for {
            return None;
        }
        metrics.wrong_keys.inc();
        wrong_keys
            .lock()
            .wrong(self.peer.ip().into(), timing::now())
    }
}

impl Drop for PendingConnection {
    fn drop(&mut self) {
        if !self.stays() {
            self.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_files(open_files: u64) -> Arc<Unauthenticated> {
        let limits = OpenFileLimits::of(open_files);
        Arc::new(Unauthenticated::new(Arc::new(Metrics::new()), &limits))
    }

    #[test]
    fn one_that_has_shown_its_key_is_never_sent_away_by_strangers() {
        let (all, closed) = (with_files(8), CancellationToken::new());
        let peer = |n: u8| SocketAddr::from(([192, 0, 2, n], 1));
        let owner = |n| QuotaOwner::At(peer(n).ip().into());
        let known = all.admit_known(peer(1), owner(1), &closed);
        let stranger = all.admit(peer(1), &closed);
        // Its owner may have one.
        stranger.set_known(owner(1));
        assert!(!stranger.stays());
        let stop = all.admit(peer(1), &closed);
        assert!(stop.stay_for_stop(owner(1)));
        let _flood: Vec<_> = (2..200).map(|n| all.admit(peer(n), &closed)).collect();
        assert!(stranger.is_sent_away());
        assert!(!known.is_sent_away() && !known.is_for_stop());
        assert!(!stop.is_sent_away() && stop.is_for_stop());
        closed.cancel();
        assert!(known.end.is_cancelled() && !known.is_sent_away());
    }

    #[test]
    fn all_keys_together_have_half_of_the_files_and_each_has_its_stops_on_top() {
        let (all, closed) = (with_files(16), CancellationToken::new());
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));
        let owner = |n: u8| QuotaOwner::At(std::net::IpAddr::from([192, 0, 2, n]).into());
        let kept: Vec<_> = (0..12)
            .map(|n| all.admit_known(peer, owner(n), &closed))
            .filter(PendingConnection::stays)
            .collect();
        assert_eq!(kept.len(), 8);
        let [one, another] = [all.admit(peer, &closed), all.admit(peer, &closed)];
        assert!(one.stay_for_stop(owner(9)) && !another.stay_for_stop(owner(9)));
        drop(one);
        assert!(another.stay_for_stop(owner(9)));
        drop(kept);
        assert!(all.admit_known(peer, owner(9), &closed).stays());
    }
}
