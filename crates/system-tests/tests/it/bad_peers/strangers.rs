//! Whoever connects to the main port and is no inner, or a strange one.

use std::time::Instant;

use bytes::Bytes;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{InnerToRouter, Rejection};
use p2p_shared::timing;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::fixture::{not_messages, pour, works, world_with_a_car};
use crate::common::peer::{FakeInner, WebSocketPeer, finished, hello};
use crate::common::{self, World, answered, asking, raw, soon};

#[tokio::test]
async fn what_is_no_request_gets_an_answer_on_the_main_port() {
    let (world, _car, port) = world_with_a_car().await;
    let main = world.router.address();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n"[..],
        b"\x00\x00\x00\x00\x00\x00\x00\x00\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"GET\r\n\r\n",
    ] {
        let answer = raw(main, garbage).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(
            answer.contains("not a complete HTTP/1.1 request"),
            "{answer}"
        );
    }
    let large = format!(
        "GET /link HTTP/1.1\r\nHost: r\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let answer = raw(main, large.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    for (request, status, sentence) in [
        (
            "GET /cgi?command=hello",
            "404",
            "commands are run on the service ports",
        ),
        ("GET /", "404", "this is the main port of a p2p-router"),
        ("POST /link", "405", "only GET"),
        ("GET /link", "426", "it speaks WebSocket"),
    ] {
        let text = format!("{request} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n");
        let answer = raw(main, text.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(sentence), "{answer}");
    }
    works(port).await;
}

#[tokio::test]
async fn a_request_that_stops_halfway_and_one_that_never_comes_end_in_time() {
    let (world, _car, port) = world_with_a_car().await;
    let main = world.router.address();
    let (half, nothing) = tokio::join!(raw(main, b"GET /link HTTP/1.1\r\nHost:"), raw(main, b""));
    assert!(half.starts_with("HTTP/1.1 408 "), "{half}");
    assert_eq!(nothing, "");
    works(port).await;
}

#[tokio::test]
async fn two_thousand_connections_that_say_nothing_hold_up_nobody() {
    p2p_router::net::limits::raise_open_files();
    let (world, _car, port) = world_with_a_car().await;
    let mut silent = Vec::new();
    for _ in 0..2000 {
        silent.push(TcpStream::connect(world.router.address()).await.unwrap());
    }
    works(port).await;
    let (mut another, its_port) = FakeInner::welcome(world.main_port()).await;
    let run = asking(its_port, "/cgi?command=a");
    let asked = another.is_asked_to_run().await;
    another.starts(asked.run).await;
    another.finishes(asked.run).await;
    assert_eq!(answered(run).await.verdict(), (200, "yes"));
    drop(silent);
}

#[tokio::test]
async fn a_peer_of_another_version_is_told_both_versions() {
    let world = World::open();
    for (offer, theirs) in [
        ("", "the peer none"),
        ("Sec-WebSocket-Protocol: p2p.v2\r\n", "the peer p2p.v2"),
        (
            "Sec-WebSocket-Protocol: chat, p2p.v0\r\n",
            "the peer chat, p2p.v0",
        ),
    ] {
        let text = format!(
            "GET /link HTTP/1.1\r\nHost: r\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
        );
        let answer = soon("an answer", async {
            let mut caller = common::raw::RawCaller::saying(world.main_port(), text).await;
            caller.answer().await
        })
        .await;
        assert_eq!(answer.status, 400);
        let sentence = answer.text();
        assert!(sentence.contains("this router speaks p2p.v1"), "{sentence}");
        assert!(sentence.contains(theirs), "{sentence}");
    }
}

#[tokio::test]
async fn who_says_hello_twice_or_never_is_sent_away() {
    let (world, _car, port) = world_with_a_car().await;
    let (mut twice, _) = FakeInner::welcome(world.main_port()).await;
    twice.send(InnerToRouter::Hello(hello("again", 0))).await;
    let (rejection, sentence) = twice.is_rejected().await;
    assert_eq!(rejection, Rejection::Protocol);
    assert_eq!(sentence, "the inner said hello twice");

    let since = Instant::now();
    let mut never = FakeInner::silent(world.main_port()).await;
    let (_, sentence) = never.is_rejected().await;
    assert_eq!(sentence, "no hello came within 5 s");
    assert!(since.elapsed() >= timing::HELLO);
    works(port).await;
}

