//! Owns all cars by their service ports: for how long a port stays open for a car that is away, and whom
//! it is kept for after that; and what each session sees. `claim` decides who gets a port. Sockets are
//! served elsewhere.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use p2p_shared::names::LinkName;
use p2p_shared::protocol::SessionId;
use p2p_shared::timing;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::auth::key_store::KeyStore;
use crate::car::open_port::OpenPort;
use crate::car::saved_ports::{PortState, SavedPort};
use crate::car::{Car, CarServices};
use crate::feed::Subscription;
use crate::link::handle::LinkId;
use crate::link::priority_queue::Interest;
use crate::mesh::Mesh;
use crate::mesh::record::LinkStamp;
use crate::net::client_net::QuotaOwner;
use crate::net::port_range::PortRange;
use elsewhere::Elsewhere;

pub(crate) mod claim;
pub(crate) mod elsewhere;
mod over_mesh;

/// Longest sleep when no timer of any car's control is pending.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Rules for service ports.
#[derive(Debug)]
pub(crate) struct PortRules {
    pub bind: IpAddr,
    pub allowed: PortRange,
    /// False if nothing listens at service ports: then they are numbers alone.
    pub are_open: bool,
    /// Most ports of one owner.
    pub most: usize,
    /// Most ports that are open for cars of other routers.
    pub most_elsewhere: usize,
    /// The keys whose holders have ports; `None`: everyone may have some.
    pub keys: Option<KeyStore>,
    /// The mesh, which has a say, too, and is told of every change.
    pub mesh: Option<Arc<Mesh>>,
}

/// All cars.
#[derive(Debug)]
pub(crate) struct Registry {
    held: Mutex<Held>,
    rules: PortRules,
    services: Arc<CarServices>,
    /// Notified when the ports that are open have changed, or their names.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Held {
    cars: BTreeMap<u16, Arc<Car>>,
    /// Ports that are open here for cars of other routers.
    elsewhere: Elsewhere,
    /// The port of the car that has this name, in small letters: each has another.
    names: HashMap<LinkName, u16>,
    /// Number of open ports of each owner that has any.
    open: HashMap<QuotaOwner, usize>,
    /// Ports and names of cars that are gone, for the keys that had them last; the longest gone first.
    kept: Vec<SavedPort>,
    sessions: HashMap<SessionId, Session>,
    last_session: u64,
}

/// The cars that a console or a page looks at.
#[derive(Debug)]
struct Session {
    /// Service ports of the cars that the session sees.
    ports: PortRange,
    /// The car that the session may drive next.
    watched: Option<u16>,
}

impl Registry {
    pub(crate) fn new(rules: PortRules, services: CarServices) -> Self {
        Self {
            held: Mutex::default(),
            rules,
            services: Arc::new(services),
            changed: watch::Sender::new(()),
        }
    }

    /// Opens a port that was open before this router's start, and keeps it for its owner, whose
    /// link was lost with the previous router. `None` if it can't be opened, or is not allowed now.
    pub(crate) fn restore(
        &self,
        saved: &SavedPort,
        listener: Option<TcpListener>,
    ) -> Option<Arc<Car>> {
        let port = saved.service_port;
        if !self.rules.allowed.contains(port) {
            return None;
        }
        let listener = match listener {
            Some(listener) if self.rules.are_open => Some(listener),
            // Where ports are not to be open any more, what was inherited closes.
            _ => self.listen(port).ok()?,
        };
        let mut held = self.held.lock();
        let car = self.add(&mut held, saved.clone(), OpenPort::new(port, listener));
        self.tell(&car, &mut car.state.lock());
        Some(car)
    }

    /// Keeps a port and its name, without opening it, for the key that had it last. Without keys an
    /// inner is whoever it says it is, and nothing is kept.
    pub(crate) fn keep(&self, saved: SavedPort) {
        let since = match saved.held_since {
            0 => self.now_in_mesh(),
            since => since,
        };
        self.keep_in(&mut self.held.lock(), saved, (since, None));
    }

