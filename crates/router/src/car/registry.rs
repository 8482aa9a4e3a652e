//! Owns who is linked on which service port: claims, takeovers, refusals, and for how long a
//! port is kept for an inner that is away. It decides; the sockets are `service`'s.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use p2p_shared::names::{Identity, InstanceId, LinkName};
use p2p_shared::ports::PortRange;
use p2p_shared::protocol::Rejection;
use p2p_shared::timing;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::camera::Camera;
use crate::car::saved_ports::SavedPort;
use crate::link::end::LinkEnd;
use crate::link::handle::{LinkHandle, LinkId};
use crate::link::work::ToLink;
use crate::net::client_net::QuotaOwner;

/// So many takeovers between live inners within [`CONTENTION_WINDOW`] are a fight.
const CONTENTION: usize = 3;
/// See [`CONTENTION`]; also how long the loser is kept out.
const CONTENTION_WINDOW: Duration = Duration::from_secs(60);

/// What an inner asks for.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Whose ports are counted.
    pub party: QuotaOwner,
    pub identity: Identity,
    pub instance: InstanceId,
    pub name: LinkName,
    /// 0: any.
    pub service_port: u16,
    /// The ports that its key may ask for.
    pub ports: Option<PortRange>,
}

/// Why a claim is refused, in words for its owner.
pub(crate) type Refused = (Rejection, String);

/// A service port: who holds it, and the link to it.
#[derive(Debug)]
pub(crate) struct ServicePort {
    pub port: u16,
    party: QuotaOwner,
    identity: Identity,
    name: Mutex<Naming>,
    occupant: Mutex<Occupant>,
    takeovers: Mutex<Vec<Instant>>,
    /// Until the port is given up.
    listener: Mutex<Option<Arc<TcpListener>>>,
    pub camera: Arc<Camera>,
    /// The port is given up.
    pub closed: CancellationToken,
}

/// What an inner wants to be called, and what it is called.
#[derive(Debug)]
struct Naming {
    asked: LinkName,
    given: LinkName,
}

/// Who is at the other end of a service port.
#[derive(Debug, Clone)]
pub(crate) enum Occupant {
    Linked(LinkHandle),
    /// Since then; the port is kept for its owner.
    Away(Instant),
}

impl ServicePort {
    /// What its inner is called.
    pub(crate) fn name(&self) -> LinkName {
        lock(&self.name).given.clone()
    }

    pub(crate) fn occupant(&self) -> Occupant {
        lock(&self.occupant).clone()
    }

    /// Its socket, until the port is given up.
    pub(crate) fn listener(&self) -> Option<Arc<TcpListener>> {
        lock(&self.listener).clone()
    }

    /// Whether its inner is this.
    pub(crate) fn is_of(&self, identity: &Identity) -> bool {
        self.identity == *identity
    }
}

/// A claim that was granted.
#[derive(Debug)]
pub(crate) struct Granted {
    pub service: Arc<ServicePort>,
    pub link: LinkHandle,
    pub work: tokio::sync::mpsc::UnboundedReceiver<ToLink>,
    /// Whether the port was not open yet.
    pub is_new: bool,
}

/// All service ports.
#[derive(Debug)]
pub(crate) struct Registry {
    ports: Mutex<HashMap<u16, Arc<ServicePort>>>,
    allowed: PortRange,
    bind: IpAddr,
    /// Most ports of one party.
    most: usize,
    /// Which ports there are has changed, or who holds one.
    changed: watch::Sender<()>,
}

impl Registry {
    pub(crate) fn new(bind: IpAddr, allowed: PortRange, most: usize) -> Self {
        Self {
            ports: Mutex::default(),
            allowed,
            bind,
            most,
            changed: watch::Sender::new(()),
        }
    }

    /// Gives the claimed port to the claimant, away from a link of the same identity if there is
    /// one.
    pub(crate) fn claim(&self, claim: &Claim) -> Result<Granted, Refused> {
        let mut ports = lock(&self.ports);
        if claim.service_port != 0 {
            self.check_allowed(claim)?;
            if let Some(service) = ports.get(&claim.service_port) {
                let granted = take_over(service, claim, &ports)?;
                // It may be called something else now.
                self.changed.send_replace(());
                return Ok(granted);
            }
        }
        self.check_quota(claim.party, &ports)?;
        let (port, listener) = self.open(claim)?;
        let name = unique(&claim.name, &ports, port);
        let (link, work) = LinkHandle::new(name.clone(), claim.instance);
        let naming = Naming {
            asked: claim.name.clone(),
            given: name,
        };
        let service = Arc::new(ServicePort {
            port,
            party: claim.party,
            identity: claim.identity.clone(),
            name: Mutex::new(naming),
            occupant: Mutex::new(Occupant::Linked(link.clone())),
            takeovers: Mutex::default(),
            listener: Mutex::new(Some(Arc::new(listener))),
            camera: Arc::default(),
            closed: CancellationToken::new(),
        });
        ports.insert(port, service.clone());
        self.changed.send_replace(());
        Ok(Granted {
            service,
            link,
            work,
            is_new: true,
        })
    }

