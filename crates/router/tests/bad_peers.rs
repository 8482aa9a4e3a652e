//! Hostile and broken peers: on the main port of a router, and as the router of an inner. Each
//! gets a clear answer where it can get one, and nobody else is disturbed.

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::peer::{FakeInner, FakeRouter, Peer, finished, hello, run_request};
use common::{Answer, World, get, inner_config, link_up, raw, soon, until_so};
use futures_util::{SinkExt, StreamExt};
use p2p_inner::{Config, Inner};
use p2p_shared::names::RunId;
use p2p_shared::protocol::{
    CommandInfo, InnerToRouter, MAX_OPEN_RUNS, Refusal, Rejection, RouterToInner,
};
use p2p_shared::timing;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

fn main_port(world: &World) -> u16 {
    world.router.address().port()
}

fn asking(port: u16, target: &'static str) -> JoinHandle<Answer> {
    tokio::spawn(async move { get(port, target).await })
}

async fn answered(asking: JoinHandle<Answer>) -> Answer {
    soon("an answer", asking).await.unwrap()
}

/// A router with a good inner, which must go on working whatever others do.
async fn world_with_a_car() -> (World, Inner, u16) {
    let world = World::open();
    world.script("hello", "echo hello");
    let (car, port) = world.inner().await;
    (world, car, port)
}

async fn works(port: u16) {
    let answer = get(port, "/cgi?command=hello").await;
    assert_eq!(answer.verdict(), (200, "yes"));
}

/// What is none of our messages.
fn not_messages() -> Vec<(&'static str, Vec<u8>)> {
    let mut deep = vec![0x91; 60_000];
    deep.push(0xc0);
    let started = p2p_shared::codec::encode(&InnerToRouter::Draining).unwrap();
    vec![
        ("nothing", Vec::new()),
        ("garbage", b"\x00\xff\xfe garbage".to_vec()),
        ("deep nesting", deep),
        // A list that claims four thousand million entries, a string and bytes as long, a map.
        (
            "a false length of a list",
            b"\xdd\xff\xff\xff\xff\xc0".to_vec(),
        ),
        (
            "a false length of a string",
            b"\xdb\xff\xff\xff\xffx".to_vec(),
        ),
        ("a false length of bytes", b"\xc6\xff\xff\xff\xffx".to_vec()),
        (
            "a false length of a map",
            b"\xdf\xff\xff\xff\xff\xa1x".to_vec(),
        ),
        ("more behind it", [&started[..], b"\xc0"].concat()),
        ("an unknown message", b"\xa7unknown".to_vec()),
    ]
}

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
        assert!(answer.contains("no request that the main port"), "{answer}");
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
            let mut caller = common::raw::Caller::saying(main_port(&world), text).await;
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
async fn a_first_message_that_is_none_or_no_hello_is_refused() {
    let (world, _car, port) = world_with_a_car().await;
    for (what, bytes) in not_messages() {
        let mut peer = FakeInner::silent(main_port(&world)).await;
        peer.0.send(Message::Binary(bytes.into())).await;
        assert_eq!(peer.is_rejected().await.0, Rejection::Protocol, "{what}");
        assert_eq!(peer.hear().await, None, "{what}");
    }
    for message in [
        InnerToRouter::Draining,
        finished(RunId::from_number(1)),
        InnerToRouter::Clock { clock_ms: 1 },
    ] {
        let mut peer = FakeInner::silent(main_port(&world)).await;
        peer.say(message).await;
        let (_, sentence) = peer.is_rejected().await;
        assert_eq!(sentence, "the first message is no hello");
    }
    let mut peer = FakeInner::silent(main_port(&world)).await;
    peer.0.send(Message::text("hello")).await;
    let (_, sentence) = peer.is_rejected().await;
    assert!(sentence.contains("it is text"), "{sentence}");
    assert_eq!(world.metric("p2p_router_links").await, 1);
    works(port).await;
}