    fn keep_in(&self, held: &mut Held, saved: SavedPort, (since, link): (u64, Option<LinkStamp>)) {
        let owner = saved.owner;
        if !matches!(owner, QuotaOwner::Key(_)) || !self.knows(owner) {
            return self.untell(saved.service_port);
        }
        self.tell_kept(&saved, since, link);
        held.kept.push(SavedPort {
            state: PortState::Kept,
            ..saved
        });
        self.let_go(held, owner);
    }

    /// Frees the port that is kept longest, if the owner has more than it may, open ones included.
    fn let_go(&self, held: &mut Held, owner: QuotaOwner) {
        let kept = held.kept.iter().filter(|kept| kept.owner == owner);
        if held.open_ports(owner) + kept.count() > self.rules.most
            && let Some(oldest) = held.kept.iter().position(|kept| kept.owner == owner)
        {
            let gone = held.kept.remove(oldest);
            self.untell(gone.service_port);
        }
    }

    /// Returns true if the owner of a port still exists.
    pub(crate) fn knows(&self, owner: QuotaOwner) -> bool {
        match (&self.rules.keys, owner) {
            (None, QuotaOwner::At(_)) => true,
            (Some(keys), QuotaOwner::Key(id)) => keys.is_live(&id),
            _ => false,
        }
    }

    /// Waits until the port of this car, which is away, is to be given up before its time: it was freed,
    /// or its owner does not exist any more.
    pub(crate) async fn until_free(&self, car: &Car) {
        let freed = async {
            // No error: the car has the sender.
            let _ = car.freed.subscribe().wait_for(|is_freed| *is_freed).await;
        };
        let revoked = async {
            let (Some(keys), QuotaOwner::Key(id)) = (&self.rules.keys, car.owner) else {
                return std::future::pending().await;
            };
            // No error: the rules have the store.
            let _ = keys
                .changes()
                .wait_for(|keys| keys.get(&id).is_none())
                .await;
        };
        tokio::select! {
            () = freed => {}
            () = revoked => {}
        }
    }

    /// Returns true if a port is kept for another owner than this one, who still exists.
    fn is_kept_from(&self, kept: &SavedPort, owner: QuotaOwner) -> bool {
        kept.owner != owner && self.knows(kept.owner)
    }

    /// Adds a car that is away.
    fn add(&self, held: &mut Held, holder: SavedPort, open_port: Arc<OpenPort>) -> Arc<Car> {
        let port = holder.service_port;
        let wanted = holder.called.as_ref().unwrap_or(&holder.name);
        let name = self.unique(wanted, held, port, holder.owner);
        let owner = holder.owner;
        let car = Car::new(holder, name.clone(), open_port, self.services.clone());
        let car = Arc::new(car);
        held.add(car.clone(), &name);
        self.let_go(held, owner);
        car
    }

    /// The address that service ports listen on.
    pub(crate) fn bind(&self) -> IpAddr {
        self.rules.bind
    }

    /// Returns the ports to be saved for a restart.
    pub(crate) fn saved(&self) -> Vec<SavedPort> {
        let mut held = self.held.lock();
        let gone = held.kept.extract_if(.., |kept| !self.knows(kept.owner));
        gone.for_each(|gone| self.untell(gone.service_port));
        let open = held.cars.values().map(|car| car.saved());
        let all = held.kept.iter().cloned().chain(open);
        all.map(|saved| self.with_time(saved)).collect()
    }

    /// Frees the ports that are marked so in the file of ports, and returns them all as they are to be
    /// known after a restart.
    pub(crate) fn exchange(&self, found: &[SavedPort]) -> Vec<SavedPort> {
        for freed in found.iter().filter(|found| found.state == PortState::Freed) {
            self.free(freed);
        }
        self.saved()
    }

