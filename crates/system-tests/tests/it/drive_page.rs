//! The drive page's WebSocket, without a browser: who may, what a page is told and may say, and
//! that no page troubles anyone else.

use std::time::Duration;

use crate::common;
use crate::common::console::FakeConsole;
use crate::common::page::FakePage;
use crate::common::peer::FakeInner;
use crate::common::{World, get, soon};
use futures_util::SinkExt;
use p2p_shared::key::{Key, Role};
use p2p_shared::protocol::{
    ActiveMotion, ControlRequest, InnerToRouter, MotionEvent, PressId, RouterToInner, StopCause,
};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

/// A tick that is never old: the clock of an inner by hand begins at 0.
const FRESH: u64 = 3_600_000;

/// What is said to the car of its motion; not ticks.
async fn receives(inner: &mut FakeInner) -> RouterToInner {
    loop {
        match inner.receive().await.expect("closed") {
            RouterToInner::Ticks { .. } | RouterToInner::Notice { .. } => {}
            message => return message,
        }
    }
}

async fn is_stopped(inner: &mut FakeInner) -> String {
    match receives(inner).await {
        RouterToInner::Stop { by, .. } => by.to_string(),
        other => panic!("no stop: {other:?}"),
    }
}

/// A car, and a page that has control of it.
async fn driven(world: &World) -> (FakeInner, u16, FakePage, u64) {
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let mut page = FakePage::open(port).await;
    let epoch = page.takes().await;
    is_stopped(&mut inner).await;
    (inner, port, page, epoch)
}

fn bearer(key: &Key) -> String {
    format!("Bearer {}", key.expose())
}

#[tokio::test]
async fn a_page_is_shown_its_car_and_drives_it() {
    let world = World::open();
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let mut page = FakePage::open(port).await;
    let shown = page.receives("car").await;
    assert_eq!(
        (&shown["role"], &shown["key"]),
        (&json!("admin"), &json!(""))
    );
    let car = &shown["car"];
    assert_eq!(
        (&car["name"], &car["is_up"]),
        (&json!("fake"), &json!(true))
    );
    assert_eq!(car["motion"], json!(["forward", "back", "left", "right"]));
    assert_eq!(
        (&car["stop"], &car["lease_ms"]),
        (&json!("stop"), &json!(400))
    );

    page.sends(json!({ "control": "take" })).await;
    is_stopped(&mut inner).await;
    let control = page.receives("control").await;
    assert_eq!(control["driver"]["session"], shown["session"]);
    let epoch = control["epoch"].as_u64().unwrap();

    page.presses(epoch, 1, "forward", FRESH).await;
    let RouterToInner::Press { press, run, .. } = receives(&mut inner).await else {
        panic!("no press")
    };
    assert_eq!(press, PressId { epoch, number: 1 });
    let command = "forward".parse().unwrap();
    let moving = ActiveMotion {
        run,
        command,
        press: Some(press),
    };
    inner
        .send(InnerToRouter::Motion(MotionEvent::Started(moving)))
        .await;
    let motion = page.receives("motion").await;
    assert_eq!(motion["started"]["run"], run.to_string());
    assert_eq!(
        motion["started"]["press"],
        json!({ "epoch": epoch, "number": 1 })
    );

    let press = json!({ "epoch": epoch, "number": 1 });
    page.sends(json!({ "renew": { "press": press, "tick_ms": FRESH + 1 } }))
        .await;
    assert!(
        matches!(receives(&mut inner).await, RouterToInner::Renew { tick_ms, .. } if tick_ms == FRESH + 1)
    );
    page.sends(json!({ "release": press })).await;
    assert!(matches!(
        receives(&mut inner).await,
        RouterToInner::Release { .. }
    ));
    let over = MotionEvent::Over {
        press: Some(PressId { epoch, number: 1 }),
        cause: StopCause::Released,
        clock_ms: None,
        by: None,
    };
    inner.send(InnerToRouter::Motion(over)).await;
    assert_eq!(page.receives("motion").await["over"]["cause"], "released");

    page.sends(json!("stop")).await;
    assert_eq!(is_stopped(&mut inner).await, "127.0.0.1");
    page.sends(json!({ "control": "release" })).await;
    is_stopped(&mut inner).await;
    assert_eq!(page.receives("control").await["driver"], json!(null));
}

