//! Balancers that say by the PROXY protocol for whom they connect: a real haproxy, and bytes.

use std::net::{IpAddr, Ipv4Addr};

use p2p_inner::Inner;
use p2p_router::Config;
use p2p_router::auth::certificate::Certificate;
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::net::tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::behind_proxy::Proxy;
use crate::common::program::{self, RunningProgram};
use crate::common::raw::RawCaller;
use crate::common::{
    HttpAnswer, World, elsewhere, inner_config, link_up, local, router_config, soon, until_so,
};

/// Where the balancer is; inners and other callers come from 127.0.0.1.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn world(config: Config) -> World {
    let balancers = vec!["127.0.0.2/32".parse().unwrap()];
    let config = Config {
        balancers,
        ..config
    };
    let world = World::with(config, tempfile::tempdir().unwrap());
    world.script("stop", ":");
    world.script("from", "echo from $P2P_REMOTE_ADDR");
    world
}

async fn connect(from: Ipv4Addr, port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let connecting = socket.connect(local(port));
    soon("a connection", connecting).await.unwrap()
}

/// What is answered on a connection from there that begins with these bytes.
async fn says(from: Ipv4Addr, port: u16, bytes: &[&[u8]]) -> HttpAnswer {
    let mut caller = RawCaller::new(connect(from, port).await);
    caller.send(bytes.concat()).await;
    caller.answer().await
}

/// The header of a caller at this address of IPv4.
fn header(caller: [u8; 4]) -> Vec<u8> {
    let addresses = [&caller[..], &[10, 0, 0, 1], &[0x10, 0, 0, 80]].concat();
    [SIGNATURE, b"\x21\x11\0\x0c", &addresses].concat()
}