    /// Makes a port that was kept anybody's, and that of a car that is away. A car that is up keeps it.
    fn free(&self, freed: &SavedPort) {
        let (port, mut held) = (freed.service_port, self.held.lock());
        if let Some(mesh) = &self.rules.mesh
            && !mesh.free(port)
        {
            return;
        }
        tracing::info!(link = %freed.name, service_port = port, "service port freed");
        self.free_here(&mut held, port);
    }

    fn free_here(&self, held: &mut Held, port: u16) {
        if held.forget_kept(port) {
            self.untell(port);
            self.changed.send_replace(());
        }
        if let Some(car) = held.cars.get(&port)
            && car.link().is_none()
        {
            car.freed.send_replace(true);
        }
    }

    /// Tells when [`saved`](Self::saved) has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Closes the port of this car if it has been away for [`timing::PORT_KEPT`], or `at_once`, or if
    /// the port was freed or its owner is gone; else keeps it for the car's key. Returns how long the car
    /// was away, if this closed the port.
    pub(crate) fn give_up(&self, car: &Car, at_once: bool) -> Option<Duration> {
        let mut held = self.held.lock();
        let is_freed = *car.freed.borrow();
        let away = car.give_up(at_once || is_freed || !self.knows(car.owner))?;
        held.remove(car);
        if is_freed {
            self.untell(car.port);
        } else {
            let told = car.state.lock().told;
            self.keep_in(&mut held, car.saved(), told);
        }
        self.changed.send_replace(());
        Some(away)
    }

    /// See [`Car::link_down`].
    pub(crate) fn link_down(&self, car: &Car, link: LinkId, why: &str) -> bool {
        if self.rules.mesh.is_none() {
            return car.link_down(link, why);
        }
        // What the mesh is told has the order of what happened.
        let held = self.held.lock();
        let is_kept = car.link_down(link, why);
        if is_kept {
            self.tell(car, &mut car.state.lock());
        }
        drop(held);
        is_kept
    }

    /// The car with this service port.
    pub(crate) fn car(&self, port: u16) -> Option<Arc<Car>> {
        self.held.lock().cars.get(&port).cloned()
    }

    /// The car with this service port, if consoles see it: not one that was restored and has not
    /// been back since.
    pub(super) fn shown(&self, port: u16) -> Option<Arc<Car>> {
        self.car(port)
            .filter(|car| car.state.lock().motion.is_some())
    }

    /// All cars, by their ports.
    pub(crate) fn cars(&self) -> Vec<Arc<Car>> {
        self.held.lock().cars.values().cloned().collect()
    }

    /// The state of the cars with these service ports, and what happens to any car from then on,
    /// without a gap between the two.
    pub(crate) fn subscribe(&self, ports: PortRange) -> Subscription {
        let held = self.held.lock();
        let cars = held.cars.range(ports.ports());
        // A car doesn't change while it is locked.
        let states: Vec<_> = cars.map(|(_, car)| (car, car.state.lock())).collect();
        let now = timing::now();
        let links = || {
            let infos = states
                .iter()
                .filter_map(|(car, state)| car.info(state, now));
            infos.collect()
        };
        self.services.feed.subscribe(links, ports)
    }

    /// Stops driven cars, as the router goes down, and lets nobody take control any more.
    pub(crate) fn close(&self) {
        self.services.closing.store(true, Ordering::SeqCst);
        for car in self.cars() {
            car.end_control();
        }
    }

