//! Viewers that do what they shouldn't.

use std::time::Duration;

use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::AbortOnDropHandle;

use super::fixture::{Camera, Page, SHOWS, number};
use crate::common::{World, get, raw, soon, until_so};

#[tokio::test]
async fn one_that_never_reads_holds_up_nobody_and_is_closed() {
    let world = World::open();
    let camera = Camera(&world);
    // More than two kernels' buffers hold of some.
    camera.pictures(&[400_000, 500_000]);
    let (_inner, port) = camera.inner(SHOWS).await;
    let mut page = Page::open(port, None).await;
    page.picture().await;
    let video = "GET /video HTTP/1.1\r\nHost: car\r\n\r\n";
    let _stuck = raw::RawCaller::saying(port, video).await;
    let mut stuck_page = Page::open(port, None).await;
    until_so("all three are there", async || {
        world.metric("p2p_router_viewers").await == 3
    })
    .await;
    // A page that asks and asks and never reads.
    let (mut asks, mut pictures) = (true, 0);
    soon("both are closed", async {
        while world.metric("p2p_router_viewers").await > 1 {
            if asks {
                let next = stuck_page.0.send(Message::text("next"));
                let sent = tokio::time::timeout(Duration::from_secs(1), next).await;
                asks = matches!(sent, Ok(Ok(())));
            }
            number(&page.picture().await.1);
            pictures += 1;
        }
    })
    .await;
    // A machine that does much else has time for few in two seconds.
    assert!(pictures > 0);
}

#[tokio::test]
async fn a_page_that_says_what_it_may_not_is_closed() {
    let world = World::open();
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let (_inner, port) = camera.inner(SHOWS).await;
    let mut stays = Page::open(port, None).await;
    stays.picture().await;
    for message in [
        Message::binary(vec![0; 10]),
        Message::text("x".repeat(2000)),
        Message::binary(vec![0; 1 << 20]),
    ] {
        let mut page = Page::open(port, None).await;
        let _ = page.0.send(message).await;
        page.is_closed().await;
    }
    // Ten thousand words a second.
    let mut page = Page::open(port, None).await;
    for _ in 0..10_000 {
        if page.0.feed(Message::text("next")).await.is_err() {
            break;
        }
    }
    let _ = page.0.flush().await;
    page.is_closed().await;
    stays.picture().await;
}

#[tokio::test]
async fn nobody_has_more_viewers_than_he_may() {
    let world = World::open();
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let (_inner, port) = camera.inner(SHOWS).await;
    let mut pages = Vec::new();
    let (saw, mut seen) = tokio::sync::mpsc::channel(1);
    for _ in 0..p2p_router::net::limits::VIEWERS {
        let (mut page, saw) = (Page::open(port, None).await, saw.clone());
        pages.push(AbortOnDropHandle::new(tokio::spawn(async move {
            number(&page.picture().await.1);
            let _ = saw.send(()).await;
            loop {
                page.picture().await;
            }
        })));
    }
    assert_eq!(Page::try_open(port, None, &[]).await.err(), Some(429));
    let answer = get(port, "/video").await;
    assert_eq!(answer.verdict(), (429, "no"));
    assert!(answer.text().contains("64 viewers"), "{}", answer.text());
    for _ in &pages {
        soon("each of them sees", seen.recv()).await.unwrap();
    }
    pages.pop();
    until_so("there is room", async || {
        get(port, "/frame.jpg").await.status == 200
    })
    .await;
}