    /// Opens a port that was open before this router's start, and keeps it for its owner, whose
    /// link was lost with the router that was. `None` if it can't be, or may not any more.
    pub(crate) fn restore(
        &self,
        saved: &SavedPort,
        party: QuotaOwner,
        listener: Option<TcpListener>,
    ) -> Option<Arc<ServicePort>> {
        let port = saved.service_port;
        if !self.allowed.contains(port) {
            return None;
        }
        let listen = || p2p_shared::net::socket::listen((self.bind, port).into()).ok();
        let listener = listener.or_else(listen)?;
        let mut ports = lock(&self.ports);
        let naming = Naming {
            asked: saved.name.clone(),
            given: unique(&saved.name, &ports, port),
        };
        let service = Arc::new(ServicePort {
            port,
            party,
            identity: saved.identity.clone(),
            name: Mutex::new(naming),
            occupant: Mutex::new(Occupant::Away(Instant::now())),
            takeovers: Mutex::default(),
            listener: Mutex::new(Some(Arc::new(listener))),
            camera: Arc::default(),
            closed: CancellationToken::new(),
        });
        ports.insert(port, service.clone());
        Some(service)
    }

    /// Where its ports listen.
    pub(crate) fn bind(&self) -> IpAddr {
        self.bind
    }

    /// What is to be saved of the ports after a restart.
    pub(crate) fn saved(&self) -> Vec<SavedPort> {
        let services = self.services();
        let saved = services.iter().map(|service| {
            let asked = lock(&service.name).asked.clone();
            SavedPort::new(service.port, asked, service.identity.clone(), service.party)
        });
        saved.collect()
    }

    /// Tells when [`saved`](Self::saved) has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The link has ended: its port waits for its owner, unless another link holds it already.
    /// Returns whether it waits.
    pub(crate) fn release(&self, service: &ServicePort, link: LinkId) -> bool {
        let mut occupant = lock(&service.occupant);
        let is_its_own = matches!(&*occupant, Occupant::Linked(held) if held.id() == link);
        if is_its_own {
            *occupant = Occupant::Away(Instant::now());
        }
        is_its_own
    }

    /// Gives the port up if its owner has been away for [`timing::PORT_KEPT`], or at once. Since
    /// when it was away, if this gave it up.
    pub(crate) fn give_up(&self, service: &Arc<ServicePort>, at_once: bool) -> Option<Instant> {
        let mut ports = lock(&self.ports);
        let Occupant::Away(since) = service.occupant() else {
            return None;
        };
        let is_over = at_once || since.elapsed() >= timing::PORT_KEPT;
        if !is_over || service.closed.is_cancelled() {
            return None;
        }
        service.closed.cancel();
        lock(&service.listener).take();
        self.changed.send_replace(());
        if ports
            .get(&service.port)
            .is_some_and(|held| Arc::ptr_eq(held, service))
        {
            ports.remove(&service.port);
        }
        Some(since)
    }

    /// The service port of this number.
    pub(crate) fn service(&self, port: u16) -> Option<Arc<ServicePort>> {
        lock(&self.ports).get(&port).cloned()
    }

    /// All service ports there are.
    pub(crate) fn services(&self) -> Vec<Arc<ServicePort>> {
        lock(&self.ports).values().cloned().collect()
    }