#[tokio::test]
async fn a_link_that_sends_what_is_no_message_is_told_and_closed() {
    let (world, _car, port) = world_with_a_car().await;
    let router_message = p2p_shared::codec::encode(&RouterToInner::ListCommands { request: 1 });
    let mut messages = not_messages();
    messages.push((
        "a message of the other way",
        router_message.unwrap().to_vec(),
    ));
    for (what, bytes) in messages {
        let (mut peer, _) = FakeInner::welcome(main_port(&world)).await;
        peer.0.send(Message::Binary(bytes.into())).await;
        let (rejection, sentence) = peer.is_rejected().await;
        assert_eq!(rejection, Rejection::Protocol, "{what}");
        assert!(!sentence.is_empty());
        assert_eq!(peer.hear().await, None, "{what}");
    }
    let (mut peer, _) = FakeInner::welcome(main_port(&world)).await;
    peer.0.send(Message::text("started")).await;
    let (_, sentence) = peer.is_rejected().await;
    assert!(sentence.contains("it is text"), "{sentence}");
    works(port).await;
}

/// Writes a frame of this size, as far as it is taken.
async fn pour(stream: &mut TcpStream, size: u64) {
    // FIN and binary; masked, its length in eight bytes; a mask of zeros.
    let header = [&[0x82, 0xff][..], &size.to_be_bytes(), &[0; 4]].concat();
    let piece = vec![0; 64 * 1024];
    let pouring = async {
        stream.write_all(&header).await?;
        for _ in 0..size / piece.len() as u64 {
            stream.write_all(&piece).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    // The router has had enough before all of it is written.
    let _ = soon("the bytes are taken or refused", pouring).await;
}

#[tokio::test]
async fn a_message_of_64_mib_is_refused_before_it_is_read() {
    let (world, _car, port) = world_with_a_car().await;
    let mut stranger = FakeInner::silent(main_port(&world)).await;
    let (mut link, _) = FakeInner::welcome(main_port(&world)).await;
    for peer in [&mut stranger, &mut link] {
        pour(peer.0.0.get_mut(), 64 << 20).await;
        let (rejection, sentence) = peer.is_rejected().await;
        assert_eq!(rejection, Rejection::Protocol);
        assert!(sentence.contains("too long"), "{sentence}");
    }
    works(port).await;
}

/// Sends bytes in fragments of this size.
async fn send_in_fragments(peer: &mut Peer, bytes: &[u8], size: usize) {
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
    let mut peer = FakeInner::silent(main_port(&world)).await;
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

#[tokio::test]
async fn who_says_hello_twice_or_never_is_sent_away() {
    let (world, _car, port) = world_with_a_car().await;
    let (mut twice, _) = FakeInner::welcome(main_port(&world)).await;
    twice.say(InnerToRouter::Hello(hello("again", 0))).await;
    let (rejection, sentence) = twice.is_rejected().await;
    assert_eq!(rejection, Rejection::Protocol);
    assert_eq!(sentence, "the inner said hello twice");

    let since = Instant::now();
    let mut never = FakeInner::silent(main_port(&world)).await;
    let (_, sentence) = never.is_rejected().await;
    assert_eq!(sentence, "no hello came within 5 s");
    assert!(since.elapsed() >= timing::HELLO);
    works(port).await;
}

/// A hello as it is on the wire, with names that are no names.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Raw {
    Hello {
        name: String,
        service_port: u64,
        identity: String,
        instance: u64,
        clock_ms: u64,
        software: String,
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
        let mut peer = FakeInner::silent(main_port(&world)).await;
        let hello = Raw::Hello {
            name: name.to_owned(),
            identity: identity.to_owned(),
            service_port,
            instance: 1,
            clock_ms: 0,
            software: "a test".to_owned(),
        };
        peer.0.say(&hello).await;
        let (rejection, sentence) = peer.is_rejected().await;
        assert_eq!(rejection, Rejection::Protocol, "{name:?} {identity:?}");
        assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
    }
    // The same with names that are names is a hello.
    let mut peer = FakeInner::silent(main_port(&world)).await;
    let hello = Raw::Hello {
        name: "van".to_owned(),
        identity: "id".to_owned(),
        service_port: 0,
        instance: 1,
        clock_ms: u64::MAX,
        software: "\u{1b}]0;a title\u{7}".repeat(100),
    };
    peer.0.say(&hello).await;
    assert_eq!(peer.is_welcomed().await.0, "van");
    works(port).await;
}

#[tokio::test]
async fn what_is_said_of_runs_that_are_not_there_is_nobodys() {
    let world = World::open();
    let (mut inner, port) = FakeInner::welcome(main_port(&world)).await;
    let nobodys = RunId::from_number(1);
    let say_all = async |inner: &mut FakeInner, run| {
        inner.starts(run).await;
        inner.prints(run, vec![0; 16 * 1024]).await;
        inner
            .say(InnerToRouter::Refused {
                run,
                refusal: Refusal::Late,
                message: String::new(),
            })
            .await;
        inner.finishes(run).await;
    };
    // More than any window, too.
    for _ in 0..100 {
        say_all(&mut inner, nobodys).await;
    }
    let commands = vec![CommandInfo {
        name: "x".parse().unwrap(),
        problem: None,
    }];
    for more in [true, false] {
        let (request, commands) = (7, commands.clone());
        inner
            .say(InnerToRouter::Commands {
                request,
                commands,
                more,
            })
            .await;
    }
    let run = asking(port, "/cgi?command=a");
    let asked = inner.is_asked_to_run().await;
    inner.starts(asked.run).await;
    inner.prints(asked.run, "output").await;
    inner.finishes(asked.run).await;
    // Said once more of a run that is over.
    say_all(&mut inner, asked.run).await;
    let answer = answered(run).await;
    assert_eq!(
        (answer.verdict(), answer.text().as_str()),
        ((200, "yes"), "output")
    );
    let list = asking(port, "/commands");
    while !matches!(inner.hear().await, Some(RouterToInner::ListCommands { .. })) {}
    let (request, more) = (1, false);
    inner
        .say(InnerToRouter::Commands {
            request,
            commands,
            more,
        })
        .await;
    assert_eq!(
        answered(list).await.text(),
        r#"{"commands":[{"name":"x"}]}"#
    );
}

#[tokio::test]
async fn an_inner_that_tells_the_story_of_a_run_in_a_wrong_order_is_sent_away() {
    let (world, _car, port) = world_with_a_car().await;
    let started = |run| InnerToRouter::Started { run };
    let output = |run| InnerToRouter::Output {
        run,
        bytes: Bytes::from_static(b"x"),
    };
    let refused = |run| InnerToRouter::Refused {
        run,
        refusal: Refusal::Late,
        message: "late".to_owned(),
    };
    let stories: [(&str, Vec<&dyn Fn(RunId) -> InnerToRouter>); 5] = [
        ("started twice", vec![&started, &started]),
        ("refused after it had started", vec![&started, &refused]),
        (
            "refused after its output",
            vec![&started, &output, &refused],
        ),
        ("output before it started", vec![&output]),
        ("finished before it started", vec![&finished]),
    ];
    for (what, story) in stories {
        let (mut inner, its_port) = FakeInner::welcome(main_port(&world)).await;
        let run = asking(its_port, "/cgi?command=a");
        let asked = inner.is_asked_to_run().await;
        for message in story {
            inner.say(message(asked.run)).await;
        }
        assert_eq!(inner.is_rejected().await.0, Rejection::Protocol, "{what}");
        let answer = answered(run).await;
        assert_eq!(answer.verdict(), (502, "unknown"), "{what}");
    }
    works(port).await;
}

#[tokio::test]
async fn an_inner_that_answers_a_run_before_it_was_asked_is_sent_away() {
    let world = World::open();
    let (mut inner, port) = FakeInner::welcome(main_port(&world)).await;
    let large =
        tokio::spawn(
            async move { common::post(port, "/cgi?command=large", vec![0; 1 << 20]).await },
        );
    let Some(RouterToInner::Stdin { run, .. }) = inner.hear().await else {
        panic!("no input came")
    };
    // The rest of the input is on its way, and behind it the run.
    inner.starts(run).await;
    inner.finishes(run).await;
    let answer = answered(large).await;
    assert_eq!(answer.verdict(), (503, "no"));
    assert_eq!(inner.is_rejected().await.0, Rejection::Protocol);
}

#[tokio::test]
async fn output_beyond_the_window_ends_the_link() {
    let (world, _car, port) = world_with_a_car().await;
    let (mut inner, its_port) = FakeInner::welcome(main_port(&world)).await;
    let request = common::request("GET", "/cgi?command=a&stream=1");
    let reading = tokio::spawn(common::send(
        its_port,
        request.body(Default::default()).unwrap(),
    ));
    let asked = inner.is_asked_to_run().await;
    inner.starts(asked.run).await;
    let output = p2p_shared::codec::encode(&InnerToRouter::Output {
        run: asked.run,
        bytes: vec![0; 16 * 1024].into(),
    });
    let output = Message::Binary(output.unwrap());
    // Without a look at what was granted; its reader takes nothing.
    let flood = async { while inner.0.0.send(output.clone()).await.is_ok() {} };
    soon("the router has had enough", flood).await;
    let answer = soon("an answer", reading).await.unwrap();
    assert_eq!(answer.status(), 200);
    works(port).await;
}

#[tokio::test]
async fn a_list_of_commands_without_end_ends_the_link() {
    let (world, _car, port) = world_with_a_car().await;
    let (mut inner, its_port) = FakeInner::welcome(main_port(&world)).await;
    let list = asking(its_port, "/commands");
    while !matches!(inner.hear().await, Some(RouterToInner::ListCommands { .. })) {}
    let part = p2p_shared::codec::encode(&InnerToRouter::Commands {
        request: 1,
        commands: vec![
            CommandInfo {
                name: "x".parse().unwrap(),
                problem: Some("x".repeat(1000)),
            };
            50
        ],
        more: true,
    });
    let part = Message::Binary(part.unwrap());
    let flood = async { while inner.0.0.send(part.clone()).await.is_ok() {} };
    soon("the router has had enough", flood).await;
    assert_eq!(answered(list).await.status, 503);
    works(port).await;
}

#[tokio::test]
async fn two_thousand_connections_that_say_nothing_hold_up_nobody() {
    p2p_router::limits::raise_open_files();
    let (world, _car, port) = world_with_a_car().await;
    let mut silent = Vec::new();
    for _ in 0..2000 {
        silent.push(TcpStream::connect(world.router.address()).await.unwrap());
    }
    works(port).await;
    let (mut another, its_port) = FakeInner::welcome(main_port(&world)).await;
    let run = asking(its_port, "/cgi?command=a");
    let asked = another.is_asked_to_run().await;
    another.starts(asked.run).await;
    another.finishes(asked.run).await;
    assert_eq!(answered(run).await.verdict(), (200, "yes"));
    drop(silent);
}

/// The settings of an inner that has this router.
fn inner_of(world: &World, router: &FakeRouter) -> Config {
    Config {
        router: router.address(),
        ..inner_config(world)
    }
}

/// Whether the inner on this link does what it is asked.
async fn serves(link: &mut Peer, number: u64) {
    let run = run_request(number, "hello");
    link.say(&RouterToInner::Run(run)).await;
    let mut output = Vec::new();
    loop {
        match link.hear().await {
            Some(InnerToRouter::Output { run, bytes }) if run == RunId::from_number(number) => {
                output.extend_from_slice(&bytes);
            }
            Some(InnerToRouter::Finished { run, .. }) if run == RunId::from_number(number) => break,
            Some(_) => {}
            None => panic!("the inner has closed"),
        }
    }
    assert_eq!(output, b"hello\n");
}

#[tokio::test]
async fn an_inner_leaves_a_router_that_talks_nonsense_and_comes_back() {
    let world = World::open();
    world.script("hello", "echo hello");
    let router = FakeRouter::start().await;
    let _inner = Inner::start(inner_of(&world, &router)).unwrap();
    let wrong_way = p2p_shared::codec::encode(&InnerToRouter::Draining).unwrap();
    let mut messages: Vec<_> = not_messages().into_iter().map(|(_, bytes)| bytes).collect();
    messages.push(wrong_way.to_vec());
    let nonsense = messages.into_iter().map(Message::binary);
    for message in nonsense.chain([Message::text("run hello")]) {
        let mut link = router.link().await;
        link.send(message).await;
        assert_eq!(link.hear::<InnerToRouter>().await, None);
    }
    let mut link = router.link().await;
    pour(link.0.get_mut(), 1 << 20).await;
    drop(link);
    serves(&mut router.link().await, 1).await;
}

#[tokio::test]
async fn what_a_router_says_before_its_welcome_is_not_done() {
    let world = World::open();
    let mark = world.note("mark");
    world.script("touch", &format!("touch {}", mark.display()));
    world.script("hello", "echo hello");
    let router = FakeRouter::start().await;
    let _inner = Inner::start(inner_of(&world, &router)).unwrap();
    let (mut link, hello) = router.inner().await;
    link.say(&RouterToInner::Run(run_request(1, "touch"))).await;
    link.say(&RouterToInner::Welcome {
        name: hello.name,
        service_port: 9000,
    })
    .await;
    serves(&mut link, 2).await;
    assert!(!mark.exists());
}

#[tokio::test]
async fn windows_that_overflow_and_cancels_of_nothing_do_no_harm() {
    let world = World::open();
    world.script("hello", "echo hello");
    world.script("much", "head -c 1000000 /dev/zero");
    let router = FakeRouter::start().await;
    let _inner = Inner::start(inner_of(&world, &router)).unwrap();
    let mut link = router.link().await;
    let run = RunId::from_number(1);
    link.say(&RouterToInner::Run(run_request(1, "much"))).await;
    for _ in 0..100 {
        let more = u32::MAX;
        link.say(&RouterToInner::Window { run, more }).await;
    }
    let mut length = 0;
    loop {
        match link.hear().await {
            Some(InnerToRouter::Output { bytes, .. }) => length += bytes.len(),
            Some(InnerToRouter::Finished { .. }) => break,
            Some(_) => {}
            None => panic!("the inner has closed"),
        }
    }
    assert_eq!(length, 1_000_000);
    link.say(&RouterToInner::Window { run, more: 1 }).await;
    link.say(&RouterToInner::Cancel { run }).await;
    serves(&mut link, 2).await;
}

#[tokio::test]
async fn input_of_runs_that_never_come_is_bounded_and_can_be_taken_back() {
    let world = World::open();
    world.script("hello", "cat >&2; echo hello");
    let router = FakeRouter::start().await;
    let _inner = Inner::start(inner_of(&world, &router)).unwrap();
    let mut link = router.link().await;
    let input = |number| RouterToInner::Stdin {
        run: RunId::from_number(number),
        bytes: Bytes::from_static(b"input"),
    };
    for number in 0..MAX_OPEN_RUNS as u64 + 500 {
        link.say(&input(number)).await;
    }
    let mut late = run_request(5000, "hello");
    late.stdin_bytes = 5;
    link.say(&input(5000)).await;
    link.say(&RouterToInner::Run(late)).await;
    let answer = link.hear().await;
    assert!(
        matches!(&answer, Some(InnerToRouter::Refused { refusal: Refusal::Busy, message, .. })
            if message.contains("did not come whole")),
        "{answer:?}"
    );
    let run = RunId::from_number(0);
    link.say(&RouterToInner::Cancel { run }).await;
    let mut next = run_request(5001, "hello");
    next.stdin_bytes = 5;
    link.say(&input(5001)).await;
    link.say(&RouterToInner::Run(next)).await;
    let answer = link.hear().await;
    assert!(
        matches!(answer, Some(InnerToRouter::Started { .. })),
        "{answer:?}"
    );
    // With the link, it is forgotten.
    drop(link);
    serves(&mut router.link().await, 6000).await;
}

#[tokio::test]
async fn a_router_that_asks_for_lists_without_end_is_left() {
    let world = World::open();
    world.script("hello", "echo hello");
    let router = FakeRouter::start().await;
    let _inner = Inner::start(inner_of(&world, &router)).unwrap();
    let mut link = router.link().await;
    for request in 0..1000 {
        let list = p2p_shared::codec::encode(&RouterToInner::ListCommands { request });
        let _ = link.0.feed(Message::Binary(list.unwrap())).await;
    }
    let _ = link.0.flush().await;
    soon("the inner leaves", async {
        while link.hear::<InnerToRouter>().await.is_some() {}
    })
    .await;
    serves(&mut router.link().await, 1).await;
}

#[tokio::test]
async fn ten_thousand_runs_at_once_are_begun_as_far_as_may_be_and_each_is_answered() {
    const RUNS: u64 = 10_000;
    let world = World::open();
    world.script("hello", "echo hello");
    let router = FakeRouter::start().await;
    let max_runs = 4;
    let config = Config {
        max_runs,
        ..inner_of(&world, &router)
    };
    let _inner = Inner::start(config).unwrap();
    let (mut sink, mut stream) = router.link().await.0.split();
    let sending = tokio::spawn(async move {
        for number in 0..RUNS {
            let run = RouterToInner::Run(run_request(number, "hello"));
            let bytes = p2p_shared::codec::encode(&run).unwrap();
            sink.send(Message::Binary(bytes)).await.unwrap();
        }
        sink
    });
    let (mut open, mut ended) = (0, 0);
    while ended < RUNS {
        let message = soon("a report", stream.next()).await.unwrap().unwrap();
        let Message::Binary(bytes) = message else {
            continue;
        };
        match p2p_shared::codec::decode(&bytes).unwrap() {
            InnerToRouter::Started { .. } => open += 1,
            InnerToRouter::Finished { .. } => {
                open -= 1;
                ended += 1;
            }
            InnerToRouter::Refused {
                refusal: Refusal::Busy,
                ..
            } => ended += 1,
            InnerToRouter::Output { .. } | InnerToRouter::Clock { .. } => {}
            other => panic!("{other:?}"),
        }
        // A run whose end is on its way makes room for the next, whose start may overtake it.
        assert!(open <= 2 * max_runs);
    }
    drop(sending.await);
}

#[tokio::test]
async fn a_router_that_asks_for_runs_and_reads_nothing_is_left() {
    let world = World::open();
    world.script("hello", "echo hello");
    let router = FakeRouter::start().await;
    let _inner = Inner::start(inner_of(&world, &router)).unwrap();
    let mut link = router.link().await;
    let flood = async {
        for number in 0.. {
            let run = RouterToInner::Run(run_request(number, "nonesuch"));
            let bytes = p2p_shared::codec::encode(&run).unwrap();
            if link.0.send(Message::Binary(bytes)).await.is_err() {
                return;
            }
        }
    };
    soon("the inner leaves", flood).await;
    serves(&mut router.link().await, 1 << 40).await;
}

#[tokio::test]
async fn an_inner_keeps_trying_whatever_is_at_the_routers_address() {
    let world = World::open();
    world.script("hello", "echo hello");
    let mut router = FakeRouter::start().await;
    let inner = Inner::start(inner_of(&world, &router)).unwrap();
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\n\r\n<h1>nothing</h1>",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\x15\x03\x01\0\x02\x02\x50",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let mut connection = router.connection().await;
        connection.write_all(answer.as_bytes()).await.unwrap();
    }
    router.subprotocol = "p2p.v9";
    drop(router.upgraded().await);
    router.subprotocol = "p2p.v1";
    // One that says nothing is given up after five seconds.
    let _silent = router.connection().await;
    drop(router.inner().await);
    let mut link = router.link().await;
    link_up(&inner).await;
    serves(&mut link, 1).await;
}

#[tokio::test]
async fn a_router_that_always_sends_its_inner_away_does_not_make_it_rush() {
    let world = World::open();
    let router = FakeRouter::start().await;
    let _inner = Inner::start(inner_of(&world, &router)).unwrap();
    let since = Instant::now();
    for _ in 0..8 {
        let mut link = router.link().await;
        let reconnect_after_ms = 0;
        link.say(&RouterToInner::GoAway { reconnect_after_ms })
            .await;
        assert_eq!(link.hear::<InnerToRouter>().await, None);
    }
    // The schedule's seven pauses are four seconds in all on average, and full of jitter: less
    // than this comes once in ten million times.
    assert!(since.elapsed() > Duration::from_millis(200));
}

#[tokio::test]
async fn a_peer_that_hangs_up_at_any_point_leaves_nothing_behind() {
    let (world, _car, port) = world_with_a_car().await;
    for n in 0..3 {
        drop(TcpStream::connect(world.router.address()).await.unwrap());
        drop(FakeInner::silent(main_port(&world)).await);
        let identity = format!("gone{n}");
        drop(FakeInner::greeting(main_port(&world), &hello(&identity, 0)).await);
        let (inner, its_port) = FakeInner::welcome(main_port(&world)).await;
        let run = asking(its_port, "/cgi?command=a");
        until_so("the run is open", async || {
            world.metric("p2p_router_open_runs").await == 1
        })
        .await;
        drop(inner);
        assert!([502, 503].contains(&answered(run).await.status.as_u16()));
    }
    until_so("only the good link is there", async || {
        world.metric("p2p_router_links").await == 1
            && world.metric("p2p_router_open_runs").await == 0
    })
    .await;
    works(port).await;
}
