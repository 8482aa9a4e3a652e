//! Routers and inners that end and come back: running commands end first, new ones are refused.

use std::time::Instant;

use p2p_inner::{Config, Inner};
use p2p_router::Router;
use p2p_shared::protocol::{
    ConsoleToRouter, InnerToRouter, MotionEvent, Refusal, RouterToInner, SendEvent,
};
use p2p_shared::timing;

use super::fixture::{by_way_of, stuck_inner};
use crate::common::console::FakeConsole;
use crate::common::peer::{FakeInner, FakeRouter, dial, hello, run_request};
use crate::common::proxy::Proxy;
use crate::common::raw::RawCaller;
use crate::common::{
    HttpAnswer, ReservedPort, World, answered, asking, away, get, inner_config, link_down, link_up,
    local, router_config, soon, until_so,
};

/// The first answer that refuses a run since somebody is restarting.
async fn first_refusal(port: u16) -> HttpAnswer {
    let mut refused = None;
    until_so("new runs are refused", async || {
        let answer = get(port, "/cgi?command=hello").await;
        let is_refused = answer.status == 503;
        refused = Some(answer).filter(|_| is_refused);
        is_refused
    })
    .await;
    let refused = refused.unwrap();
    assert_eq!(refused.verdict(), (503, "no"));
    assert_eq!(refused.header("retry-after"), "2");
    refused
}

#[tokio::test]
async fn a_router_that_ends_lets_runs_end_and_its_inner_comes_back_to_the_next() {
    let (main, service) = (ReservedPort::new(), ReservedPort::new());
    let config = || p2p_router::Config {
        port: main.port,
        ..router_config()
    };
    let world = World::with(config(), tempfile::tempdir().unwrap());
    world.gated("wait", "echo the end");
    world.script("hello", "echo hello");
    let (inner, port) = world
        .inner_with(Config {
            service_port: service.port,
            ..inner_config(&world)
        })
        .await;
    let running = asking(port, "/cgi?command=wait");
    world.has_begun().await;

    let World { router, folder, .. } = world;
    let end = tokio::spawn(router.shut_down());
    let refused = first_refusal(port).await;
    assert!(refused.text().contains("the router is restarting"));
    let health = get(main.port, "/healthz").await;
    assert_eq!(health.status, 503);

    std::fs::write(folder.path().join("gate"), "").unwrap();
    let answer = answered(running).await;
    assert_eq!(answer.verdict(), (200, "yes"));
    assert_eq!(answer.text(), "the end\n");
    soon("the router's end", end).await.unwrap();
    link_down(&inner).await;

    let _next = Router::start(config()).unwrap();
    assert_eq!(link_up(&inner).await, ("car".to_owned(), port));
    assert_eq!(
        get(port, "/cgi?command=hello").await.verdict(),
        (200, "yes")
    );
}

#[tokio::test]
async fn a_router_that_ends_lets_a_consoles_run_end_too() {
    let world = World::open();
    let (mut inner, service_port) = FakeInner::welcome(world.main_port()).await;
    let mut console = FakeConsole::open(world.main_port()).await;
    let run = ConsoleToRouter::Send {
        request: 1,
        service_port,
        command: "wait".parse().unwrap(),
        arguments: Default::default(),
        for_ms: None,
    };
    console.send(run).await;
    let asked = inner.is_asked_to_run().await;
    inner.starts(asked.run).await;
    let main = world.main_port();
    let end = tokio::spawn(world.router.shut_down());
    until_so("the router ends", async || {
        get(main, "/healthz").await.status == 503
    })
    .await;
    inner.finishes(asked.run).await;
    while !matches!(
        console.receives_send_event(1).await,
        SendEvent::Finished { .. }
    ) {}
    soon("the router's end", end).await.unwrap();
}

#[tokio::test]
async fn an_inner_that_says_hello_to_a_router_that_ends_is_sent_away() {
    let world = World::open();
    let (mut busy, port) = FakeInner::welcome(world.main_port()).await;
    let run = asking(port, "/cgi?command=a");
    let asked = busy.is_asked_to_run().await;
    let main = world.main_port();
    let mut late = FakeInner::silent(main).await;
    let end = tokio::spawn(world.router.shut_down());
    until_so("the router ends", async || {
        get(main, "/healthz").await.status == 503
    })
    .await;
    late.send(InnerToRouter::Hello(hello("late", 0))).await;
    let sent_away = late.receive().await;
    assert!(
        matches!(sent_away, Some(RouterToInner::GoAway { .. })),
        "{sent_away:?}"
    );
    assert!(dial(main, None).await.is_err());
    busy.starts(asked.run).await;
    busy.finishes(asked.run).await;
    assert_eq!(answered(run).await.verdict(), (200, "yes"));
    let sent_away = busy.receive().await;
    assert!(
        matches!(sent_away, Some(RouterToInner::GoAway { .. })),
        "{sent_away:?}"
    );
    drop(busy);
    soon("the router's end", end).await.unwrap();
}

