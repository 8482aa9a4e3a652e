//! Consoles: what they are shown, what they may ask for, and that none of them holds up another.

use std::time::Duration;

use crate::common;
use crate::common::console::{self, FakeConsole};
use crate::common::peer::FakeInner;
use crate::common::{World, get, raw, soon};
use futures_util::SinkExt;
use p2p_shared::codec;
use p2p_shared::key::Role;
use p2p_shared::names::RunId;
use p2p_shared::net::dialer::DialError;
use p2p_shared::protocol::{
    ActiveMotion, ConsoleToRouter, DriveCommand, End, FeedEvent, InnerToRouter, MotionEvent,
    RUN_WINDOW, RefusedReason, RouterToConsole, RouterToInner, RunSource, SendEvent, cost,
};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_console_gets_a_picture_and_then_what_happens() {
    let world = World::open();
    world.script("hello", "echo hello; echo oops >&2");
    let (inner, port) = world.inner().await;
    get(port, "/cgi?command=hello").await;
    let mut console = FakeConsole::open(world.main_port()).await;
    let link = &console.picture.links[0];
    assert_eq!((link.service_port, link.is_up, link.runs), (port, true, 1));
    assert_eq!((link.name.as_str(), link.failures), ("car", 0));
    assert_eq!((link.lease_ms, link.motion_limit_ms), (400, 2000));
    assert_eq!((link.motion.len(), link.stop.as_str()), (4, "stop"));
    let run = &console.picture.runs[0];
    assert_eq!(
        (run.command.as_str(), run.source),
        ("hello", RunSource::Http)
    );
    assert_eq!((run.from.raw(), run.key.raw()), ("127.0.0.1", ""));
    let result = run.result.as_ref().unwrap();
    assert_eq!((result.status, result.end), (200, Some(End::Exit(0))));
    assert_eq!(
        (&result.output[..], &result.stderr[..]),
        (&b"hello\n"[..], &b"oops\n"[..])
    );
    assert!(result.exec_us.is_some() && result.bytes == 6);

    get(port, "/cgi?command=absent").await;
    let asked = console.sees_run(|run| run.result.is_none()).await;
    let over = console.sees_run(|run| run.result.is_some()).await;
    assert_eq!((asked.run, over.result.unwrap().status), (over.run, 404));
    // Someone watches: the link is pinged at the busy pace.
    let is_rtt = |event: &FeedEvent| matches!(event, FeedEvent::Rtt { .. }).then_some(());
    console.sees(is_rtt).await;
    inner.shut_down().await;
    let down = |event: &FeedEvent| match event {
        FeedEvent::LinkDown { service_port, .. } => Some(*service_port),
        _ => None,
    };
    assert_eq!(console.sees(down).await, port);
}

