//! Inners that break the protocol when their link is up.

use std::pin::pin;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use p2p_shared::names::RunId;
use p2p_shared::protocol::{
    ActiveMotion, CommandInfo, ConsoleToRouter, FeedEvent, InnerToRouter, MotionEvent, Refusal,
    Rejection, RouterToConsole, RouterToInner,
};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::fixture::{not_messages, works, world_with_a_car};
use crate::common::console::FakeConsole;
use crate::common::peer::{FakeInner, finished, hello};
use crate::common::{self, World, answered, asking, soon, until_so};

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
        let (mut peer, _) = FakeInner::welcome(world.main_port()).await;
        peer.0.send_frame(Message::Binary(bytes.into())).await;
        let (rejection, sentence) = peer.is_rejected().await;
        assert_eq!(rejection, Rejection::Protocol, "{what}");
        assert!(!sentence.is_empty());
        assert_eq!(peer.receive().await, None, "{what}");
    }
    let (mut peer, _) = FakeInner::welcome(world.main_port()).await;
    peer.0.send_frame(Message::text("started")).await;
    let (_, sentence) = peer.is_rejected().await;
    assert!(sentence.contains("it is text"), "{sentence}");
    works(port).await;
}

#[tokio::test]
async fn what_is_said_of_runs_that_are_not_there_is_nobodys() {
    let world = World::open();
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let nobodys = RunId::from_number(1);
    let say_all = async |inner: &mut FakeInner, run| {
        inner.starts(run).await;
        inner.prints(run, vec![0; 16 * 1024]).await;
        inner
            .send(InnerToRouter::Refused {
                run,
                refusal: Refusal::Late,
                message: "".into(),
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
            .send(InnerToRouter::Commands {
                request,
                commands: commands.try_into().unwrap(),
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
    while !matches!(
        inner.receive().await,
        Some(RouterToInner::ListCommands { .. })
    ) {}
    let (request, more) = (1, false);
    inner
        .send(InnerToRouter::Commands {
            request,
            commands: commands.try_into().unwrap(),
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
        bytes: p2p_shared::bounded::Piece::first_of(b"x"),
    };
    let refused = |run| InnerToRouter::Refused {
        run,
        refusal: Refusal::Late,
        message: "late".into(),
    };
    type MessageScript<'a> = &'a [&'a dyn Fn(RunId) -> InnerToRouter];
    let stories: [(&str, MessageScript<'_>); 5] = [
        ("started twice", &[&started, &started]),
        ("refused after it had started", &[&started, &refused]),
        ("refused after its output", &[&started, &output, &refused]),
        ("output before it started", &[&output]),
        ("finished before it started", &[&finished]),
    ];
    for (what, script) in stories {
        let (mut inner, its_port) = FakeInner::welcome(world.main_port()).await;
        let run = asking(its_port, "/cgi?command=a");
        let asked = inner.is_asked_to_run().await;
        for message in script {
            inner.send(message(asked.run)).await;
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
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let large =
        tokio::spawn(
            async move { common::post(port, "/cgi?command=large", vec![0; 1 << 20]).await },
        );
    let Some(RouterToInner::Stdin { run, .. }) = inner.receive().await else {
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
    let (mut inner, its_port) = FakeInner::welcome(world.main_port()).await;
    let request = common::request("GET", "/cgi?command=a&stream=1");
    let reading = tokio::spawn(common::send(
        its_port,
        request.body(Default::default()).unwrap(),
    ));
    let asked = inner.is_asked_to_run().await;
    inner.starts(asked.run).await;
    let output = p2p_shared::codec::encode(&InnerToRouter::Output {
        run: asked.run,
        bytes: p2p_shared::bounded::Piece::first_of(&[0; 16 * 1024]),
    });
    let output = Message::Binary(output.unwrap());
    // Without a look at what was granted; its reader takes nothing.
    let flood = async { while inner.0.0.send(output.clone()).await.is_ok() {} };
    soon("the router has had enough", flood).await;
    let answer = soon("an answer", reading).await.unwrap();
    assert_eq!(answer.status(), 200);
    works(port).await;
}

/// A car that reports without end must not keep the events of other cars from their consoles.
#[tokio::test]
async fn what_one_car_reports_thousands_of_times_is_told_a_bounded_number_of_times() {
    let (world, _car, port) = world_with_a_car().await;
    let (mut inner, service_port) = FakeInner::welcome(world.main_port()).await;
    let mut console = FakeConsole::open(world.main_port()).await;
    let watch = ConsoleToRouter::Watch {
        service_port: Some(service_port),
    };
    console.send(watch).await;
    let ticks = RouterToInner::Ticks {
        wanted: true,
        watched: true,
    };
    while inner.receive().await != Some(ticks.clone()) {}
    let moves = |number| {
        let moving = ActiveMotion {
            run: RunId::from_number(number),
            command: "forward".parse().unwrap(),
            press: None,
        };
        MotionEvent::Started(moving)
    };
    let message = |message| Message::Binary(p2p_shared::codec::encode(&message).unwrap());
    let last = 10_000;
    let begun = Instant::now();
    for number in 1..=last {
        for frame in [
            message(InnerToRouter::Motion(moves(number))),
            message(InnerToRouter::Clock { clock_ms: number }),
            Message::Pong(Bytes::from_static(&[0; 8])),
        ] {
            inner.0.0.feed(frame).await.unwrap();
        }
    }
    inner.0.0.flush().await.unwrap();
    let (mut told, mut ticks, mut round_trips) = (0, 0, 0);
    let last = moves(last);
    let tells = |message: &RouterToConsole| {
        match message {
            RouterToConsole::Feed(FeedEvent::Motion { event, .. }) if *event == last => {
                return Some(());
            }
            RouterToConsole::Feed(FeedEvent::Motion { .. }) => told += 1,
            RouterToConsole::Feed(FeedEvent::Rtt { .. }) => round_trips += 1,
            RouterToConsole::Tick { .. } => ticks += 1,
            _ => {}
        }
        None
    };
    console.receives(tells).await;
    // As many at once as in a second, and then the rate.
    let seconds = begun.elapsed().as_secs_f64();
    let is_within = |count: i32, rate: f64| f64::from(count) < rate * (seconds + 1.0) + 50.0;
    assert!(is_within(told, 2_030.0), "{told} in {seconds} s");
    assert!(is_within(ticks, 50.0), "{ticks} in {seconds} s");
    assert!(round_trips < 20, "{round_trips}");
    works(port).await;
}

#[tokio::test]
async fn motion_events_without_end_end_no_link_and_hide_no_change() {
    let (world, _car, port) = world_with_a_car().await;
    let (mut inner, its_port) = FakeInner::welcome(world.main_port()).await;
    let mut console = FakeConsole::open(world.main_port()).await;
    let event = p2p_shared::codec::encode(&InnerToRouter::Motion(MotionEvent::Stands)).unwrap();
    for _ in 0..20_000 {
        let event = Message::Binary(event.clone());
        inner.0.0.feed(event).await.unwrap();
    }
    let motion = ActiveMotion {
        run: RunId::from_number(1),
        command: "forward".parse().unwrap(),
        press: None,
    };
    inner
        .send(InnerToRouter::Motion(MotionEvent::Started(motion.clone())))
        .await;
    let (mut stands, mut moves) = (0, false);
    while !moves {
        console
            .sees(|event| match event {
                FeedEvent::Motion {
                    service_port,
                    event,
                    ..
                } if *service_port == its_port => {
                    moves = *event == MotionEvent::Started(motion.clone());
                    stands += usize::from(!moves);
                    Some(())
                }
                _ => None,
            })
            .await;
    }
    assert!(stands < 20_000, "all were shown");
    assert_eq!(world.metric("p2p_router_links").await, 2);
    works(port).await;
}

#[tokio::test]
async fn a_list_of_commands_without_end_ends_the_link() {
    let (world, _car, port) = world_with_a_car().await;
    let (mut inner, its_port) = FakeInner::welcome(world.main_port()).await;
    let list = asking(its_port, "/commands");
    while !matches!(
        inner.receive().await,
        Some(RouterToInner::ListCommands { .. })
    ) {}
    let part = p2p_shared::codec::encode(&InnerToRouter::Commands {
        request: 1,
        commands: vec![
            CommandInfo {
                name: "x".parse().unwrap(),
                problem: Some(p2p_shared::bounded::Text::new("x".repeat(1000))),
            };
            50
        ]
        .try_into()
        .unwrap(),
        more: true,
    });
    let part = Message::Binary(part.unwrap());
    let flood = async { while inner.0.0.send(part.clone()).await.is_ok() {} };
    soon("the router has had enough", flood).await;
    assert_eq!(answered(list).await.status, 503);
    works(port).await;
}

#[tokio::test]
async fn a_peer_that_hangs_up_at_any_point_leaves_nothing_behind() {
    let (world, _car, port) = world_with_a_car().await;
    for n in 0..3 {
        drop(TcpStream::connect(world.router.address()).await.unwrap());
        drop(FakeInner::silent(world.main_port()).await);
        let identity = format!("gone{n}");
        drop(FakeInner::greeting(world.main_port(), &hello(&identity, 0)).await);
        let (inner, its_port) = FakeInner::welcome(world.main_port()).await;
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

#[tokio::test]
async fn a_flood_of_messages_does_not_keep_input_waiting() {
    let (world, _car, port) = world_with_a_car().await;
    let (inner, its_port) = FakeInner::welcome(world.main_port()).await;
    let (mut sink, stream) = inner.0.0.split();
    let clock = p2p_shared::codec::encode(&InnerToRouter::Clock { clock_ms: 0 }).unwrap();
    // Faster than any router reads.
    let flood =
        tokio::spawn(
            async move { while sink.feed(Message::Binary(clock.clone())).await.is_ok() {} },
        );
    let large = tokio::spawn(common::post(its_port, "/cgi?command=a", vec![0; 1 << 20]));
    let runs = stream.filter_map(async |message| match message.unwrap() {
        Message::Binary(bytes) => match p2p_shared::codec::decode(&bytes).unwrap() {
            RouterToInner::Run(run) => Some(run),
            _ => None,
        },
        _ => None,
    });
    let run = soon("the run, behind its input", pin!(runs).next()).await;
    assert_eq!(run.unwrap().stdin_bytes, 1 << 20);
    works(port).await;
    flood.abort();
    large.abort();
}