    /// Ends requests that nobody answers and control that nobody uses, until `closed`.
    pub(crate) async fn run_timers(self: Arc<Self>, closed: CancellationToken) {
        while !closed.is_cancelled() {
            let now = timing::now();
            let next = self.cars().iter().filter_map(|car| car.poll(now)).min();
            let next = next.unwrap_or(now + LONGEST_SLEEP);
            tokio::select! {
                biased;
                () = closed.cancelled() => {}
                () = self.services.changed.notified() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Begins a session that sees the cars with these service ports.
    pub(super) fn begin_session(&self, ports: PortRange) -> SessionId {
        let mut held = self.held.lock();
        held.last_session += 1;
        let id = SessionId(self.number_of_member(held.last_session));
        let watched = None;
        held.sessions.insert(id, Session { ports, watched });
        held.send_interests(ports);
        id
    }

    /// Sets the car that the session may drive next.
    pub(super) fn watch(&self, session: SessionId, port: Option<u16>) {
        let mut held = self.held.lock();
        let Some(watched) = held.sessions.get_mut(&session) else {
            return;
        };
        let before = std::mem::replace(&mut watched.watched, port);
        for port in before.into_iter().chain(port) {
            held.send_interest(port);
        }
    }

    /// Ends a session, and gives back the control that it has.
    pub(super) fn end_session(&self, session: SessionId) {
        let mut held = self.held.lock();
        if let Some(Session { ports, watched }) = held.sessions.remove(&session) {
            held.send_interests(ports);
            if let Some(port) = watched {
                held.send_interest(port);
            }
        }
        drop(held);
        for car in self.cars() {
            car.session_left(session);
        }
    }

    /// Opens a port; `None` where nothing listens at service ports.
    fn listen(&self, port: u16) -> io::Result<Option<TcpListener>> {
        if !self.rules.are_open {
            return Ok(None);
        }
        p2p_shared::net::socket::listen((self.rules.bind, port).into()).map(Some)
    }

    /// The name, with a number if another port than this one has it, or if it is kept for another owner.
    fn unique(&self, name: &LinkName, held: &Held, port: u16, owner: QuotaOwner) -> LinkName {
        let is_kept = |name: &LinkName| {
            held.kept.iter().any(|kept| {
                let called = kept.called.as_ref().unwrap_or(&kept.name);
                let is_same = called.as_str().eq_ignore_ascii_case(name.as_str());
                is_same && self.is_kept_from(kept, owner)
            })
        };
        name.made_unique(|name| {
            let at = held.names.get(&name.folded());
            at.is_some_and(|other| *other != port)
                || is_kept(name)
                || self.has_elsewhere(name, port)
        })
    }
}

impl Held {
    fn add(&mut self, car: Arc<Car>, name: &LinkName) {
        *self.open.entry(car.owner).or_default() += 1;
        self.names.insert(name.folded(), car.port);
        self.cars.insert(car.port, car);
    }

    fn remove(&mut self, car: &Car) {
        self.cars.remove(&car.port);
        self.names.remove(&car.name().folded());
        if let Entry::Occupied(mut open) = self.open.entry(car.owner) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }

    fn rename(&mut self, port: u16, old: &LinkName, new: &LinkName) {
        self.names.remove(&old.folded());
        self.names.insert(new.folded(), port);
    }

    /// Forgets for whom a port is kept. Returns false if it is for nobody.
    fn forget_kept(&mut self, port: u16) -> bool {
        let kept = self.kept.len();
        self.kept.retain(|kept| kept.service_port != port);
        self.kept.len() < kept
    }

    fn open_ports(&self, owner: QuotaOwner) -> usize {
        self.open.get(&owner).copied().unwrap_or_default()
    }

    /// Returns all updates that sessions want of the car with this port.
    fn interest(&self, port: u16) -> Interest {
        let mut sessions = self.sessions.values();
        Interest {
            ticks: sessions.clone().any(|it| it.watched == Some(port)),
            seen: sessions.any(|it| it.ports.contains(port)),
        }
    }

    fn send_interest(&self, port: u16) {
        if let Some(car) = self.cars.get(&port) {
            car.set_interest(self.interest(port));
        }
    }

    /// Sends interests after a session that sees the cars with these service ports has come or gone.
    fn send_interests(&self, ports: PortRange) {
        let sessions = self.sessions.values();
        // Any other session that sees them sees them already.
        if sessions.filter(|it| it.ports.covers(ports)).count() <= 1 {
            for (port, _) in self.cars.range(ports.ports()) {
                self.send_interest(*port);
            }
        }
    }
}
