//! A run is begun once and in time, or not at all.

use std::time::Duration;

use p2p_inner::Inner;
use p2p_shared::protocol::{InnerToRouter, Refusal, RouterToInner};
use p2p_shared::timing;

use super::fixture::by_way_of;
use crate::common::peer::{FakeInner, FakeRouter, run_request};
use crate::common::proxy::{Proxy, ProxyDirection};
use crate::common::{World, get, link_down, link_up};

/// Passes messages on between an inner and its router, and keeps each run back for this long.
/// Nothing else is late, so that the link lives.
async fn delay_runs(fake: FakeRouter, main_port: u16, delay: Duration) {
    let (mut inner, hello) = fake.inner().await;
    let mut router = FakeInner::greeting(main_port, &hello).await;
    loop {
        tokio::select! {
            Some(message) = inner.receive::<InnerToRouter>() => router.send(message).await,
            Some(message) = router.receive() => {
                if matches!(message, RouterToInner::Run(_)) {
                    let until = tokio::time::sleep(delay);
                    tokio::select! {
                        () = until => {}
                        () = router.0.stay() => {}
                        () = inner.stay() => {}
                    }
                }
                inner.send(&message).await;
            }
            else => return,
        }
    }
}

#[tokio::test]
async fn a_run_that_comes_after_its_deadline_is_not_begun() {
    let world = World::open();
    let mark = world.note("mark");
    world.script("touch", &format!("touch {}", mark.display()));
    let fake = FakeRouter::start().await;
    let config = by_way_of(&world, fake.port);
    let delay = timing::RUN_DEADLINE + Duration::from_millis(200);
    tokio::spawn(delay_runs(fake, world.main_port(), delay));
    let (_inner, port) = world.inner_with(config).await;
    let answer = get(port, "/cgi?command=touch").await;
    assert_eq!(answer.verdict(), (503, "no"));
    assert!(answer.text().contains("after its deadline"));
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_run_that_reaches_the_car_after_its_caller_was_told_of_the_loss_is_not_begun() {
    let world = World::open();
    let mark = world.note("mark");
    world.script("touch", &format!("touch {}", mark.display()));
    world.script("hello", "echo hello");
    let proxy = Proxy::to(world.main_port()).await;
    let (inner, port) = world.inner_with(by_way_of(&world, proxy.port())).await;
    proxy.hold(ProxyDirection::ToInner);
    let answer = get(port, "/cgi?command=touch").await;
    assert_eq!(answer.verdict(), (502, "unknown"));
    // The run waits in the proxy, and behind it the end of the link.
    proxy.release();
    link_down(&inner).await;
    link_up(&inner).await;
    assert_eq!(
        get(port, "/cgi?command=hello").await.verdict(),
        (200, "yes")
    );
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_run_id_that_comes_twice_is_run_once() {
    let world = World::open();
    let mark = world.note("mark");
    world.script("count", &format!("echo ran >> {}", mark.display()));
    let router = FakeRouter::start().await;
    let _inner = Inner::start(by_way_of(&world, router.port)).unwrap();
    let mut link = router.link().await;
    for _ in 0..2 {
        link.send(&RouterToInner::Run(run_request(7, "count")))
            .await;
    }
    let (mut finished, mut refusals) = (0, Vec::new());
    while finished == 0 || refusals.is_empty() {
        match link.receive().await {
            Some(InnerToRouter::Finished { .. } | InnerToRouter::Answered { .. }) => finished += 1,
            Some(InnerToRouter::Refused { refusal, .. }) => refusals.push(refusal),
            Some(_) => {}
            None => panic!("the link is lost"),
        }
    }
    assert_eq!(refusals, [Refusal::Repeated]);
    // Over another link, too.
    drop(link);
    let mut link = router.link().await;
    link.send(&RouterToInner::Run(run_request(7, "count")))
        .await;
    let answer = link.receive().await;
    assert!(
        matches!(
            answer,
            Some(InnerToRouter::Refused {
                refusal: Refusal::Repeated,
                ..
            })
        ),
        "{answer:?}"
    );
    assert_eq!(std::fs::read_to_string(mark).unwrap(), "ran\n");
}
