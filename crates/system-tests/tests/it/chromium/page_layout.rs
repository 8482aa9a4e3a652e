//! The drive page's layout: screen sizes, use by keyboard alone, commands, and what the page shows
//! where something is missing.

use std::time::Duration;

use futures_util::StreamExt;
use p2p_router::net::limits;
use p2p_shared::key::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Fixture;
use super::drive_setup::DriveSetup;
use crate::common::chromium::Chromium;
use crate::common::page::FakePage;
use crate::common::{inner_config, link_down, local, until, until_so};

/// Whether something is where it can be touched, and how large it is.
const PLACES: &str = r#"
const there = css => [...document.querySelectorAll(css)].every(it => {
  const { left, right, top, bottom } = it.getBoundingClientRect();
  const on = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
  return left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight && it.contains(on);
});
const stop = document.getElementById("stop").getBoundingClientRect();
return {
  scrolls: document.documentElement.scrollWidth > innerWidth || document.documentElement.scrollHeight > innerHeight,
  stop: there('#stop'), large: Math.min(stop.width, stop.height) >= 64,
  pads: there("[data-direction]"), arm: there('#arm'), state: there('#state'),
};
"#;

#[tokio::test(flavor = "multi_thread")]
async fn on_every_screen_stop_and_pads_are_in_reach_and_nothing_moves_on_it_while_the_car_does() {
    let drive_setup = DriveSetup::new().await;
    let browser = drive_setup.page().await;
    let watch = "window.shifts = 0; new PerformanceObserver(list => { for (const it of list.getEntries()) window.shifts += it.value }).observe({ type: 'layout-shift' })";
    for (width, height) in [
        (360, 640),
        (390, 844),
        (640, 360),
        (844, 390),
        (768, 1024),
        (1280, 800),
        (1920, 1080),
    ] {
        browser.resize(width, height, width < 900).await;
        browser.open(&drive_setup.origin()).await;
        browser.reads("press a direction").await;
        let places = browser.script(PLACES).await;
        for what in ["stop", "large", "pads", "arm", "state"] {
            assert_eq!(places[what], true, "{width}×{height}: {what}: {places}");
        }
        assert_eq!(places["scrolls"], false, "{width}×{height}");
        browser.script(watch).await;
        browser.key_down("ArrowUp", false).await;
        browser.reads("DRIVING").await;
        browser.key_up("ArrowUp").await;
        browser.reads("ARMED").await;
        browser.key_down("Space", false).await;
        browser.key_up("Space").await;
        browser.reads("STOPPED").await;
        assert_eq!(
            browser.script("return window.shifts").await,
            0,
            "{width}×{height}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_keyboard_alone_stop_comes_first_and_everything_has_a_name() {
    let drive_setup = DriveSetup::new().await;
    let browser = drive_setup.page().await;
    browser.key_down("Tab", false).await;
    let focused = "return document.activeElement.id";
    assert_eq!(browser.script(focused).await, "stop");
    let nameless = "return [...document.querySelectorAll('button, input, a, canvas')].filter(it => !it.hidden && !(it.ariaLabel || it.textContent.trim())).map(it => it.outerHTML)";
    assert_eq!(browser.script(nameless).await, serde_json::json!([]));
    let live =
        "return [...document.querySelectorAll('[role=status], [role=alert]')].map(it => it.id)";
    let live = browser.script(live).await;
    for id in ["state", "tell", "banner", "request"] {
        assert!(
            live.as_array().unwrap().contains(&id.into()),
            "{id} is not told"
        );
    }
    // A button that is focused is not what Space is for.
    browser
        .script("document.querySelector('button[value=hello]').focus()")
        .await;
    browser.key_down("Space", false).await;
    browser.key_up("Space").await;
    drive_setup.does("stop").await;
    browser.reads("STOPPED").await;
    assert!(!browser.text().await.contains("hello:"));
    // In a field it is a letter, and nothing that is typed drives.
    let before = drive_setup.did();
    browser.click("#arm").await;
    browser.reads("ARMED").await;
    browser.fill("#arguments", "wasd \"x y\"").await;
    browser.reads("VIEW").await;
    browser.click("button[value=hello]").await;
    browser.reads("hello wasd x y").await;
    assert!(
        drive_setup.did()[before.len()..]
            .iter()
            .all(|did| did == "stop")
    );
    // By a switch or a screen reader, a pad is pressed without a pointer.
    browser
        .script("document.getElementById('arguments').blur()")
        .await;
    browser.click("#arm").await;
    browser.reads("ARMED").await;
    browser
        .script("document.querySelector('[data-direction=\"3\"]').click()")
        .await;
    drive_setup.does("right").await;
    drive_setup.does("stop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_name_without_tls_it_drives_too() {
    // Not "potentially trustworthy": what browsers keep from such pages is missing there.
    let drive_setup = DriveSetup::new().await;
    let browser = Chromium::start(&["car.test"]).await;
    browser
        .open(&format!("http://car.test:{}/", drive_setup.port))
        .await;
    assert_eq!(browser.script("return isSecureContext").await, false);
    browser.reads("press a direction").await;
    browser.key_down("ArrowUp", false).await;
    drive_setup.does("forward").await;
    browser.picture("driving").await;
    browser.key_up("ArrowUp").await;
    drive_setup.does("stop").await;
    browser.click("button[value=hello]").await;
    browser.reads("hello: exit 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_in_the_page_and_say_how_they_ended() {
    let drive_setup = DriveSetup::new().await;
    let browser = drive_setup.page().await;
    browser.click("button[value=hello]").await;
    browser.reads("hello: exit 0").await;
    browser.click("button[value=fails]").await;
    browser.reads("fails: exit 3").await;
    let names = "return [...document.querySelectorAll('#commands button')].map(it => it.value)";
    assert_eq!(
        browser.script(names).await,
        serde_json::json!(["fails", "hello"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_lives_through_the_absence_of_its_car_and_says_which_hop_is_lost() {
    let drive_setup = DriveSetup::new().await;
    let browser = drive_setup.page().await;
    let DriveSetup {
        world, port, inner, ..
    } = drive_setup;
    drop(inner);
    browser.reads("OFFLINE").await;
    browser.reads("router → car").await;
    browser.picture("offline").await;
    let mut config = crate::common::inner_config(&world);
    config.service_port = port;
    let (_inner, again) = world.inner_with(config).await;
    assert_eq!(again, port);
    browser.reads("VIEW").await;
    browser.key_down("ArrowUp", false).await;
    drop(world);
    browser.reads("page → router").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_sends_its_page_to_sign_in() {
    let fixture = Fixture::keyed().await;
    let browser = Chromium::start(&["car.test"]).await;
    let origin = format!("https://127.0.0.1:{}", fixture.port);
    fixture.sign_in(&browser, &origin).await;
    browser.reads("press a direction").await;
    fixture.world.revoke("desk");
    browser.reads("OFFLINE").await;
    until_so("it asks for a key", async || {
        browser
            .script("return !document.getElementById('out').hidden")
            .await
            == true
    })
    .await;
    browser.click("#out a").await;
    browser.reads("Sign in").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_says_which_car_it_shows_and_whose_key_that_has_also_when_the_car_changes() {
    let fixture = Fixture::keyed().await;
    let browser = Chromium::start(&["car.test"]).await;
    let origin = format!("https://127.0.0.1:{}", fixture.port);
    fixture.sign_in(&browser, &origin).await;
    browser.reads("press a direction").await;
    browser.reads("The car's key is car.").await;
    let shown = "return ['name', 'key'].map(id => document.getElementById(id).textContent)";
    assert_eq!(
        browser.script(shown).await,
        serde_json::json!(["car", "car"])
    );
    // As the page was, had another car with another key had its port then.
    let key = fixture.world.key("truck", Role::Link).await;
    fixture.world.revoke("car");
    link_down(&fixture._inner).await;
    drop(fixture._inner);
    let config = p2p_inner::Config {
        service_port: fixture.port,
        name: "truck".parse().unwrap(),
        key: Some(key),
        ..inner_config(&fixture.world)
    };
    let (_inner, port) = fixture.world.inner_with(config).await;
    assert_eq!(port, fixture.port);
    until_so("the page follows", async || {
        browser.script(shown).await == serde_json::json!(["truck", "truck"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewers_page_says_what_it_may_not() {
    let fixture = Fixture::keyed().await;
    let viewer = fixture.world.key("viewer", Role::View).await;
    let browser = Chromium::start(&["car.test"]).await;
    browser
        .open(&format!("https://127.0.0.1:{}/", fixture.port))
        .await;
    browser.fill("#key", &viewer.expose()).await;
    browser.click("main button").await;
    browser.reads("watching; STOP stops the car").await;
    browser.reads("This key may watch and stop the car").await;
    assert_eq!(
        browser
            .script("return document.getElementById('arm').disabled")
            .await,
        true
    );
    browser.key_down("ArrowUp", false).await;
    browser
        .reads("this key may watch and stop, and not drive")
        .await;
    browser.key_down("Space", false).await;
    browser.reads("STOPPED").await;
}

/// A proxy that knows nothing of WebSocket.
async fn proxy(to: u16) -> u16 {
    let listener = TcpListener::bind(local(0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 16 * 1024];
                let read = from.read(&mut head).await.unwrap_or(0);
                let head = &head[..read];
                if String::from_utf8_lossy(head)
                    .to_lowercase()
                    .contains("upgrade: websocket")
                {
                    let _ = from.write_all(b"HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
                    return;
                }
                let mut router = TcpStream::connect(local(to)).await.unwrap();
                router.write_all(head).await.unwrap();
                let _ = copy_bidirectional(&mut from, &mut router).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_websocket_comes_through_the_page_says_so_and_its_buttons_work() {
    let drive_setup = DriveSetup::new().await;
    let browser = Chromium::start(&[]).await;
    let port = proxy(drive_setup.port).await;
    browser.open(&format!("http://127.0.0.1:{port}/")).await;
    browser.reads("Driving needs a WebSocket").await;
    browser.picture("plain").await;
    // Keys are for its buttons, and drive nothing.
    browser.key_down("ArrowUp", false).await;
    let focus = "document.querySelector('button[value=hello]').focus()";
    browser.script(focus).await;
    browser.key_down("Space", false).await;
    browser.key_up("Space").await;
    until_so("the button is pressed", async || {
        browser.address().await.ends_with("/cgi?command=hello")
    })
    .await;
    assert_eq!(drive_setup.count("forward"), 0);
    browser.open(&format!("http://127.0.0.1:{port}/")).await;
    browser.reads("Driving needs a WebSocket").await;
    browser.click("button[value=forward]").await;
    drive_setup.does("forward").await;
    // The motion limit.
    drive_setup.does("stop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_one_too_many_says_so_and_stops_the_car_all_the_same() {
    let drive_setup = DriveSetup::new().await;
    let mut others = Vec::new();
    for _ in 0..limits::CONSOLES {
        let FakePage { mut socket, .. } = FakePage::open(drive_setup.port).await;
        // Who answers no ping is closed.
        others.push(tokio::spawn(async move {
            while socket.next().await.is_some() {}
        }));
    }
    let browser = Chromium::start(&[]).await;
    browser.open(&drive_setup.origin()).await;
    browser.reads("64 consoles and pages open").await;
    browser.picture("too-many").await;
    let before = drive_setup.count("stop");
    browser.key_down("Space", false).await;
    browser.key_up("Space").await;
    until("it stops", || drive_setup.count("stop") == before + 1).await;
    browser.reads("the car has stopped").await;
    // Not taken for a proxy after some tries either.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!browser.text().await.contains("proxy"));
    drive_setup.world.script("stop", "echo it is stuck; exit 1");
    browser.click("#stop").await;
    browser.reads("the stop failed: it is stuck").await;
    drive_setup.world.script("stop", "echo stop >> ../motion");
    browser.click("#stop").await;
    browser.reads("the car has stopped").await;
    others.iter().for_each(JoinHandle::abort);
    browser.reads("STOPPED").await;
}
