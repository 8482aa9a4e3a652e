//! Each row of the table of what happens on the way to the router that has the car.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_shared::protocol::SUBPROTOCOL;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::{Passing, Place, ReservedPort, read};
use super::{soon, until};
use crate::mesh::hub::Hub;
use crate::net::client_net::QuotaOwner;
use crate::net::unauthenticated::PendingConnection;

/// A car at one router, and another router that serves its callers.
pub(super) async fn two() -> (Place, Place, p2p_inner::Inner, u16, ReservedPort) {
    let hub = Hub::new(1);
    let holder = Place::start(2, &hub).await;
    let other = Place::start(3, &hub).await;
    holder.knows(1).await;
    other.knows(1).await;
    let reserved = ReservedPort::new();
    let port = reserved.port;
    let inner = holder.inner("one", port).await;
    other.serves(port).await;
    (holder, other, inner, port, reserved)
}

#[tokio::test]
async fn a_caller_of_another_router_is_answered_by_the_one_that_has_the_car() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.script("from", "echo $P2P_REMOTE_ADDR $1");
    let request = format!(
        "GET /cgi?command=from&arg=a HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nP2P-For: 192.0.2.9:1\r\nP2P-Run: 77\r\nP2P-Tls: 1\r\nP2P-Over: 1\r\nP2P-Port: 1\r\n\r\n",
        other.address
    );
    let said = other.ask(port, &request).await;
    assert_eq!(said.fate(), (200, "yes"), "{said:?}");
    assert!(said.body().starts_with("127.0.0.1 a"), "{said:?}");
    let run: u64 = u64::from_str_radix(said.header("p2p-run").unwrap(), 16).unwrap();
    let member = other.context().mesh.as_ref().unwrap().member();
    assert_eq!(run >> 54, u64::from(member.bits()));
    // Straight at the holder these headers count for nothing, either.
    let said = holder.ask(port, &request).await;
    assert!(said.body().starts_with("127.0.0.1 a"), "{said:?}");
    let told = format!("/run/{run:016x}");
    let said = other.get(port, &told).await;
    assert_eq!(said.status(), 200, "{said:?}");
    assert!(said.body().contains("\"state\":\"ended\""), "{said:?}");
    for path in ["/commands", "/"] {
        assert_eq!(other.get(port, path).await.status(), 200, "{path}");
    }
    let asked = r#"{"last_ms":60000,"now_ms":1796094245678,"rtt_ms":4,"zone_min":0,"router":"a"}"#;
    let request = format!(
        "POST /incident HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{asked}",
        other.address,
        asked.len()
    );
    let said = other.ask(port, &request).await;
    assert_eq!(said.status(), 200, "{said:?}");
    assert!(
        said.body().contains("Incident report: car (port "),
        "{said:?}"
    );
    for (path, status) in [
        ("/frame.jpg", 404),
        ("/cgi?command=none", 404),
        ("/drive", 426),
    ] {
        assert_eq!(other.get(port, path).await.status(), status, "{path}");
    }
    // One after the other, they need one connection; and a ping may have another.
    assert!(holder.line.connections() <= 2);
}

#[tokio::test]
async fn large_bodies_pass_both_ways_and_what_is_too_large_is_refused_by_the_holder() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.script("echo", "cat");
    let post = |body: &str| {
        format!(
            "POST /cgi?command=echo HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            other.address,
            body.len()
        )
    };
    let body = "0123456789abcdef".repeat(50_000);
    let said = other.ask(port, &post(&body)).await;
    assert_eq!(said.fate(), (200, "yes"));
    assert_eq!(unchunked(said.body()), body);
    let said = other.ask(port, &post(&"x".repeat((1 << 20) + 1))).await;
    assert_eq!(said.fate(), (413, "no"), "{said:?}");
    assert_eq!(other.get(port, "/commands").await.status(), 200);
}

pub(super) fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        whole += &rest[..size];
        body = &rest[size + 2..];
    }
    whole
}

#[tokio::test]
async fn a_holder_that_is_lost_in_a_run_leaves_its_caller_with_what_nobody_knows() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.long_script("long", "");
    let asking = other.get(port, "/cgi?command=long");
    let cutting = async {
        holder.has_begun().await;
        holder.line.set(Passing::Refused);
    };
    let (said, ()) = tokio::join!(asking, cutting);
    assert_eq!(said.fate(), (502, "unknown"), "{said:?}");
    let run = said.header("p2p-run").unwrap();
    assert!(said.body().contains(&format!("/run/{run}")), "{said:?}");
    // Nobody is left who wants its output.
    holder.was_ended().await;
    let said = other.get(port, "/cgi?command=long").await;
    assert_eq!(said.fate(), (503, "no"), "{said:?}");
    assert_eq!(said.header("retry-after"), Some("2"));
    holder.line.set(Passing::Open);
    until("the line is open", || {
        std::net::TcpStream::connect(holder.line.address).is_ok()
    })
    .await;
    let told = async { while other.get(port, &format!("/run/{run}")).await.status() != 200 {} };
    soon("what became of it is told", told).await;
}

