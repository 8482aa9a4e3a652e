//! Signals that come at the wrong moment: while a router is about to be another program, or is it
//! already and has not got far yet.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::{executable, folder, serves};
use crate::common::program::{RunningProgram, inner_of, router};
use crate::common::{HttpAnswer, ReservedPort, answered, asking, get, until, until_so};

/// How often it has listened.
fn starts(router: &RunningProgram) -> usize {
    router.errors().matches("listening on").count()
}

/// The signals that each of a process's threads holds back, as a set of bits.
fn held(pid: i32) -> Vec<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let held = threads.flatten().filter_map(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let line = status.lines().find_map(|it| it.strip_prefix("SigBlk:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    });
    held.collect()
}

#[tokio::test]
async fn a_router_that_is_told_to_restart_again_and_again_lives() {
    let folder = tempfile::tempdir().unwrap();
    let main = ReservedPort::new();
    let (router, _) = RunningProgram::open_router(folder.path(), main.port).await;
    // At each moment of five restarts, from the first to the last.
    until_so("it has restarted five times", async || {
        for _ in 0..20 {
            router.signal(Signal::USR2);
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        starts(&router) > 5
    })
    .await;
    until_so("it serves", async || {
        std::net::TcpStream::connect(("127.0.0.1", main.port)).is_ok()
            && get(main.port, "/healthz").await.status == 200
    })
    .await;
    // What it starts would take over what its threads hold back, other than for a moment.
    let ours = [Signal::USR2, Signal::TERM, Signal::INT].map(|it| 1 << (it.as_raw() - 1));
    let ours = ours.iter().fold(0, |all, it| all | it);
    until("no thread holds them back", || {
        let held = held(router.id());
        !held.is_empty() && held.iter().all(|held| held & ours == 0)
    })
    .await;
}

#[tokio::test]
async fn a_router_that_is_told_to_end_while_it_restarts_ends() {
    let folder = tempfile::tempdir().unwrap();
    let main = ReservedPort::new();
    for n in 0..40 {
        let mut command = router(folder.path());
        let port = main.port.to_string();
        let mut router =
            RunningProgram::start(command.args([&port, "--open", "--bind", "127.0.0.1"]));
        router.main_port().await;
        router.signal(Signal::USR2);
        router.says("restarting").await;
        // Until it is the other program it takes some milliseconds, and some more to its loop.
        tokio::time::sleep(Duration::from_micros(n * 500)).await;
        router.signal(Signal::TERM);
        let status = router.end().await;
        assert!(status.success(), "{n}: {status}: {}", router.errors());
    }
}

/// A router with a running command that waits for `gate`.
struct BusyRouter {
    folder: TempDir,
    router: RunningProgram,
    _inner: RunningProgram,
    service: ReservedPort,
    run: JoinHandle<HttpAnswer>,
}

impl BusyRouter {
    /// The router is this program, without arguments.
    async fn new(folder: TempDir, program: &mut Command) -> Self {
        let (main, service) = (ReservedPort::new(), ReservedPort::new());
        let arguments = [&main.port.to_string(), "--open", "--bind", "127.0.0.1"];
        let router = RunningProgram::start(program.args(arguments));
        router.main_port().await;
        let inner = RunningProgram::start(&mut inner_of(folder.path(), main.port, service.port));
        serves(service.port).await;
        let run = asking(service.port, "/cgi?command=wait");
        until_so("it runs", async || folder.path().join("begun").exists()).await;
        Self {
            folder,
            router,
            _inner: inner,
            service,
            run,
        }
    }

    async fn of_router() -> Self {
        let folder = folder();
        let mut program = router(folder.path());
        Self::new(folder, &mut program).await
    }

    fn open_gate(&self) {
        fs::write(self.folder.path().join("gate"), "").unwrap();
    }

    /// It was told to end: the command gets its time, and nothing comes after it.
    async fn ends_in_peace(mut self) {
        self.router.says("ending: running commands have 30 s").await;
        let meanwhile = get(self.service.port, "/cgi?command=hello").await;
        assert_eq!(meanwhile.verdict(), (503, "no"));
        self.open_gate();
        assert_eq!(answered(self.run).await.verdict(), (200, "yes"));
        let status = self.router.end().await;
        let errors = self.router.errors();
        assert!(status.success(), "{status}: {errors}");
        assert_eq!(starts(&self.router), 1, "{errors}");
    }
}

#[tokio::test]
async fn a_router_that_is_told_to_end_while_it_restarts_lets_end_what_runs() {
    let busy = BusyRouter::of_router().await;
    busy.router.signal(Signal::USR2);
    busy.router.says("restarting").await;
    busy.router.signal(Signal::TERM);
    busy.ends_in_peace().await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut busy = BusyRouter::of_router().await;
    busy.router.signal(Signal::USR2);
    busy.router.says("restarting").await;
    busy.router.signal(Signal::TERM);
    busy.router.says("ending: running commands have 30 s").await;
    busy.router.signal(Signal::INT);
    let status = busy.router.end().await;
    assert!(status.success(), "{status}: {}", busy.router.errors());
    assert_eq!(answered(busy.run).await.verdict(), (502, "unknown"));
}

#[tokio::test]
async fn a_router_that_is_told_to_end_while_it_looks_at_its_settings_lets_end_what_runs() {
    let folder = folder();
    // By a name that leads to another program by the time of the restart.
    let link = folder.path().join("p2p-router");
    let real = router(folder.path());
    symlink(real.as_std().get_program(), &link).unwrap();
    let mut program = Command::new(&link);
    program.env("P2P_HOST_NAMES", "car,car.test");
    program
        .env("HOME", folder.path())
        .current_dir(folder.path());
    let looking = folder.path().join("looking");
    let busy = BusyRouter::new(folder, &mut program).await;
    fs::remove_file(&link).unwrap();
    executable(&link, "#!/bin/sh\ntouch looking\nexec sleep 60\n");
    busy.router.signal(Signal::USR2);
    until_so("it looks", async || looking.exists()).await;
    busy.router.signal(Signal::TERM);
    busy.ends_in_peace().await;
}
