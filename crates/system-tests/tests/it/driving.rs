//! Driving through the router: who may, what is passed on to the car, and what stops it.

use std::time::{Duration, Instant};

use crate::common;
use crate::common::console::FakeConsole;
use crate::common::peer::{FakeInner, FakeRouter};
use crate::common::{World, get, get_with_key, local, raw, soon};
use futures_util::{SinkExt, StreamExt};
use p2p_shared::key::Role;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{
    ActiveMotion, ConsoleToRouter, ControlRequest, DriveCommand, End, InnerToRouter, MotionEvent,
    MotionRefusal, PressId, Refusal, RefusedReason, RouterToConsole, RouterToInner, RunSource,
    SendEvent,
};
use tokio_tungstenite::tungstenite::Message;

/// A tick that is never old: the clock of an inner by hand begins at 0.
const FRESH: u64 = 3_600_000;

/// What is said to the car of its motion, runs included; not ticks.
async fn receives(inner: &mut FakeInner) -> RouterToInner {
    loop {
        match inner.receive().await.expect("closed") {
            RouterToInner::Ticks { .. } | RouterToInner::Notice { .. } => {}
            message => return message,
        }
    }
}

async fn is_stopped(inner: &mut FakeInner) -> (String, Option<PressId>) {
    match receives(inner).await {
        RouterToInner::Stop { by, over, .. } => (by.to_string(), over),
        other => panic!("no stop: {other:?}"),
    }
}

async fn is_pressed(inner: &mut FakeInner) -> (PressId, RunId, u64) {
    match receives(inner).await {
        RouterToInner::Press {
            press,
            run,
            tick_ms,
            ..
        } => (press, run, tick_ms),
        other => panic!("no press: {other:?}"),
    }
}

/// A car, and a console that has control of it.
async fn driven(world: &World) -> (FakeInner, u16, FakeConsole, u64) {
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let mut console = FakeConsole::open(world.main_port()).await;
    let epoch = console.takes(port).await;
    is_stopped(&mut inner).await;
    (inner, port, console, epoch)
}

#[tokio::test]
async fn a_key_that_is_revoked_while_it_drives_stops_the_car_and_closes_its_console() {
    let world = World::keyed();
    let (link, desk) = (
        world.key("car", Role::Link).await,
        world.key("desk", Role::Drive).await,
    );
    let (mut inner, port) = FakeInner::with_key(world.main_port(), &link).await;
    let mut driver = FakeConsole::with(world.main_port(), Some(&desk), false).await;
    let watcher = world.key("viewer", Role::View).await;
    let mut watcher = FakeConsole::with(world.main_port(), Some(&watcher), false).await;
    let epoch = driver.takes(port).await;
    is_stopped(&mut inner).await;
    let press = PressId { epoch, number: 1 };
    driver.presses(port, press, "forward", FRESH).await;
    assert_eq!(is_pressed(&mut inner).await.0, press);
    world.revoke("desk");
    // It goes on holding its key down, and nobody listens.
    assert_eq!(is_stopped(&mut inner).await.1, Some(press));
    watcher
        .sees_control(|control| control.driver.is_none())
        .await;
    while driver.peer.receive::<RouterToConsole>().await.is_some() {}
}