    fn check_allowed(&self, claim: &Claim) -> Result<(), Refused> {
        let port = claim.service_port;
        let own = claim.ports.unwrap_or(self.allowed);
        for (range, whose) in [(self.allowed, "this router"), (own, "this key")] {
            if !range.contains(port) {
                return Err((
                    Rejection::PortUnavailable,
                    format!(
                        "{whose} allows the service ports {range}, not {port}: ask for one of those"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// A port that is kept for one who is away counts, too; one that is taken again is no more.
    fn check_quota(
        &self,
        party: QuotaOwner,
        ports: &HashMap<u16, Arc<ServicePort>>,
    ) -> Result<(), Refused> {
        let held = ports.values().filter(|service| service.party == party);
        if held.count() < self.most {
            return Ok(());
        }
        let whose = match party {
            QuotaOwner::Key(_) => "this key",
            QuotaOwner::At(_) => "your address",
        };
        let message = format!(
            "{whose} has {} service ports, which is all it may: end a link, or raise the router's --max-links",
            self.most
        );
        Err((Rejection::PortUnavailable, message))
    }

    /// A listener on the claimed port, or on any that is allowed and free.
    fn open(&self, claim: &Claim) -> Result<(u16, TcpListener), Refused> {
        let listen = |port| {
            let listener = p2p_shared::net::socket::listen((self.bind, port).into())?;
            Ok((listener.local_addr()?.port(), listener))
        };
        if claim.service_port != 0 {
            return listen(claim.service_port)
                .map_err(|error| cannot_open(claim.service_port, &error));
        }
        let own = claim.ports.unwrap_or(self.allowed);
        let is_allowed = |port: &u16| self.allowed.contains(*port) && own.contains(*port);
        // Of the kernel's choice if that may be, else the first that is free.
        match listen(0) {
            Ok((port, listener)) if is_allowed(&port) => return Ok((port, listener)),
            _ => {}
        }
        own.ports()
            .filter(is_allowed)
            .find_map(|port| listen(port).ok())
            .ok_or_else(|| {
                let message = "no service port is free at the router: raise its --service-ports";
                (Rejection::PortUnavailable, message.to_owned())
            })
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
    (
        Rejection::PortUnavailable,
        format!("service port {port} {why}"),
    )
}

/// Gives a port that is held to a new link of the same identity, and to nobody else.
fn take_over(
    service: &Arc<ServicePort>,
    claim: &Claim,
    ports: &HashMap<u16, Arc<ServicePort>>,
) -> Result<Granted, Refused> {
    let mut occupant = lock(&service.occupant);
    if service.identity != claim.identity {
        let holder = service.name();
        let port = service.port;
        let message = match &*occupant {
            Occupant::Linked(_) => {
                format!(
                    "service port {port} is held by '{holder}', an inner with another key: ask for another port"
                )
            }
            Occupant::Away(since) => {
                let left = timing::PORT_KEPT.saturating_sub(since.elapsed()).as_secs() + 1;
                format!(
                    "service port {port} is kept for '{holder}', which is away: it is free in {left} s if that does not come back"
                )
            }
        };
        return Err((Rejection::PortUnavailable, message));
    }
    if let Occupant::Linked(old) = &*occupant {
        // The same process dialling again is no rival: its old link is dead, and we don't know
        // it yet.
        if old.instance() != claim.instance {
            check_contention(service, old)?;
        }
        let message = format!(
            "another inner with this identity has taken service port {}: two inners need two keys, or two ports",
            service.port
        );
        old.end(LinkEnd::Rejected(Rejection::TakenOver, message));
    }
    if lock(&service.name).asked != claim.name {
        let given = unique(&claim.name, ports, service.port);
        *lock(&service.name) = Naming {
            asked: claim.name.clone(),
            given,
        };
    }
    let (link, work) = LinkHandle::new(service.name(), claim.instance);
    *occupant = Occupant::Linked(link.clone());
    Ok(Granted {
        service: service.clone(),
        link,
        work,
        is_new: false,
    })
}

/// The name, with a number if another port than this one has it.
fn unique(name: &LinkName, ports: &HashMap<u16, Arc<ServicePort>>, port: u16) -> LinkName {
    let mut others = ports.values().filter(|held| held.port != port);
    let others: Vec<_> = others.by_ref().map(|held| held.name()).collect();
    name.made_unique(|name| others.contains(name))
}

fn check_contention(service: &ServicePort, holder: &LinkHandle) -> Result<(), Refused> {
    let mut takeovers = lock(&service.takeovers);
    takeovers.retain(|at| at.elapsed() < CONTENTION_WINDOW);
    if takeovers.len() < CONTENTION {
        takeovers.push(Instant::now());
        return Ok(());
    }
    let message = format!(
        "two inners with the same identity keep taking service port {} from each other: give one of them another key or another port",
        service.port
    );
    holder.send(ToLink::Notice(message.clone()));
    Err((Rejection::Contended, message))
}

/// A lock that a panic elsewhere doesn't spoil: what it guards is whole at every await and
/// return.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