#[tokio::test]
async fn a_body_that_is_lost_on_the_way_is_not_ended_as_if_it_were_whole() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.long_script("long", "head -c 100000 /dev/zero | tr '\\0' x");
    let request = format!(
        "GET /cgi?command=long&stream=1 HTTP/1.1\r\nHost: {}\r\n\r\n",
        other.address
    );
    let mut asking = other.call(port, &request).await;
    let mut begin = vec![0; 2000];
    let read_on = asking.read_exact(&mut begin);
    soon("the body begins", read_on).await.unwrap();
    assert!(begin.starts_with(b"HTTP/1.1 200 "));
    holder.has_begun().await;
    holder.line.set(Passing::Refused);
    assert!(!read(asking).await.0.ends_with("0\r\n\r\n"));
    holder.was_ended().await;
}

#[tokio::test]
async fn a_caller_that_leaves_ends_its_run_at_the_holder() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.long_script("long", "");
    let request = format!(
        "GET /cgi?command=long HTTP/1.1\r\nHost: {}\r\n\r\n",
        other.address
    );
    let caller = other.call(port, &request).await;
    holder.has_begun().await;
    drop(caller);
    holder.was_ended().await;
    // The next one is served.
    assert_eq!(other.get(port, "/commands").await.status(), 200);
}

