//! Decides who gets a service port: claims of inners, takeovers by the same identity, and refusals.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use p2p_shared::names::{Identity, LinkName};
use p2p_shared::os::random_u64;
use p2p_shared::protocol::{LinkHello, Rejection};
use p2p_shared::timing;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{Held, Registry};
use crate::car::open_port::OpenPort;
use crate::car::saved_ports::{PortState, SavedPort};
use crate::car::{Car, State};
use crate::link::end::LinkEnd;
use crate::link::handle::LinkHandle;
use crate::link::work::ToLink;
use crate::mesh::GrantedPort;
use crate::net::client_net::QuotaOwner;
use crate::net::port_range::PortRange;

/// Number of takeovers between live inners within [`CONTENTION_WINDOW`] that count as a fight.
const CONTENTION: usize = 3;
/// Time in which takeovers are counted; also the time for which the loser is kept out.
const CONTENTION_WINDOW: Duration = Duration::from_secs(60);

/// Silence of a link after which its inner does not live: one that lives answers each ping of an idle link
/// within the time that a busy link has.
const SILENT: Duration = timing::PACE_IDLE
    .ping
    .saturating_add(timing::PACE_BUSY.dead);

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
    /// The port that the mesh has granted, if there is one.
    pub grant: Option<MeshGrant>,
}

/// A port that the mesh has granted.
#[derive(Debug)]
pub(crate) struct MeshGrant {
    pub port: u16,
    /// Its socket, if it was opened to see whether it is free.
    pub listener: Option<TcpListener>,
    pub granted: GrantedPort,
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
    /// True if another router of the mesh had the car until now.
    pub was_elsewhere: bool,
}

impl Claim<'_> {
    /// The port; 0: any.
    fn port(&self) -> u16 {
        let granted = self.grant.as_ref().map(|grant| grant.port);
        granted.unwrap_or(self.hello.service_port)
    }
}

impl Registry {
    /// Gives the claimed port to the claimant, and takes it from the link of the same identity that has
    /// it, if there is one.
    pub(crate) fn claim(&self, claim: &mut Claim<'_>) -> Result<Granted, Refused> {
        let mut held = self.held.lock();
        held.check_late(claim)?;
        let known = match claim.port() {
            0 => self.own_lost(claim, &held),
            port => {
                self.check_allowed(claim)?;
                held.cars.get(&port).cloned()
            }
        };
        let mut was_elsewhere = false;
        let is_new = known.is_none();
        let car = match known {
            Some(car) => car,
            None => {
                self.check_quota(claim.owner, claim.port(), &held)?;
                let opened = (claim.grant.as_mut()).and_then(|grant| grant.listener.take());
                let open_port = match (held.elsewhere.take(claim.port()), opened) {
                    (Some(open_port), _) => {
                        was_elsewhere = true;
                        open_port
                    }
                    (None, Some(listener)) => OpenPort::new(claim.port(), Some(listener)),
                    (None, None) => {
                        let (port, listener) = self.open(claim, &held, |_| true)?;
                        OpenPort::new(port, listener)
                    }
                };
                let service_port = open_port.port;
                let mut kept = held
                    .kept
                    .extract_if(.., |kept| kept.service_port == service_port);
                let own = kept.find(|kept| kept.owner == claim.owner);
                drop(kept);
                if own.is_none() {
                    // What ran at the port before is none of this holder's business.
                    self.services.feed.forget(service_port);
                }
                let held_since = own.as_ref().map_or(0, |own| own.held_since);
                let holder = SavedPort {
                    service_port,
                    name: claim.hello.name.clone(),
                    called: own
                        .filter(|own| own.name == claim.hello.name)
                        .and_then(|own| own.called),
                    identity: claim.identity.clone(),
                    owner: claim.owner,
                    state: PortState::Open,
                    held_since,
                };
                self.add(&mut held, holder, open_port)
            }
        };
        let mut state = car.state.lock();
        if !is_new {
            self.take_over(&car, &mut state, claim, &mut held)?;
        }
        state.key = claim.key.to_owned();
        if let Some(MeshGrant { granted, .. }) = &claim.grant {
            state.told = (granted.held_since, Some(granted.stamp));
        }
        let interest = held.interest(car.port);
        let (link, work) = car.link_up(&mut state, claim.hello, interest);
        let name = state.name.clone();
        self.tell(&car, &mut state);
        drop(state);
        self.changed.send_replace(());
        Ok(Granted {
            car,
            name,
            link,
            work,
            is_new,
            was_elsewhere,
        })
    }

    /// The car that had this identity and name last and is away, or is silent as after a power cut, for an
    /// inner that asks for any port. Two inners that live take no port from each other.
    pub(super) fn own_lost(&self, claim: &Claim<'_>, held: &Held) -> Option<Arc<Car>> {
        let mut cars = held.cars.values();
        let own = cars.find(|car| {
            if car.identity != claim.identity || !self.is_allowed(claim, car.port) {
                return false;
            }
            let state = car.state.lock();
            let is_lost = state
                .link
                .as_ref()
                .is_none_or(|link| link.silence() > SILENT);
            is_lost && state.asked_name == claim.hello.name
        });
        own.cloned()
    }

    /// Returns true if the claimant may have this port, whoever has it now.
    pub(super) fn is_allowed(&self, claim: &Claim<'_>, port: u16) -> bool {
        let own = claim.ports.unwrap_or(self.rules.allowed);
        self.rules.allowed.contains(port) && own.contains(port)
    }

