//! Messages whose parts are larger than their types allow. They end the connection that sent them,
//! and no other: a message that a router takes can also be passed on.

use bytes::Bytes;
use p2p_shared::key::{Key, Role};
use p2p_shared::protocol::{ConsoleToRouter, RefusedReason, Rejection, RouterToConsole, SendEvent};
use serde::Serialize;

use super::fixture::{works, world_with_a_car};
use crate::common::console::FakeConsole;
use crate::common::peer::FakeInner;
use crate::common::{World, get_with_key, inner_config};

/// A run as it is on the wire, with arguments that are too long.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum RawSend {
    Send {
        request: u64,
        service_port: u16,
        command: &'static str,
        arguments: Vec<Bytes>,
        for_ms: Option<u64>,
    },
}

/// A car with a key, a view key, and a drive key.
struct Fixture {
    world: World,
    inner: p2p_inner::Inner,
    port: u16,
    viewer: Key,
    driver: Key,
}

impl Fixture {
    async fn new() -> Self {
        let world = World::keyed();
        world.script("stop", "echo stop $# >> ../stops");
        world.script("hello", "echo hello");
        let mut config = inner_config(&world);
        config.key = Some(world.key("car", Role::Link).await);
        let viewer = world.key("viewer", Role::View).await;
        let driver = world.key("driver", Role::Drive).await;
        let (inner, port) = world.inner_with(config).await;
        Self {
            world,
            inner,
            port,
            viewer,
            driver,
        }
    }

    fn stops(&self) -> String {
        std::fs::read_to_string(self.world.note("stops")).unwrap_or_default()
    }
}

#[tokio::test]
async fn arguments_that_fill_a_message_end_their_own_console_and_no_link() {
    let fixture = Fixture::new().await;
    let mut link = fixture.inner.link_state();
    link.mark_unchanged();
    let main_port = fixture.world.main_port();
    let mut other = FakeConsole::with(main_port, Some(&fixture.viewer), false).await;
    for (count, length) in [(1, 65_000), (2, 20_000), (257, 1)] {
        let mut console = FakeConsole::with(main_port, Some(&fixture.viewer), false).await;
        let send = RawSend::Send {
            request: 1,
            service_port: fixture.port,
            command: "stop",
            arguments: vec![Bytes::from(vec![b'x'; length]); count],
            for_ms: None,
        };
        console.peer.send(&send).await;
        while console.peer.receive::<RouterToConsole>().await.is_some() {}
    }
    let answer = get_with_key(fixture.port, "/cgi?command=hello", &fixture.driver).await;
    assert_eq!(answer.verdict(), (200, "yes"));
    assert!(!link.has_changed().unwrap(), "the link was cut");
    other.sends_command(1, fixture.port, "stop").await;
    loop {
        match other.receives_send_event(1).await {
            SendEvent::Finished { .. } => break,
            SendEvent::Refused { message, .. } => panic!("{message}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn who_may_only_stop_gives_the_stop_command_no_arguments() {
    let fixture = Fixture::new().await;
    let before = fixture.stops();
    let main_port = fixture.world.main_port();
    let mut console = FakeConsole::with(main_port, Some(&fixture.viewer), false).await;
    let send = ConsoleToRouter::Send {
        request: 1,
        service_port: fixture.port,
        command: "stop".parse().unwrap(),
        arguments: vec![Bytes::from_static(b"x").try_into().unwrap()]
            .try_into()
            .unwrap(),
        for_ms: None,
    };
    console.send(send).await;
    let event = console.receives_send_event(1).await;
    let denied = Some(RefusedReason::Denied);
    assert!(
        matches!(&event, SendEvent::Refused { reason, .. } if *reason == denied),
        "{event:?}"
    );
    let target = "/cgi?command=stop&arg=x";
    let answer = get_with_key(fixture.port, target, &fixture.viewer).await;
    assert_eq!(answer.verdict(), (403, "no"));
    assert_eq!(fixture.stops(), before);
    for (key, target) in [
        (&fixture.viewer, "/cgi?command=stop"),
        (&fixture.driver, target),
    ] {
        let answer = get_with_key(fixture.port, target, key).await;
        assert_eq!(answer.verdict(), (200, "yes"));
    }
    assert!(
        fixture.stops().ends_with("stop 0\nstop 1\n"),
        "{}",
        fixture.stops()
    );
}

/// A car that does not answer must not let them fill the router's memory.
#[tokio::test]
async fn a_console_that_stops_without_end_hears_no_more_of_its_oldest_stops() {
    let world = World::open();
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let mut console = FakeConsole::open(world.main_port()).await;
    let mut newest = None;
    for request in 0..100 {
        console.sends_command(request, port, "stop").await;
        newest = Some(inner.is_asked_to_run().await.run);
    }
    for request in 0..84 {
        while console.receives_send_event(request).await != SendEvent::Lost {}
    }
    let newest = newest.unwrap();
    inner.starts(newest).await;
    inner.finishes(newest).await;
    while !matches!(
        console.receives_send_event(99).await,
        SendEvent::Finished { .. }
    ) {}
    assert_eq!(world.metric("p2p_router_open_runs").await, 15);
}

/// A hello as it is on the wire, with more motion commands than a car may have.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum RawHello {
    Hello {
        name: &'static str,
        service_port: u16,
        identity: &'static str,
        instance: u64,
        clock_ms: u64,
        software: &'static str,
        motion: RawMotion,
    },
}

#[derive(Serialize)]
struct RawMotion {
    commands: Vec<String>,
    stop: String,
    lease_ms: u64,
    limit_ms: u64,
}

#[tokio::test]
async fn a_hello_that_fills_a_message_is_refused_and_no_console_hears_of_it() {
    let (world, _car, port) = world_with_a_car().await;
    let mut console = FakeConsole::open(world.main_port()).await;
    // Four parts of 62 bytes and the slashes between.
    let long = |n: usize| vec![format!("{n:062}"); 4].join("/");
    for (count, is_taken) in [(16, true), (17, false), (240, false)] {
        let mut peer = FakeInner::silent(world.main_port()).await;
        let hello = RawHello::Hello {
            name: "long",
            service_port: 0,
            identity: "id",
            instance: 1,
            clock_ms: 0,
            software: "a test",
            motion: RawMotion {
                commands: (0..count).map(long).collect(),
                stop: long(count),
                lease_ms: 400,
                limit_ms: 2000,
            },
        };
        peer.0.send(&hello).await;
        if is_taken {
            peer.is_welcomed().await;
        } else {
            assert_eq!(peer.is_rejected().await.0, Rejection::Protocol, "{count}");
        }
        // Everyone sees what there is.
        FakeConsole::open(world.main_port()).await;
        console.sends_command(count as u64, port, "hello").await;
        while !matches!(
            console.receives_send_event(count as u64).await,
            SendEvent::Finished { .. }
        ) {}
    }
    works(port).await;
}
