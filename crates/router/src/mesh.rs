//! Makes many routers act as one. The members tell each other over a bus which ports they hold; bytes of
//! callers go directly from router to router. Only the holder of a car's link decides about its car.
//!
//! ```text
//!  registry ── held, let_go ──▶ Mesh ══ bus (sealed messages) ══ other members
//!           ◀──── changes ─────  │
//!  a request, a claim ──────────▶│ holder_elsewhere, claim
//! ```
//!
//! Without a bus a member is alone, and everything goes on with what it knows.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use p2p_shared::timing;
use parking_lot::{Mutex, RwLock};
use ring::hmac;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::ops::metrics::Metrics;

mod ask;
pub(crate) mod bus;
pub(crate) mod claims;
pub mod config;
pub(crate) mod directory;
pub(crate) mod exchange;
pub(crate) mod hop;
#[cfg(test)]
pub(crate) mod hub;
pub mod id;
pub(crate) mod join;
mod keys;
pub(crate) mod members;
pub(crate) mod message;
pub(crate) mod metrics;
#[cfg(feature = "mesh")]
mod nats;
mod queries;
pub mod reading;
pub(crate) mod record;
pub(crate) mod seal;
pub mod secret;
pub(crate) mod state;
mod task;

pub(crate) use ask::GrantedPort;
pub(crate) use claims::{ClaimRefused, PortClaim};
pub use config::{MeshConfig, ServerUrl};
pub use id::{MemberAddress, MemberId};
pub(crate) use members::{Member, MemberState, ToldKeys};
pub(crate) use queries::Elsewhere;
pub use secret::MeshSecret;
pub(crate) use state::Orphan;

use bus::BusEnd;
use id::{Epoch, Start};
use metrics::MeshMetrics;
use record::PortRecord;
use seal::Sealer;
use state::{Now, State};

/// This router as a member of the mesh.
#[derive(Debug)]
pub(crate) struct Mesh {
    secret: MeshSecret,
    peer_key: hmac::Key,
    start: Start,
    address: MemberAddress,
    metrics: MeshMetrics,
    /// Taken by the one task that works: its numbers count on, and no two messages have the same.
    sealer: Mutex<Option<Sealer>>,
    /// The clock at this start. It goes on with the timers: who sets it meanwhile changes nothing here.
    began: (SystemTime, Instant),
    state: Arc<RwLock<State>>,
    /// Notified when there is something to send.
    wake: Arc<Notify>,
    /// Notified when answers to claims may have come.
    answered: Notify,
    /// Ports whose holder may have changed, and orphans, since somebody last took them.
    changes: Mutex<(BTreeSet<u16>, Vec<Orphan>)>,
    has_changed: Notify,
    /// Notified then, too, for all who wait.
    news: Notify,
    /// Notified when a member has told of other keys.
    key_news: Notify,
}

impl Mesh {
    /// Makes a member that knows nobody, of the router with this main port, which starts at `time`.
    ///
    /// # Errors
    /// If there is no random number, or this host has no name that others could know.
    pub(crate) fn new(
        config: &MeshConfig,
        main_port: SocketAddr,
        metrics: &Metrics,
        time: SystemTime,
    ) -> anyhow::Result<Self> {
        let address = match &config.address {
            Some(address) => address.clone(),
            None => MemberAddress::of_this_host(main_port.port())?,
        };
        let began = (time, timing::now());
        let state = State::new(config.secret.clone(), address.clone(), at(began))?;
        let sealer = Sealer::new(&config.secret, state.start);
        let sealer = sealer.map_err(|_| anyhow::anyhow!("the secret makes no key"))?;
        Ok(Self {
            sealer: Mutex::new(Some(sealer)),
            secret: config.secret.clone(),
            peer_key: config.secret.peer_key(),
            start: state.start,
            address,
            metrics: MeshMetrics::new(metrics),
            began,
            state: Arc::new(RwLock::new(state)),
            wake: Arc::new(Notify::new()),
            answered: Notify::new(),
            changes: Mutex::default(),
            has_changed: Notify::new(),
            news: Notify::new(),
            key_news: Notify::new(),
        })
    }

    /// Connects this member to the bus of its settings.
    ///
    /// # Errors
    /// If the settings can't be used, or this program has no client of the bus.
    pub(crate) fn connect(&self, config: &MeshConfig) -> anyhow::Result<BusEnd> {
        #[cfg(feature = "mesh")]
        return nats::connect(config, self.start, self.metrics.dropped.clone());
        #[cfg(not(feature = "mesh"))]
        anyhow::bail!("{}: {:?} is of no use", config::NOT_BUILT, config.servers);
    }

