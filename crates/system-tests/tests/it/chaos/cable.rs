//! Faults of the network below the connections: a cable pulled, another address. They need root.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::fixture::{Fixture, pause};
use super::fixture_config::FixtureConfig;
use super::resources::run;
use super::round::Fault;

/// The inner's own network, connected by a cable. Dropping it removes the network.
struct NetworkCable {
    space: String,
    device: String,
    /// The first three numbers of its addresses.
    net: String,
    /// The last number of the inner's.
    at: AtomicU8,
}

impl NetworkCable {
    /// And the router's address.
    fn make() -> Result<(Self, String), String> {
        let id = std::process::id();
        let cable = Self {
            space: format!("p2p-chaos-{id}"),
            // At most 15 bytes.
            device: format!("p2pc{id}"),
            net: format!("10.{}.{}", 100 + id % 100, id / 100 % 250),
            at: AtomicU8::new(2),
        };
        let Self {
            space, device, net, ..
        } = &cable;
        ip(&format!("netns add {space}"))?;
        ip(&format!(
            "link add {device} type veth peer name wan netns {space}"
        ))?;
        ip(&format!("addr add {net}.1/24 dev {device}"))?;
        ip(&format!("-n {space} addr add {net}.2/24 dev wan"))?;
        ip(&format!("-n {space} link set wan up"))?;
        ip(&format!("link set {device} up"))?;
        let router = format!("{net}.1");
        Ok((cable, router))
    }

    /// The inner there, and its router here.
    fn leads_to(&self, router: String) -> FixtureConfig {
        FixtureConfig {
            starter: ["ip", "netns", "exec", &self.space]
                .map(str::to_owned)
                .into(),
            host: Some(router),
            is_elsewhere: true,
            ..FixtureConfig::default()
        }
    }

    /// The inner has another address from now on.
    fn moves(&self) {
        let Self { space, net, .. } = self;
        let old = self.at.fetch_xor(1, Ordering::SeqCst);
        let new = old ^ 1;
        ip(&format!("-n {space} addr del {net}.{old}/24 dev wan")).unwrap();
        ip(&format!("-n {space} addr add {net}.{new}/24 dev wan")).unwrap();
    }

    /// At the router's end: the inner's network is told nothing but that nothing comes.
    fn is_plugged(&self, is_plugged: bool) {
        let to = if is_plugged { "up" } else { "down" };
        ip(&format!("link set {} {to}", self.device)).unwrap();
    }
}

impl Drop for NetworkCable {
    fn drop(&mut self) {
        let _ = ip(&format!("link del {}", self.device));
        let _ = ip(&format!("netns del {}", self.space));
    }
}

/// A cable and the router's address, where there can be one.
fn cable() -> Option<(NetworkCable, String)> {
    let made = NetworkCable::make();
    made.inspect_err(|why| eprintln!("skipped: no network can be made: {why}"))
        .ok()
}

fn ip(arguments: &str) -> Result<(), String> {
    run("ip", &arguments.split(' ').collect::<Vec<_>>())
}

/// As when a car goes over from one network to another: the old connection is dead, and nobody
/// says so.
#[tokio::test]
async fn address_changes() {
    let Some((cable, router)) = cable() else {
        return;
    };
    let mut fault = Fault::named("inner's address changes")
        .severs()
        // The inner looks for its address each second, and believes the third look.
        .noticed_after(Duration::from_secs(3));
    fault.fixture_config = cable.leads_to(router);
    let strike = async |fixture: &mut Fixture| {
        fixture.strikes_once();
        cable.moves();
    };
    fault.strikes(strike).await;
}

#[tokio::test]
async fn cable_pulled() {
    let Some((cable, router)) = cable() else {
        return;
    };
    let mut fault = Fault::named("cable pulled, 2 s").severs();
    fault.fixture_config = cable.leads_to(router);
    let strike = async |fixture: &mut Fixture| {
        fixture.strikes();
        cable.is_plugged(false);
        pause(2.0).await;
        cable.is_plugged(true);
        fixture.heals();
    };
    fault.strikes(strike).await;
}
