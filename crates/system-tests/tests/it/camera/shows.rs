//! That pictures come, by each way, to those who may see them.

use hyper::StatusCode;
use p2p_shared::key::Role;

use super::fixture::{Camera, Page, SHOWS, Sent, Video, number};
use crate::common::{World, ask, get, get_with_key, inner_config, request};

/// Seconds, as a part of a video has them, in milliseconds.
fn millis(time: &str) -> u64 {
    let (seconds, millis) = time.split_once('.').unwrap();
    seconds.parse::<u64>().unwrap() * 1000 + millis.parse::<u64>().unwrap()
}

#[tokio::test]
async fn a_picture_comes_by_each_of_the_three_ways() {
    let world = World::open();
    let camera = Camera(&world);
    camera.pictures(&[10, 5_000, 120_000]);
    let begun = p2p_inner::clock::now_ms();
    let (_inner, port) = camera.inner(SHOWS).await;
    let answer = get(port, "/frame.jpg").await;
    assert_eq!(answer.verdict(), (200, "no"));
    assert_eq!(answer.header("content-type"), "image/jpeg");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    number(&answer.body);
    let is_of_now = |time| (begun..=p2p_inner::clock::now_ms()).contains(&time);
    assert!(is_of_now(millis(answer.header("x-timestamp"))));

    // Each size comes whole, and none twice in a row.
    let mut page = Page::open(port, None).await;
    let (mut seen, mut last) = ([false; 3], 0);
    while seen != [true; 3] {
        let (time, jpeg) = page.picture().await;
        assert!(is_of_now(time) && time > last);
        last = time;
        seen[usize::from(number(&jpeg))] = true;
    }

    let mut video = Video::open(port).await;
    let (mut seen, mut last) = ([false; 3], 0);
    while seen != [true; 3] {
        let (time, jpeg) = video.picture().await.unwrap();
        assert!(is_of_now(millis(&time)) && millis(&time) > last);
        last = millis(&time);
        seen[usize::from(number(&jpeg))] = true;
    }
    assert_eq!(camera.starts(), 1);
    assert_eq!(world.metric("p2p_router_viewers").await, 2);
}

#[tokio::test]
async fn a_page_is_sent_what_it_has_room_for_and_no_more() {
    let world = World::open();
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let (_inner, port) = camera.inner(SHOWS).await;
    let mut page = Page::open(port, None).await;
    assert_eq!(
        page.receive().await,
        Sent::Camera(r#"{"camera":"starting"}"#.to_owned())
    );
    // Two at the most, however often it asks.
    for _ in 0..10 {
        page.send("next").await;
    }
    page.picture().await;
    let mut other = Page::open(port, None).await;
    for _ in 0..5 {
        other.picture().await;
    }
    // What there is of those ten is there by now.
    let waiting = std::time::Duration::from_millis(300);
    let mut more = 0;
    while let Ok(Sent::ConsoleSnapshot(..)) = tokio::time::timeout(waiting, page.receive()).await {
        more += 1;
    }
    assert!(more <= 2, "{more}");
    // A word of a later version does nothing.
    page.send("later").await;
    page.picture().await;
}

#[tokio::test]
async fn without_a_camera_everyone_is_told_so() {
    let world = World::open();
    let (inner, port) = world.inner().await;
    for path in ["/video", "/frame.jpg"] {
        let answer = get(port, path).await;
        assert_eq!(answer.verdict(), (404, "no"));
        assert!(answer.text().contains("--camera"), "{}", answer.text());
    }
    let mut page = Page::open(port, None).await;
    assert_eq!(
        page.receive().await,
        Sent::Camera(r#"{"camera":"none"}"#.to_owned())
    );
    drop(inner);
    assert_eq!(
        page.receive().await,
        Sent::Camera(r#"{"camera":"away"}"#.to_owned())
    );
    let answer = get(port, "/frame.jpg").await;
    assert_eq!(answer.verdict(), (503, "no"));
    assert!(
        answer.text().contains("is not connected"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn who_may_view_sees_and_nobody_else() {
    let world = World::keyed();
    let car = world.key("car", Role::Link).await;
    let viewer = world.key("viewer", Role::View).await;
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let config = p2p_inner::Config {
        key: Some(car.clone()),
        ..camera.config(SHOWS)
    };
    let (_inner, port) = world.inner_with(config).await;
    for path in ["/video", "/frame.jpg", "/frames"] {
        assert_eq!(get(port, path).await.status, StatusCode::UNAUTHORIZED);
        let answer = get_with_key(port, path, &car).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        for method in ["HEAD", "OPTIONS"] {
            let asked = request(method, path).body(Default::default()).unwrap();
            let answer = ask(port, asked).await;
            assert_eq!(answer.verdict(), (204, "no"));
            assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS");
        }
        let asked = request("POST", path).body(Default::default()).unwrap();
        assert_eq!(
            ask(port, asked).await.status,
            StatusCode::METHOD_NOT_ALLOWED
        );
    }
    assert_eq!(Page::try_open(port, None, &[]).await.err(), Some(401));
    assert_eq!(camera.starts(), 0);
    let answer = get_with_key(port, "/frames", &viewer).await;
    assert_eq!(answer.status, StatusCode::UPGRADE_REQUIRED);
    let mut page = Page::open(port, Some(&viewer)).await;
    number(&page.picture().await.1);
    let answer = get_with_key(port, "/frame.jpg", &viewer).await;
    number(&answer.body);
}

#[tokio::test]
async fn a_page_of_another_site_sees_nothing() {
    let world = World::open();
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let (_inner, port) = camera.inner(SHOWS).await;
    for headers in [
        ("origin", "http://evil.test"),
        ("origin", "null"),
        ("origin", "http://car.test:1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("host", "evil.test"),
    ] {
        let opened = Page::try_open(port, None, &[headers]).await;
        assert_eq!(opened.err(), Some(403), "{headers:?}");
    }
    assert_eq!(camera.starts(), 0);
    let own = ("origin", "http://car.test");
    let mut page = Page::try_open(port, None, &[own]).await.unwrap();
    number(&page.picture().await.1);
    // A page that names our version is answered by it.
    let version = ("sec-websocket-protocol", "other, p2p.v1");
    let mut page = Page::try_open(port, None, &[own, version]).await.unwrap();
    number(&page.picture().await.1);
}

#[tokio::test]
async fn who_watches_has_a_dead_link_noticed_soon() {
    let world = World::open();
    let config = inner_config(&world);
    let proxy = crate::common::proxy::Proxy::to(world.main_port()).await;
    let router = p2p_shared::net::dialer::RouterAddress {
        port: proxy.port(),
        ..config.routers[0].clone()
    };
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let (_inner, port) = world
        .inner_with(p2p_inner::Config {
            routers: vec![router],
            ..camera.config(SHOWS)
        })
        .await;
    let mut page = Page::open(port, None).await;
    page.picture().await;
    let begun = std::time::Instant::now();
    proxy.silence();
    page.receives_send_event("away").await;
    // An idle link would be found dead after 60 s.
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    // It comes back by itself, and the page is still there.
    number(&page.picture().await.1);
}