#[tokio::test]
async fn taking_control_stops_first_and_then_presses_pass() {
    let world = World::open();
    let (mut inner, service_port, mut console, epoch) = driven(&world).await;
    let press = PressId { epoch, number: 1 };
    console
        .presses(service_port, press, "forward", FRESH + 41)
        .await;
    let (passed, run, tick_ms) = is_pressed(&mut inner).await;
    assert_eq!((passed, tick_ms), (press, FRESH + 41));
    let tick_ms = 42;
    console
        .send(ConsoleToRouter::Drive {
            service_port,
            command: DriveCommand::Renew { press, tick_ms },
        })
        .await;
    let renew = RouterToInner::Renew { press, tick_ms };
    assert_eq!(receives(&mut inner).await, renew);
    // The car's answers make the press a run like any other.
    let moving = ActiveMotion {
        run,
        command: "forward".parse().unwrap(),
        press: Some(press),
    };
    let started = MotionEvent::Started(moving);
    inner.send(InnerToRouter::Motion(started.clone())).await;
    console.sees_motion(|event| *event == started).await;
    let release = ConsoleToRouter::Drive {
        service_port,
        command: DriveCommand::Release(press),
    };
    console.send(release.clone()).await;
    assert_eq!(receives(&mut inner).await, RouterToInner::Release { press });
    let ended = MotionEvent::Ended {
        run,
        end: End::Ended,
        exec_us: 1000,
    };
    inner.send(InnerToRouter::Motion(ended)).await;
    let over = console.sees_run(|seen| seen.result.is_some()).await;
    assert_eq!((over.run, over.source), (run, RunSource::Drive));
    let result = over.result.unwrap();
    assert_eq!((result.status, result.exec_us), (200, Some(1000)));
    // What comes late is not passed on: the next that the car hears is the next press.
    console.send(release).await;
    console
        .presses(service_port, press, "forward", FRESH + 43)
        .await;
    assert_eq!(console.is_refused().await.0, RefusedReason::NotDriving);
    let press = PressId { epoch, number: 2 };
    console
        .presses(service_port, press, "back", FRESH + 44)
        .await;
    assert_eq!(is_pressed(&mut inner).await.0, press);
}

#[tokio::test]
async fn only_the_holder_presses_and_only_motion_commands() {
    let world = World::open();
    let (mut inner, port, mut driver, epoch) = driven(&world).await;
    let mut other = FakeConsole::open(world.main_port()).await;
    let press = PressId { epoch, number: 1 };
    other.presses(port, press, "forward", FRESH).await;
    assert_eq!(other.is_refused().await.0, RefusedReason::Locked);
    driver.presses(port, press, "reboot", FRESH).await;
    assert_eq!(driver.is_refused().await.0, RefusedReason::NotDriving);
    let old = PressId {
        epoch: epoch - 1,
        number: 9,
    };
    driver.presses(port, old, "forward", FRESH).await;
    assert_eq!(driver.is_refused().await.0, RefusedReason::NotDriving);
    driver.presses(port, press, "forward", FRESH).await;
    assert_eq!(is_pressed(&mut inner).await.0, press);
}

#[tokio::test]
async fn a_view_key_may_stop_and_not_drive_and_that_ends_the_press() {
    let world = World::keyed();
    let car = world.key("car", Role::Link).await;
    let mut inner = common::peer::dial(world.main_port(), Some(&car))
        .await
        .unwrap();
    let hello = common::peer::hello("x", 0);
    inner.send(InnerToRouter::Hello(hello)).await;
    let (_, service_port) = inner.is_welcomed().await;
    let view = world.key("viewer", Role::View).await;
    let drive = world.key("driver", Role::Drive).await;
    let mut viewer = FakeConsole::with(world.main_port(), Some(&view), false).await;
    let mut driver = FakeConsole::with(world.main_port(), Some(&drive), false).await;
    for request in [ControlRequest::Take, ControlRequest::Seize] {
        viewer.requests_control(service_port, request).await;
        assert_eq!(viewer.is_refused().await.0, RefusedReason::Denied);
    }
    let epoch = driver.takes(service_port).await;
    assert_eq!(is_stopped(&mut inner).await.0, "driver, taking control");
    // A drive key is not an admin's.
    driver
        .requests_control(service_port, ControlRequest::Seize)
        .await;
    assert_eq!(driver.is_refused().await.0, RefusedReason::Denied);
    let press = PressId { epoch, number: 1 };
    viewer.presses(service_port, press, "forward", FRESH).await;
    assert_eq!(viewer.is_refused().await.0, RefusedReason::Denied);
    driver.presses(service_port, press, "forward", FRESH).await;
    is_pressed(&mut inner).await;
    viewer.stops(service_port).await;
    assert_eq!(
        is_stopped(&mut inner).await,
        ("viewer".to_owned(), Some(press))
    );
    // The press is over, though its holder renews it; control is not, and a new press moves.
    let tick_ms = 1;
    driver
        .send(ConsoleToRouter::Drive {
            service_port,
            command: DriveCommand::Renew { press, tick_ms },
        })
        .await;
    let press = PressId { epoch, number: 2 };
    driver.presses(service_port, press, "forward", FRESH).await;
    assert_eq!(is_pressed(&mut inner).await.0, press);
}

