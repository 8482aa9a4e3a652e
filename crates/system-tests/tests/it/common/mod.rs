//! A real router and real inners in one process, on free ports and in folders that go away, and
//! a caller over HTTP.

pub mod chromium;
pub mod console;
pub mod page;
pub mod peer;
pub mod procfs;
pub mod program;
pub mod proxy;
pub mod pty;
pub mod raw;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use p2p_inner::{Inner, LinkState};
use p2p_router::Router;
use p2p_router::auth::key_store::{KeyFile, KeyStore};
use p2p_router::net::port_range::PortRange;
use p2p_shared::key::{Key, Role};
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::protocol::MotionInfo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// How long a test waits for what must happen: longer than any machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must happen.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("it never came: {what}"))
}

/// Waits until something is so, looking often.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    soon(what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The same, where looking takes a while.
pub async fn until_so(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// An address of this machine that is not loopback.
pub fn elsewhere() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    // Nothing is sent: the kernel only chooses the address it would send from.
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
    let address = socket.local_addr().unwrap().ip();
    Some(address).filter(|address| !address.is_loopback())
}

/// A port that nobody else gets while this lives: not listened on, and so free for a router.
pub struct ReservedPort {
    pub port: u16,
    _socket: socket2::Socket,
}

impl ReservedPort {
    /// A port at all addresses of this machine: reserved at one, somebody else could get it at another, and a
    /// router that listens at all of them would find it taken.
    pub fn new() -> Self {
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

/// A router, and the folder of its inners' commands.
pub struct World {
    pub router: Router,
    pub keys: Option<KeyStore>,
    pub folder: tempfile::TempDir,
}

/// What a test may want otherwise.
pub fn inner_config(world: &World) -> p2p_inner::Config {
    inner_config_of(world.main_port(), world.commands())
}

/// An inner without a key at this router, with these commands.
pub fn inner_config_of(router_port: u16, commands: PathBuf) -> p2p_inner::Config {
    p2p_inner::Config {
        routers: vec![RouterAddress {
            host: "127.0.0.1".to_owned(),
            port: router_port,
        }],
        service_port: 0,
        name: "car".parse().unwrap(),
        identity: "identity1".parse().unwrap(),
        key: None,
        // Keys of most tests have no fingerprint.
        open: true,
        commands,
        timeout: Duration::from_secs(30),
        max_runs: 16,
        worker_hello: p2p_inner::WORKER_HELLO,
        motion: motion(),
        ring: None,
        guardian: None,
        camera: None,
    }
}

/// The motion of a car as its owner finds it.
pub fn motion() -> MotionInfo {
    MotionInfo {
        commands: ["forward", "back", "left", "right"]
            .map(|name| name.parse().unwrap())
            .into_iter()
            .collect(),
        stop: "stop".parse().unwrap(),
        lease_ms: 400,
        limit_ms: 2000,
    }
}

pub fn router_config() -> p2p_router::Config {
    p2p_router::Config {
        bind: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        service_ports: "1024-65535".parse().unwrap(),
        keys: None,
        certificate: None,
        allow_plain_http: false,
        log_dir: None,
        host_names: vec!["car".parse().unwrap(), "car.test".parse().unwrap()],
        domain: None,
        media_address: None,
        balancers: Vec::new(),
        max_body: 1 << 20,
        patience: p2p_router::Patience::default(),
        max_links: p2p_router::net::limits::LINKS,
        on_link: None,
        known_links: None,
        mesh: None,
        record: None,
        sockets: p2p_router::ops::inherited_listeners::InheritedListeners::default(),
    }
}

impl World {
    /// A router without keys.
    pub fn open() -> Self {
        Self::with(router_config(), tempfile::tempdir().unwrap())
    }

    /// A router with an empty key file.
    pub fn keyed() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyStore::open(folder.path().join("state")).unwrap();
        Self::with(
            p2p_router::Config {
                keys: Some(keys),
                ..router_config()
            },
            folder,
        )
    }

    pub fn with(config: p2p_router::Config, folder: tempfile::TempDir) -> Self {
        let keys = config.keys.clone();
        let router = Router::start(config).unwrap();
        fs::create_dir_all(folder.path().join("command")).unwrap();
        Self {
            router,
            keys,
            folder,
        }
    }

    pub fn main_port(&self) -> u16 {
        self.router.address().port()
    }

    pub fn commands(&self) -> PathBuf {
        self.folder.path().join("command")
    }

    /// A command that is this shell script.
    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        self.file(name, format!("#!/bin/sh\n{body}\n"), 0o755)
    }