    fn now(&self) -> Now {
        at(self.began)
    }

    /// The time as the mesh counts it, in microseconds: near that of the others, whatever the clock here shows.
    pub(crate) fn clock(&self) -> u64 {
        let now = self.now();
        (self.state.read().members).limit_clock(now.clock, now.instant)
    }

    /// This member's id: ten bits for the ids that this router gives. Another one is drawn if two members
    /// have the same.
    pub(crate) fn member(&self) -> MemberId {
        self.state.read().id
    }

    /// This start of the router, by which the other members know it.
    pub(crate) fn start(&self) -> Start {
        self.start
    }

    /// How the other members reach this one.
    pub(crate) fn address(&self) -> &MemberAddress {
        &self.address
    }

    /// Tells the others what this router's registry has of a port now. Called under the registry's lock
    /// that covers the change, so that what is told has the order of what happened.
    pub(crate) fn held(&self, record: PortRecord) {
        let port = record.port;
        self.set(port, Some(record));
    }

    /// Frees a port at all routers, unless its car is connected to one. Called under the registry's lock.
    pub(crate) fn free(&self, port: u16) -> bool {
        let is_free = self.state.write().free(port, self.now());
        self.wake.notify_one();
        is_free
    }

    /// True if what this router has of a port is void, as the port was freed.
    pub(crate) fn is_own_freed(&self, port: u16) -> bool {
        self.state.read().is_own_freed(port)
    }

    /// Tells the others that this router has nothing of a port any more: given up, freed, or lost to
    /// another member. A router that ends tells it no more: the others keep its ports for a while, for
    /// cars that go to them.
    pub(crate) fn let_go(&self, port: u16) {
        self.set(port, None);
    }

    fn set(&self, port: u16, record: Option<PortRecord>) {
        self.state.write().set_own(port, record, timing::now());
        self.wake.notify_one();
    }

    /// Waits for ports whose holder may have changed. For each, whoever calls looks at
    /// [`holder_elsewhere`](Self::holder_elsewhere), under the registry's lock. Only one task calls this.
    pub(crate) async fn changes(&self) -> BTreeSet<u16> {
        loop {
            let changed = std::mem::take(&mut self.changes.lock().0);
            if !changed.is_empty() {
                return changed;
            }
            self.has_changed.notified().await;
        }
    }

    /// Waits until the holder of some port may have changed since this was called.
    pub(crate) fn next_change(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// Takes the ports whose cars did not come back after their router was gone, for which this member is
    /// the one that tells, and that the registry is to keep: to be called after [`changes`](Self::changes).
    pub(crate) fn take_orphans(&self) -> Vec<Orphan> {
        std::mem::take(&mut self.changes.lock().1)
    }

    fn tell_changes(&self, ports: BTreeSet<u16>, orphans: Vec<Orphan>) {
        if ports.is_empty() {
            return;
        }
        let mut changes = self.changes.lock();
        changes.0.extend(ports);
        changes.1.extend(orphans);
        drop(changes);
        self.has_changed.notify_one();
        self.news.notify_waiters();
    }

    /// Tells the others that this router ends, or starts anew.
    pub(crate) fn drain(&self) {
        self.state.write().drain();
        self.wake.notify_one();
    }

    /// All other members that are known.
    pub(crate) fn members(&self) -> Vec<Member> {
        self.state.read().members.all().cloned().collect()
    }

    /// Notes that a connection to this start of a member lives: it is not away, whatever the bus brings.
    pub(crate) fn reached(&self, member: Start) {
        self.state.write().members.reached(member, timing::now());
    }

    /// Code by which one member proves to another that it knows the mesh's secret: HMAC-SHA256 over this
    /// transcript, under a key for connections between members.
    pub(crate) fn peer_code(&self, transcript: &[u8]) -> hmac::Tag {
        hmac::sign(&self.peer_key, transcript)
    }

    /// Checks a code, in constant time.
    pub(crate) fn is_peer_code(&self, transcript: &[u8], code: &[u8]) -> bool {
        hmac::verify(&self.peer_key, transcript, code).is_ok()
    }
}

/// The time now, by a clock that showed a time at an instant.
fn at((time, instant): (SystemTime, Instant)) -> Now {
    let now = timing::now();
    let time = time + now.saturating_duration_since(instant);
    Now {
        instant: now,
        clock: Epoch::at(time).number(),
    }
}

#[cfg(test)]
mod tests;