#[tokio::test]
async fn control_is_asked_for_granted_and_denied() {
    let world = World::open();
    let (mut inner, port, mut one, epoch) = driven(&world).await;
    let mut two = FakeConsole::open(world.main_port()).await;
    let second = two.picture.session;
    two.requests_control(port, ControlRequest::Take).await;
    for console in [&mut one, &mut two] {
        let asked = console
            .sees_control(|control| control.request.is_some())
            .await;
        let (who, left_ms) = asked.request.unwrap();
        assert_eq!(who.session, second);
        assert!((9_000..=10_000).contains(&left_ms), "{left_ms}");
    }
    one.requests_control(port, ControlRequest::Deny).await;
    let denied = two.sees_control(|control| control.request.is_none()).await;
    assert_eq!(denied.epoch, epoch);
    two.requests_control(port, ControlRequest::Take).await;
    one.sees_control(|control| control.request.is_some()).await;
    one.requests_control(port, ControlRequest::Grant).await;
    let granted = two
        .sees_control(|control| control.driver.as_ref().is_some_and(|d| d.session == second))
        .await;
    assert!(granted.epoch > epoch);
    is_stopped(&mut inner).await;
    let press = PressId { epoch, number: 1 };
    one.presses(port, press, "forward", FRESH).await;
    assert_eq!(one.is_refused().await.0, RefusedReason::Locked);
    // An admin seizes it: without keys everyone is.
    one.requests_control(port, ControlRequest::Seize).await;
    let seized = two
        .sees_control(|control| control.epoch > granted.epoch)
        .await;
    assert_eq!(seized.driver.unwrap().session, one.picture.session);
    is_stopped(&mut inner).await;
}

#[tokio::test]
async fn silence_to_a_request_means_no() {
    let world = World::open();
    let (_inner, port, mut one, epoch) = driven(&world).await;
    let mut two = FakeConsole::open(world.main_port()).await;
    two.requests_control(port, ControlRequest::Take).await;
    // Both at a time: who doesn't answer pings is gone before the 10 s are over.
    let waits = async |console: &mut FakeConsole| {
        console
            .sees_control(|control| control.request.is_some())
            .await;
        let after = console.sees_control(|control| control.request.is_none());
        assert_eq!(after.await.epoch, epoch);
    };
    tokio::join!(waits(&mut one), waits(&mut two));
}

#[tokio::test]
async fn a_driver_whose_socket_dies_is_stopped_and_loses_control() {
    let world = World::open();
    let (mut inner, port, mut driver, epoch) = driven(&world).await;
    let mut watcher = FakeConsole::open(world.main_port()).await;
    let press = PressId { epoch, number: 1 };
    driver.presses(port, press, "forward", FRESH).await;
    is_pressed(&mut inner).await;
    drop(driver);
    assert_eq!(is_stopped(&mut inner).await.1, Some(press));
    watcher
        .sees_control(|control| control.driver.is_none())
        .await;
    assert!(watcher.takes(port).await > epoch);
}

#[tokio::test]
async fn while_somebody_drives_other_motion_gets_409_and_all_else_runs() {
    let world = World::open();
    let (mut inner, port, mut driver, _) = driven(&world).await;
    let refused = get(port, "/cgi?command=forward").await;
    assert_eq!(refused.verdict(), (409, "no"));
    driver.sends_command(1, port, "forward").await;
    driver.receives_send_event(1).await;
    let refused = driver.receives_send_event(1).await;
    let locked = Some(RefusedReason::Locked);
    assert!(matches!(refused, SendEvent::Refused { reason, .. } if reason == locked));
    let other = tokio::spawn(get(port, "/cgi?command=lights"));
    let run = inner.is_asked_to_run().await.run;
    inner.starts(run).await;
    inner.finishes(run).await;
    assert_eq!(other.await.unwrap().verdict(), (200, "yes"));
    driver.requests_control(port, ControlRequest::Release).await;
    is_stopped(&mut inner).await;
    let free = tokio::spawn(get(port, "/cgi?command=forward"));
    let run = inner.is_asked_to_run().await.run;
    inner.starts(run).await;
    inner.finishes(run).await;
    assert_eq!(free.await.unwrap().verdict(), (200, "yes"));
}