#[tokio::test]
async fn a_page_hears_of_its_own_car_only() {
    let world = World::open();
    let (mut mine, port) = FakeInner::welcome(world.main_port()).await;
    let (mut other, elsewhere) = FakeInner::welcome(world.main_port()).await;
    let mut page = FakePage::open(port).await;
    let mut neighbour = FakePage::open(elsewhere).await;
    neighbour.takes().await;
    is_stopped(&mut other).await;
    // Ticks come to who watches, and of that car.
    neighbour.sends(json!({ "watch": true })).await;
    page.sends(json!({ "watch": true })).await;
    let mut heard = page.received().await;
    for inner in [&mut mine, &mut other] {
        let ticks = async {
            while !matches!(
                inner.receive().await,
                Some(RouterToInner::Ticks { wanted: true, .. })
            ) {}
        };
        soon("ticks are asked for", ticks).await;
    }
    other.send(InnerToRouter::Clock { clock_ms: 4321 }).await;
    assert_eq!(neighbour.receives("tick").await, 4321);
    mine.send(InnerToRouter::Clock { clock_ms: 1234 }).await;
    assert_eq!(page.receives("tick").await, 1234);
    drop(other);
    drop(mine);
    page.receives("down").await;
    heard.extend(page.received().await);
    let about_others = |message: &serde_json::Value| {
        message.get("control").is_some() || *message == json!({ "tick": 4321 })
    };
    assert!(!heard.iter().any(about_others), "{heard:?}");
}

#[tokio::test]
async fn a_page_is_told_who_asked_for_a_motion_of_which_nobody_is_the_driver() {
    let world = World::open();
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let mut page = FakePage::open(port).await;
    page.receives("car").await;
    let asking = tokio::spawn(async move { get(port, "/cgi?command=forward").await });
    let RouterToInner::Run(request) = receives(&mut inner).await else {
        panic!("no run")
    };
    let moving = ActiveMotion {
        run: request.run,
        command: "forward".parse().unwrap(),
        press: None,
    };
    inner
        .send(InnerToRouter::Motion(MotionEvent::Started(moving)))
        .await;
    let asked = page.receives("asked").await;
    assert_eq!(
        asked,
        json!({ "run": request.run.to_string(), "by": "http of 127.0.0.1" })
    );
    page.receives("motion").await;
    asking.abort();
}

#[tokio::test]
async fn a_press_without_control_or_of_an_old_epoch_moves_nothing_and_is_told_why() {
    let world = World::open();
    let (mut inner, port, mut driver, epoch) = driven(&world).await;
    let mut page = FakePage::open(port).await;
    page.presses(epoch, 7, "forward", FRESH).await;
    let refused = page.receives("refused").await;
    assert_eq!(refused["reason"], "locked");
    assert_eq!(refused["press"]["number"], 7);
    driver.presses(epoch - 1, 1, "forward", FRESH).await;
    assert_eq!(driver.receives("refused").await["reason"], "not_driving");
    driver.presses(epoch, 1, "rm", FRESH).await;
    let refused = driver.receives("refused").await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("no motion command")
    );
    // Renewals and releases of others are old, and nobody has to be told.
    let press = json!({ "epoch": epoch, "number": 1 });
    page.sends(json!({ "renew": { "press": press, "tick_ms": FRESH } }))
        .await;
    page.sends(json!({ "release": press })).await;
    page.sends(json!({ "control": "grant" })).await;
    assert_eq!(page.receives("refused").await["reason"], "locked");
    page.received().await;
    // The first thing that reaches the car is the press that is in order.
    driver.presses(epoch, 2, "left", FRESH).await;
    assert!(
        matches!(receives(&mut inner).await, RouterToInner::Press { command, .. } if command.as_str() == "left")
    );
}

