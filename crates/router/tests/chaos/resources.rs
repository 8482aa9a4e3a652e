//! Faults of the machines: a full disk, no descriptors, a cable pulled. Some need root.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::round::Fault;
use super::stand::{Space, Stand, pause};

#[tokio::test]
async fn disk_full() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make a small disk");
        return;
    }
    let mut fault = Fault::named("disk of the logs full, 2 s");
    fault.prepare = |folder| {
        let logs = folder.join("logs");
        std::fs::create_dir(&logs).unwrap();
        let logs = logs.to_str().unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=1m", "p2p-test", logs]).unwrap();
    };
    fault.clear = |folder| {
        let logs = folder.join("logs");
        let _ = run("umount", &["--lazy", logs.to_str().unwrap()]);
    };
    let strike = async |stand: &mut Stand| {
        let full = stand.path().join("logs/full");
        stand.strikes();
        fills(&full);
        pause(2.0).await;
        std::fs::remove_file(full).unwrap();
        stand.heals();
    };
    fault.strikes(strike).await;
}

/// Writes until there is no space.
fn fills(file: &Path) {
    let mut file = std::fs::File::create(file).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|why| format!("{program}: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {arguments:?}: {}", why.trim()))
}

/// Leaves a process without new descriptors for two seconds: what it has, it keeps.
async fn without_descriptors(stand: &Stand, process: i32) {
    let process = Pid::from_raw(process);
    let none = Rlimit {
        current: Some(3),
        maximum: rustix::process::getrlimit(Resource::Nofile).maximum,
    };
    stand.strikes();
    let before = prlimit(process, Resource::Nofile, none).unwrap();
    pause(2.0).await;
    prlimit(process, Resource::Nofile, before).unwrap();
    stand.heals();
}

#[tokio::test]
async fn router_without_descriptors() {
    let fault = Fault::named("router without descriptors, 2 s");
    let strike = async |stand: &mut Stand| without_descriptors(stand, stand.router.id()).await;
    fault.strikes(strike).await;
}

#[tokio::test]
async fn inner_without_descriptors() {
    let fault = Fault::named("inner without descriptors, 2 s");
    let strike = async |stand: &mut Stand| without_descriptors(stand, stand.inner.id()).await;
    fault.strikes(strike).await;
}

/// The inner's network, connected by a cable. Dropped, it is gone.
struct Cable {
    space: String,
    device: String,
}

impl Cable {
    /// And the router's address.
    fn make() -> Result<(Self, String), String> {
        let id = std::process::id();
        let cable = Self {
            space: format!("p2p-chaos-{id}"),
            // At most 15 bytes.
            device: format!("p2pc{id}"),
        };
        let Self { space, device } = &cable;
        let net = format!("10.{}.{}", 100 + id % 100, id / 100 % 250);
        ip(&format!("netns add {space}"))?;
        ip(&format!(
            "link add {device} type veth peer name wan netns {space}"
        ))?;
        ip(&format!("addr add {net}.1/24 dev {device}"))?;
        ip(&format!("-n {space} addr add {net}.2/24 dev wan"))?;
        ip(&format!("-n {space} link set wan up"))?;
        ip(&format!("link set {device} up"))?;
        Ok((cable, format!("{net}.1")))
    }

    /// At the router's end: the inner's network is told nothing but that nothing comes.
    fn is_plugged(&self, is_plugged: bool) {
        let to = if is_plugged { "up" } else { "down" };
        ip(&format!("link set {} {to}", self.device)).unwrap();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = ip(&format!("link del {}", self.device));
        let _ = ip(&format!("netns del {}", self.space));
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    run("ip", &arguments.split(' ').collect::<Vec<_>>())
}

#[tokio::test]
async fn cable_pulled() {
    let (cable, router) = match Cable::make() {
        Ok(made) => made,
        Err(why) => {
            eprintln!("skipped: no network can be made to pull a cable of: {why}");
            return;
        }
    };
    let mut fault = Fault::named("cable pulled, 2 s").severs();
    let name = cable.space.clone();
    fault.space = Some(Space { name, router });
    let strike = async |stand: &mut Stand| {
        stand.strikes();
        cable.is_plugged(false);
        pause(2.0).await;
        cable.is_plugged(true);
        stand.heals();
    };
    fault.strikes(strike).await;
}
