//! Faults of the machines: a full disk, no descriptors, no processes. Some need root.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::fixture::{Fixture, pause};
use super::fixture_config::FixtureConfig;
use super::round::Fault;
use crate::common::procfs::is_running;
use crate::common::until;

/// Has a small disk in this folder of a round.
fn small_disk(folder: &Path, name: &str) {
    let disk = folder.join(name);
    std::fs::create_dir(&disk).unwrap();
    let disk = disk.to_str().unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=1m", "p2p-test", disk]).unwrap();
}

fn no_disk(folder: &Path, name: &str) {
    let disk = folder.join(name);
    let _ = run("umount", &["--lazy", disk.to_str().unwrap()]);
}

fn may_have_disks() -> bool {
    let may = rustix::process::geteuid().is_root();
    if !may {
        eprintln!("skipped: only root can make a small disk");
    }
    may
}

#[tokio::test]
async fn disk_full() {
    if !may_have_disks() {
        return;
    }
    let mut fault = Fault::named("disk of the logs full, 2 s");
    fault.prepare = |folder| small_disk(folder, "logs");
    fault.clear = |folder| no_disk(folder, "logs");
    let strike = async |fixture: &mut Fixture| {
        let full = fixture.path().join("logs/full");
        fixture.strikes();
        fills(&full);
        pause(2.0).await;
        std::fs::remove_file(full).unwrap();
        fixture.heals();
    };
    fault.strikes(strike).await;
}

/// Of all that either program writes; and both have to start with it as it is.
#[tokio::test]
async fn disk_full_at_the_start() {
    if !may_have_disks() {
        return;
    }
    let fault = Fault::named("disk of state and logs full, both restarted");
    let mut fault = fault.severs().router_dies();
    fault.prepare = |folder| small_disk(folder, "disk");
    fault.clear = |folder| no_disk(folder, "disk");
    let on_it = |state: &str| {
        let logs = ("P2P_LOG_DIR", "disk/logs".to_owned());
        vec![logs, ("P2P_STATE_DIR", format!("disk/{state}"))]
    };
    fault.fixture_config.router_variables = on_it("router");
    fault.fixture_config.inner_variables = on_it("inner");
    let strike = async |fixture: &mut Fixture| {
        let full = fixture.path().join("disk/full");
        let guardian = fixture.child_of_inner("p2p-guardian").await;
        fixture.strikes();
        fills(&full);
        fixture.router.kill().await;
        fixture.inner.kill().await;
        // Its last stop would end what the next inner moves, which the driver wouldn't notice.
        until("the guardian has ended", || !is_running(guardian)).await;
        fixture.start_router();
        fixture.start_inner();
        // It is there, and moves, before there is room again.
        fixture.serves().await;
        fixture.moves().await;
        std::fs::remove_file(full).unwrap();
        fixture.heals();
    };
    fault.strikes(strike).await;
}

/// Writes until there is no space.
fn fills(file: &Path) {
    let mut file = std::fs::File::create(file).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}

/// Runs a tool of the machine.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|why| format!("{program}: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {arguments:?}: {}", why.trim()))
}

/// Leaves a process without new descriptors for two seconds: what it has, it keeps.
async fn without_descriptors(fixture: &Fixture, process: i32) {
    let process = Pid::from_raw(process);
    let none = Rlimit {
        current: Some(3),
        maximum: rustix::process::getrlimit(Resource::Nofile).maximum,
    };
    fixture.strikes();
    let before = prlimit(process, Resource::Nofile, none).unwrap();
    pause(2.0).await;
    prlimit(process, Resource::Nofile, before).unwrap();
    fixture.heals();
}

#[tokio::test]
async fn router_without_descriptors() {
    let fault = Fault::named("router without descriptors, 2 s");
    let strike =
        async |fixture: &mut Fixture| without_descriptors(fixture, fixture.router.id()).await;
    fault.strikes(strike).await;
}

#[tokio::test]
async fn inner_without_descriptors() {
    let fault = Fault::named("inner without descriptors, 2 s");
    let strike =
        async |fixture: &mut Fixture| without_descriptors(fixture, fixture.inner.id()).await;
    fault.strikes(strike).await;
}

/// A user of whom there is no process: a limit counts all that a user has. It binds everyone but
/// root, so where we are root, the inner is this user.
const USER: u32 = 61_234;

/// Where limits on processes bind the inner.
fn setting_with_limits() -> FixtureConfig {
    FixtureConfig {
        user: rustix::process::geteuid().is_root().then_some(USER),
        ..FixtureConfig::default()
    }
}

/// So many at the most, or any number.
fn may_have_processes(of: &[i32], most: Option<u64>) {
    let limit = most.map_or("unlimited".to_owned(), |most| most.to_string());
    for process in of {
        let mut tool = Command::new("prlimit");
        tool.args([format!("--pid={process}"), format!("--nproc={limit}:")]);
        // In a container, root may not do this to others.
        if rustix::process::geteuid().is_root() {
            tool.uid(USER).gid(USER);
        }
        // On a slow machine one of the two may have been replaced by the other.
        let is_gone = || !Path::new(&format!("/proc/{process}")).exists();
        assert!(tool.status().unwrap().success() || is_gone());
    }
}

/// Its car has to be stopped, and the driver is silent; and so nothing but the inner's own patience
/// stops it once that can be done again.
#[tokio::test]
async fn inner_without_processes() {
    // A stop is a process, too: the next that is tried after those 2 s.
    let fault = Fault::named("inner without processes, 2 s").delays(Duration::from_secs(4));
    let mut fault = fault.severs();
    fault.fixture_config = setting_with_limits();
    let strike = async |fixture: &mut Fixture| {
        let guardian = fixture.child_of_inner("p2p-guardian").await;
        let all = [fixture.inner.id(), guardian];
        let most = rustix::process::getrlimit(Resource::Nproc).current;
        fixture.strikes();
        may_have_processes(&all, Some(1));
        fixture
            .driver_faults
            .is_silent
            .store(true, Ordering::SeqCst);
        pause(2.0).await;
        may_have_processes(&all, most);
        fixture.heals();
        fixture.stands().await;
        fixture
            .driver_faults
            .is_silent
            .store(false, Ordering::SeqCst);
        fixture.moves().await;
    };
    fault.strikes(strike).await;
}

/// It leaves the stop to the guardian, which can't run it before there are processes again.
#[tokio::test]
async fn inner_killed_without_processes() {
    let fault = Fault::named("inner killed without processes, 3 s").delays(Duration::from_secs(6));
    let mut fault = fault.severs();
    fault.fixture_config = setting_with_limits();
    let strike = async |fixture: &mut Fixture| {
        let guardian = fixture.child_of_inner("p2p-guardian").await;
        let most = rustix::process::getrlimit(Resource::Nproc).current;
        fixture.strikes();
        may_have_processes(&[guardian], Some(1));
        fixture.inner.kill().await;
        pause(3.0).await;
        may_have_processes(&[guardian], most);
        fixture.stands().await;
        fixture.start_inner();
        fixture.heals();
    };
    fault.strikes(strike).await;
}
