//! Tells the other routers of a mesh what is here of each port, and asks them before a port is given. Without
//! a mesh nothing of it happens.

use std::sync::Arc;
use std::time::Duration;

use p2p_shared::names::LinkName;
use p2p_shared::timing;
use tokio::net::TcpListener;

use super::Registry;
use super::claim::{Claim, Granted, MeshGrant, Refused, unavailable};
use crate::car::saved_ports::{PortState, SavedPort};
use crate::car::{Car, State};
use crate::mesh::record::{HeldState, LinkStamp, PortRecord};
use crate::mesh::{ClaimRefused, Mesh, PortClaim};
use crate::net::client_net::QuotaOwner;

/// Most ports that are tried for an inner that asks for any.
const CHOICES: usize = 16;
/// Time after which no further one is tried: the inner waits.
const CHOOSING: Duration = Duration::from_secs(3);

impl Registry {
    /// Claims a port as [`claim`](Self::claim) does, after the other routers of the mesh were asked.
    pub(crate) async fn claim_everywhere(&self, mut claim: Claim<'_>) -> Result<Granted, Refused> {
        let Some(mesh) = &self.rules.mesh else {
            return self.claim(&mut claim);
        };
        let is_any = claim.hello.service_port == 0;
        let until = timing::now() + CHOOSING;
        let (mut refused, mut last) = (Vec::new(), None);
        loop {
            let chosen = self.choose(&claim, mesh, &refused);
            let (port, listener) = match last.take() {
                // There is no other: why it was refused says more.
                Some(why) if chosen.is_err() => return Err(unavailable(why)),
                _ => chosen?,
            };
            let asked = PortClaim {
                port,
                identity: claim.identity.clone(),
                instance: claim.hello.instance,
                dial: claim.hello.dial,
            };
            match mesh.claim(&asked).await {
                Ok(granted) => {
                    claim.grant = Some(MeshGrant {
                        port,
                        listener,
                        granted,
                    });
                    return self.claim(&mut claim);
                }
                Err(ClaimRefused(why))
                    if is_any && refused.len() < CHOICES && timing::now() < until =>
                {
                    refused.push(port);
                    last = Some(why);
                }
                Err(ClaimRefused(why)) => return Err(unavailable(why)),
            }
        }
    }

    /// The port to ask the mesh for.
    fn choose(
        &self,
        claim: &Claim<'_>,
        mesh: &Mesh,
        refused: &[u16],
    ) -> Result<(u16, Option<TcpListener>), Refused> {
        let held = self.held.lock();
        let (port, hello) = (claim.hello.service_port, claim.hello);
        held.check_late(claim)?;
        if port != 0 {
            self.check_allowed(claim)?;
        }
        let known = match port {
            0 => self.own_lost(claim, &held).map(|car| car.port).or_else(|| {
                let own = mesh.own_elsewhere(&claim.identity, &hello.name, hello.instance);
                own.filter(|port| self.is_allowed(claim, *port))
            }),
            port => held.cars.contains_key(&port).then_some(port),
        };
        if let Some(port) = known.filter(|port| !refused.contains(port)) {
            return Ok((port, None));
        }
        self.check_quota(claim.owner, port, &held)?;
        let is_elsewhere = |port| held.elsewhere.has(port) || mesh.is_elsewhere(port);
        if port != 0 && is_elsewhere(port) {
            return Ok((port, None));
        }
        let is_free = |port| !refused.contains(&port) && !is_elsewhere(port);
        let (port, listener) = self.open(claim, &held, is_free)?;
        Ok((port, listener))
    }

    /// The number of ports that other routers have open or keep for this owner, without this one.
    pub(super) fn ports_elsewhere(&self, owner: QuotaOwner, port: u16) -> usize {
        (self.rules.mesh.as_ref()).map_or(0, |mesh| mesh.ports_elsewhere(owner, port))
    }

    pub(super) fn has_elsewhere(&self, name: &LinkName, port: u16) -> bool {
        (self.rules.mesh.as_ref()).is_some_and(|mesh| mesh.is_name_taken(name, port))
    }

    /// The time as the mesh counts it; 0 without a mesh.
    pub(super) fn now_in_mesh(&self) -> u64 {
        self.rules.mesh.as_ref().map_or(0, |mesh| mesh.clock())
    }

    /// A number that no other router of the mesh gives. Browsers know whole numbers of 53 bits.
    pub(super) fn number_of_member(&self, number: u64) -> u64 {
        (self.rules.mesh.as_ref()).map_or(number, |mesh| mesh.member().with(number))
    }

    /// Notes since when a key has had its port, by all that the mesh knows. Without keys a port is kept for
    /// a minute, and who had it before that does not matter.
    pub(super) fn with_time(&self, mut saved: SavedPort) -> SavedPort {
        if let Some(since) =
            (self.rules.mesh.as_ref()).and_then(|mesh| mesh.held_since(saved.service_port))
        {
            saved.held_since = since;
        }
        if !matches!(saved.owner, QuotaOwner::Key(_)) {
            saved.held_since = 0;
        }
        saved
    }

    /// Tells the mesh what is here of a car.
    pub(super) fn tell(&self, car: &Car, state: &mut State) {
        let Some(mesh) = &self.rules.mesh else { return };
        if state.told.0 == 0 {
            state.told.0 = self.now_in_mesh();
        }
        let (held_since, link) = state.told;
        mesh.held(PortRecord {
            port: car.port,
            name: state.name.clone(),
            asked: state.asked_name.clone(),
            identity: car.identity.clone(),
            owner: car.owner,
            link,
            held_since,
            state: match state.link {
                Some(_) => HeldState::Up,
                None => HeldState::Away,
            },
        });
    }

    /// Tells the mesh that a port is kept, closed.
    pub(super) fn tell_kept(&self, saved: &SavedPort, held_since: u64, link: Option<LinkStamp>) {
        let Some(mesh) = &self.rules.mesh else { return };
        mesh.held(PortRecord {
            port: saved.service_port,
            name: saved.called.as_ref().unwrap_or(&saved.name).clone(),
            asked: saved.name.clone(),
            identity: saved.identity.clone(),
            owner: saved.owner,
            link,
            held_since,
            state: HeldState::Kept,
        });
    }

    /// Keeps a port whose router is gone for the key that had it there.
    pub(crate) fn adopt(&self, record: &PortRecord) {
        let mut held = self.held.lock();
        let is_elsewhere = |mesh: &Arc<Mesh>| mesh.is_elsewhere(record.port);
        if held.cars.contains_key(&record.port) || self.rules.mesh.iter().any(is_elsewhere) {
            return;
        }
        held.forget_kept(record.port);
        let saved = SavedPort {
            service_port: record.port,
            name: record.asked.clone(),
            called: Some(record.name.clone()),
            identity: record.identity.clone(),
            owner: record.owner,
            state: PortState::Kept,
            held_since: record.held_since,
        };
        self.keep_in(&mut held, saved, (record.held_since, record.link));
        self.changed.send_replace(());
    }

    /// Tells the mesh that there is nothing of a port here any more.
    pub(super) fn untell(&self, port: u16) {
        if let Some(mesh) = &self.rules.mesh {
            mesh.let_go(port);
        }
    }
}
