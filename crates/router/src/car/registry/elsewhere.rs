//! Follows the mesh: opens the ports of cars that other routers have, and ends what is here of a car that has
//! gone to another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use p2p_shared::logging::LogThrottle;
use p2p_shared::names::LinkName;
use p2p_shared::protocol::Rejection;
use p2p_shared::timing;
use tokio::net::TcpListener;

use super::{Held, Registry};
use crate::car::Car;
use crate::car::elsewhere::ElsewherePort;
use crate::car::open_port::OpenPort;
use crate::link::end::LinkEnd;
use crate::mesh;
use crate::mesh::record::HeldState;

/// Ports of cars that other routers have.
#[derive(Debug)]
pub(super) struct Elsewhere {
    open: BTreeMap<u16, Arc<ElsewherePort>>,
    /// Those that can't be opened here.
    closed: BTreeSet<u16>,
    /// Those that are asked for by host name: by the car's name, or by the number of one that is not open here.
    named: BTreeMap<u16, Vec<Arc<ElsewherePort>>>,
    /// Sockets of the router before this one, until the mesh has said whose they are.
    inherited: BTreeMap<u16, Arc<OpenPort>>,
    /// A router that goes or comes takes all its ports along.
    log: LogThrottle,
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            closed: BTreeSet::new(),
            named: BTreeMap::new(),
            inherited: BTreeMap::new(),
            log: LogThrottle::new(10, Duration::from_secs(1)),
        }
    }
}

impl Elsewhere {
    /// Takes a port's socket, for a car that comes here.
    pub(super) fn take(&mut self, port: u16) -> Option<Arc<OpenPort>> {
        self.closed.remove(&port);
        self.retain_named(port, |_| false);
        match self.open.remove(&port) {
            Some(elsewhere) => {
                elsewhere.closed.cancel();
                Some(elsewhere.open.clone())
            }
            None => self.inherited.remove(&port),
        }
    }

    /// What is at this port for callers who ask for it by this name, or by number.
    fn named(&mut self, port: u16, name: Option<LinkName>) -> Arc<ElsewherePort> {
        let named = self.named.entry(port).or_default();
        if let Some(known) = named.iter().find(|known| known.name == name) {
            return known.clone();
        }
        let new = Arc::new(ElsewherePort::new(OpenPort::new(port, None), name));
        named.push(new.clone());
        new
    }

    /// Ends what goes to this port by a host name, but by these.
    fn retain_named(&mut self, port: u16, is_kept: impl Fn(&Option<LinkName>) -> bool) {
        let Some(named) = self.named.get_mut(&port) else {
            return;
        };
        for ended in named.extract_if(.., |named| !is_kept(&named.name)) {
            ended.closed.cancel();
        }
        if named.is_empty() {
            self.named.remove(&port);
        }
    }

    fn close(&mut self, port: u16) {
        if let Some(port) = self.take(port) {
            port.closed.cancel();
        }
    }

    /// Returns true if there is a socket for this port.
    pub(super) fn has(&self, port: u16) -> bool {
        self.open.contains_key(&port) || self.inherited.contains_key(&port)
    }
}

/// Whom a request on a service port is for.
#[derive(Debug)]
pub(crate) enum Occupant {
    /// A car whose link is here, or is awaited here.
    Here(Arc<Car>),
    /// A car whose link another router has.
    Elsewhere(Arc<ElsewherePort>),
}

impl Occupant {
    /// Returns the service port.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Here(car) => car.port,
            Self::Elsewhere(port) => port.open.port,
        }
    }
}

impl Held {
    fn occupant(&self, port: u16) -> Option<Occupant> {
        if let Some(car) = self.cars.get(&port) {
            return Some(Occupant::Here(car.clone()));
        }
        let elsewhere = self.elsewhere.open.get(&port)?;
        Some(Occupant::Elsewhere(elsewhere.clone()))
    }
}

impl Registry {
    /// Whom a request on this port is for now. `None`: the port closes.
    pub(crate) fn occupant(&self, port: u16) -> Option<Occupant> {
        self.held.lock().occupant(port)
    }

    /// The same, also if the port is open at its holder alone.
    pub(crate) fn occupant_anywhere(&self, port: u16) -> Option<Occupant> {
        self.find(&mut self.held.lock(), port, None)
    }

    /// Returns true if it is known which car has this port.
    pub(crate) fn is_known(&self, port: u16) -> bool {
        let is_elsewhere = |mesh: &mesh::Mesh| mesh.is_elsewhere(port);
        self.held.lock().cars.contains_key(&port)
            || self.rules.mesh.as_deref().is_some_and(is_elsewhere)
    }

    fn find(&self, held: &mut Held, port: u16, name: Option<&LinkName>) -> Option<Occupant> {
        let is_meant = |it: &Occupant| name.is_none() || matches!(it, Occupant::Here(_));
        held.occupant(port).filter(is_meant).or_else(|| {
            let there = self.rules.mesh.as_ref()?.holder_elsewhere(port)?;
            let is_open = there.record.state != HeldState::Kept;
            is_open.then(|| Occupant::Elsewhere(held.elsewhere.named(port, name.cloned())))
        })
    }

    /// The cars that have this name, here and at other routers, by their ports. There may be several after
    /// routers have met that could not ask each other.
    pub(crate) fn named(&self, name: &LinkName) -> BTreeMap<u16, Occupant> {
        let (held, name) = (&mut self.held.lock(), &name.folded());
        let here = held.names.get(name).copied();
        let mesh = self.rules.mesh.as_ref();
        let anywhere = mesh.map(|mesh| mesh.ports_named(name));
        let ports: BTreeSet<u16> = anywhere.into_iter().flatten().chain(here).collect();
        let ports = ports.into_iter();
        let found = ports.filter_map(|port| Some((port, self.find(held, port, Some(name))?)));
        found.collect()
    }

