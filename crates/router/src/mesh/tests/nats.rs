//! Members over real NATS servers, which each test starts on free ports of loopback.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::*;
use crate::mesh::config::ServerUrl;

/// Longest time that anything here takes on a machine that does much else.
const ENOUGH: Duration = Duration::from_secs(60);

/// A server, killed when it is dropped.
struct NatsServer {
    child: Child,
    port: u16,
    arguments: Vec<String>,
}

impl NatsServer {
    fn start() -> Self {
        Self::with(free_port(), &[])
    }

    fn with(port: u16, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let child = Self::spawn(port, &arguments);
        Self {
            child,
            port,
            arguments,
        }
    }

    fn spawn(port: u16, arguments: &[String]) -> Child {
        let mut child = Command::new("nats-server")
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server (Debian: apt install nats-server)");
        let end = Instant::now() + ENOUGH;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "nats-server has ended");
            assert!(Instant::now() < end, "nats-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = Self::spawn(self.port, &self.arguments);
    }

    fn url(&self) -> ServerUrl {
        url(self.port)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn url(port: u16) -> ServerUrl {
    format!("nats://127.0.0.1:{port}").parse().unwrap()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn join(address: &str, servers: Vec<ServerUrl>) -> TestMember {
    let config = MeshConfig {
        servers,
        ..TestMember::config(address, SECRET)
    };
    TestMember::of(&config, |mesh| mesh.connect(&config).unwrap())
}

/// Waits for something, on the time of the world.
async fn comes(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + ENOUGH;
    while !is_so() {
        assert!(Instant::now() < end, "it did not come to that");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn members_meet_at_a_server_and_know_what_each_holds() {
    let server = NatsServer::start();
    let [a, b] = ["a:1", "b:2"].map(|address| join(address, vec![server.url()]));
    comes(|| a.present() == 1 && b.present() == 1).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    comes(|| b.holder_elsewhere(9000).is_some()).await;
    assert!(b.take(9000, "y", 1, 1).await.is_err());
    let moved = b.take(9000, "x", 1, 2).await.unwrap();
    comes(|| {
        a.holder_elsewhere(9000)
            .is_some_and(|it| it.record.epoch() == moved)
    })
    .await;
    a.leave().await;
    comes(|| b.present() == 0).await;
}

#[tokio::test]
async fn a_large_table_comes_over_a_server_whole() {
    let server = NatsServer::start();
    let a = join("a:1", vec![server.url()]);
    comes(|| a.is_bus_up()).await;
    for port in 1000..11_000 {
        a.held(record(port, "x", None, 1));
    }
    let b = join("b:2", vec![server.url()]);
    comes(|| (1000..11_000).all(|port| b.holder_elsewhere(port).is_some())).await;
}

#[tokio::test]
async fn a_server_that_is_killed_takes_nothing_and_members_meet_there_again() {
    let mut server = NatsServer::start();
    let [a, b] = ["a:1", "b:2"].map(|address| join(address, vec![server.url()]));
    comes(|| a.present() == 1 && b.present() == 1).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    comes(|| b.holder_elsewhere(9000).is_some()).await;
    server.kill();
    comes(|| !a.is_bus_up() && !b.is_bus_up()).await;
    // Longer than after which a member is away.
    sleep(Duration::from_secs(4)).await;
    assert!(is_up(&b, 9000));
    let asked = Instant::now();
    a.take(9001, "x", 2, 1).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1));
    assert_eq!(b.holder_elsewhere(9001), None);
    server.start_again();
    comes(|| b.holder_elsewhere(9001).is_some()).await;
    assert!(is_up(&b, 9000));
}

#[tokio::test]
async fn two_servers_of_a_cluster_are_one_and_one_of_them_is_enough() {
    let routes = [free_port(), free_port()];
    let [first, second] = routes.map(|port| format!("nats://127.0.0.1:{port}"));
    let mut one = NatsServer::with(free_port(), &["--cluster", &first, "--routes", &second]);
    let other = NatsServer::with(free_port(), &["--cluster", &second, "--routes", &first]);
    let a = join("a:1", vec![one.url()]);
    let b = join("b:2", vec![other.url()]);
    let c = join("c:3", vec![one.url(), other.url()]);
    comes(|| [&a, &b, &c].iter().all(|member| member.present() == 2)).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    comes(|| b.holder_elsewhere(9000).is_some() && c.holder_elsewhere(9000).is_some()).await;
    one.kill();
    c.held(record(9001, "y", None, 1));
    comes(|| b.holder_elsewhere(9001).is_some()).await;
    assert!(!a.is_bus_up());
    one.start_again();
    comes(|| a.holder_elsewhere(9001).is_some()).await;
}

#[tokio::test]
async fn a_member_that_starts_without_a_server_is_alone_until_there_is_one() {
    let port = free_port();
    let [a, b] = ["a:1", "b:2"].map(|address| join(address, vec![url(port)]));
    a.take(9000, "x", 1, 1).await.unwrap();
    assert!(!a.is_bus_up());
    let _server = NatsServer::with(port, &[]);
    comes(|| b.holder_elsewhere(9000).is_some()).await;
}

#[tokio::test]
async fn a_server_lets_in_who_has_the_password() {
    let server = NatsServer::with(free_port(), &["--user", "mesh", "--pass", "secret"]);
    let with = |word: &str| {
        let url = format!("nats://mesh:{word}@127.0.0.1:{}", server.port);
        vec![url.parse().unwrap()]
    };
    let a = join("a:1", with("secret"));
    let wrong = join("b:2", with("wrong"));
    comes(|| a.is_bus_up()).await;
    sleep(Duration::from_secs(1)).await;
    assert!(!wrong.is_bus_up());
    let b = join("c:3", with("secret"));
    comes(|| a.present() == 1 && b.present() == 1).await;
}
