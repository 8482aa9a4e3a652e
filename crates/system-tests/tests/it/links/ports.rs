//! Who gets which service port and which name.

use std::time::{Duration, Instant};

use p2p_inner::Config;
use p2p_router::auth::key_store::KeyStore;
use p2p_router::ops::state_file::StateFile;
use p2p_shared::key::{Key, Role};
use p2p_shared::names::InstanceId;
use p2p_shared::protocol::{InnerToRouter, Rejection, RouterToInner};
use p2p_shared::timing;
use tokio::net::TcpStream;

use super::fixture::by_way_of;
use crate::common::peer::{self, FakeInner, FakeRouter, hello};
use crate::common::program;
use crate::common::proxy::Proxy;
use crate::common::{
    ReservedPort, World, answered, asking, away, get, inner_config, local, router_config, until_so,
};

#[tokio::test]
async fn a_port_is_held_for_its_owner_and_others_are_told_who_has_it() {
    let world = World::open();
    let mut owner = FakeInner::greeting(world.main_port(), &hello("owner", 0)).await;
    let (_, port) = owner.is_welcomed().await;
    let mut other = FakeInner::greeting(world.main_port(), &hello("other", port)).await;
    let (rejection, sentence) = other.is_rejected().await;
    assert_eq!(rejection, Rejection::PortUnavailable);
    assert!(sentence.contains("is held by 'fake'"), "{sentence}");

    drop(owner);
    away(port).await;
    let mut other = FakeInner::greeting(world.main_port(), &hello("other", port)).await;
    let (rejection, sentence) = other.is_rejected().await;
    assert_eq!(rejection, Rejection::PortUnavailable);
    assert!(
        sentence.contains("is kept for 'fake', which is away: it is free in"),
        "{sentence}"
    );

    let mut owner = FakeInner::greeting(world.main_port(), &hello("owner", port)).await;
    assert_eq!(owner.is_welcomed().await, ("fake".to_owned(), port));
}

/// Puts the time of the test, and of the router in it, forward.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