#[tokio::test]
async fn a_router_of_which_the_bus_brings_nothing_is_not_missed_while_it_is_reached() {
    let hub = Hub::new(1);
    let holder = Place::start(2, &hub).await;
    let other = Place::start(3, &hub).await;
    other.knows(1).await;
    let port = ReservedPort::new();
    let _inner = holder.inner("one", port.port).await;
    other.serves(port.port).await;
    holder.script("hello", "echo hello");
    let mesh = |place: &Place| place.context().mesh.clone().unwrap();
    hub.set_side(mesh(&holder).start(), 1);
    let silent_since = Instant::now();
    while silent_since.elapsed() < Duration::from_secs(5) {
        let said = other.get(port.port, "/cgi?command=hello").await;
        assert_eq!(said.fate(), (200, "yes"), "{said:?}");
        assert!(
            mesh(&other)
                .members()
                .iter()
                .all(|member| !member.is_away())
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Once the line is cut as well, nothing speaks for it any more.
    holder.line.set(Passing::Refused);
    until("it is missed", || {
        mesh(&other).members().iter().any(|member| member.is_away())
    })
    .await;
    let said = other.get(port.port, "/cgi?command=hello").await;
    assert_eq!(said.fate(), (503, "no"), "{said:?}");
    assert!(
        said.body().contains("has not been heard of for"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_holder_that_is_frozen_keeps_nobody_waiting() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.long_script("long", "");
    let asking = other.get(port, "/cgi?command=long");
    let freezing = async {
        holder.has_begun().await;
        holder.line.set(Passing::Frozen);
        Instant::now()
    };
    let (said, frozen) = tokio::join!(asking, freezing);
    assert_eq!(said.fate(), (502, "unknown"), "{said:?}");
    assert!(frozen.elapsed() < Duration::from_secs(20));
    // Nor does the holder go on for somebody who is not heard of: both are silent to each other.
    holder.was_ended().await;
    let asked = Instant::now();
    let said = other.get(port, "/cgi?command=long").await;
    assert_eq!(said.fate(), (503, "no"), "{said:?}");
    let said = other.get(port, "/cgi?command=long").await;
    assert_eq!(said.fate(), (503, "no"), "{said:?}");
    assert!(asked.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_websocket_passes_through_and_ends_at_both_ends() {
    let (_holder, other, inner, port, _reserved) = two().await;
    let handshake = format!(
        "GET /frames HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        other.address
    );
    let mut page = looking(&other, port, &handshake).await;
    // A close frame, masked with nothing.
    page.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    read(page).await;
    // One that stays ends as the car comes to where it is: it is somebody else's business there.
    let page = looking(&other, port, &handshake).await;
    let _new = other.inner("one", port).await;
    read(page).await;
    drop(inner);
}

/// A page that has heard from the holder.
async fn looking(other: &Place, port: u16, handshake: &str) -> TcpStream {
    let mut page = other.call(port, handshake).await;
    let mut said = String::new();
    let reading = async {
        while !said.contains("{\"camera\":\"none\"}") {
            let mut bytes = [0; 4096];
            let count = page.read(&mut bytes).await.unwrap();
            assert!(count > 0, "{said}");
            said += &String::from_utf8_lossy(&bytes[..count]);
        }
    };
    soon("the holder says that there is no camera", reading).await;
    assert!(said.starts_with("HTTP/1.1 101 "), "{said}");
    assert!(said.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{said}");
    page
}

#[tokio::test]
async fn a_drive_page_drives_through_another_router() {
    let (_holder, other, _inner, port, _reserved) = two().await;
    let handshake = format!(
        "GET /drive HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        other.address
    );
    let mut page = other.call(port, &handshake).await;
    let mut said = String::new();
    let reading = async {
        while !said.contains("\"forward\"") {
            let mut bytes = [0; 4096];
            let count = page.read(&mut bytes).await.unwrap();
            assert!(count > 0, "{said}");
            said += &String::from_utf8_lossy(&bytes[..count]);
        }
    };
    soon("the page is told what the car can do", reading).await;
    assert!(said.starts_with("HTTP/1.1 101 "), "{said}");
}

#[tokio::test]
async fn a_router_that_goes_down_answers_what_it_was_asked_before() {
    for holder_goes in [true, false] {
        let (holder, other, _inner, port, _reserved) = two().await;
        holder.long_script("long", "");
        let asking = tokio::spawn({
            let request = format!(
                "GET /cgi?command=long HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\n\r\n",
                other.address
            );
            let caller = other.call(port, &request).await;
            read(caller)
        });
        holder.has_begun().await;
        let note = holder.note("begun");
        let (address, draining) = match holder_goes {
            true => (other.address, holder.context().shutdown.draining.clone()),
            false => (holder.address, other.context().shutdown.draining.clone()),
        };
        let (going, _stays) = match holder_goes {
            true => (holder, other),
            false => (other, holder),
        };
        let going_down = going.router.shut_down();
        let ending = async {
            draining.cancelled().await;
            std::fs::remove_file(note).unwrap();
        };
        tokio::join!(going_down, ending);
        let said = asking.await.unwrap();
        assert_eq!(said.fate(), (200, "yes"), "{said:?}");
        assert!(std::net::TcpStream::connect((address, port)).is_ok());
    }
}

#[tokio::test]
async fn of_a_key_with_all_its_connections_only_a_stop_is_passed_on() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.script("any", "echo ran");
    holder.script("stop", "echo stopped");
    let context = other.context();
    let peer = SocketAddr::from(([127, 0, 0, 1], 9));
    let owner = QuotaOwner::At(peer.ip().into());
    let closed = &context.shutdown.closed;
    let all: Vec<_> = (0..context.limits.connections)
        .map(|_| context.unauthenticated.admit_known(peer, owner, closed))
        .collect();
    assert!(all.iter().all(PendingConnection::stays));
    let said = other.get(port, "/cgi?command=any").await;
    assert_eq!(said.fate(), (429, "no"), "{said:?}");
    let said = other.get(port, "/cgi?command=stop").await;
    assert_eq!(said.fate(), (200, "yes"), "{said:?}");
    drop(all);
    let said = other.get(port, "/cgi?command=any").await;
    assert_eq!(said.fate(), (200, "yes"), "{said:?}");
}

#[tokio::test]
async fn a_caller_that_had_to_go_meanwhile_is_not_told_that_nothing_ran() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.long_script("long", "");
    let caller = SocketAddr::from(([127, 0, 0, 1], 9));
    let context = other.context();
    let owner = QuotaOwner::At(caller.ip().into());
    let closed = &context.shutdown.closed;
    let _all: Vec<_> = (0..context.limits.connections)
        .map(|_| context.unauthenticated.admit_known(caller, owner, closed))
        .collect();
    // One that is over the limit may have to go, but not while the holder runs its stop.
    std::fs::rename(
        holder.folder.path().join("command/long"),
        holder.folder.path().join("command/stop"),
    )
    .unwrap();
    let asking = other.get(port, "/cgi?command=stop");
    let flooding = async {
        holder.has_begun().await;
        let flood: Vec<_> = (0..2000)
            .map(|_| context.unauthenticated.admit(caller, closed))
            .collect();
        std::fs::remove_file(holder.note("begun")).unwrap();
        flood
    };
    let (said, _flood) = tokio::join!(asking, flooding);
    assert_eq!(said.fate(), (200, "yes"), "{said:?}");
}

#[tokio::test]
async fn a_car_that_is_away_is_away_at_each_router() {
    let (holder, other, inner, port, _reserved) = two().await;
    inner.shut_down().await;
    let away = async {
        loop {
            let said = other.get(port, "/commands").await;
            if said.body().contains("is not connected") {
                break said;
            }
        }
    };
    let said = soon("the car is away", away).await;
    assert_eq!(said.fate(), (503, "no"), "{said:?}");
    assert_eq!(holder.get(port, "/commands").await.fate(), (503, "no"));
}

#[tokio::test]
async fn a_router_that_goes_down_does_not_wait_for_runs_that_it_passes_on_from_then_on() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.long_script("long", "");
    let shutdown = &other.context().shutdown;
    shutdown.draining.cancel();
    let running = async {
        holder.has_begun().await;
        assert!(shutdown.open_runs.is_empty());
        std::fs::remove_file(holder.note("begun")).unwrap();
    };
    let (said, ()) = tokio::join!(other.get(port, "/cgi?command=long"), running);
    assert_eq!(said.fate(), (200, "yes"), "{said:?}");
}