#[tokio::test]
async fn two_pages_that_want_control_ask_each_other_and_a_console_is_one_of_them() {
    let world = World::open();
    let (mut inner, port, mut first, _) = driven(&world).await;
    let mut second = FakePage::open(port).await;
    let session = second.receives("car").await["session"].clone();
    second.sends(json!({ "control": "take" })).await;
    let asked = first.receives("control").await;
    assert_eq!(asked["request"][0]["session"], session);
    assert!(asked["request"][1].as_u64().unwrap() > 9000);
    first.sends(json!({ "control": "grant" })).await;
    is_stopped(&mut inner).await;
    while second.receives("control").await["driver"]["session"] != session {}
    let mut console = FakeConsole::open(world.main_port()).await;
    console.requests_control(port, ControlRequest::Seize).await;
    is_stopped(&mut inner).await;
    while second.receives("control").await["driver"]["session"] == session {}
}

#[tokio::test]
async fn what_is_no_message_closes_the_page_with_a_sentence_and_stops_what_it_drove() {
    let world = World::open();
    let noises = [
        Message::binary(vec![0x93, 0xff, 0x00, 0x81]),
        Message::text("{\"press\":"),
        Message::text("[".repeat(60_000)),
        Message::text(json!({ "hello": { "software": "x" } }).to_string()),
        Message::text(json!("x".repeat(70_000)).to_string()),
    ];
    for noise in noises {
        let (mut inner, port, mut page, epoch) = driven(&world).await;
        page.presses(epoch, 1, "forward", FRESH).await;
        assert!(matches!(
            receives(&mut inner).await,
            RouterToInner::Press { .. }
        ));
        let name = noise
            .to_text()
            .map_or("binary", |text| &text[..text.len().min(20)])
            .to_owned();
        page.sends_frame(noise).await;
        is_stopped(&mut inner).await;
        let last = page.is_closed().await;
        let said = last
            .as_ref()
            .and_then(|last| last["refused"]["message"].as_str());
        assert!(said.is_some(), "{name}: {last:?}");
        // The port and its other visitors are none the worse.
        FakePage::open(port).await.receives("car").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_a_second_trouble_nobody_else() {
    let world = World::open();
    world.script("hello", "echo hello");
    for name in ["forward", "stop"] {
        world.script(name, ":");
    }
    let (inner, port) = world.inner().await;
    let mut driver = FakePage::open(port).await;
    let epoch = driver.takes().await;
    let press = json!({ "epoch": 1, "number": 1 });
    let kinds = [
        json!("stop"),
        json!({ "probe": 5 }),
        json!({ "control": "take" }),
        json!({ "renew": { "press": press, "tick_ms": FRESH } }),
        json!({ "press": { "press": press, "command": "forward", "tick_ms": FRESH } }),
        json!({ "watch": true }),
    ];
    for kind in kinds {
        let mut flood = FakePage::open(port).await;
        let text = kind.to_string();
        let flooding = tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_millis(10));
            for _ in 0..100 {
                every.tick().await;
                for _ in 0..100 {
                    let message = Message::text(text.clone());
                    let _ = soon("a message is queued", flood.socket.feed(message)).await;
                }
                let _ = soon("the messages are sent", flood.socket.flush()).await;
            }
        });
        let (since, mut slowest) = (std::time::Instant::now(), Duration::ZERO);
        while !flooding.is_finished() {
            let begun = std::time::Instant::now();
            driver.sends(json!({ "probe": 6 })).await;
            while driver.receives("probe").await != 6 {}
            assert_eq!(get(port, "/cgi?command=hello").await.text(), "hello\n");
            slowest = slowest.max(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        soon("the flood ends", flooding).await.unwrap();
        let rate = 10_000.0 / since.elapsed().as_secs_f64();
        eprintln!("beside {rate:.0} a second of {kind}: {slowest:?}");
        assert!(slowest < Duration::from_secs(2), "{kind}: {slowest:?}");
    }
    // Its control was never touched.
    driver.received().await;
    driver.sends(json!({ "watch": true })).await;
    let tick = driver.receives("tick").await.as_u64().unwrap();
    driver.presses(epoch, 1, "forward", tick).await;
    while driver.receives("motion").await["started"]["press"]
        != json!({ "epoch": epoch, "number": 1 })
    {}
    drop(inner);
}

#[tokio::test]
async fn only_who_may_see_the_car_is_let_in_and_no_other_sites_page() {
    let world = World::keyed();
    let link = world.key("car", Role::Link).await;
    let (_inner, port) = FakeInner::with_key(world.main_port(), &link).await;
    let operator = bearer(&world.key("desk", Role::Drive).await);
    let wrong = bearer(&Key::generate().unwrap());
    let own = format!("http://127.0.0.1:{port}");
    let with = async |headers: &[(&str, &str)]| FakePage::with(port, headers).await.err();
    assert_eq!(with(&[]).await, Some(401));
    assert_eq!(with(&[("authorization", &wrong)]).await, Some(401));
    assert_eq!(with(&[("cookie", "p2p=AAAA")]).await, Some(401));
    assert_eq!(with(&[("authorization", &bearer(&link))]).await, Some(403));
    let key = ("authorization", operator.as_str());
    for foreign in [
        "http://evil.test",
        "null",
        "https://127.0.0.1",
        "http://127.0.0.1:1",
    ] {
        assert_eq!(
            with(&[key, ("origin", foreign)]).await,
            Some(403),
            "{foreign}"
        );
    }
    assert_eq!(
        with(&[key, ("sec-fetch-site", "cross-site")]).await,
        Some(403)
    );
    assert_eq!(with(&[key, ("sec-purpose", "prefetch")]).await, Some(403));
    assert_eq!(with(&[key, ("origin", &own)]).await, None);
    // It is no other protocol's.
    assert_eq!(
        with(&[key, ("sec-websocket-protocol", "p2p.v9")]).await,
        Some(400)
    );
    let plain = common::request("GET", "/drive").header("authorization", &operator);
    let answer = common::ask(port, plain.body(Default::default()).unwrap()).await;
    assert_eq!(answer.verdict(), (426, "no"));
}

#[tokio::test]
async fn a_viewers_page_moves_nothing_and_stops_everything() {
    let world = World::keyed();
    let link = world.key("car", Role::Link).await;
    let (mut inner, port) = FakeInner::with_key(world.main_port(), &link).await;
    let viewer = bearer(&world.key("viewer", Role::View).await);
    let mut page = FakePage::with(port, &[("authorization", &viewer)])
        .await
        .unwrap();
    assert_eq!(page.receives("car").await["role"], "view");
    for request in ["take", "seize"] {
        page.sends(json!({ "control": request })).await;
        assert_eq!(page.receives("refused").await["reason"], "denied");
    }
    page.presses(1, 1, "forward", FRESH).await;
    assert_eq!(page.receives("refused").await["reason"], "denied");
    page.sends(json!("stop")).await;
    assert_eq!(is_stopped(&mut inner).await, "viewer");
}

#[tokio::test]
async fn a_revoked_key_closes_its_page_at_once_and_stops_the_car() {
    let world = World::keyed();
    let link = world.key("car", Role::Link).await;
    let (mut inner, port) = FakeInner::with_key(world.main_port(), &link).await;
    let operator = bearer(&world.key("desk", Role::Drive).await);
    let mut page = FakePage::with(port, &[("authorization", &operator)])
        .await
        .unwrap();
    let epoch = page.takes().await;
    is_stopped(&mut inner).await;
    page.presses(epoch, 1, "forward", FRESH).await;
    assert!(matches!(
        receives(&mut inner).await,
        RouterToInner::Press { .. }
    ));
    world.revoke("desk");
    is_stopped(&mut inner).await;
    let last = page.is_closed().await.unwrap();
    assert!(
        last["refused"]["message"]
            .as_str()
            .unwrap()
            .contains("revoked"),
        "{last}"
    );
    assert_eq!(
        FakePage::with(port, &[("authorization", &operator)])
            .await
            .err(),
        Some(401)
    );
}

#[tokio::test]
async fn a_page_that_is_gone_stops_the_car_and_gives_control_back() {
    let world = World::open();
    let (mut inner, port, mut page, epoch) = driven(&world).await;
    page.presses(epoch, 1, "forward", FRESH).await;
    assert!(matches!(
        receives(&mut inner).await,
        RouterToInner::Press { .. }
    ));
    drop(page);
    is_stopped(&mut inner).await;
    let next = FakePage::open(port).await.receives("car").await;
    assert_eq!(next["car"]["control"]["driver"], json!(null));
}