    /// Does what has to be done after the holder of a port may have changed. Returns the port if it is to be
    /// served from now on.
    pub(crate) fn follow(&self, port: u16) -> Option<Arc<OpenPort>> {
        let mesh = self.rules.mesh.as_ref()?;
        let mut held = self.held.lock();
        if mesh.is_own_freed(port) {
            self.free_here(&mut held, port);
        }
        let Some(there) = mesh.holder_elsewhere(port) else {
            held.elsewhere.close(port);
            return None;
        };
        let mut open = None;
        if let Some(car) = held.cars.get(&port).cloned() {
            if let Some(left_out) = held.elsewhere.log.allow(timing::now()) {
                tracing::info!(
                    link = %car.name(), service_port = port, router = %there.member.address, left_out,
                    "another router has this car now"
                );
            }
            open = car.moved(end(&car, &there));
            held.remove(&car);
            self.changed.send_replace(());
        }
        // What counts there counts more than what is here.
        held.forget_kept(port);
        mesh.let_go(port);
        if there.record.state == HeldState::Kept {
            held.elsewhere.close(port);
            if let Some(open) = open {
                open.closed.cancel();
            }
            return None;
        }
        let called = Some(there.record.name.folded());
        let is_open = held.elsewhere.open.contains_key(&port);
        (held.elsewhere).retain_named(port, |name| *name == called || name.is_none() && !is_open);
        if is_open {
            return None;
        }
        let open = open.or_else(|| held.elsewhere.inherited.remove(&port));
        match open.map_or_else(|| self.open_elsewhere(&held, port), Ok) {
            Ok(open) => {
                let elsewhere = Arc::new(ElsewherePort::new(open.clone(), None));
                held.elsewhere.closed.remove(&port);
                held.elsewhere.retain_named(port, Option::is_some);
                held.elsewhere.open.insert(port, elsewhere);
                Some(open)
            }
            Err(error) => {
                if held.elsewhere.closed.insert(port)
                    && let Some(left_out) = held.elsewhere.log.allow(timing::now())
                {
                    tracing::warn!(
                        link = %there.record.name, service_port = port, router = %there.member.address,
                        error, left_out,
                        "callers of this car are not served here: the port can't be opened"
                    );
                }
                None
            }
        }
    }

    /// The ports of cars elsewhere that could not be opened.
    pub(crate) fn not_opened(&self) -> BTreeSet<u16> {
        self.held.lock().elsewhere.closed.clone()
    }

    /// Keeps sockets of the router before this one, until the mesh has said whose they are. Those of ports
    /// that are not to be open any more close.
    pub(crate) fn inherit(&self, sockets: Vec<(u16, TcpListener)>) {
        let rules = &self.rules;
        let sockets = sockets
            .into_iter()
            .filter(|(port, _)| rules.are_open && rules.allowed.contains(*port))
            .map(|(port, socket)| (port, OpenPort::new(port, Some(socket))));
        self.held.lock().elsewhere.inherited.extend(sockets);
    }

    /// Closes those of which the mesh has said nothing.
    pub(crate) fn close_inherited(&self) {
        self.held.lock().elsewhere.inherited.clear();
    }

    /// The sockets of the ports of cars that other routers have, for the router after this one.
    pub(crate) fn elsewhere_sockets(&self) -> Vec<Arc<TcpListener>> {
        let held = self.held.lock();
        let open = held.elsewhere.open.values().map(|it| &it.open);
        let all = open.chain(held.elsewhere.inherited.values());
        all.filter_map(|open| open.listener.clone()).collect()
    }

    /// Closes the ports of cars that other routers have, as this one goes down.
    pub(crate) fn close_elsewhere(&self) {
        let mut held = self.held.lock();
        let elsewhere = &held.elsewhere;
        let ports: Vec<u16> = (elsewhere.open.keys().chain(elsewhere.named.keys()))
            .copied()
            .collect();
        for port in ports {
            held.elsewhere.close(port);
        }
    }

    fn open_elsewhere(&self, held: &Held, port: u16) -> Result<Arc<OpenPort>, String> {
        if self.rules.are_open && held.elsewhere.open.len() >= self.rules.most_elsewhere {
            return Err(format!(
                "there are {} open for cars of other routers, the most with this limit of open files",
                self.rules.most_elsewhere
            ));
        }
        if !self.rules.allowed.contains(port) {
            let allowed = self.rules.allowed;
            return Err(format!("this router has the service ports {allowed}"));
        }
        let listener = self.listen(port).map_err(|error| error.to_string())?;
        Ok(OpenPort::new(port, listener))
    }
}

/// Reason for the end of a link whose car another router has.
fn end(car: &Car, there: &mesh::Elsewhere) -> LinkEnd {
    let (port, record, router) = (car.port, &there.record, &there.member.address);
    if record.identity == car.identity {
        let message = format!(
            "an inner with this identity has taken service port {port} at the router {router}: two inners need two keys, or two ports"
        );
        return LinkEnd::Rejected(Rejection::TakenOver, message);
    }
    let message = format!(
        "service port {port} is held by '{}', an inner with another key, at the router {router}, which had it first: ask for another port",
        record.name
    );
    LinkEnd::Rejected(Rejection::PortUnavailable, message)
}
