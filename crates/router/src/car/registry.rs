//! Owns all cars by their service ports: claims, takeovers and refusals, for how long a port stays open
//! for a car that is away, and whom it is kept for after that. Sockets are served elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use p2p_shared::names::{Identity, LinkName};
use p2p_shared::protocol::{LinkHello, Rejection, SessionId};
use p2p_shared::timing;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::auth::key_store::KeyStore;
use crate::car::saved_ports::{PortState, SavedPort};
use crate::car::{Car, CarServices, State};
use crate::feed::Subscription;
use crate::link::end::LinkEnd;
use crate::link::handle::LinkHandle;
use crate::link::priority_queue::Interest;
use crate::link::work::ToLink;
use crate::net::client_net::QuotaOwner;
use crate::net::port_range::PortRange;

/// Number of takeovers between live inners within [`CONTENTION_WINDOW`] that count as a fight.
const CONTENTION: usize = 3;
/// Time in which takeovers are counted; also the time for which the loser is kept out.
const CONTENTION_WINDOW: Duration = Duration::from_secs(60);
/// Longest sleep when no timer of any car's control is pending.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// An inner that asks for a port: a port of 0 is any.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    /// The owner whose ports are counted.
    pub owner: QuotaOwner,
    pub identity: Identity,
    /// The ports that the inner's key may ask for.
    pub ports: Option<PortRange>,
    /// The name of the inner's key; empty without keys.
    pub key: &'a str,
    pub hello: &'a LinkHello,
}

/// The reason for which a claim is refused, in words for its owner.
pub(crate) type Refused = (Rejection, String);

/// A claim that was granted: the car has this link now.
#[derive(Debug)]
pub(crate) struct Granted {
    pub car: Arc<Car>,
    pub name: LinkName,
    pub link: LinkHandle,
    pub work: UnboundedReceiver<ToLink>,
    /// True if the port was not open yet.
    pub is_new: bool,
}

/// Rules for service ports.
#[derive(Debug)]
pub(crate) struct PortRules {
    pub bind: IpAddr,
    pub allowed: PortRange,
    /// Most ports of one owner.
    pub most: usize,
    /// The keys whose holders have ports; `None`: everyone may have some.
    pub keys: Option<KeyStore>,
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

    /// Gives the claimed port to the claimant, and takes it from the link of the same identity that has
    /// it, if there is one.
    pub(crate) fn claim(&self, claim: &Claim<'_>) -> Result<Granted, Refused> {
        let mut held = self.held.lock();
        let known = if claim.hello.service_port == 0 {
            self.own_away(claim, &held)
        } else {
            self.check_allowed(claim)?;
            held.cars.get(&claim.hello.service_port).cloned()
        };
        let is_new = known.is_none();
        let car = match known {
            Some(car) => car,
            None => {
                self.check_quota(claim.owner, &held)?;
                let (service_port, listener) = self.open(claim, &held)?;
                let mut kept = held
                    .kept
                    .extract_if(.., |kept| kept.service_port == service_port);
                let own = kept.find(|kept| kept.owner == claim.owner);
                drop(kept);
                if own.is_none() {
                    // What ran at the port before is none of this holder's business.
                    self.services.feed.forget(service_port);
                }
                let holder = SavedPort {
                    service_port,
                    name: claim.hello.name.clone(),
                    called: own
                        .filter(|own| own.name == claim.hello.name)
                        .and_then(|own| own.called),
                    identity: claim.identity.clone(),
                    owner: claim.owner,
                    state: PortState::Open,
                };
                self.add(&mut held, holder, listener)
            }
        };
        let mut state = car.state.lock();
        if !is_new {
            self.take_over(&car, &mut state, claim, &held)?;
        }
        state.key = claim.key.to_owned();
        let interest = held.interest(car.port);
        let (link, work) = car.link_up(&mut state, claim.hello, interest);
        let name = state.name.clone();
        drop(state);
        self.changed.send_replace(());
        Ok(Granted {
            car,
            name,
            link,
            work,
            is_new,
        })
    }

    /// The car that had this identity and name last and is away, for an inner that asks for any port.
    fn own_away(&self, claim: &Claim<'_>, held: &Held) -> Option<Arc<Car>> {
        let mut cars = held.cars.values();
        let own = cars.find(|car| {
            let state = car.state.lock();
            let is_own = car.identity == claim.identity && state.asked_name == claim.hello.name;
            is_own && state.link.is_none() && self.is_allowed(claim, car.port)
        });
        own.cloned()
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
        let listener = listener.or_else(|| self.listen(port).ok())?;
        Some(self.add(&mut self.held.lock(), saved.clone(), listener))
    }

