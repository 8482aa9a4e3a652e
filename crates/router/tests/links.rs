//! Links: how they come up, are lost, found dead, taken over and refused; what becomes of their
//! port and of the runs on them.

mod common;

use std::time::{Duration, Instant};

use common::peer::{FakeInner, FakeRouter, dial, hello, run_request};
use common::proxy::{Proxy, Way};
use common::{
    Answer, ReservedPort, World, away, get, inner_config, link_down, link_up, local, post, request,
    router_config, soon, until, until_so,
};
use http_body_util::{BodyExt, Full};
use p2p_inner::{Config, Inner};
use p2p_router::Router;
use p2p_shared::dial::RouterAddress;
use p2p_shared::names::InstanceId;
use p2p_shared::protocol::{InnerToRouter, Refusal, Rejection, RouterToInner};
use p2p_shared::timing;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// An inner's settings, by way of this port.
fn by_way_of(world: &World, port: u16) -> Config {
    Config {
        router: RouterAddress {
            host: "127.0.0.1".to_owned(),
            port,
        },
        ..inner_config(world)
    }
}

fn main_port(world: &World) -> u16 {
    world.router.address().port()
}

/// An answer that is waited for elsewhere.
fn asking(port: u16, target: &'static str) -> JoinHandle<Answer> {
    tokio::spawn(async move { get(port, target).await })
}

async fn answered(asking: JoinHandle<Answer>) -> Answer {
    soon("an answer", asking).await.unwrap()
}

