//! Routers that join a mesh by a line, and keys that hold at all of them: the real programs, and a server of NATS.

use std::fs;
use std::io::{Seek, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

use crate::common::program::{RunningProgram, router, run};
use crate::common::{PATIENCE, ReservedPort, until};

/// A server of NATS, killed when it is dropped.
struct NatsServer(Child);

impl NatsServer {
    fn start(port: u16) -> Self {
        let mut command = std::process::Command::new("nats-server");
        let command = command.args(["-a", "127.0.0.1", "-p", &port.to_string()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Self(child.expect("nats-server (Debian: apt install nats-server)"));
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < end, "nats-server does not listen");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        server
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A host with a router that is reached at this port.
struct Host {
    folder: tempfile::TempDir,
    port: ReservedPort,
}

impl Host {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            port: ReservedPort::new(),
        }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.port)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(".local/state/p2prouter").join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// Runs `p2p-router` with these words. Returns what it printed and said, if it ended well.
    async fn router(&self, words: &[&str]) -> Result<(String, String), String> {
        self.router_with(words, "").await
    }

    async fn join(&self, line: &str) -> Result<(String, String), String> {
        self.router_with(&["mesh", "join"], line).await
    }

    /// The same with a standard input.
    async fn router_with(&self, words: &[&str], input: &str) -> Result<(String, String), String> {
        let mut read = tempfile::tempfile().unwrap();
        read.write_all(input.as_bytes()).unwrap();
        read.rewind().unwrap();
        let address = self.address();
        let mut command = router(self.folder.path());
        let command = command.args(words).env("P2P_MESH_ADDRESS", address);
        let command = command.stdin(Stdio::from(read));
        let ended = run(command).await;
        match ended.code {
            Some(0) => Ok((ended.out, ended.errors)),
            _ => Err(ended.errors),
        }
    }

    /// Starts the router as a member.
    async fn start(&self, nats: u16) -> RunningProgram {
        let (port, nats) = (
            self.port.port.to_string(),
            format!("nats://127.0.0.1:{nats}"),
        );
        let address = self.address();
        let mut command = router(self.folder.path());
        let member = ["--mesh", &nats, "--mesh-address", &address];
        let running =
            RunningProgram::start(command.args([&port, "--bind", "127.0.0.1"]).args(member));
        assert_eq!(running.main_port().await, self.port.port);
        running
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_router_joins_by_a_line_and_a_key_that_is_revoked_there_is_revoked_here() {
    let nats = ReservedPort::new();
    let _server = NatsServer::start(nats.port);
    let (here, there) = (Host::new(), Host::new());
    here.router(&["mesh", "new"]).await.unwrap();
    let here_runs = here.start(nats.port).await;
    here.router(&["key", "add", "car", "--role", "link"])
        .await
        .unwrap();
    let (line, _) = here.router(&["mesh", "invite"]).await.unwrap();
    let line = line.trim();
    assert!(line.ends_with(&format!("_{}", here.address())), "{line}");

    there.join(line).await.unwrap();
    for name in ["mesh.toml", "tls.pem", "keys.toml"] {
        assert_eq!(there.text(name), here.text(name), "{name}");
        assert_eq!(mode(&there.file(name)), 0o600, "{name}");
    }
    let other = Host::new();
    let used = other.join(line).await.unwrap_err();
    assert!(used.contains("this invitation was used before"), "{used}");
    let wrong = other.join("p2pi1_x").await.unwrap_err();
    assert!(wrong.contains("this is no invitation"), "{wrong}");

    // Before its router runs, nobody hears of it.
    there
        .router(&["key", "add", "early", "--role", "view"])
        .await
        .unwrap();
    let (_, said) = there.router(&["key", "revoke", "early"]).await.unwrap();
    assert!(
        said.contains("revoked in this state directory: no router"),
        "{said}"
    );
    let joined = there.start(nats.port).await;
    joined.says("a member joined").await;
    there
        .router(&["key", "add", "desk", "--role", "drive"])
        .await
        .unwrap();
    until("it is known here", || {
        here.text("keys.toml").contains("\"desk\"")
    })
    .await;
    let (_, said) = there.router(&["key", "revoke", "car"]).await.unwrap();
    let everywhere = format!("revoked here and at {}\n", here.address());
    assert!(said.contains(&everywhere), "{said}");
    assert!(!here.text("keys.toml").contains("\"car\""));
    let (list, _) = here.router(&["key", "list"]).await.unwrap();
    // An id has any letters.
    let is_listed = |name| list.lines().any(|line| line.starts_with(name));
    assert!(is_listed("desk ") && !is_listed("car "), "{list}");

    // One that went away before this one was started again is named, until somebody says that it is gone.
    let address = there.address();
    drop(joined);
    drop(here_runs);
    let _again = here.start(nats.port).await;
    let said = async || {
        here.router(&["key", "add", "more", "--role", "view"])
            .await
            .unwrap();
        here.router(&["key", "revoke", "more"]).await.unwrap().1
    };
    let named = said().await;
    assert!(
        named.contains(&format!("; {address} has not been heard of for ")),
        "{named}"
    );
    here.router(&["mesh", "forget", &address]).await.unwrap();
    let named = said().await;
    assert!(named.contains("revoked here\n"), "{named}");
}