    pub(super) fn check_allowed(&self, claim: &Claim<'_>) -> Result<(), Refused> {
        let port = claim.port();
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

    /// Refuses an owner that has all the ports it may. Ports of cars that are away count, too.
    pub(super) fn check_quota(
        &self,
        owner: QuotaOwner,
        port: u16,
        held: &Held,
    ) -> Result<(), Refused> {
        if held.open_ports(owner) + self.ports_elsewhere(owner, port) < self.rules.most {
            return Ok(());
        }
        Err(unavailable(format!(
            "{} has {} service ports, the most that a key may have: end a link, or raise the router's --max-links",
            owner.whose(),
            self.rules.most
        )))
    }

    /// All ports of a range, the lowest first; or, in a mesh, from any of them on, since routers that choose at the
    /// same time would else choose the same.
    fn in_order(&self, range: PortRange) -> impl Iterator<Item = u16> {
        let (first, last) = range.ports().into_inner();
        let count = u64::from(last - first) + 1;
        let random = match self.rules.mesh {
            None => 0,
            Some(_) => random_u64().unwrap_or(0) % count,
        };
        let start = first + u16::try_from(random).unwrap_or(0);
        (start..=last).chain(first..start)
    }

    /// The claimed port and a listener on it, where ports are open; or those that a car of this key and name
    /// had last, or any that is allowed and free.
    pub(super) fn open(
        &self,
        claim: &Claim<'_>,
        held: &Held,
        is_free: impl Fn(u16) -> bool,
    ) -> Result<(u16, Option<TcpListener>), Refused> {
        let listen = |port| {
            let listener = self.listen(port)?;
            let opened = listener.as_ref().map(TcpListener::local_addr).transpose()?;
            Ok((opened.map_or(port, |address| address.port()), listener))
        };
        let (port, owner) = (claim.port(), claim.owner);
        if port != 0 {
            let mut kept = held.kept.iter().filter(|kept| kept.service_port == port);
            if let Some(kept) = kept.find(|kept| self.is_kept_from(kept, owner)) {
                return Err(is_kept(port, &kept.name));
            }
            return listen(port).map_err(|error| cannot_open(port, &error));
        }
        let own = claim.ports.unwrap_or(self.rules.allowed);
        let of_others = held
            .kept
            .iter()
            .filter(|kept| self.is_kept_from(kept, owner));
        let of_others: HashSet<u16> = of_others.map(|kept| kept.service_port).collect();
        let is_allowed = |port: &u16| {
            self.is_allowed(claim, *port)
                && !held.cars.contains_key(port)
                && !of_others.contains(port)
                && is_free(*port)
        };
        let mut kept = held.kept.iter().rev();
        let last = kept.find(|kept| kept.owner == owner && kept.name == claim.hello.name);
        let last = last.map(|last| last.service_port).filter(is_allowed);
        // The kernel's choice if that is allowed, else the next that is free.
        let chosen = listen(0).ok().filter(|(port, _)| is_allowed(port));
        let mut ports = self.in_order(own).filter(is_allowed);
        last.and_then(|port| listen(port).ok())
            .or(chosen)
            .or_else(|| ports.find_map(|port| listen(port).ok()))
            .ok_or_else(|| {
                let allowed = self.rules.allowed;
                let has_one = self.in_order(own).any(|port| self.is_allowed(claim, port));
                unavailable(match has_one {
                    true => "no service port is free at the router: raise its --service-ports".to_owned(),
                    false => format!(
                        "this key is for the service ports {own}, and the router has {allowed}: make a key for these (p2p-router key add NAME --role link --ports {allowed})"
                    ),
                })
            })
    }

    /// Checks that a port that is held may get this new link, which needs the same identity, and ends
    /// the old link.
    fn take_over(
        &self,
        car: &Car,
        state: &mut State,
        claim: &Claim<'_>,
        held: &mut Held,
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
        // Two cars may have got one name on two sides of a split.
        if state.asked_name != claim.hello.name || self.has_elsewhere(&state.name, port) {
            state.asked_name.clone_from(&claim.hello.name);
            let name = self.unique(&claim.hello.name, held, port, claim.owner);
            let old = std::mem::replace(&mut state.name, name.clone());
            if old.folded() != name.folded()
                && let Some(is_called) = state.is_called.take()
            {
                is_called.cancel();
            }
            held.rename(port, &old, &name);
        }
        Ok(())
    }
}

impl Held {
    /// Refuses a hello that was held up on its way: the same process has had a newer link since.
    pub(super) fn check_late(&self, claim: &Claim<'_>) -> Result<(), Refused> {
        let hello = claim.hello;
        let ports = match hello.service_port {
            0 => 0..=u16::MAX,
            port => port..=port,
        };
        let has_newer = |car: &Arc<Car>| {
            if car.identity != claim.identity {
                return false;
            }
            let state = car.state.lock();
            state.instance == Some(hello.instance) && state.dial > hello.dial
        };
        if !self.cars.range(ports).any(|(_, car)| has_newer(car)) {
            return Ok(());
        }
        // Who hears this is no rival, but has lost count, as after a snapshot of its machine: it may come again at
        // once, with a higher number.
        let message = "this hello comes late: the same inner has had a newer link since";
        Err(unavailable(message.to_owned()))
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

pub(super) fn unavailable(message: String) -> Refused {
    (Rejection::PortUnavailable, message)
}
