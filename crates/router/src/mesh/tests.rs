//! Members over a bus within the process, on paused time.

use std::time::Duration;

use p2p_shared::names::{Identity, InstanceId};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::hub::{Faults, Hub};
use super::message::{KeyDigests, Message, Topic};
use super::record::{HeldState, LinkStamp};
use super::*;
use crate::net::client_net::QuotaOwner;

mod claims;
mod hostile;
mod members;
#[cfg(feature = "mesh")]
mod nats;
mod properties;
mod splits;

const SECRET: [u8; 32] = [7; 32];

/// A member and its task.
struct TestMember {
    mesh: Arc<Mesh>,
    closed: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl std::ops::Deref for TestMember {
    type Target = Mesh;

    fn deref(&self) -> &Mesh {
        &self.mesh
    }
}

impl TestMember {
    fn join(hub: &Hub, address: &str) -> Self {
        Self::with_secret(hub, address, SECRET)
    }

    fn with_secret(hub: &Hub, address: &str, secret: [u8; 32]) -> Self {
        let config = Self::config(address, secret);
        Self::of(&config, |mesh| hub.connect(mesh.start()))
    }

    fn config(address: &str, secret: [u8; 32]) -> MeshConfig {
        MeshConfig {
            servers: Vec::new(),
            credentials: None,
            address: Some(address.parse().unwrap()),
            secret: MeshSecret::new(secret),
            keys_stale: None,
        }
    }

    fn of(config: &MeshConfig, connect: impl FnOnce(&Mesh) -> BusEnd) -> Self {
        let main_port = ([127, 0, 0, 1], 8888).into();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mesh = Mesh::new(config, main_port, &Metrics::new(), time).unwrap();
        let (mesh, closed) = (Arc::new(mesh), CancellationToken::new());
        let running = mesh.clone().run(connect(&mesh), closed.clone());
        Self {
            mesh,
            closed,
            task: AbortOnDropHandle::new(tokio::spawn(running)),
        }
    }

    #[cfg(feature = "mesh")]
    fn is_bus_up(&self) -> bool {
        self.metrics.bus_up.get() == 1
    }

    /// Claims a port and holds it.
    async fn take(&self, port: u16, of: &str, instance: u64, dial: u64) -> Result<Epoch, String> {
        let granted = self.claim(&claim(port, of, instance, dial)).await;
        let granted = granted.map_err(|refused| refused.0)?;
        self.held(record(port, of, Some(granted.stamp), granted.held_since));
        Ok(granted.stamp.epoch)
    }

    /// Does what a registry does about a link that counts less.
    fn yield_ports(&self) {
        let own: Vec<u16> = self
            .state
            .read()
            .directory
            .own()
            .entries
            .keys()
            .copied()
            .collect();
        for port in own {
            if self.holder_elsewhere(port).is_some() {
                self.let_go(port);
            }
        }
    }

    /// Whose port this is, and at which member.
    fn sees(&self, port: u16) -> Option<(Start, String)> {
        let state = self.state.read();
        let (start, entry) = state.directory.holder(port)?;
        Some((start, entry.record.identity.as_str().to_owned()))
    }

    fn present(&self) -> usize {
        self.state.read().members.present().count()
    }

    async fn leave(self) {
        self.closed.cancel();
        self.task.await.unwrap();
    }
}

fn identity(of: &str) -> Identity {
    of.parse().unwrap()
}

fn claim(port: u16, of: &str, instance: u64, dial: u64) -> PortClaim {
    PortClaim {
        port,
        identity: identity(of),
        instance: InstanceId(instance),
        dial,
    }
}

fn record(port: u16, of: &str, link: Option<LinkStamp>, held_since: u64) -> PortRecord {
    PortRecord {
        port,
        name: of.parse().unwrap(),
        asked: of.parse().unwrap(),
        identity: identity(of),
        owner: QuotaOwner::At(std::net::IpAddr::from([192, 0, 2, 1]).into()),
        link,
        held_since,
        state: HeldState::Up,
    }
}

/// True if a port's car is up at another member, which is not away.
fn is_up(at: &TestMember, port: u16) -> bool {
    let there = at.holder_elsewhere(port).unwrap();
    there.record.state == HeldState::Up && !there.member.is_away()
}

/// Three members that know each other.
async fn three(hub: &Hub) -> [TestMember; 3] {
    let members = ["a:1", "b:2", "c:3"].map(|address| TestMember::join(hub, address));
    until(|| members.iter().all(|member| member.present() == 2)).await;
    // What they have to tell each other at first is told.
    sleep(Duration::from_secs(1)).await;
    members
}

/// How many seeds a test tries: as many as it says, or `MESH_SEEDS` by hand.
fn seeds(default: u64) -> u64 {
    let by_hand = std::env::var("MESH_SEEDS").ok();
    by_hand.map_or(default, |number| number.parse().unwrap())
}

/// Waits for something, on paused time.
async fn until(mut is_so: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(tokio::time::Instant::now() < end, "it did not come to that");
        sleep(Duration::from_millis(10)).await;
    }
}