const FROM: &[u8] = b"GET /cgi?command=from HTTP/1.1\r\nHost: car\r\n\r\n";
const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// A connection of the balancer's own.
const OWN: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_haproxy_that_sends_its_header_callers_and_inners_count_by_their_own_addresses() {
    let world = world(router_config());
    let behind = async |port| {
        let server = format!("127.0.0.1:{port} send-proxy-v2 source {BALANCER}");
        Proxy::haproxy_in("tcp", &server).await
    };
    let for_inners = behind(world.main_port()).await;
    let inner = Inner::start(p2p_inner::Config {
        routers: vec![RouterAddress {
            host: "127.0.0.1".to_owned(),
            port: for_inners.port,
        }],
        ..inner_config(&world)
    });
    let inner = inner.unwrap();
    let (_, port) = link_up(&inner).await;
    let proxy = behind(port).await;
    for from in [[127, 0, 0, 1], [127, 0, 0, 9]].map(Ipv4Addr::from) {
        for port in [port, proxy.port] {
            let answer = says(from, port, &[FROM]).await;
            assert_eq!(answer.text(), format!("from {from}\n"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_begins_behind_the_header() {
    let state = tempfile::tempdir().unwrap();
    let certificate = Certificate::own(state.path()).unwrap();
    let pin = certificate.fingerprint();
    let world = world(Config {
        certificate: Some(certificate),
        ..router_config()
    });
    let (_inner, port) = world.inner().await;
    for (port, request, said) in [
        (world.main_port(), HEALTH, "ok\n"),
        (port, FROM, "from 127.1.2.3\n"),
    ] {
        let mut stream = connect(BALANCER, port).await;
        stream.write_all(&header([127, 1, 2, 3])).await.unwrap();
        let connecting = tls::connect(stream, "localhost", pin.as_slice());
        let mut stream = soon("TLS", connecting).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut read = vec![0; 4096];
        let mut answer = String::new();
        while !answer.ends_with(said) {
            let length = soon("more", stream.read(&mut read)).await.unwrap();
            assert_ne!(length, 0, "{answer}");
            answer += std::str::from_utf8(&read[..length]).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_behind_a_balancer_here_is_asked_how_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let with = |arguments: &[&str]| {
        let mut router = program::router(folder.path());
        router.args(["--open", "--bind", "127.0.0.1"]);
        router.args(arguments);
        router
    };
    let balancer = ["--proxy-protocol", "127.0.0.1"];
    let router = RunningProgram::start(with(&["0"]).args(balancer));
    let port = router.main_port().await.to_string();
    for (arguments, code) in [(&balancer[..], 0), (&[], 3)] {
        let ended = program::run(with(&[&port, "health"]).args(arguments)).await;
        assert_eq!(ended.code, Some(code), "{}", ended.errors);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_says_for_whom_it_connects_and_nobody_else_may() {
    let world = world(router_config());
    let (_inner, port) = world.inner().await;
    let answer = says(BALANCER, port, &[&header([127, 1, 2, 3]), FROM]).await;
    assert_eq!(answer.text(), "from 127.1.2.3\n");
    let answer = says(BALANCER, port, &[OWN, FROM]).await;
    assert_eq!(answer.text(), format!("from {BALANCER}\n"));
    let answer = says(BALANCER, world.main_port(), &[OWN, HEALTH]).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "ok\n")
    );
    for (port, request) in [(port, FROM), (world.main_port(), HEALTH)] {
        let answer = says(BALANCER, port, &[request]).await;
        assert_eq!(answer.verdict(), (400, "no"));
        let said = answer.text();
        assert!(said.contains("send-proxy-v2"), "{said}");
        for from in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 3)] {
            for header in [&header([127, 1, 2, 3])[..], OWN] {
                let answer = says(from, port, &[header, request]).await;
                assert_eq!(answer.status, 400, "{}", answer.text());
            }
            assert_eq!(says(from, port, &[request]).await.status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_behind_a_balancer_is_not_this_machine_and_is_counted_for_itself() {
    let world = world(Config {
        allow_plain_http: true,
        ..router_config()
    });
    // Its address is the internet's, wherever the balancer is.
    const METRICS: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let start = |answer: &HttpAnswer| answer.header("p2p-start").to_owned();
    let main = world.main_port();
    let answer = says(BALANCER, main, &[&header([192, 0, 2, 1]), HEALTH]).await;
    assert_eq!(start(&answer), "");
    let answer = says(BALANCER, main, &[OWN, HEALTH]).await;
    assert_ne!(start(&answer), "");
    assert_eq!(says(BALANCER, main, &[OWN, METRICS]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_balancer_elsewhere_calls_this_machine_is_not() {
    let Some(IpAddr::V4(balancer)) = elsewhere() else {
        panic!("this machine has no address but loopback");
    };
    let folder = tempfile::tempdir().unwrap();
    let keys = p2p_router::auth::key_store::KeyStore::open(folder.path().join("state")).unwrap();
    let config = Config {
        bind: Ipv4Addr::UNSPECIFIED.into(),
        keys: Some(keys),
        balancers: vec![format!("{balancer}").parse().unwrap()],
        ..router_config()
    };
    let world = World::with(config, folder);
    const METRICS: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for caller in [[127, 0, 0, 1], [127, 9, 9, 9], [0, 0, 0, 0], [224, 0, 0, 1]] {
        for request in [METRICS, HEALTH] {
            let answer = says(balancer, world.main_port(), &[&header(caller), request]).await;
            assert_eq!(answer.status, 308, "{caller:?}");
            assert_eq!(answer.header("p2p-start"), "");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_count_against_the_caller_and_not_against_its_balancer() {
    let folder = tempfile::tempdir().unwrap();
    let keys = p2p_router::auth::key_store::KeyStore::open(folder.path().join("state")).unwrap();
    let world = world(Config {
        keys: Some(keys),
        ..router_config()
    });
    const WRONG: &[u8] =
        b"GET /metrics HTTP/1.1\r\nHost: car\r\nAuthorization: Bearer p2p_x\r\n\r\n";
    let status = async |caller| {
        let answer = says(BALANCER, world.main_port(), &[&header(caller), WRONG]).await;
        answer.status.as_u16()
    };
    let mut last = 0;
    for _ in 0..20 {
        last = status([127, 0, 0, 8]).await;
    }
    assert_eq!(last, 429);
    assert_eq!(status([127, 0, 0, 9]).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_take_no_place_from_balancers_and_those_have_a_bound_of_their_own() {
    let world = world(router_config());
    let (_inner, port) = world.inner().await;
    let late = async || RawCaller::new(connect(BALANCER, port).await);
    let mut callers = Vec::new();
    for _ in 0..20 {
        callers.push(late().await);
    }
    let mut strangers = Vec::new();
    for n in 0..600_u16 {
        let [high, low] = n.to_be_bytes();
        strangers.push(connect(Ipv4Addr::new(127, 3, high, low), port).await);
    }
    for mut caller in callers {
        caller.send([&header([127, 1, 2, 3]), FROM].concat()).await;
        assert_eq!(caller.answer().await.text(), "from 127.1.2.3\n");
    }
    let mut open = Vec::new();
    for _ in 0..1100 {
        open.push(late().await);
    }
    let refused = says(BALANCER, port, &[&header([127, 1, 2, 3]), FROM]).await;
    assert_eq!(refused.verdict(), (503, "no"));
    assert_ne!(refused.header("retry-after"), "");
    drop(open);
    until_so("there is room again", async || {
        let answer = says(BALANCER, port, &[&header([127, 1, 2, 3]), FROM]).await;
        answer.status == 200
    })
    .await;
}