#[tokio::test]
async fn keys_pages_and_other_versions_are_checked_before_the_upgrade() {
    let world = World::keyed();
    let car = world.key("car", Role::Link).await;
    for key in [None, Some(&car)] {
        let refused = console::dial(world.main_port(), key).await;
        assert!(matches!(
            refused,
            Err(DialError::Denied(..) | DialError::NoKey(_))
        ));
    }
    let view = world.key("viewer", Role::View).await;
    let console = FakeConsole::with(world.main_port(), Some(&view), false).await;
    assert_eq!(
        (console.picture.role, &*console.picture.key),
        (Role::View, "viewer")
    );
    let request = format!(
        "GET /admin HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         sec-websocket-protocol: p2p.v1\r\norigin: http://x\r\nauthorization: Bearer {}\r\n\r\n",
        view.expose()
    );
    let answer = raw(world.router.address(), request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test]
async fn a_revoked_key_closes_its_console_at_once() {
    let world = World::keyed();
    let key = world.key("me", Role::Drive).await;
    let mut console = FakeConsole::with(world.main_port(), Some(&key), false).await;
    world.revoke("me");
    let (reason, message) = console.is_refused().await;
    assert_eq!(reason, RefusedReason::Denied);
    assert!(message.contains("revoked"), "{message}");
    assert_eq!(console.peer.receive::<RouterToConsole>().await, None);
}

#[tokio::test]
async fn a_console_that_says_no_hello_is_told_so() {
    let world = World::open();
    let mut peer = console::dial(world.main_port(), None).await.unwrap();
    peer.send(&ConsoleToRouter::Drive {
        service_port: 1,
        command: DriveCommand::Stop,
    })
    .await;
    let told = peer.receive::<RouterToConsole>().await;
    assert!(
        matches!(told, Some(RouterToConsole::Refused { .. })),
        "{told:?}"
    );
}

#[tokio::test]
async fn what_a_console_sends_runs_and_its_output_streams_back() {
    let world = World::open();
    world.script("hello", "echo \"hello\"; exit 3");
    let (_inner, port) = world.inner().await;
    let mut console = FakeConsole::open(world.main_port()).await;
    console.sends_command(7, port, "hello").await;
    let SendEvent::Queued { run } = console.receives_send_event(7).await else {
        panic!("it was not queued")
    };
    assert_eq!(console.receives_send_event(7).await, SendEvent::Started);
    assert_eq!(
        console.receives_send_event(7).await,
        SendEvent::Output(p2p_shared::bounded::Piece::first_of(b"hello\n"))
    );
    let finished = console.receives_send_event(7).await;
    let is_3 = matches!(
        finished,
        SendEvent::Finished {
            end: End::Exit(3),
            ..
        }
    );
    assert!(is_3, "{finished:?}");
    let seen = console.sees_run(|run| run.result.is_some()).await;
    assert_eq!((seen.run, seen.source), (run, RunSource::Send));
    console.sends_command(8, port, "absent").await;
    console.receives_send_event(8).await;
    let refused = console.receives_send_event(8).await;
    assert!(matches!(refused, SendEvent::Refused { .. }), "{refused:?}");
    console.sends_command(9, 1, "hello").await;
    let refused = console.receives_send_event(9).await;
    let offline = Some(RefusedReason::Offline);
    assert!(matches!(refused, SendEvent::Refused { reason, .. } if reason == offline));
}

#[tokio::test]
async fn a_consoles_window_reaches_the_inner_and_no_more_than_it_read() {
    let world = World::open();
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let mut console = FakeConsole::open(world.main_port()).await;
    console.sends_command(1, port, "x").await;
    let run = inner.is_asked_to_run().await.run;
    inner.starts(run).await;
    inner.prints(run, "hello").await;
    let output = |event: &RouterToConsole| match event {
        RouterToConsole::SendEvent {
            event: SendEvent::Output(bytes),
            ..
        } => Some(bytes.clone()),
        _ => None,
    };
    let bytes = console.receives(output).await;
    let more = RUN_WINDOW;
    console
        .send(ConsoleToRouter::Window { request: 1, more })
        .await;
    let granted = loop {
        if let RouterToInner::Window { more, .. } = inner.receive().await.unwrap() {
            break more;
        }
    };
    assert_eq!(granted, cost(&bytes));
    // The console goes away: its run is ended.
    drop(console);
    loop {
        if let RouterToInner::Cancel { run: cancelled } = inner.receive().await.unwrap() {
            assert_eq!(cancelled, run);
            break;
        }
    }
}

#[tokio::test]
async fn commands_are_listed_in_parts() {
    let world = World::open();
    for n in 0..1000 {
        world.script(&format!("command-{n}-{}", "x".repeat(40)), "");
    }
    let (_inner, service_port) = world.inner().await;
    let mut console = FakeConsole::open(world.main_port()).await;
    let request = 5;
    let list = ConsoleToRouter::ListCommands {
        request,
        service_port,
    };
    console.send(list).await;
    let (mut all, mut parts, mut is_last) = (0, 0, false);
    while !is_last {
        let part = |message: &RouterToConsole| match message {
            RouterToConsole::Commands { commands, more, .. } => Some((commands.len(), *more)),
            _ => None,
        };
        let (count, more) = console.receives(part).await;
        (all, parts, is_last) = (all + count, parts + 1, !more);
    }
    assert_eq!(all, 1000);
    assert!(parts > 1);
    let service_port = 1;
    console
        .send(ConsoleToRouter::ListCommands {
            request,
            service_port,
        })
        .await;
    assert_eq!(console.is_refused().await.0, RefusedReason::Offline);
}

#[tokio::test]
async fn a_view_key_and_a_readonly_console_run_nothing() {
    let world = World::keyed();
    let car = world.key("car", Role::Link).await;
    world.script("x", "");
    let config = p2p_inner::Config {
        key: Some(car),
        ..common::inner_config(&world)
    };
    let (_inner, port) = world.inner_with(config).await;
    let view = world.key("viewer", Role::View).await;
    let admin = world.key("boss", Role::Admin).await;
    for (key, readonly) in [(&view, false), (&admin, true)] {
        let mut console = FakeConsole::with(world.main_port(), Some(key), readonly).await;
        assert_eq!(console.picture.role, Role::View);
        console.sends_command(1, port, "x").await;
        let refused = console.receives_send_event(1).await;
        let denied = Some(RefusedReason::Denied);
        assert!(matches!(refused, SendEvent::Refused { reason, .. } if reason == denied));
        // But it may run the stop command.
        console.sends_command(2, port, "stop").await;
        let queued = console.receives_send_event(2).await;
        assert!(matches!(queued, SendEvent::Queued { .. }), "{queued:?}");
    }
}

#[tokio::test]
async fn a_router_that_goes_down_sends_its_consoles_away() {
    let world = World::open();
    let mut console = FakeConsole::open(world.main_port()).await;
    let down = tokio::spawn(world.router.shut_down());
    let away = |message: &RouterToConsole| match message {
        RouterToConsole::GoAway {
            reconnect_after_ms,
            elsewhere: true,
        } => Some(*reconnect_after_ms),
        _ => None,
    };
    assert!(console.receives(away).await <= 1000);
    drop(console);
    down.await.unwrap();
}

/// Cars that report motions, together more than any one car may.
struct Movers(Vec<FakeInner>);

/// How often each of them reports in ten milliseconds: three quarters of what a car may.
const AT_ONCE: u32 = 15;

impl Movers {
    async fn up(main_port: u16) -> Self {
        let mut movers = Vec::new();
        for _ in 0..8 {
            movers.push(FakeInner::welcome(main_port).await.0);
        }
        Self(movers)
    }

    /// Reports that so many motions of each have started, within ten milliseconds.
    async fn move_on(&mut self, count: u32) {
        let message = InnerToRouter::Motion(MotionEvent::Started(ActiveMotion {
            run: RunId::from_number(1),
            command: ["x"; 4].map(|x| x.repeat(60)).join("/").parse().unwrap(),
            press: None,
        }));
        let bytes = codec::encode(&message).unwrap();
        for inner in &mut self.0 {
            for _ in 0..count {
                let message = Message::Binary(bytes.clone());
                inner.0.0.feed(message).await.unwrap();
            }
            inner.0.0.flush().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Events in ten milliseconds of each car, and for how many of these times.
const FLOOD: (u32, u32) = (7, 200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_that_lags_holds_up_nobody() {
    let world = World::open();
    let mut movers = Movers::up(world.main_port()).await;
    let mut quick = FakeConsole::open(world.main_port()).await;
    // This one has got its picture, and reads no more.
    let slow = FakeConsole::open(world.main_port()).await;
    slow.shrinks_receive_buffer();
    let flood = tokio::spawn(async move {
        for _ in 0..FLOOD.1 {
            movers.move_on(FLOOD.0).await;
        }
        movers
    });
    let mut seen = 0;
    while seen < 8 * FLOOD.0 * FLOOD.1 {
        match quick.peer.receive::<RouterToConsole>().await {
            Some(RouterToConsole::Feed(FeedEvent::Motion { .. })) => seen += 1,
            Some(RouterToConsole::Snapshot { .. }) => panic!("the quick one lagged"),
            Some(_) => {}
            None => panic!("closed"),
        }
    }
    let _movers = soon("the flood's end", flood).await.unwrap();
    drop(slow);
}

#[tokio::test]
async fn a_console_far_behind_gets_a_new_picture_and_is_told_what_it_missed() {
    let world = World::open();
    let mut movers = Movers::up(world.main_port()).await;
    let mut console = FakeConsole::open(world.main_port()).await;
    console.shrinks_receive_buffer();
    let (mut sent, mut seen) = (0, 0);
    let picture = soon("a new picture", async {
        loop {
            // Twenty times as many as it reads meanwhile.
            if seen * 20 >= sent {
                movers.move_on(AT_ONCE).await;
                sent += u64::from(8 * AT_ONCE);
            }
            match console.peer.receive::<RouterToConsole>().await {
                Some(RouterToConsole::Feed(FeedEvent::Motion { .. })) => seen += 1,
                Some(part @ RouterToConsole::Snapshot { .. }) => break part,
                Some(_) => {}
                None => panic!("closed"),
            }
        }
    })
    .await;
    assert!(console.picture.add(picture));
    let missed = console.picture.missed;
    assert!(
        missed >= 4000 && missed + seen <= sent,
        "{missed} {seen} {sent}"
    );
    assert_eq!(console.picture.links.len(), 8);
    assert!(console.picture.links[0].moving.is_some());
}

#[tokio::test]
async fn a_console_that_reads_nothing_is_closed_and_its_control_given_back() {
    let world = World::open();
    let mut movers = Movers::up(world.main_port()).await;
    let (_inner, port) = FakeInner::welcome(world.main_port()).await;
    let mut stuck = FakeConsole::open(world.main_port()).await;
    stuck.takes(port).await;
    stuck.shrinks_receive_buffer();
    let mut watcher = FakeConsole::open(world.main_port()).await;
    let flood = async {
        loop {
            movers.move_on(AT_ONCE).await;
        }
    };
    let freed = async {
        watcher
            .sees_control(|control| control.driver.is_none())
            .await;
    };
    tokio::select! {
        () = flood => {}
        () = freed => {}
    }
}