    /// Keeps a port and its name, without opening it, for the key that had it last. Without keys an
    /// inner is whoever it says it is, and nothing is kept.
    pub(crate) fn keep(&self, saved: SavedPort) {
        self.keep_in(&mut self.held.lock(), saved);
    }

    fn keep_in(&self, held: &mut Held, saved: SavedPort) {
        let owner = saved.owner;
        if !matches!(owner, QuotaOwner::Key(_)) || !self.knows(owner) {
            return;
        }
        held.kept.push(SavedPort {
            state: PortState::Kept,
            ..saved
        });
        self.let_go(held, owner);
    }

    /// Frees the port that is kept longest, if the owner has more than it may, open ones included.
    fn let_go(&self, held: &mut Held, owner: QuotaOwner) {
        let open = held.cars.values().filter(|car| car.owner == owner);
        let kept = held.kept.iter().filter(|kept| kept.owner == owner);
        if open.count() + kept.count() > self.rules.most
            && let Some(oldest) = held.kept.iter().position(|kept| kept.owner == owner)
        {
            held.kept.remove(oldest);
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
                .wait_for(|keys| !keys.contains_key(&id))
                .await;
        };
        tokio::select! {
            () = freed => {}
            () = revoked => {}
        }
    }

    /// The port, if it is kept for another owner than this one, who still exists.
    fn kept_from<'a>(&self, held: &'a Held, owner: QuotaOwner, port: u16) -> Option<&'a SavedPort> {
        let mut kept = held.kept.iter();
        let kept = kept.find(|kept| kept.service_port == port)?;
        (kept.owner != owner && self.knows(kept.owner)).then_some(kept)
    }

    /// Adds a car that is away.
    fn add(&self, held: &mut Held, holder: SavedPort, listener: TcpListener) -> Arc<Car> {
        let port = holder.service_port;
        let wanted = holder.called.as_ref().unwrap_or(&holder.name);
        let name = self.unique(wanted, held, port, holder.owner);
        let owner = holder.owner;
        let car = Arc::new(Car::new(holder, name, listener, self.services.clone()));
        held.cars.insert(port, car.clone());
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
        held.kept.retain(|kept| self.knows(kept.owner));
        let open = held.cars.values().map(|car| car.saved());
        held.kept.iter().cloned().chain(open).collect()
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
        held.kept.retain(|kept| kept.service_port != port);
        tracing::info!(link = %freed.name, service_port = port, "service port freed");
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
        held.cars.remove(&car.port);
        if !is_freed {
            self.keep_in(&mut held, car.saved());
        }
        self.changed.send_replace(());
        Some(away)
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
        let id = SessionId(held.last_session);
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

    fn listen(&self, port: u16) -> io::Result<TcpListener> {
        p2p_shared::net::socket::listen((self.rules.bind, port).into())
    }

    fn check_allowed(&self, claim: &Claim<'_>) -> Result<(), Refused> {
        let port = claim.hello.service_port;
        let own = claim.ports.unwrap_or(self.rules.allowed);
        for (range, whose) in [(self.rules.allowed, "this router"), (own, "this key")] {
            if !range.contains(port) {
                return Err(unavailable(format!(
                    "{whose} allows the service ports {range}, not {port}: ask for one of those"
                )));
            }
        }
        Ok(())
    }

    /// Returns true if the claimant may have this port, whoever has it now.
    fn is_allowed(&self, claim: &Claim<'_>, port: u16) -> bool {
        let own = claim.ports.unwrap_or(self.rules.allowed);
        self.rules.allowed.contains(port) && own.contains(port)
    }

    /// Refuses an owner that has all the ports it may. Ports of cars that are away count, too.
    fn check_quota(&self, owner: QuotaOwner, held: &Held) -> Result<(), Refused> {
        let cars = held.cars.values().filter(|car| car.owner == owner);
        if cars.count() < self.rules.most {
            return Ok(());
        }
        let whose = match owner {
            QuotaOwner::Key(_) => "this key",
            QuotaOwner::At(_) => "your address",
        };
        Err(unavailable(format!(
            "{whose} has {} service ports, the most that a key may have: end a link, or raise the router's --max-links",
            self.rules.most
        )))
    }

    /// A listener on the claimed port; or on the one that a car of this key and name had last, or on any
    /// that is allowed and free.
    fn open(&self, claim: &Claim<'_>, held: &Held) -> Result<(u16, TcpListener), Refused> {
        let listen = |port| {
            let listener = self.listen(port)?;
            Ok((listener.local_addr()?.port(), listener))
        };
        let (port, owner) = (claim.hello.service_port, claim.owner);
        if port != 0 {
            if let Some(kept) = self.kept_from(held, owner, port) {
                return Err(is_kept(port, &kept.name));
            }
            return listen(port).map_err(|error| cannot_open(port, &error));
        }
        let own = claim.ports.unwrap_or(self.rules.allowed);
        let is_allowed = |port: &u16| {
            self.is_allowed(claim, *port) && self.kept_from(held, owner, *port).is_none()
        };
        let mut kept = held.kept.iter().rev();
        let last = kept.find(|kept| kept.owner == owner && kept.name == claim.hello.name);
        let last = last.map(|last| last.service_port).filter(is_allowed);
        // The kernel's choice if that is allowed, else the first that is free.
        let chosen = listen(0).ok().filter(|(port, _)| is_allowed(port));
        let mut ports = own.ports().filter(is_allowed);
        last.and_then(|port| listen(port).ok())
            .or(chosen)
            .or_else(|| ports.find_map(|port| listen(port).ok()))
            .ok_or_else(|| {
                let message = "no service port is free at the router: raise its --service-ports";
                unavailable(message.to_owned())
            })
    }

    /// Checks that a port that is held may get this new link, which needs the same identity, and ends
    /// the old link.
    fn take_over(
        &self,
        car: &Car,
        state: &mut State,
        claim: &Claim<'_>,
        held: &Held,
    ) -> Result<(), Refused> {
        let port = car.port;
        if car.identity != claim.identity {
            let holder = &state.name;
            if state.link.is_some() {
                return Err(unavailable(format!(
                    "service port {port} is held by '{holder}', an inner with another key: ask for another port"
                )));
            }
            if let QuotaOwner::Key(_) = car.owner {
                return Err(is_kept(port, holder));
            }
            let away = timing::now().saturating_duration_since(state.since);
            let left = timing::PORT_KEPT.saturating_sub(away).as_secs() + 1;
            return Err(unavailable(format!(
                "service port {port} is kept for '{holder}', which is away: it is free in {left} s if that does not come back"
            )));
        }
        if let Some(old) = state.link.clone() {
            // The same process dialling again is no rival: its old link is dead, and we don't know
            // it yet.
            if state.instance != Some(claim.hello.instance) {
                check_contention(state, port, &old)?;
            }
            let message = format!(
                "another inner with this identity has taken service port {port}: two inners need two keys, or two ports"
            );
            old.end(LinkEnd::Rejected(Rejection::TakenOver, message));
        }
        if state.asked_name != claim.hello.name {
            state.asked_name.clone_from(&claim.hello.name);
            state.name = self.unique(&claim.hello.name, held, port, claim.owner);
        }
        Ok(())
    }

    /// The name, with a number if another port than this one has it, or if it is kept for another owner.
    fn unique(&self, name: &LinkName, held: &Held, port: u16, owner: QuotaOwner) -> LinkName {
        let others = held.cars.values().filter(|car| car.port != port);
        let mut others: Vec<_> = others.map(|car| car.name()).collect();
        let kept = held.kept.iter();
        let kept = kept.filter(|kept| kept.owner != owner && self.knows(kept.owner));
        others.extend(kept.map(|kept| kept.called.as_ref().unwrap_or(&kept.name).clone()));
        name.made_unique(|name| others.contains(name))
    }
}

fn cannot_open(port: u16, error: &io::Error) -> Refused {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "is taken by another program on the router's host: ask for another, or end that program"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "needs privileges that the router does not have: ask for one of 1024 or above"
                .to_owned()
        }
        _ => format!("can't be opened by the router: {error}"),
    };
    unavailable(format!("service port {port} {why}"))
}

fn is_kept(port: u16, name: &LinkName) -> Refused {
    unavailable(format!(
        "service port {port} is kept for '{name}', of the key that had it last: ask for another port, or free it at the router (p2p-router port free {port})"
    ))
}

fn unavailable(message: String) -> Refused {
    (Rejection::PortUnavailable, message)
}

impl Held {
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

fn check_contention(state: &mut State, port: u16, holder: &LinkHandle) -> Result<(), Refused> {
    let now = timing::now();
    let takeovers = &mut state.takeovers;
    takeovers.retain(|at| now.saturating_duration_since(*at) < CONTENTION_WINDOW);
    if takeovers.len() < CONTENTION {
        takeovers.push(now);
        return Ok(());
    }
    let message = format!(
        "two inners with the same identity keep taking service port {port} from each other: give one of them another key or another port"
    );
    holder.send(ToLink::Notice(message.clone()));
    Err((Rejection::Contended, message))
}