#[tokio::test]
async fn a_first_message_that_is_none_or_no_hello_is_refused() {
    let (world, _car, port) = world_with_a_car().await;
    for (what, bytes) in not_messages() {
        let mut peer = FakeInner::silent(world.main_port()).await;
        peer.0.send_frame(Message::Binary(bytes.into())).await;
        assert_eq!(peer.is_rejected().await.0, Rejection::Protocol, "{what}");
        assert_eq!(peer.receive().await, None, "{what}");
    }
    for message in [
        InnerToRouter::Draining,
        finished(RunId::from_number(1)),
        InnerToRouter::Clock { clock_ms: 1 },
    ] {
        let mut peer = FakeInner::silent(world.main_port()).await;
        peer.send(message).await;
        let (_, sentence) = peer.is_rejected().await;
        assert_eq!(sentence, "the first message is not a hello");
    }
    let mut peer = FakeInner::silent(world.main_port()).await;
    peer.0.send_frame(Message::text("hello")).await;
    let (_, sentence) = peer.is_rejected().await;
    assert!(sentence.contains("it is text"), "{sentence}");
    assert_eq!(world.metric("p2p_router_links").await, 1);
    works(port).await;
}

/// A hello as it is on the wire, with names that are no names.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum RawHello {
    Hello {
        name: String,
        service_port: u64,
        identity: String,
        instance: u64,
        clock_ms: u64,
        software: String,
        motion: p2p_shared::protocol::MotionInfo,
    },
}

#[tokio::test]
async fn names_and_numbers_that_are_none_are_refused_at_the_hello() {
    let (world, _car, port) = world_with_a_car().await;
    let long = "x".repeat(65);
    for (name, identity, service_port) in [
        ("car\u{1b}[2J", "id", 0),
        ("car\nlink up", "id", 0),
        ("\u{202e}rac", "id", 0),
        (" ", "id", 0),
        ("", "id", 0),
        (&long, "id", 0),
        ("car", "", 0),
        ("car", "../id", 0),
        ("car", "id\n", 0),
        ("car", &long, 0),
        ("car", "id", 65_536),
    ] {
        let mut peer = FakeInner::silent(world.main_port()).await;
        let hello = RawHello::Hello {
            name: name.to_owned(),
            identity: identity.to_owned(),
            service_port,
            instance: 1,
            clock_ms: 0,
            software: "a test".to_owned(),
            motion: crate::common::motion(),
        };
        peer.0.send(&hello).await;
        let (rejection, sentence) = peer.is_rejected().await;
        assert_eq!(rejection, Rejection::Protocol, "{name:?} {identity:?}");
        assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
    }
    // The same with names that are names is a hello.
    let mut peer = FakeInner::silent(world.main_port()).await;
    let hello = RawHello::Hello {
        name: "van".to_owned(),
        identity: "id".to_owned(),
        service_port: 0,
        instance: 1,
        clock_ms: u64::MAX,
        software: "\u{1b}]0;a title\u{7}".repeat(100),
        motion: crate::common::motion(),
    };
    peer.0.send(&hello).await;
    assert_eq!(peer.is_welcomed().await.0, "van");
    works(port).await;
}

#[tokio::test]
async fn a_message_of_64_mib_is_refused_before_it_is_read() {
    let (world, _car, port) = world_with_a_car().await;
    let mut stranger = FakeInner::silent(world.main_port()).await;
    let (mut link, _) = FakeInner::welcome(world.main_port()).await;
    for peer in [&mut stranger, &mut link] {
        pour(peer.0.0.get_mut(), 64 << 20).await;
        let (rejection, sentence) = peer.is_rejected().await;
        assert_eq!(rejection, Rejection::Protocol);
        assert!(sentence.contains("too long"), "{sentence}");
    }
    works(port).await;
}

/// Sends bytes in fragments of this size.
async fn send_in_fragments(peer: &mut WebSocketPeer, bytes: &[u8], size: usize) {
    let count = bytes.chunks(size).len();
    for (n, chunk) in bytes.chunks(size).enumerate() {
        let kind = if n == 0 { Data::Binary } else { Data::Continue };
        let chunk = Bytes::copy_from_slice(chunk);
        let frame = Frame::message(chunk, OpCode::Data(kind), n + 1 == count);
        peer.try_send(Message::Frame(frame)).await;
    }
}

#[tokio::test]
async fn fragments_are_joined_up_to_the_size_of_a_message() {
    let (world, _car, port) = world_with_a_car().await;
    let mut peer = FakeInner::silent(world.main_port()).await;
    let message = InnerToRouter::Hello(hello("fragments", 0));
    let bytes = p2p_shared::codec::encode(&message).unwrap();
    send_in_fragments(&mut peer.0, &bytes, 7).await;
    peer.is_welcomed().await;
    send_in_fragments(&mut peer.0, &vec![0; 128 * 1024], 1000).await;
    let (rejection, sentence) = peer.is_rejected().await;
    assert_eq!(rejection, Rejection::Protocol);
    assert!(sentence.contains("too long"), "{sentence}");
    works(port).await;
}