async fn until_closed(port: u16) {
    until_so("the port is closed", async || {
        TcpStream::connect(local(port)).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn a_port_and_a_name_stay_with_their_key_over_a_restart_until_they_are_freed() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let port = ReservedPort::new().port;
    let config = || p2p_router::Config {
        keys: Some(KeyStore::open(&state).unwrap()),
        known_links: Some(StateFile::new(&state, "links-8888.json")),
        ..router_config()
    };
    let restart = async |world: World| {
        let World { router, folder, .. } = world;
        router.shut_down().await;
        World::with(config(), folder)
    };
    let greet = async |world: &World, key: &Key, port| {
        let mut inner = peer::dial(world.main_port(), Some(key)).await.unwrap();
        inner.send(InnerToRouter::Hello(hello("any", port))).await;
        inner
    };
    let world = World::with(config(), folder);
    let car = world.key("car", Role::Link).await;
    let thief = world.key("thief", Role::Link).await;
    let (name, _) = greet(&world, &car, port).await.is_welcomed().await;
    // It is open after a restart, for a minute.
    let mut world = restart(world).await;
    let (_, why) = greet(&world, &thief, port).await.is_rejected().await;
    assert!(why.contains("is kept for 'fake'"), "{why}");
    pass(timing::PORT_KEPT + timing::COME_BACK_SPREAD).await;
    until_closed(port).await;
    for _ in 0..2 {
        let (rejection, why) = greet(&world, &thief, port).await.is_rejected().await;
        assert_eq!(rejection, Rejection::PortUnavailable);
        assert!(
            why.contains(&format!("p2p-router port free {port}")),
            "{why}"
        );
        let (others, another) = greet(&world, &thief, 0).await.is_welcomed().await;
        assert_ne!(others, name);
        assert_ne!(another, port);
        world = restart(world).await;
    }
    // Whatever port it asks for.
    let back = greet(&world, &car, 0).await.is_welcomed().await;
    assert_eq!(back, (name.clone(), port));
    let world = restart(world).await;
    let mut free = program::router(world.folder.path());
    free.args(["port", "free", &port.to_string(), "--state-dir"]);
    let freed = program::run(free.arg(&state)).await;
    assert_eq!(freed.code, Some(0), "{}", freed.errors);
    assert!(
        freed.errors.contains("'fake' is free now"),
        "{}",
        freed.errors
    );
    until_so("another gets the port", async || {
        let mut inner = greet(&world, &thief, port).await;
        matches!(inner.receive().await, Some(RouterToInner::Welcome { .. }))
    })
    .await;
}

#[tokio::test]
async fn a_port_is_given_up_a_minute_after_its_link_was_lost() {
    let world = World::open();
    let mut owner = FakeInner::greeting(world.main_port(), &hello("owner", 0)).await;
    let (_, port) = owner.is_welcomed().await;
    drop(owner);
    away(port).await;

    pass(timing::PORT_KEPT / 2).await;
    let mut other = FakeInner::greeting(world.main_port(), &hello("other", port)).await;
    let (_, sentence) = other.is_rejected().await;
    assert!(sentence.contains("is kept for 'fake'"), "{sentence}");

    pass(timing::PORT_KEPT / 2 + timing::COME_BACK_SPREAD).await;
    until_closed(port).await;
    let mut other = FakeInner::greeting(world.main_port(), &hello("other", port)).await;
    assert_eq!(other.is_welcomed().await, ("fake".to_owned(), port));
}

#[tokio::test]
async fn a_car_that_comes_back_takes_its_port_from_its_dead_link_at_once() {
    let world = World::open();
    world.gated("wait", "echo late");
    world.script("hello", "echo hello");
    let proxy = Proxy::to(world.main_port()).await;
    let (_dead, port) = world.inner_with(by_way_of(&world, proxy.port())).await;
    let old_run = asking(port, "/cgi?command=wait");
    world.has_begun().await;
    proxy.silence();
    // As after a power cut: another process with the same identity.
    let again = Config {
        service_port: port,
        ..inner_config(&world)
    };
    let (_inner, _) = world.inner_with(again).await;
    assert_eq!(answered(old_run).await.verdict(), (502, "unknown"));
    assert_eq!(
        get(port, "/cgi?command=hello").await.verdict(),
        (200, "yes")
    );
}

#[tokio::test]
async fn a_dead_link_that_nobody_has_noticed_keeps_no_port_from_its_owner() {
    let world = World::open();
    let proxy = Proxy::to(world.main_port()).await;
    let (_dead, port) = world.inner_with(by_way_of(&world, proxy.port())).await;
    proxy.silence();
    let since = Instant::now();
    let mut owner = FakeInner::greeting(world.main_port(), &hello("identity1", port)).await;
    assert_eq!(owner.is_welcomed().await.1, port);
    // An idle link is found dead after a minute: this was no waiting for it.
    assert!(since.elapsed() < timing::PACE_IDLE.dead / 2);
}

#[tokio::test]
async fn an_old_link_is_told_who_replaced_it_and_closed() {
    let world = World::open();
    let mut old = FakeInner::greeting(world.main_port(), &hello("owner", 0)).await;
    let (_, port) = old.is_welcomed().await;
    let mut new = FakeInner::greeting(world.main_port(), &hello("owner", port)).await;
    assert_eq!(new.is_welcomed().await, ("fake".to_owned(), port));
    let (rejection, sentence) = old.is_rejected().await;
    assert_eq!(rejection, Rejection::TakenOver);
    assert!(
        sentence.contains("two inners need two keys, or two ports"),
        "{sentence}"
    );
    assert_eq!(old.receive().await, None);
}

#[tokio::test]
async fn a_stale_socket_cannot_evict_its_replacement() {
    let world = World::open();
    let proxy = Proxy::to(world.main_port()).await;
    let mut stale = FakeInner::greeting(proxy.port(), &hello("owner", 0)).await;
    let (_, port) = stale.is_welcomed().await;
    proxy.silence();
    let mut new = FakeInner::greeting(world.main_port(), &hello("owner", port)).await;
    new.is_welcomed().await;
    proxy.cut();
    drop(stale);
    until_so("only the new link is there", async || {
        world.metric("p2p_router_links").await == 1
    })
    .await;
    let run = asking(port, "/cgi?command=a");
    let asked = new.is_asked_to_run().await;
    new.starts(asked.run).await;
    new.finishes(asked.run).await;
    assert_eq!(answered(run).await.verdict(), (200, "yes"));
    let mut other = FakeInner::greeting(world.main_port(), &hello("other", port)).await;
    let (_, sentence) = other.is_rejected().await;
    assert!(sentence.contains("is held by"), "{sentence}");
}

#[tokio::test]
async fn two_inners_that_fight_over_a_port_are_both_told() {
    let world = World::open();
    let mut holder = FakeInner::greeting(world.main_port(), &hello("twins", 0)).await;
    let (_, port) = holder.is_welcomed().await;
    let mut takeovers = 0;
    let refused = loop {
        let mut rival = FakeInner::greeting(world.main_port(), &hello("twins", port)).await;
        match rival.receive().await {
            Some(RouterToInner::Welcome { .. }) => {
                takeovers += 1;
                assert_eq!(holder.is_rejected().await.0, Rejection::TakenOver);
                holder = rival;
            }
            Some(RouterToInner::Rejected { rejection, message }) => break (rejection, message),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(takeovers, 3);
    assert_eq!(refused.0, Rejection::Contended);
    assert!(refused.1.raw().contains("another key or another port"));
    let told = holder.receive().await;
    assert_eq!(told, Some(RouterToInner::Notice { message: refused.1 }));
    let run = asking(port, "/cgi?command=a");
    let asked = holder.is_asked_to_run().await;
    assert_eq!(asked.command.as_str(), "a");
    run.abort();
}

#[tokio::test]
async fn the_same_inner_that_dials_again_is_no_rival_to_itself() {
    let world = World::open();
    let mut hello = hello("owner", 0);
    let mut inner = FakeInner::greeting(world.main_port(), &hello).await;
    (_, hello.service_port) = inner.is_welcomed().await;
    for _ in 0..10 {
        let mut again = FakeInner::greeting(world.main_port(), &hello).await;
        again.is_welcomed().await;
        inner = again;
    }
    // Another one of that identity may still take over.
    hello.instance = InstanceId(0);
    let mut other = FakeInner::greeting(world.main_port(), &hello).await;
    other.is_welcomed().await;
    assert_eq!(inner.is_rejected().await.0, Rejection::TakenOver);
}

#[tokio::test]
async fn an_inner_that_has_gone_takes_no_port_from_the_one_in_its_place() {
    let world = World::open();
    let mut inner = FakeInner::greeting(world.main_port(), &hello("owner", 0)).await;
    let (_, port) = inner.is_welcomed().await;
    let mut gone = FakeInner::silent(world.main_port()).await;
    gone.send(InnerToRouter::Hello(hello("owner", port))).await;
    // The router is on this thread, and so reads the hello and the end of its connection together.
    drop(gone);
    until_so("the hello is refused", async || {
        world.metric("p2p_router_link_refusals_total").await == 1
    })
    .await;
    let run = asking(port, "/cgi?command=a");
    assert_eq!(inner.is_asked_to_run().await.command.as_str(), "a");
    run.abort();
}

#[tokio::test]
async fn one_identity_may_hold_two_ports_and_names_are_made_unique() {
    let world = World::open();
    let main = world.main_port();
    let mut one = FakeInner::greeting(main, &hello("owner", 0)).await;
    let mut two = FakeInner::greeting(main, &hello("owner", 0)).await;
    let mut three = FakeInner::greeting(main, &hello("other", 0)).await;
    let (first, first_port) = one.is_welcomed().await;
    let mut names = vec![first];
    let (second, second_port) = two.is_welcomed().await;
    names.extend([second.clone(), three.is_welcomed().await.0]);
    names.sort();
    assert_eq!(names, ["fake", "fake-2", "fake-3"]);
    assert_ne!(first_port, second_port);
    // A name stays with its port.
    let mut again = FakeInner::greeting(main, &hello("owner", second_port)).await;
    assert_eq!(again.is_welcomed().await, (second.clone(), second_port));
    // One that asks for the name that it has anyway gets no other.
    let mut renamed = hello("owner", second_port);
    renamed.name = second.parse().unwrap();
    let mut again = FakeInner::greeting(main, &renamed).await;
    assert_eq!(again.is_welcomed().await, (second, second_port));
}

#[tokio::test]
async fn a_port_that_cannot_be_had_is_refused_with_the_reason() {
    let world = World::open();
    let taken = std::net::TcpListener::bind(local(0)).unwrap();
    let taken = taken.local_addr().unwrap().port();
    for (port, reason) in [
        (taken, "is taken by another program on the router's host"),
        (
            80,
            "this router allows the service ports 1024-65535, not 80",
        ),
        (
            world.main_port(),
            "is taken by another program on the router's host",
        ),
    ] {
        let mut inner = FakeInner::greeting(world.main_port(), &hello("owner", port)).await;
        let (rejection, sentence) = inner.is_rejected().await;
        assert_eq!(rejection, Rejection::PortUnavailable);
        assert!(sentence.contains(reason), "{sentence}");
    }
}

#[tokio::test]
async fn any_port_is_one_that_is_allowed_until_none_is_left() {
    let only = ReservedPort::new();
    let config = p2p_router::Config {
        service_ports: only.port.to_string().parse().unwrap(),
        ..router_config()
    };
    let world = World::with(config, tempfile::tempdir().unwrap());
    let mut first = FakeInner::greeting(world.main_port(), &hello("first", 0)).await;
    assert_eq!(first.is_welcomed().await.1, only.port);
    let mut second = FakeInner::greeting(world.main_port(), &hello("second", 0)).await;
    let (rejection, sentence) = second.is_rejected().await;
    assert_eq!(rejection, Rejection::PortUnavailable);
    assert!(sentence.contains("no service port is free"), "{sentence}");
}

#[tokio::test]
async fn an_inner_asks_for_its_own_port_each_time_and_one_that_has_none_for_its_last() {
    let world = World::open();
    // Whatever it asks for, this one welcomes it to 9000.
    let router = FakeRouter::start().await;
    for (own, asked) in [(9001, 9001), (0, 9000)] {
        let config = Config {
            routers: vec![router.address()],
            service_port: own,
            ..inner_config(&world)
        };
        let inner = p2p_inner::Inner::start(config).unwrap();
        drop(router.link().await);
        let (_again, hello) = router.inner().await;
        assert_eq!(hello.service_port, asked);
        drop(inner);
    }
}