#[tokio::test]
async fn an_inner_that_ends_lets_runs_end_and_refuses_new_ones() {
    let world = World::open();
    // More than the link takes at once: the last of it must come all the same.
    world.gated("wait", "head -c 300000 /dev/zero");
    world.script("hello", "echo hello");
    let (inner, port) = world.inner().await;
    let running = asking(port, "/cgi?command=wait");
    world.has_begun().await;
    let end = tokio::spawn(inner.shut_down());
    let refused = first_refusal(port).await;
    assert!(refused.text().contains("restarting"), "{}", refused.text());
    world.open_gate();
    let answer = answered(running).await;
    assert_eq!(answer.verdict(), (200, "yes"));
    assert_eq!(answer.body.len(), 300_000);
    assert!(answer.complete);
    soon("the inner's end", end).await.unwrap();
    away(port).await;
}

#[tokio::test]
async fn an_inner_that_took_any_port_takes_another_when_its_last_is_gone() {
    let main = ReservedPort::new();
    let config = || p2p_router::Config {
        port: main.port,
        ..router_config()
    };
    let world = World::with(config(), tempfile::tempdir().unwrap());
    let (inner, port) = world.inner().await;
    let World {
        router,
        folder: _folder,
        ..
    } = world;
    router.shut_down().await;
    link_down(&inner).await;
    let _other_program = std::net::TcpListener::bind(local(port)).unwrap();
    let _next = Router::start(config()).unwrap();
    assert_ne!(link_up(&inner).await.1, port);
}

#[tokio::test]
async fn a_run_that_crosses_the_news_of_a_restart_is_refused_and_not_lost() {
    let world = World::open();
    let router = FakeRouter::start().await;
    let inner = Inner::start(by_way_of(&world, router.port)).unwrap();
    let mut link = router.link().await;
    link_up(&inner).await;
    let clock = link.receive().await;
    assert!(
        matches!(clock, Some(InnerToRouter::Clock { .. })),
        "{clock:?}"
    );
    let stands = link.receive().await;
    assert_eq!(stands, Some(InnerToRouter::Motion(MotionEvent::Stands)));
    let end = tokio::spawn(inner.shut_down());
    assert_eq!(link.receive().await, Some(InnerToRouter::Draining));
    // Sent before the answer to the ping behind it.
    link.send(&RouterToInner::Run(run_request(1, "hello")))
        .await;
    let answer = link.receive().await;
    assert!(
        matches!(
            answer,
            Some(InnerToRouter::Refused {
                refusal: Refusal::Draining,
                ..
            })
        ),
        "{answer:?}"
    );
    assert_eq!(link.receive::<InnerToRouter>().await, None);
    drop(link);
    soon("the inner's end", end).await.unwrap();
}

#[tokio::test]
async fn what_waits_for_the_link_of_an_inner_that_restarts_is_refused() {
    let world = World::open();
    let (mut inner, port, large) = stuck_inner(&world).await;
    let queued = asking(port, "/cgi?command=queued");
    until_so("both wait", async || {
        world.metric("p2p_router_open_runs").await == 2
    })
    .await;
    inner.send(InnerToRouter::Draining).await;
    // The link takes no work while it can't write, but it hears.
    let answer = answered(large).await;
    assert_eq!(answer.verdict(), (503, "no"));
    assert!(answer.text().contains("is restarting"), "{}", answer.text());
    inner.receives_cancel().await;
    let answer = answered(queued).await;
    assert_eq!(answer.verdict(), (503, "no"));
    assert!(answer.text().contains("is restarting"), "{}", answer.text());
}

#[tokio::test]
async fn an_inner_ends_even_if_its_router_never_hears_of_it() {
    let world = World::open();
    let proxy = Proxy::to(world.main_port()).await;
    let (inner, _) = world.inner_with(by_way_of(&world, proxy.port())).await;
    proxy.silence();
    let since = Instant::now();
    soon("the inner's end", inner.shut_down()).await;
    assert!(since.elapsed() < timing::DRAIN);
}

#[tokio::test]
async fn a_request_that_nobody_had_read_when_the_router_ended_is_told_so() {
    let world = World::open();
    let (_inner, port) = world.inner_with(inner_config(&world)).await;
    let mut caller = RawCaller::connect(port).await;
    assert_eq!(caller.get("/commands").await.status, 200);
    // The router's tasks run in this thread, too: not before it has ended.
    let request = b"GET /commands HTTP/1.1\r\nHost: car\r\n\r\n";
    assert_eq!(caller.stream.try_write(request).unwrap(), request.len());
    drop(world);
    let answer = caller.answer().await;
    assert_eq!(answer.verdict(), (503, "no"));
    let said = answer.text();
    assert!(said.contains("the router restarts"), "{said}");
}
