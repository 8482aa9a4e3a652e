//! What the tests need: routers, lines between them that can be cut, inners, and callers.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use p2p_inner::{Inner, LinkState};
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::MotionInfo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{soon, until};
use crate::config::Config;
use crate::context::Context;
use crate::mesh::hub::Hub;
use crate::mesh::{MemberState, MeshConfig, MeshSecret};
use crate::server::Router;

/// A port that nobody else gets on any address of loopback while this lives.
pub(super) struct ReservedPort {
    pub port: u16,
    _socket: socket2::Socket,
}

impl ReservedPort {
    pub(super) fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_reuse_address(true).unwrap();
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        socket.bind(&any.into()).unwrap();
        Self {
            port: socket.local_addr().unwrap().as_socket().unwrap().port(),
            _socket: socket,
        }
    }
}

/// A router at 127.0.0.N, and the folder of its inners' commands.
pub(super) struct Place {
    pub address: Ipv4Addr,
    pub router: Router,
    pub line: Line,
    pub folder: tempfile::TempDir,
    _main_port: ReservedPort,
    mesh: Option<AbortOnDropHandle<()>>,
}

pub(super) fn config(number: u8) -> Config {
    Config {
        bind: at(number).into(),
        allow_plain_http: false,
        ..Config::open()
    }
}

fn at(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, number)
}

impl Place {
    pub(super) async fn start(number: u8, hub: &Hub) -> Self {
        Self::with(config(number), [7; 32], hub).await
    }

    /// Three routers that know each other.
    pub(super) async fn three(hub: &Hub) -> [Self; 3] {
        let places = [
            Self::start(2, hub).await,
            Self::start(3, hub).await,
            Self::start(4, hub).await,
        ];
        for place in &places {
            place.knows(2).await;
        }
        places
    }

    /// A member whose main port the others reach by a line.
    pub(super) async fn with(config: Config, secret: [u8; 32], hub: &Hub) -> Self {
        let std::net::IpAddr::V4(address) = config.bind else {
            unreachable!()
        };
        let main_port = ReservedPort::new();
        let line = Line::to((address, main_port.port).into()).await;
        let router = Router::start(Config {
            port: main_port.port,
            mesh: Some(MeshConfig {
                servers: Vec::new(),
                credentials: None,
                address: Some(line.address.to_string().parse().unwrap()),
                secret: MeshSecret::new(secret),
                keys_stale: config.mesh.as_ref().and_then(|mesh| mesh.keys_stale),
            }),
            ..config
        });
        let router = router.unwrap();
        let mesh = router.context.mesh.clone().unwrap();
        let running = mesh.clone().run(
            hub.connect(mesh.start()),
            router.context.shutdown.closed.clone(),
        );
        Self {
            address,
            router,
            line,
            folder: tempfile::tempdir().unwrap(),
            _main_port: main_port,
            mesh: Some(AbortOnDropHandle::new(tokio::spawn(running))),
        }
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.router.context
    }

    /// Waits until this one knows so many members that are present.
    pub(super) async fn knows(&self, members: usize) {
        let mesh = self.context().mesh.clone().unwrap();
        until("the members know each other", || {
            let all = mesh.members();
            let present = all.iter().filter(|it| it.state == MemberState::Present);
            present.count() == members
        })
        .await;
    }

    /// Waits until callers of this port are served here, for a car elsewhere.
    pub(super) async fn serves(&self, port: u16) {
        until("the port is open here, too", || {
            std::net::TcpStream::connect((self.address, port)).is_ok()
        })
        .await;
    }

    /// The bus and the line bring nothing of this one any more, and nothing to it.
    pub(super) fn vanish(&mut self) {
        self.mesh = None;
        self.line.set(Passing::Refused);
    }

