//! Links that are cut, go silent or block, and what becomes of the runs on them.

use std::time::Instant;

use p2p_inner::Config;
use p2p_shared::timing;

use super::fixture::{by_way_of, stuck_inner};
use crate::common::proxy::{Proxy, ProxyDirection};
use crate::common::{
    self, PATIENCE, World, answered, asking, away, get, inner_config, link_down, link_up, until,
    until_so,
};

#[tokio::test]
async fn an_inner_comes_back_after_its_link_was_cut() {
    let world = World::open();
    world.script("hello", "echo hello");
    let proxy = Proxy::to(world.main_port()).await;
    let (inner, port) = world.inner_with(by_way_of(&world, proxy.port())).await;
    for _ in 0..3 {
        assert_eq!(
            get(port, "/cgi?command=hello").await.verdict(),
            (200, "yes")
        );
        proxy.refuse(true);
        proxy.cut();
        link_down(&inner).await;
        away(port).await;
        let answer = get(port, "/cgi?command=hello").await;
        assert_eq!(answer.verdict(), (503, "no"));
        assert_eq!(answer.header("retry-after"), "2");
        assert!(answer.text().starts_with("car is not connected"));
        proxy.refuse(false);
        assert_eq!(link_up(&inner).await, ("car".to_owned(), port));
    }
}

/// A link goes silent while a run is open; how long it takes until the caller knows.
async fn found_dead(silence: impl FnOnce(&Proxy)) {
    let world = World::open();
    world.gated("wait", "");
    let proxy = Proxy::to(world.main_port()).await;
    let (inner, port) = world.inner_with(by_way_of(&world, proxy.port())).await;
    let run = asking(port, "/cgi?command=wait");
    world.has_begun().await;
    silence(&proxy);
    let since = Instant::now();
    let answer = answered(run).await;
    assert_eq!(answer.verdict(), (502, "unknown"));
    // Six seconds from the last word, and some for a busy machine; a minute if it were idle.
    assert!(since.elapsed() < timing::PACE_BUSY.dead * 4);
    // The inner has found it dead too, for its run is open, and is back by another connection.
    until_so("the inner is back", async || {
        get(port, "/commands").await.status == 200
    })
    .await;
    assert_eq!(link_up(&inner).await.1, port);
}

#[tokio::test]
async fn a_silent_link_with_an_open_run_is_found_dead_soon() {
    found_dead(Proxy::silence).await;
}

#[tokio::test]
async fn a_link_that_is_silent_towards_the_router_only_is_found_dead_too() {
    found_dead(|proxy| proxy.silence_way(ProxyDirection::ToRouter)).await;
}

#[tokio::test]
async fn a_link_that_is_silent_towards_the_inner_only_is_found_dead_too() {
    found_dead(|proxy| proxy.silence_way(ProxyDirection::ToInner)).await;
}

#[tokio::test]
async fn a_run_whose_link_is_lost_goes_on_at_the_car_and_nobody_knows() {
    let world = World::open();
    let mark = world.note("mark");
    world.gated("wait", &format!("touch {}", mark.display()));
    let proxy = Proxy::to(world.main_port()).await;
    let (_inner, port) = world.inner_with(by_way_of(&world, proxy.port())).await;
    let run = asking(port, "/cgi?command=wait");
    world.has_begun().await;
    proxy.refuse(true);
    proxy.cut();
    let answer = answered(run).await;
    assert_eq!(answer.verdict(), (502, "unknown"));
    assert!(answer.text().contains("the link to the car was lost"));
    assert!(!mark.exists());
    world.open_gate();
    until("the command has gone on to its end", || mark.exists()).await;
}

#[tokio::test]
async fn a_run_that_was_never_handed_to_the_link_was_not_executed() {
    let world = World::open();
    let (inner, port, large) = stuck_inner(&world).await;
    let queued = asking(port, "/cgi?command=queued");
    until_so("both wait", async || {
        world.metric("p2p_router_open_runs").await == 2
    })
    .await;
    drop(inner);
    for run in [large, queued] {
        let answer = answered(run).await;
        assert_eq!(answer.verdict(), (503, "no"));
        assert!(answer.text().contains("before the command was sent"));
    }
}

#[tokio::test]
async fn a_run_whose_caller_has_gone_is_not_sent() {
    let world = World::open();
    let (mut inner, port, large) = stuck_inner(&world).await;
    let queued = asking(port, "/cgi?command=queued");
    let open_runs = async || world.metric("p2p_router_open_runs").await;
    until_so("both wait", async || open_runs().await == 2).await;
    queued.abort();
    until_so("one has gone", async || open_runs().await == 1).await;
    let asked = inner.is_asked_to_run().await;
    assert_eq!(asked.command.as_str(), "large");
    inner.starts(asked.run).await;
    inner.finishes(asked.run).await;
    assert_eq!(answered(large).await.verdict(), (200, "yes"));
    let next = asking(port, "/cgi?command=next");
    assert_eq!(inner.is_asked_to_run().await.command.as_str(), "next");
    next.abort();
}

#[tokio::test]
async fn an_inner_that_is_dropped_ends_what_it_runs() {
    let world = World::open();
    let process = world.note("process");
    world.script(
        "stay",
        &format!("echo $$ > {}; exec sleep 1000", process.display()),
    );
    let config = Config {
        timeout: PATIENCE * 2,
        ..inner_config(&world)
    };
    let (inner, port) = world.inner_with(config).await;
    let run = asking(port, "/cgi?command=stay");
    until("the process runs", || common::is_alive(&process)).await;
    drop(inner);
    until("the process is gone", || !common::is_alive(&process)).await;
    assert_eq!(answered(run).await.verdict(), (502, "unknown"));
}