#[tokio::test]
async fn a_motion_has_a_time_within_the_limit() {
    let world = World::open();
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    for query in [
        "command=forward&for=0",
        "command=forward&for=2001",
        "command=lights&for=100",
        "command=stop&for=100",
    ] {
        let answer = get(port, &format!("/cgi?{query}")).await;
        assert_eq!(answer.verdict(), (400, "no"), "{query}");
    }
    let asking = tokio::spawn(get(port, "/cgi?command=forward&for=2000"));
    let request = inner.is_asked_to_run().await;
    assert_eq!(request.for_ms, Some(2000));
    inner.starts(request.run).await;
    inner
        .send(InnerToRouter::Finished {
            run: request.run,
            end: End::Ended,
            exec_us: 1,
            stderr: Default::default(),
        })
        .await;
    let answer = asking.await.unwrap();
    assert_eq!(
        (answer.verdict(), answer.header("p2p-exit")),
        ((200, "yes"), "ended")
    );
    let asking = tokio::spawn(get(port, "/cgi?command=forward"));
    let request = inner.is_asked_to_run().await;
    inner
        .send(InnerToRouter::Refused {
            run: request.run,
            refusal: Refusal::StopFailed,
            message: "the stop command fails".into(),
        })
        .await;
    assert_eq!(asking.await.unwrap().verdict(), (503, "no"));
}