    pub(super) fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.folder.path().join("command").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Another process writes it, as no file is executed that one here has open for writing.
        let mut writer = std::process::Command::new("tee")
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let script = format!("#!/bin/sh\n{body}\n");
        std::io::Write::write_all(&mut writer.stdin.take().unwrap(), script.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    pub(super) fn note(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that leaves a note when it begins and one when it was ended.
    pub(super) fn long_script(&self, name: &str, first: &str) {
        let (begun, ended) = (self.note("begun"), self.note("ended"));
        let (begun, ended) = (begun.display(), ended.display());
        self.script(
            name,
            &format!("trap 'touch {ended}; exit 1' TERM; {first}\ntouch {begun}; while [ -e {begun} ]; do sleep 0.01; done"),
        );
    }

    pub(super) async fn has_begun(&self) {
        until("the command runs", || self.note("begun").exists()).await;
    }

    pub(super) async fn was_ended(&self) {
        until("the command was ended", || self.note("ended").exists()).await;
    }

    /// The main port.
    pub(super) fn address(&self) -> RouterAddress {
        RouterAddress {
            host: self.address.to_string(),
            port: self.router.address().port(),
        }
    }

    pub(super) fn inner_config(&self, identity: &str, port: u16) -> p2p_inner::Config {
        let command = |name: &str| name.parse().unwrap();
        p2p_inner::Config {
            routers: vec![self.address()],
            service_port: port,
            name: "car".parse().unwrap(),
            identity: identity.parse().unwrap(),
            key: None,
            open: true,
            commands: self.folder.path().join("command"),
            timeout: Duration::from_secs(30),
            max_runs: 16,
            worker_hello: p2p_inner::WORKER_HELLO,
            motion: MotionInfo {
                commands: std::iter::once(command("forward")).collect(),
                stop: command("stop"),
                lease_ms: 400,
                limit_ms: 2000,
            },
            ring: None,
            guardian: None,
            camera: None,
        }
    }

    /// An inner whose link is up here.
    pub(super) async fn inner(&self, identity: &str, port: u16) -> Inner {
        self.inner_with(self.inner_config(identity, port)).await
    }

    pub(super) async fn inner_with(&self, config: p2p_inner::Config) -> Inner {
        std::fs::create_dir_all(self.folder.path().join("command")).unwrap();
        let inner = Inner::start(config).unwrap();
        let mut state = inner.link_state();
        let is_up = |state: &LinkState| matches!(state, LinkState::Up { .. });
        let up = soon("the link comes up", state.wait_for(is_up)).await;
        drop(up.unwrap());
        inner
    }

    /// Asks on a service port here, and reads until the connection ends.
    pub(super) async fn ask(&self, port: u16, request: &str) -> Said {
        let caller = self.call(port, request).await;
        read(caller).await
    }

    /// The same for a `GET`.
    pub(super) async fn get(&self, port: u16, path: &str) -> Said {
        let host = self.address;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        self.ask(port, &request).await
    }

    pub(super) async fn call(&self, port: u16, request: &str) -> TcpStream {
        let mut caller = TcpStream::connect((self.address, port)).await.unwrap();
        caller.write_all(request.as_bytes()).await.unwrap();
        caller
    }
}

/// What came until the end of a connection.
#[derive(Debug)]
pub(super) struct Said(pub String);

impl Said {
    pub(super) fn status(&self) -> u16 {
        self.0
            .get(9..12)
            .and_then(|it| it.parse().ok())
            .unwrap_or(0)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next().unwrap();
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
        lines
            .find(|(is, _)| is.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(super) fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// Status and `P2P-Executed`.
    pub(super) fn fate(&self) -> (u16, &str) {
        (self.status(), self.header("p2p-executed").unwrap_or("-"))
    }
}

pub(super) async fn read(mut from: impl tokio::io::AsyncRead + Unpin) -> Said {
    let mut said = Vec::new();
    // A reset ends it, too.
    let _ = soon("the answer ends", from.read_to_end(&mut said)).await;
    Said(String::from_utf8_lossy(&said).into_owned())
}

/// What a line does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passing {
    Open,
    /// Connections stay, and nothing passes, as where the other end is suspended.
    Frozen,
    /// All takes this time longer, each way.
    Far(Duration),
    /// Connections stay, and there are no new ones.
    NoNew,
    /// Connections end, and there are no new ones.
    Refused,
}

/// A line to a router's main port.
pub(super) struct Line {
    pub address: SocketAddr,
    passing: watch::Sender<Passing>,
    /// Connections so far.
    pub count: Arc<std::sync::atomic::AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Line {
    async fn to(router: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let passing = watch::Sender::new(Passing::Open);
        let count = Arc::<std::sync::atomic::AtomicUsize>::default();
        let (state, counted) = (passing.clone(), count.clone());
        let task = tokio::spawn(async move {
            let mut listener = Some(listener);
            let mut changed = state.subscribe();
            loop {
                let now = *changed.borrow_and_update();
                if matches!(now, Passing::Refused | Passing::NoNew) {
                    listener = None;
                } else if listener.is_none() {
                    listener = TcpListener::bind(address).await.ok();
                }
                let accepting = async {
                    match &listener {
                        Some(listener) => listener.accept().await.unwrap().0,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    _ = changed.changed() => {}
                    stream = accepting => {
                        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        tokio::spawn(pass(stream, router, state.subscribe()));
                    }
                }
            }
        });
        Self {
            address,
            passing,
            count,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(super) fn set(&self, passing: Passing) {
        self.passing.send_replace(passing);
    }

    pub(super) fn connections(&self) -> usize {
        self.count.load(std::sync::atomic::Ordering::SeqCst)
    }
}

async fn pass(near: TcpStream, router: SocketAddr, mut passing: watch::Receiver<Passing>) {
    let Ok(far) = TcpStream::connect(router).await else {
        return;
    };
    // As all routers do: nothing waits for more to come.
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let there = carry(from_near, to_far, passing.clone());
    let back = carry(from_far, to_near, passing.clone());
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        _ = passing.wait_for(|passing| *passing == Passing::Refused) => {}
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut passing: watch::Receiver<Passing>,
) {
    let mut bytes = [0; 4096];
    loop {
        let _ = passing
            .wait_for(|passing| *passing != Passing::Frozen)
            .await;
        let count = from.read(&mut bytes).await.unwrap_or(0);
        let _ = passing
            .wait_for(|passing| *passing != Passing::Frozen)
            .await;
        let far = *passing.borrow();
        if let Passing::Far(time) = far {
            tokio::time::sleep(time).await;
        }
        if count == 0 || to.write_all(&bytes[..count]).await.is_err() {
            let _ = to.shutdown().await;
            return;
        }
    }
}

/// A plain connection to a main port.
pub(super) async fn main_port(place: &Place) -> Transport {
    let stream = TcpStream::connect(place.router.address()).await;
    Transport::Plain(stream.unwrap())
}
