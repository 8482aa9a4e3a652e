//! What is no router, or a bad one, at the address that an inner dials.

use futures_util::{SinkExt, StreamExt};
use p2p_inner::{Config, Inner};
use p2p_shared::names::RunId;
use p2p_shared::protocol::{InnerToRouter, MAX_OPEN_RUNS, Refusal, RouterToInner};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use super::fixture::{not_messages, pour};
use crate::common::peer::{FakeRouter, WebSocketPeer, run_request};
use crate::common::{World, inner_config, link_up, soon};

/// The settings of an inner that has this router.
fn inner_of(world: &World, router: &FakeRouter) -> Config {
    Config {
        routers: vec![router.address()],
        ..inner_config(world)
    }
}

/// Whether the inner on this link does what it is asked.
async fn serves(link: &mut WebSocketPeer, number: u64) {
    let run = run_request(number, "hello");
    link.send(&RouterToInner::Run(run)).await;
    let mut output = Vec::new();
    loop {
        match link.receive().await {
            Some(InnerToRouter::Output { run, bytes }) if run == RunId::from_number(number) => {
                output.extend_from_slice(&bytes);
            }
            Some(InnerToRouter::Answered {
                run, output: all, ..
            }) if run == RunId::from_number(number) => {
                output.extend_from_slice(&all);
                break;
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
        link.send_frame(message).await;
        assert_eq!(link.receive::<InnerToRouter>().await, None);
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
    link.send(&RouterToInner::Run(run_request(1, "touch")))
        .await;
    link.send(&RouterToInner::Welcome {
        name: hello.name,
        service_port: 9000,
        media: None,
        host: None,
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
    link.send(&RouterToInner::Run(run_request(1, "much"))).await;
    for _ in 0..100 {
        let more = u32::MAX;
        link.send(&RouterToInner::Window { run, more }).await;
    }
    let mut length = 0;
    loop {
        match link.receive().await {
            Some(InnerToRouter::Output { bytes, .. }) => length += bytes.len(),
            Some(InnerToRouter::Finished { .. } | InnerToRouter::Answered { .. }) => break,
            Some(_) => {}
            None => panic!("the inner has closed"),
        }
    }
    assert_eq!(length, 1_000_000);
    link.send(&RouterToInner::Window { run, more: 1 }).await;
    link.send(&RouterToInner::Cancel { run }).await;
    serves(&mut link, 2).await;
}

#[tokio::test]
async fn input_of_runs_that_never_come_is_bounded_and_can_be_taken_back() {
    let world = World::open();
    world.script("hello", "cat >&2; echo hello");
    let router = FakeRouter::start().await;
    let _inner = Inner::start(inner_of(&world, &router)).unwrap();
    let mut link = router.link().await;
    // Its clock, and how its car is.
    link.receive::<InnerToRouter>().await;
    link.receive::<InnerToRouter>().await;
    let input = |number| RouterToInner::Stdin {
        run: RunId::from_number(number),
        bytes: p2p_shared::bounded::Piece::first_of(b"input"),
    };
    for number in 0..MAX_OPEN_RUNS as u64 + 500 {
        link.send(&input(number)).await;
    }
    let mut late = run_request(5000, "hello");
    late.stdin_bytes = 5;
    link.send(&input(5000)).await;
    link.send(&RouterToInner::Run(late)).await;
    let answer = link.receive().await;
    assert!(
        matches!(&answer, Some(InnerToRouter::Refused { refusal: Refusal::Busy, message, .. })
            if message.raw().contains("did not come whole")),
        "{answer:?}"
    );
    let run = RunId::from_number(0);
    link.send(&RouterToInner::Cancel { run }).await;
    let mut next = run_request(5001, "hello");
    next.stdin_bytes = 5;
    link.send(&input(5001)).await;
    link.send(&RouterToInner::Run(next)).await;
    let answer = link.receive().await;
    assert!(
        matches!(
            answer,
            Some(InnerToRouter::Started { .. } | InnerToRouter::Answered { .. })
        ),
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
        while link.receive::<InnerToRouter>().await.is_some() {}
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
            InnerToRouter::Answered { .. } => ended += 1,
            InnerToRouter::Refused {
                refusal: Refusal::Busy,
                ..
            } => ended += 1,
            InnerToRouter::Output { .. }
            | InnerToRouter::Clock { .. }
            | InnerToRouter::Motion(_) => {}
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
