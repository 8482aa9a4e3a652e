//! The router as a process, with a car and a caller's key.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use p2p_inner::{Inner, LinkState};
use p2p_router::auth::certificate::Certificate;
use p2p_router::auth::key_store::KeyFile;
use p2p_shared::key::{Fingerprint, Key, Role};
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::protocol::MotionInfo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub struct Stand {
    pub main_port: u16,
    pub service_port: u16,
    pub key: Key,
    pub fingerprint: Option<Fingerprint>,
    router: Child,
    _inner: Inner,
    _folder: tempfile::TempDir,
}

impl Stand {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let file = KeyFile::in_dir(&state);
        let car = file.add(&"car".parse().unwrap(), Role::Link, None).unwrap();
        let key = file
            .add(&"desk".parse().unwrap(), Role::Drive, None)
            .unwrap();
        let mut router = Command::new(crate::products::path("p2p-router"))
            .args(["0", "--bind", "127.0.0.1", "--state-dir"])
            .arg(&state)
            .arg("--log-dir")
            .arg(folder.path().join("logs"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(router.stderr.take().unwrap()).lines();
        let main_port = lines
            .by_ref()
            .find_map(|line| {
                let line = line.unwrap();
                let (_, address) = line.split_once("listening on ")?;
                address.trim().parse().ok().map(|at: SocketAddr| at.port())
            })
            .unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let commands = folder.path().join("command");
        std::fs::create_dir(&commands).unwrap();
        let hello = commands.join("hello");
        std::fs::write(&hello, "#!/bin/sh\necho hello\n").unwrap();
        std::fs::set_permissions(&hello, std::fs::Permissions::from_mode(0o755)).unwrap();
        let inner = Inner::start(p2p_inner::Config {
            router: RouterAddress {
                host: "127.0.0.1".to_owned(),
                port: main_port,
            },
            service_port: 0,
            name: "car".parse().unwrap(),
            identity: "identity1".parse().unwrap(),
            key: Some(car),
            commands,
            timeout: Duration::from_secs(30),
            max_runs: 16,
            worker_hello: p2p_inner::WORKER_HELLO,
            motion: MotionInfo {
                commands: Vec::new(),
                stop: "stop".parse().unwrap(),
                lease_ms: 400,
                limit_ms: 2000,
            },
            guardian: None,
            camera: None,
        })
        .unwrap();
        let mut state_of_link = inner.link_state();
        let is_up = |state: &LinkState| matches!(state, LinkState::Up { .. });
        let LinkState::Up { service_port, .. } = *state_of_link.wait_for(is_up).await.unwrap()
        else {
            unreachable!()
        };
        Self {
            main_port,
            service_port,
            key,
            fingerprint: Certificate::own(&state).unwrap().fingerprint(),
            router,
            _inner: inner,
            _folder: folder,
        }
    }

    /// KiB of the router's memory, now.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that it ever was.
    pub fn most_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.router.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    /// What the router counts under this name.
    pub async fn metric(&self, name: &str) -> String {
        let address = (Ipv4Addr::LOCALHOST, self.main_port);
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let name = format!("p2p_router_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or("?").to_owned()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = self.router.kill();
        let _ = self.router.wait();
    }
}