    /// Another process writes it: a command that a test beside this one starts just then would
    /// else have it open for writing, and the kernel executes no such file.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.commands().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer = std::process::Command::new("tee")
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut writer.stdin.take().unwrap(), content.as_ref()).unwrap();
        assert!(writer.wait().unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// A command that leaves the note `begun`, and goes on when there is a note `gate`.
    pub fn gated(&self, name: &str, then: &str) -> PathBuf {
        let (begun, gate) = (self.note("begun"), self.note("gate"));
        let (begun, gate) = (begun.display(), gate.display());
        self.script(
            name,
            // It ends with the folder, too.
            &format!(
                "touch {begun}; while [ -e {begun} ] && [ ! -e {gate} ]; do sleep 0.01; done; {then}"
            ),
        )
    }

    /// Waits until a [gated](Self::gated) command runs.
    pub async fn has_begun(&self) {
        until("the command runs", || self.note("begun").exists()).await;
    }

    /// Lets [gated](Self::gated) commands go on.
    pub fn open_gate(&self) {
        fs::write(self.note("gate"), "").unwrap();
    }

    /// What the router's metrics say of this.
    pub async fn metric(&self, name: &str) -> i64 {
        self.metric_if_any(name).await.unwrap()
    }

    /// The same of what may never have happened yet.
    pub async fn metric_if_any(&self, name: &str) -> Option<i64> {
        metric(self.main_port(), name).await
    }

    /// A file beside the commands, for scripts to write to.
    pub fn note(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An inner whose link is up, and its service port.
    pub async fn inner(&self) -> (Inner, u16) {
        self.inner_with(inner_config(self)).await
    }

    pub async fn inner_with(&self, config: p2p_inner::Config) -> (Inner, u16) {
        let inner = Inner::start(config).unwrap();
        let (_, port) = link_up(&inner).await;
        (inner, port)
    }

    /// A key of this role, for cars at any port, known to the running router.
    pub async fn key(&self, name: &str, role: Role) -> Key {
        self.key_for(name, role, None).await
    }

    /// The same for cars at these ports only.
    pub async fn key_for(&self, name: &str, role: Role, ports: Option<PortRange>) -> Key {
        let file = KeyFile::in_dir(self.folder.path().join("state"));
        let key = file.add(&name.parse().unwrap(), role, ports).unwrap();
        let header = format!("Bearer {}", key.expose());
        let keys = self.keys.as_ref().unwrap();
        until("the key is known", || {
            keys.authenticate(Some(header.as_bytes())).is_ok()
        })
        .await;
        key
    }

    pub fn revoke(&self, name: &str) {
        let file = KeyFile::in_dir(self.folder.path().join("state"));
        file.revoke(&name.parse().unwrap()).unwrap();
    }
}

/// The router's metric of this name, if it has been counted yet.
pub async fn metric(main_port: u16, name: &str) -> Option<i64> {
    // For this machine only, by a name that nobody else can have resolve to it.
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let caller = raw::RawCaller::saying(main_port, request);
    let metrics = caller.await.answer().await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    Some(line?.trim().parse().unwrap())
}

/// The name and port of an inner's link, once it is up.
pub async fn link_up(inner: &Inner) -> (String, u16) {
    let mut state = inner.link_state();
    let is_up = |state: &LinkState| matches!(state, LinkState::Up { .. });
    let state = soon("the link comes up", state.wait_for(is_up))
        .await
        .unwrap()
        .clone();
    let LinkState::Up {
        name, service_port, ..
    } = state
    else {
        unreachable!()
    };
    (name.to_string(), service_port)
}

pub async fn link_down(inner: &Inner) {
    let mut state = inner.link_state();
    let is_down = |state: &LinkState| *state == LinkState::Down;
    soon("the link goes down", state.wait_for(is_down))
        .await
        .unwrap();
}

/// Waits until the router knows that the inner of this port is away.
pub async fn away(port: u16) {
    until_so("the inner is away", async || {
        let answer = get(port, "/commands").await;
        answer.status == 503 && answer.text().contains("is not connected")
    })
    .await;
}

/// A whole HTTP answer.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
    /// Whether the transfer was completed.
    pub complete: bool,
}