#[tokio::test]
async fn a_view_key_stops_by_http_and_runs_nothing_else() {
    let world = World::keyed();
    let car = world.key("car", Role::Link).await;
    world.script("stop", "echo stopped");
    let config = p2p_inner::Config {
        key: Some(car),
        ..common::inner_config(&world)
    };
    let (_inner, port) = world.inner_with(config).await;
    let view = world.key("viewer", Role::View).await;
    let refused = get_with_key(port, "/cgi?command=forward", &view).await;
    assert_eq!(refused.verdict(), (403, "no"));
    let stopped = get_with_key(port, "/cgi?command=stop", &view).await;
    assert_eq!(
        (stopped.verdict(), &*stopped.text()),
        ((200, "yes"), "stopped\n")
    );
    assert_eq!(get(port, "/cgi?command=stop").await.verdict(), (401, "no"));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_body_that_comes_with_it() {
    let world = World::open();
    world.script("stop", "wc -c");
    let (_inner, port) = world.inner().await;
    let head = "POST /cgi?command=stop HTTP/1.1\r\nhost: car\r\nconnection: close\r\n\
                content-length: 1000\r\n\r\n";
    let answer = raw(local(port), head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n0\n"), "{answer}");
}

#[tokio::test]
async fn a_stop_passes_while_the_inner_and_the_router_drain() {
    let world = World::open();
    let (mut inner, port, mut driver, _) = driven(&world).await;
    let open = tokio::spawn(get(port, "/cgi?command=slow"));
    let slow = inner.is_asked_to_run().await.run;
    inner.starts(slow).await;
    inner.send(InnerToRouter::Draining).await;
    let down = tokio::spawn(world.router.shut_down());
    // The router stops what is driven before anything else.
    assert_eq!(is_stopped(&mut inner).await.0, "the router, going down");
    driver
        .sees_control(|control| control.driver.is_none())
        .await;
    assert_eq!(get(port, "/cgi?command=x").await.verdict(), (503, "no"));
    driver.requests_control(port, ControlRequest::Take).await;
    assert_eq!(driver.is_refused().await.0, RefusedReason::Offline);
    let stop = tokio::spawn(get(port, "/cgi?command=stop"));
    let request = inner.is_asked_to_run().await;
    assert_eq!(
        (request.command.as_str(), request.deadline_ms),
        ("stop", u64::MAX)
    );
    inner.starts(request.run).await;
    inner.finishes(request.run).await;
    assert_eq!(stop.await.unwrap().verdict(), (200, "yes"));
    driver.stops(port).await;
    is_stopped(&mut inner).await;
    inner.finishes(slow).await;
    assert_eq!(open.await.unwrap().verdict(), (200, "yes"));
    drop(driver);
    drop(inner);
    soon("the end", down).await.unwrap();
}

#[tokio::test]
async fn ticks_are_wanted_of_the_car_that_a_driver_looks_at_and_passed_on_to_nobody_else() {
    let world = World::open();
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let mut viewer = FakeConsole::with(world.main_port(), None, true).await;
    let mut driver = FakeConsole::open(world.main_port()).await;
    let mut other = FakeConsole::open(world.main_port()).await;
    let service_port = Some(port);
    // Any console is one that watches, and that alone is no reason to tick.
    let ticks = |wanted, watched| Some(RouterToInner::Ticks { wanted, watched });
    assert_eq!(inner.receive().await, ticks(false, true));
    viewer.send(ConsoleToRouter::Watch { service_port }).await;
    // Its answer comes behind whatever the watching has led to.
    viewer.sends_command(1, port, "stop").await;
    inner.is_asked_to_run().await;
    driver.send(ConsoleToRouter::Watch { service_port }).await;
    assert_eq!(inner.receive().await, ticks(true, true));
    for clock_ms in [12_345, 12_445] {
        inner.send(InnerToRouter::Clock { clock_ms }).await;
        let tick = RouterToConsole::Tick {
            service_port: port,
            clock_ms,
        };
        driver
            .receives(|message| (*message == tick).then_some(()))
            .await;
    }
    let none = ConsoleToRouter::Watch { service_port: None };
    driver.send(none).await;
    assert_eq!(inner.receive().await, ticks(false, true));
    // Who drives needs them, whether it said that it looks on or not.
    other.takes(port).await;
    is_stopped(&mut inner).await;
    inner.send(InnerToRouter::Clock { clock_ms: 9 }).await;
    let first = other.receives(|message| match message {
        RouterToConsole::Tick { clock_ms, .. } => Some(*clock_ms),
        _ => None,
    });
    assert_eq!(first.await, 9);
    driver.send(ConsoleToRouter::Watch { service_port }).await;
    drop(other);
    is_stopped(&mut inner).await;
    drop(driver);
    assert_eq!(inner.receive().await, ticks(false, true));
    drop(viewer);
    assert_eq!(inner.receive().await, ticks(false, false));
}

/// How often the router pings this inner, over a few times, while the viewer answers its own.
async fn pings(inner: &mut FakeInner, viewer: &mut FakeConsole) -> Duration {
    let some = async {
        let mut times = Vec::new();
        while times.len() < 3 {
            if let Message::Ping(_) = inner.0.0.next().await.unwrap().unwrap() {
                inner.0.0.flush().await.unwrap();
                times.push(Instant::now());
            }
        }
        (times[2] - times[0]) / 2
    };
    tokio::select! {
        () = viewer.peer.stay() => panic!("the viewer was closed"),
        pace = soon("pings", some) => pace,
    }
}

#[tokio::test]
async fn a_viewer_on_any_screen_has_dead_links_noticed_soon() {
    let world = World::open();
    let (mut inner, _) = FakeInner::welcome(world.main_port()).await;
    let mut viewer = FakeConsole::with(world.main_port(), None, true).await;
    // 2 s apart, and without it 20.
    let apart = pings(&mut inner, &mut viewer).await;
    assert!(apart < Duration::from_secs(8), "{apart:?}");
}

#[tokio::test]
async fn a_press_that_the_car_refuses_is_told_as_a_failed_run() {
    let world = World::open();
    let (mut inner, port, mut driver, epoch) = driven(&world).await;
    let press = PressId { epoch, number: 1 };
    driver.presses(port, press, "forward", FRESH).await;
    let (_, run, _) = is_pressed(&mut inner).await;
    let why = MotionRefusal::Old;
    inner
        .send(InnerToRouter::Motion(MotionEvent::Refused { press, why }))
        .await;
    let over = driver.sees_run(|seen| seen.result.is_some()).await;
    assert_eq!((over.run, over.result.unwrap().status), (run, 503));
}

#[tokio::test]
async fn a_real_car_is_driven_and_stands_when_its_driver_dies() {
    let world = World::open();
    world.script("forward", "exec sleep 100");
    world.script("stop", "");
    let (_inner, port) = world.inner().await;
    let mut driver = FakeConsole::open(world.main_port()).await;
    let mut watcher = FakeConsole::open(world.main_port()).await;
    let epoch = driver.takes(port).await;
    let tick = driver.receives_tick().await;
    let press = PressId { epoch, number: 1 };
    driver.presses(port, press, "forward", tick).await;
    let is_moving = |event: &MotionEvent| matches!(event, MotionEvent::Started(moving) if moving.press == Some(press));
    watcher.sees_motion(is_moving).await;
    drop(driver);
    let is_over = |event: &MotionEvent| matches!(event, MotionEvent::Over { press: Some(over), .. } if *over == press);
    watcher.sees_motion(is_over).await;
    watcher
        .sees_motion(|event| *event == MotionEvent::Stands)
        .await;
    let over = watcher.sees_run(|run| run.result.is_some()).await;
    assert_eq!(over.source, RunSource::Drive);
    assert_eq!(over.result.unwrap().end, Some(End::Ended));
}

#[tokio::test]
async fn a_press_by_an_old_tick_is_refused_by_the_router_and_never_passed_on() {
    let world = World::open();
    let (mut inner, port, mut driver, epoch) = driven(&world).await;
    let clock_ms = 60_000;
    inner.send(InnerToRouter::Clock { clock_ms }).await;
    driver
        .receives(|message| matches!(message, RouterToConsole::Tick { .. }).then_some(()))
        .await;
    let old = PressId { epoch, number: 1 };
    driver.presses(port, old, "forward", 58_999).await;
    assert_eq!(
        driver.is_refused_press().await,
        (RefusedReason::TooSlow, old)
    );
    let over = driver.sees_run(|seen| seen.result.is_some()).await;
    assert_eq!(over.result.unwrap().status, 503);
    // What it was to replace is let go of, and a renewal of it is nothing.
    let release = RouterToInner::Release { press: old };
    assert_eq!(receives(&mut inner).await, release);
    let renew = ConsoleToRouter::Drive {
        service_port: port,
        command: DriveCommand::Renew {
            press: old,
            tick_ms: FRESH,
        },
    };
    driver.send(renew).await;
    let press = PressId { epoch, number: 2 };
    driver.presses(port, press, "forward", FRESH).await;
    assert_eq!(is_pressed(&mut inner).await.0, press);
}

#[tokio::test]
async fn what_the_car_said_without_a_link_is_told_to_each_new_link() {
    let world = World::open();
    world.script("stop", "exit 1");
    let router = FakeRouter::start().await;
    let config = p2p_inner::Config {
        routers: vec![router.address()],
        ..common::inner_config(&world)
    };
    let _inner = p2p_inner::Inner::start(config).unwrap();
    for _ in 0..2 {
        let mut link = router.link().await;
        let told = soon("what was said before", async {
            loop {
                if let Some(InnerToRouter::Motion(event)) = link.receive().await {
                    return event;
                }
            }
        });
        assert_eq!(told.await, MotionEvent::StopFailed);
    }
}

#[tokio::test]
async fn a_stop_that_fails_at_the_start_is_seen_by_consoles_and_by_who_asks_for_motion() {
    let world = World::open();
    world.script("stop", "exit 1");
    world.script("forward", "true");
    let (_inner, port) = world.inner().await;
    let mut before = FakeConsole::open(world.main_port()).await;
    let is_shown = before.picture.links.iter().any(|link| link.stop_failed);
    if !is_shown {
        before
            .sees_motion(|event| *event == MotionEvent::StopFailed)
            .await;
    }
    let later = FakeConsole::open(world.main_port()).await;
    assert!(later.picture.links[0].stop_failed);
    let refused = get(port, "/cgi?command=forward").await;
    assert_eq!(refused.verdict(), (503, "no"), "{}", refused.text());
    world.script("stop", "true");
    assert_eq!(get(port, "/cgi?command=stop").await.status, 200);
    assert_eq!(get(port, "/cgi?command=forward").await.status, 200);
}

#[tokio::test]
async fn a_motion_for_a_time_that_could_not_be_stopped_is_a_failure_that_says_so() {
    let world = World::open();
    world.script("stop", "true");
    world.script("forward", "true");
    let (_inner, port) = world.inner().await;
    world.script("stop", "exit 1");
    let answer = get(port, "/cgi?command=forward&for=50").await;
    assert_eq!(answer.verdict(), (500, "yes"));
    assert!(
        answer.text().starts_with("STOP FAILED"),
        "{}",
        answer.text()
    );
}
