//! What systemd hears of the programs: that they are ready, live, restart and end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::program::{Program, inner_of, router};
use common::{ReservedPort, soon};
use rustix::process::Signal;
use tokio::net::UnixDatagram;
use tokio::process::Command;

/// What stands in for systemd.
struct Supervisor {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Supervisor {
    fn new(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path }
    }

    /// Starts it as systemd does, which wants to hear of it twice in this time.
    fn start(&self, program: &mut Command) -> Program {
        program.env("NOTIFY_SOCKET", &self.path);
        Program::start(program.env("WATCHDOG_USEC", "100000"))
    }

    async fn hears(&self, what: &str) {
        soon(what, async {
            let mut said = [0; 256];
            loop {
                let length = self.socket.recv(&mut said).await.unwrap();
                let said = str::from_utf8(&said[..length]).unwrap();
                if said.lines().any(|line| line == what) {
                    return;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_router_says_that_it_is_ready_lives_restarts_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let systemd = Supervisor::new(folder.path());
    let main = ReservedPort::new();
    let mut command = router(folder.path());
    command.args([&main.port.to_string(), "--open", "--bind", "127.0.0.1"]);
    let mut program = systemd.start(&mut command);
    systemd.hears("READY=1").await;
    for _ in 0..2 {
        systemd.hears("WATCHDOG=1").await;
    }
    program.signal(Signal::USR2);
    for news in ["RELOADING=1", "READY=1", "WATCHDOG=1"] {
        systemd.hears(news).await;
    }
    program.signal(Signal::TERM);
    systemd.hears("STOPPING=1").await;
    assert!(program.end().await.success());
}

#[tokio::test]
async fn an_inner_says_that_it_is_ready_lives_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let commands = folder.path().join("command");
    std::fs::create_dir(&commands).unwrap();
    std::fs::set_permissions(&commands, std::fs::Permissions::from_mode(0o755)).unwrap();
    let systemd = Supervisor::new(folder.path());
    let mut program = systemd.start(&mut inner_of(folder.path(), 1, 0));
    systemd.hears("READY=1").await;
    for _ in 0..2 {
        systemd.hears("WATCHDOG=1").await;
    }
    program.signal(Signal::TERM);
    systemd.hears("STOPPING=1").await;
    assert!(program.end().await.success());
}
