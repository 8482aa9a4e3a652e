//! Networks of three hosts on one machine, and the lines between them. They need root.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

use super::resources::run;

/// How a line between two hosts fails.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LineFault {
    /// Senders are told at once.
    Cut,
    /// What is sent vanishes.
    Silent,
}

/// A namespace for each host, at one switch with this machine. Dropping it removes all.
pub(crate) struct HostNetwork {
    id: u32,
    number: u8,
}

impl HostNetwork {
    /// Makes it, where it can be made.
    pub(crate) fn make() -> Option<Self> {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        let id = std::process::id();
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let network = Self { id, number };
        let made = network.set_up();
        made.inspect_err(|why| eprintln!("skipped: no networks can be made: {why}"))
            .ok()?;
        Some(network)
    }

    fn set_up(&self) -> Result<(), String> {
        let switch = self.device("s");
        ip(&format!("link add {switch} type bridge"))?;
        ip(&format!("addr add {}/28 dev {switch}", self.at(14)))?;
        ip(&format!("link set {switch} up"))?;
        for host in 0..3 {
            let (space, device) = (self.space(host), self.device(&host.to_string()));
            ip(&format!("netns add {space}"))?;
            ip(&format!(
                "link add {device} type veth peer name wan netns {space}"
            ))?;
            ip(&format!("link set {device} master {switch} up"))?;
            let address = self.address(host);
            ip(&format!("-n {space} addr add {address}/28 dev wan"))?;
            ip(&format!("-n {space} link set wan up"))?;
            ip(&format!("-n {space} link set lo up"))?;
        }
        Ok(())
    }

    pub(crate) fn space(&self, host: usize) -> String {
        format!("p2p-mesh-{}-{}-{host}", self.id, self.number)
    }

    /// At most 15 bytes.
    fn device(&self, end: &str) -> String {
        format!("p2pm{}{}{end}", self.id % 1_000_000, self.number % 10)
    }

    pub(crate) fn address(&self, host: usize) -> Ipv4Addr {
        self.at([1, 2, 3][host])
    }

    fn at(&self, last: u8) -> Ipv4Addr {
        let [.., high, low] = self.id.to_be_bytes();
        // Of the networks that carriers share out behind one address (RFC 6598).
        Ipv4Addr::new(100, 64 | high & 0x3f, low, self.number << 4 | last)
    }

    /// From now on nothing gets from one host to the other; the other way is as it was.
    pub(crate) fn fails(&self, from: usize, to: usize, how: LineFault) {
        let kind = match how {
            LineFault::Cut => "unreachable",
            LineFault::Silent => "blackhole",
        };
        let (space, to) = (self.space(from), self.address(to));
        ip(&format!("-n {space} route add {kind} {to}/32")).unwrap();
    }

    pub(crate) fn heals(&self, from: usize, to: usize) {
        let (space, to) = (self.space(from), self.address(to));
        ip(&format!("-n {space} route del {to}/32")).unwrap();
    }
}

impl Drop for HostNetwork {
    fn drop(&mut self) {
        for host in 0..3 {
            let _ = ip(&format!("netns del {}", self.space(host)));
        }
        let _ = ip(&format!("link del {}", self.device("s")));
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    run("ip", &arguments.split(' ').collect::<Vec<_>>())
}