#[tokio::test]
async fn an_inner_comes_back_after_its_link_was_cut() {
    let world = World::open();
    world.script("hello", "echo hello");
    let proxy = Proxy::to(main_port(&world)).await;
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

#[tokio::test]
async fn a_port_is_held_for_its_owner_and_others_are_told_who_has_it() {
    let world = World::open();
    let mut owner = FakeInner::greeting(main_port(&world), &hello("owner", 0)).await;
    let (_, port) = owner.is_welcomed().await;
    let mut other = FakeInner::greeting(main_port(&world), &hello("other", port)).await;
    let (rejection, sentence) = other.is_rejected().await;
    assert_eq!(rejection, Rejection::PortUnavailable);
    assert!(sentence.contains("is held by 'fake'"), "{sentence}");

    drop(owner);
    away(port).await;
    let mut other = FakeInner::greeting(main_port(&world), &hello("other", port)).await;
    let (rejection, sentence) = other.is_rejected().await;
    assert_eq!(rejection, Rejection::PortUnavailable);
    assert!(
        sentence.contains("is kept for 'fake', which is away: it is free in"),
        "{sentence}"
    );

    let mut owner = FakeInner::greeting(main_port(&world), &hello("owner", port)).await;
    assert_eq!(owner.is_welcomed().await, ("fake".to_owned(), port));
}

#[tokio::test]
async fn a_port_is_given_up_a_minute_after_its_link_was_lost() {
    // The time of the test, and of the router in it, can be put forward.
    async fn pass(time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }
    let world = World::open();
    let mut owner = FakeInner::greeting(main_port(&world), &hello("owner", 0)).await;
    let (_, port) = owner.is_welcomed().await;
    drop(owner);
    away(port).await;

    pass(timing::PORT_KEPT / 2).await;
    let mut other = FakeInner::greeting(main_port(&world), &hello("other", port)).await;
    let (_, sentence) = other.is_rejected().await;
    assert!(sentence.contains("is kept for 'fake'"), "{sentence}");

    pass(timing::PORT_KEPT / 2 + timing::COME_BACK_SPREAD).await;
    until_so("the port is closed", async || {
        TcpStream::connect(local(port)).await.is_err()
    })
    .await;
    let mut other = FakeInner::greeting(main_port(&world), &hello("other", port)).await;
    assert_eq!(other.is_welcomed().await, ("fake".to_owned(), port));
}

#[tokio::test]
async fn a_car_that_comes_back_takes_its_port_from_its_dead_link_at_once() {
    let world = World::open();
    world.gated("wait", "echo late");
    world.script("hello", "echo hello");
    let proxy = Proxy::to(main_port(&world)).await;
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
    let proxy = Proxy::to(main_port(&world)).await;
    let (_dead, port) = world.inner_with(by_way_of(&world, proxy.port())).await;
    proxy.silence();
    let since = Instant::now();
    let mut owner = FakeInner::greeting(main_port(&world), &hello("identity1", port)).await;
    assert_eq!(owner.is_welcomed().await.1, port);
    // An idle link is found dead after a minute: this was no waiting for it.
    assert!(since.elapsed() < timing::PACE_IDLE.dead / 2);
}

#[tokio::test]
async fn an_old_link_is_told_who_replaced_it_and_closed() {
    let world = World::open();
    let mut old = FakeInner::greeting(main_port(&world), &hello("owner", 0)).await;
    let (_, port) = old.is_welcomed().await;
    let mut new = FakeInner::greeting(main_port(&world), &hello("owner", port)).await;
    assert_eq!(new.is_welcomed().await, ("fake".to_owned(), port));
    let (rejection, sentence) = old.is_rejected().await;
    assert_eq!(rejection, Rejection::TakenOver);
    assert!(
        sentence.contains("two inners need two keys, or two ports"),
        "{sentence}"
    );
    assert_eq!(old.hear().await, None);
}

#[tokio::test]
async fn a_stale_socket_cannot_evict_its_replacement() {
    let world = World::open();
    let proxy = Proxy::to(main_port(&world)).await;
    let mut stale = FakeInner::greeting(proxy.port(), &hello("owner", 0)).await;
    let (_, port) = stale.is_welcomed().await;
    proxy.silence();
    let mut new = FakeInner::greeting(main_port(&world), &hello("owner", port)).await;
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
    let mut other = FakeInner::greeting(main_port(&world), &hello("other", port)).await;
    let (_, sentence) = other.is_rejected().await;
    assert!(sentence.contains("is held by"), "{sentence}");
}

#[tokio::test]
async fn a_run_whose_link_is_lost_goes_on_at_the_car_and_nobody_knows() {
    let world = World::open();
    let mark = world.note("mark");
    world.gated("wait", &format!("touch {}", mark.display()));
    let proxy = Proxy::to(main_port(&world)).await;
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

/// An inner that has stopped to read when the first input came, and the POST that it came of.
async fn stuck_inner(world: &World) -> (FakeInner, u16, JoinHandle<Answer>) {
    let (mut inner, port) = FakeInner::welcome(main_port(world)).await;
    let large =
        tokio::spawn(async move { post(port, "/cgi?command=large", vec![0; 1 << 20]).await });
    let first = inner.hear().await;
    assert!(matches!(first, Some(RouterToInner::Stdin { .. })));
    (inner, port, large)
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

/// A link goes silent while a run is open; how long it takes until the caller knows.
async fn found_dead(silence: impl FnOnce(&Proxy)) {
    let world = World::open();
    world.gated("wait", "");
    let proxy = Proxy::to(main_port(&world)).await;
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
    found_dead(|proxy| proxy.silence_way(Way::ToRouter)).await;
}

#[tokio::test]
async fn a_link_that_is_silent_towards_the_inner_only_is_found_dead_too() {
    found_dead(|proxy| proxy.silence_way(Way::ToInner)).await;
}

#[tokio::test]
async fn two_inners_that_fight_over_a_port_are_both_told() {
    let world = World::open();
    let mut holder = FakeInner::greeting(main_port(&world), &hello("twins", 0)).await;
    let (_, port) = holder.is_welcomed().await;
    let mut takeovers = 0;
    let refused = loop {
        let mut rival = FakeInner::greeting(main_port(&world), &hello("twins", port)).await;
        match rival.hear().await {
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
    assert!(refused.1.contains("another key or another port"));
    let told = holder.hear().await;
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
    let mut inner = FakeInner::greeting(main_port(&world), &hello).await;
    (_, hello.service_port) = inner.is_welcomed().await;
    for _ in 0..10 {
        let mut again = FakeInner::greeting(main_port(&world), &hello).await;
        again.is_welcomed().await;
        inner = again;
    }
    // Another one of that identity may still take over.
    hello.instance = InstanceId(0);
    let mut other = FakeInner::greeting(main_port(&world), &hello).await;
    other.is_welcomed().await;
    assert_eq!(inner.is_rejected().await.0, Rejection::TakenOver);
}

#[tokio::test]
async fn one_identity_may_hold_two_ports_and_names_are_made_unique() {
    let world = World::open();
    let main = main_port(&world);
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
            main_port(&world),
            "is taken by another program on the router's host",
        ),
    ] {
        let mut inner = FakeInner::greeting(main_port(&world), &hello("owner", port)).await;
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
    let mut first = FakeInner::greeting(main_port(&world), &hello("first", 0)).await;
    assert_eq!(first.is_welcomed().await.1, only.port);
    let mut second = FakeInner::greeting(main_port(&world), &hello("second", 0)).await;
    let (rejection, sentence) = second.is_rejected().await;
    assert_eq!(rejection, Rejection::PortUnavailable);
    assert!(sentence.contains("no service port is free"), "{sentence}");
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
async fn an_inner_that_says_hello_to_a_router_that_ends_is_sent_away() {
    let world = World::open();
    let (mut busy, port) = FakeInner::welcome(main_port(&world)).await;
    let run = asking(port, "/cgi?command=a");
    let asked = busy.is_asked_to_run().await;
    let main = main_port(&world);
    let mut late = FakeInner::silent(main).await;
    let end = tokio::spawn(world.router.shut_down());
    until_so("the router ends", async || {
        get(main, "/healthz").await.status == 503
    })
    .await;
    late.say(InnerToRouter::Hello(hello("late", 0))).await;
    let sent_away = late.hear().await;
    assert!(
        matches!(sent_away, Some(RouterToInner::GoAway { .. })),
        "{sent_away:?}"
    );
    assert!(dial(main, None).await.is_err());
    busy.starts(asked.run).await;
    busy.finishes(asked.run).await;
    assert_eq!(answered(run).await.verdict(), (200, "yes"));
    let sent_away = busy.hear().await;
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

/// Passes messages on between an inner and its router, and keeps each run back for this long.
/// Nothing else is late, so that the link lives.
async fn delay_runs(fake: FakeRouter, main_port: u16, delay: Duration) {
    let (mut inner, hello) = fake.inner().await;
    let mut router = FakeInner::greeting(main_port, &hello).await;
    loop {
        tokio::select! {
            Some(message) = inner.hear::<InnerToRouter>() => router.say(message).await,
            Some(message) = router.hear() => {
                if matches!(message, RouterToInner::Run(_)) {
                    let until = tokio::time::sleep(delay);
                    tokio::select! {
                        () = until => {}
                        () = router.0.stay() => {}
                        () = inner.stay() => {}
                    }
                }
                inner.say(&message).await;
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
    tokio::spawn(delay_runs(fake, main_port(&world), delay));
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
    let proxy = Proxy::to(main_port(&world)).await;
    let (inner, port) = world.inner_with(by_way_of(&world, proxy.port())).await;
    proxy.hold(Way::ToInner);
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
        link.say(&RouterToInner::Run(run_request(7, "count"))).await;
    }
    let (mut finished, mut refusals) = (0, Vec::new());
    while finished == 0 || refusals.is_empty() {
        match link.hear().await {
            Some(InnerToRouter::Finished { .. }) => finished += 1,
            Some(InnerToRouter::Refused { refusal, .. }) => refusals.push(refusal),
            Some(_) => {}
            None => panic!("the link is lost"),
        }
    }
    assert_eq!(refusals, [Refusal::Repeated]);
    // Over another link, too.
    drop(link);
    let mut link = router.link().await;
    link.say(&RouterToInner::Run(run_request(7, "count"))).await;
    let answer = link.hear().await;
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

#[tokio::test]
async fn a_flood_of_output_does_not_keep_input_waiting() {
    let world = World::open();
    world.script("flood", "exec cat /dev/zero");
    world.script("count", "wc -c");
    let (_inner, port) = world.inner().await;
    let flood = request("GET", "/cgi?command=flood&stream=1");
    let flood = common::send(port, flood.body(Full::default()).unwrap()).await;
    let mut flood = flood.into_body();
    let reading = tokio::spawn(async move { while let Some(Ok(_)) = flood.frame().await {} });
    let answer = post(port, "/cgi?command=count", vec![0; 1 << 20]).await;
    assert_eq!(answer.verdict(), (200, "yes"));
    assert_eq!(answer.text().trim(), "1048576");
    reading.abort();
}

#[tokio::test]
async fn an_inner_that_is_dropped_ends_what_it_runs() {
    let world = World::open();
    let process = world.note("process");
    world.script(
        "stay",
        &format!("echo $$ > {}; exec sleep 1000", process.display()),
    );
    let (inner, port) = world.inner().await;
    let run = asking(port, "/cgi?command=stay");
    until("the process runs", || common::is_alive(&process)).await;
    drop(inner);
    until("the process is gone", || !common::is_alive(&process)).await;
    assert_eq!(answered(run).await.verdict(), (502, "unknown"));
}