impl HttpAnswer {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status, and what is said of the execution.
    pub fn verdict(&self) -> (u16, &str) {
        (self.status.as_u16(), self.header("p2p-executed"))
    }
}

pub fn request(method: &str, target: &str) -> hyper::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(target)
        .header("host", "car.test")
}

/// Sends one request on a connection of its own; the head of its answer.
pub async fn send(port: u16, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    soon("an answer", sender.send_request(request))
        .await
        .unwrap()
}

/// Sends one request; its whole answer.
pub async fn ask(port: u16, request: Request<Full<Bytes>>) -> HttpAnswer {
    let (head, mut body) = send(port, request).await.into_parts();
    let mut answer = HttpAnswer {
        status: head.status,
        headers: head.headers,
        body: Bytes::new(),
        trailers: HeaderMap::new(),
        complete: true,
    };
    let mut read = Vec::new();
    while let Some(frame) = soon("the rest of an answer", body.frame()).await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => read.extend_from_slice(&data),
            Ok(Err(frame)) => answer.trailers = frame.into_trailers().unwrap(),
            Err(_) => {
                answer.complete = false;
                break;
            }
        }
    }
    answer.body = read.into();
    answer
}

pub async fn get(port: u16, target: &str) -> HttpAnswer {
    ask(port, request("GET", target).body(Full::default()).unwrap()).await
}

/// An answer that is waited for elsewhere: see [`answered`].
pub fn asking(port: u16, target: &'static str) -> JoinHandle<HttpAnswer> {
    tokio::spawn(get(port, target))
}

pub async fn answered(asking: JoinHandle<HttpAnswer>) -> HttpAnswer {
    soon("an answer", asking).await.unwrap()
}

pub async fn get_with_key(port: u16, target: &str, key: &Key) -> HttpAnswer {
    let bearer = format!("Bearer {}", key.expose());
    let request = request("GET", target).header("authorization", bearer);
    ask(port, request.body(Full::default()).unwrap()).await
}

pub async fn post(port: u16, target: &str, body: impl Into<Bytes>) -> HttpAnswer {
    ask(
        port,
        request("POST", target)
            .body(Full::new(body.into()))
            .unwrap(),
    )
    .await
}

/// Sends these bytes and reads until the other end closes.
pub async fn raw(address: impl Into<SocketAddr>, bytes: &[u8]) -> String {
    raw_from([127, 0, 0, 1], address, bytes).await
}

/// The same from this address.
pub async fn raw_from(from: [u8; 4], address: impl Into<SocketAddr>, bytes: &[u8]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::from(from), 0).into()).unwrap();
    let mut stream = socket.connect(address.into()).await.unwrap();
    // A peer that has had enough may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = soon("the connection's end", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Whether this process runs this test only. If not, it runs it so, with these variables in its
/// environment: for what counts or changes things that tests side by side share.
pub fn is_alone(test: &str, variables: &[(&str, &str)]) -> bool {
    if std::env::var_os("P2P_TEST_ALONE").is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("P2P_TEST_ALONE", "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// Whether a process with this number, written to a file by a script, is alive (and no zombie).
pub fn is_alive(note: &Path) -> bool {
    // A note may be there and have nothing in it yet.
    let text = fs::read_to_string(note).unwrap_or_default();
    text.trim().parse().is_ok_and(procfs::is_running)
}
