//! Three network namespaces in a row (router and console, the internet, the car). The middle one
//! forwards packets, or drops them all: a cut that neither end learns of. Needs root.

use std::io::Write;
use std::process::{Child, Command, Stdio};

/// The router's address, as the car sees it.
pub const ROUTER: &str = "10.77.1.1";

/// The namespaces. Dropping it removes them.
pub struct Namespaces {
    name: String,
    /// Sets whether the middle forwards, from within.
    gate: Option<Child>,
}

impl Namespaces {
    /// Makes them; or why they can't be made.
    pub fn make() -> Result<Self, String> {
        let name = format!("p2p-bench-{}", std::process::id());
        let mut namespaces = Self { name, gate: None };
        let [router, middle, car] = ["router", "middle", "car"].map(|part| namespaces.named(part));
        for space in [&router, &middle, &car] {
            ip(&format!("netns add {space}"))?;
        }
        ip(&format!(
            "link add wan netns {router} type veth peer name west netns {middle}"
        ))?;
        ip(&format!(
            "link add wan netns {car} type veth peer name east netns {middle}"
        ))?;
        for (space, device, address) in [
            (&router, "wan", "10.77.1.1/24"),
            (&middle, "west", "10.77.1.254/24"),
            (&middle, "east", "10.77.2.254/24"),
            (&car, "wan", "10.77.2.1/24"),
        ] {
            ip(&format!("-n {space} addr add {address} dev {device}"))?;
            ip(&format!("-n {space} link set {device} up"))?;
        }
        ip(&format!("-n {router} link set lo up"))?;
        ip(&format!("-n {router} route add default via 10.77.1.254"))?;
        ip(&format!("-n {car} route add default via 10.77.2.254"))?;
        let gate = Command::new("ip")
            .args(["netns", "exec", &middle, "sh", "-c"])
            .arg("while read -r on; do echo \"$on\" >/proc/sys/net/ipv4/ip_forward || exit; done")
            .stdin(Stdio::piped())
            .spawn();
        namespaces.gate = Some(gate.map_err(|why| why.to_string())?);
        namespaces.forward(true);
        Ok(namespaces)
    }

    /// The namespace of the router and the console.
    pub fn router(&self) -> String {
        self.named("router")
    }

    /// The namespace of the car.
    pub fn car(&self) -> String {
        self.named("car")
    }

    /// Passes packets on, or drops all of them from now on.
    pub fn forward(&self, on: bool) {
        let gate = self.gate.as_ref().and_then(|gate| gate.stdin.as_ref());
        let line: &[u8] = if on { b"1\n" } else { b"0\n" };
        gate.unwrap().write_all(line).unwrap();
    }

    fn named(&self, part: &str) -> String {
        format!("{}-{part}", self.name)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        if let Some(mut gate) = self.gate.take() {
            drop(gate.stdin.take());
            let _ = gate.wait();
        }
        for part in ["router", "middle", "car"] {
            let _ = ip(&format!("netns del {}", self.named(part)));
        }
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|why| format!("ip: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {arguments}: {}", why.trim()))
}
