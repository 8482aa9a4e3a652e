//! One car, one console, several routers: which is dialled, and what a loss, a refusal or the end of
//! one of them means.

use p2p_console::connection::{self, ConnectionEvent, RouterTarget, ToRouter};
use p2p_inner::{Config, Inner, LinkState};
use p2p_router::Router;
use p2p_shared::key::Role;
use p2p_shared::names::InstanceId;
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::protocol::Rejection;
use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::camera::fixture::{Camera, Page, SHOWS, number};
use crate::common::peer::{FakeInner, hello};
use crate::common::program::{self, RunningProgram, inner_of};
use crate::common::proxy::Proxy;
use crate::common::{
    ReservedPort, World, asking, away, get, inner_config, link_up, local, router_config, soon,
    until, until_so,
};

fn at(port: u16) -> RouterAddress {
    RouterAddress {
        host: "127.0.0.1".to_owned(),
        port,
    }
}

/// An inner of these routers, with the commands of this world.
fn config(world: &World, routers: &[u16]) -> Config {
    Config {
        routers: routers.iter().map(|port| at(*port)).collect(),
        ..inner_config(world)
    }
}

/// Waits until the link is up at this router.
async fn is_at(inner: &Inner, main_port: u16) {
    let mut state = inner.link_state();
    let is_there = |state: &LinkState| matches!(state, LinkState::Up { router, .. } if router.port == main_port);
    let waiting = state.wait_for(is_there);
    soon("the link comes up there", waiting).await.unwrap();
}

#[tokio::test]
async fn when_its_router_is_killed_a_car_is_soon_at_the_next_and_stays_there() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("command")).unwrap();
    let reserved = ReservedPort::new();
    let (mut first, a) = RunningProgram::open_router(folder.path(), reserved.port).await;
    let (_second, b) = RunningProgram::open_router(folder.path(), 0).await;
    let mut command = inner_of(folder.path(), a, 0);
    command.args(["--routers", &format!("127.0.0.1:{b}")]);
    let car = RunningProgram::start(&mut command);
    let port = car.service_port().await;
    assert_eq!(get(port, "/commands").await.status, 200);

    first.kill().await;
    car.says(&format!("router=127.0.0.1:{b}")).await;
    let port = car.service_port().await;
    assert_eq!(get(port, "/commands").await.status, 200);

    let (_first, _) = RunningProgram::open_router(folder.path(), a).await;
    // Long enough for another car to be there.
    let mut other = inner_of(folder.path(), a, 0);
    other.arg("--state-dir").arg(folder.path().join("other"));
    let other = RunningProgram::start(&mut other);
    let there = other.service_port().await;
    assert_eq!(get(there, "/commands").await.status, 200);
    assert_eq!(car.errors().matches("link up").count(), 2);
    assert_eq!(get(port, "/commands").await.status, 200);
}

#[tokio::test]
async fn neither_a_name_without_address_nor_a_router_that_never_answers_delays_the_link() {
    let world = World::open();
    let silent = TcpListener::bind(local(0)).await.unwrap();
    let mut config = config(
        &world,
        &[silent.local_addr().unwrap().port(), world.main_port()],
    );
    config.routers.insert(
        0,
        RouterAddress {
            host: "name.invalid".to_owned(),
            port: 8888,
        },
    );
    let inner = Inner::start(config).unwrap();
    is_at(&inner, world.main_port()).await;
}

#[tokio::test]
async fn a_router_that_refuses_the_key_keeps_no_car_from_the_other() {
    let (strict, world) = (World::keyed(), World::keyed());
    let config = Config {
        key: Some(world.key("car", Role::Link).await),
        ..config(&world, &[strict.main_port(), world.main_port()])
    };
    let inner = Inner::start(config).unwrap();
    is_at(&inner, world.main_port()).await;
    let refused = strict.metric("p2p_router_link_refusals_total").await;
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn a_router_at_which_the_port_is_another_inners_keeps_no_car_from_the_other() {
    let (taken, world) = (World::open(), World::open());
    let service = ReservedPort::new();
    let mut other = FakeInner::greeting(taken.main_port(), &hello("other", service.port)).await;
    other.is_welcomed().await;
    let config = Config {
        // On one machine the second router can't open it before the first lets go.
        service_port: service.port,
        ..config(&world, &[taken.main_port(), world.main_port()])
    };
    let inner = Inner::start(config).unwrap();
    until_so("the first has refused it", async || {
        taken.metric("p2p_router_link_refusals_total").await > 0
    })
    .await;
    until_so("the second has been asked, too", async || {
        world.metric("p2p_router_link_refusals_total").await > 0
    })
    .await;
    drop(other);
    drop(taken);
    is_at(&inner, world.main_port()).await;
}

#[tokio::test]
async fn a_router_that_ends_sends_car_and_console_to_the_other_and_none_comes_back() {
    let reserved = ReservedPort::new();
    let main = || p2p_router::Config {
        port: reserved.port,
        ..router_config()
    };
    let first = World::with(main(), tempfile::tempdir().unwrap());
    let second = World::open();
    let routers = [reserved.port, second.main_port()];
    let inner = Inner::start(config(&second, &routers)).unwrap();
    is_at(&inner, reserved.port).await;

    let target = RouterTarget {
        routers: routers.map(at).to_vec(),
        key: None,
        open: true,
        readonly: false,
    };
    let (events_to, mut events) = mpsc::channel(1024);
    let (to_router, requests) = mpsc::unbounded_channel();
    let console = tokio::spawn(connection::run(
        target,
        std::time::Duration::from_secs(2),
        events_to,
        requests,
    ));
    let mut connected = async || {
        let next = async {
            loop {
                if let ConnectionEvent::Connected(router) = events.recv().await.unwrap() {
                    return router.port;
                }
            }
        };
        soon("the console is connected", next).await
    };
    assert_eq!(connected().await, reserved.port);

    let World {
        router,
        folder: _folder,
        ..
    } = first;
    router.shut_down().await;
    // Here again at once: they were told to go elsewhere all the same.
    let _again = Router::start(main()).unwrap();
    is_at(&inner, second.main_port()).await;
    assert_eq!(connected().await, second.main_port());
    let LinkState::Up { service_port, .. } = inner.link_state().borrow().clone() else {
        panic!("it is down");
    };
    assert_eq!(get(service_port, "/commands").await.status, 200);
    to_router.send(ToRouter::End).unwrap();
    soon("the console's end", console).await.unwrap();
}

#[tokio::test]
async fn the_commands_of_a_console_ask_the_first_router_that_answers() {
    let world = World::open();
    let (_inner, _) = world.inner().await;
    let nobody = [ReservedPort::new(), ReservedPort::new()];
    let [a, b] = [&nobody[0], &nobody[1]].map(|it| format!("127.0.0.1:{}", it.port));
    let there = format!("127.0.0.1:{}", world.main_port());
    let list = async |routers: &[&str]| {
        let mut command = program::command(&program::path("p2p-console"), world.folder.path());
        command.args(["--router", &routers.join(","), "list"]);
        let output = soon("a list", command.output()).await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = list(&[&a, &there]).await;
    assert!(code == Some(0) && text.contains("car"), "{text}");
    let (code, text) = list(&[&a, &b]).await;
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains(&a) && text.contains(&b), "{text}");
}

#[tokio::test]
async fn a_console_that_sends_hears_of_its_command_when_the_car_is_at_the_next_router() {
    let (first, second) = (World::open(), World::open());
    let (gate, begun) = (second.note("gate"), second.note("begun"));
    let (begin, wait) = (begun.display(), gate.display());
    second.script(
        "wait",
        &format!("touch {begin}; until [ -e {wait} ]; do sleep 0.01; done; exit 7"),
    );
    let way = Proxy::to(first.main_port()).await;
    let inner = Inner::start(config(&second, &[way.port(), second.main_port()])).unwrap();
    is_at(&inner, way.port()).await;
    let mut command = program::console(second.folder.path(), first.main_port());
    let next = format!("127.0.0.1:{}", second.main_port());
    command.args(["--router", &next, "send", "car", "wait"]);
    let mut console = RunningProgram::start(&mut command.into());
    until("it runs", || begun.exists()).await;
    way.refuse(true);
    way.cut();
    console.says("waiting to hear what became of run").await;
    is_at(&inner, second.main_port()).await;
    std::fs::write(&gate, "").unwrap();
    assert_eq!(console.end().await.code(), Some(7));
}

#[tokio::test]
async fn pictures_go_to_the_router_that_has_the_link() {
    let (other, world) = (World::keyed(), World::open());
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let inner = Inner::start(Config {
        routers: [&other, &world].map(|world| at(world.main_port())).to_vec(),
        ..camera.config(SHOWS)
    });
    let inner = inner.unwrap();
    let (_, port) = link_up(&inner).await;
    is_at(&inner, world.main_port()).await;
    let mut page = Page::open(port, None).await;
    number(&page.picture().await.1);
}

#[tokio::test]
async fn a_hello_that_comes_late_takes_nothing_from_a_newer_link_of_the_same_process() {
    let world = World::open();
    let dial = |instance, dial, service_port| p2p_shared::protocol::LinkHello {
        instance: InstanceId(instance),
        dial,
        ..hello("one", service_port)
    };
    let mut first = FakeInner::greeting(world.main_port(), &dial(1, 2, 0)).await;
    let (_, port) = first.is_welcomed().await;
    for asked in [port, 0] {
        let mut late = FakeInner::greeting(world.main_port(), &dial(1, 1, asked)).await;
        let (rejection, why) = late.is_rejected().await;
        assert_eq!(rejection, Rejection::PortUnavailable);
        assert!(why.contains("late"), "{why}");
    }
    // Its link is up all the while, and is taken over by a newer hello.
    let answer = tokio::spawn(get(port, "/cgi?command=a"));
    let asked = first.is_asked_to_run().await;
    first.starts(asked.run).await;
    first.finishes(asked.run).await;
    assert_eq!(answer.await.unwrap().verdict(), (200, "yes"));
    let mut newer = FakeInner::greeting(world.main_port(), &dial(1, 3, port)).await;
    newer.is_welcomed().await;
    assert_eq!(first.is_rejected().await.0, Rejection::TakenOver);
    // Also when the newer link is over.
    drop(newer);
    away(port).await;
    let mut late = FakeInner::greeting(world.main_port(), &dial(1, 2, port)).await;
    assert_eq!(late.is_rejected().await.0, Rejection::PortUnavailable);
    // Another process counts for itself.
    let mut other = FakeInner::greeting(world.main_port(), &dial(2, 1, port)).await;
    other.is_welcomed().await;
}

#[tokio::test]
async fn a_second_inner_in_the_same_place_ends_and_says_where_the_first_is() {
    let world = World::open();
    let (folder, main) = (world.folder.path(), world.main_port());
    let [begun, gate, over] = ["begun", "gate", "over"].map(|name| world.note(name));
    let (begin, wait, end) = (begun.display(), gate.display(), over.display());
    world.script(
        "stay",
        &format!("touch {begin}; until [ -e {wait} ]; do sleep 0.01; done; touch {end}"),
    );
    let (service, other) = (ReservedPort::new(), ReservedPort::new());
    let start = || inner_of(folder, main, service.port);
    let mut first = RunningProgram::start(&mut start());
    first.service_port().await;
    let process = first.id();

    let mut second = RunningProgram::start(&mut start());
    assert_eq!(second.end().await.code(), Some(2));
    let sentence = format!("another p2p-inner on this machine (process {process})");
    second.says(&sentence).await;
    assert_eq!(first.errors().matches("link up").count(), 1);

    // Another port, any port, another router or another state directory: another place.
    let mut elsewhere = start();
    elsewhere.arg("--state-dir").arg(folder.join("other"));
    let nobody = ReservedPort::new();
    for mut command in [
        inner_of(folder, main, other.port),
        inner_of(folder, main, 0),
        inner_of(folder, nobody.port, service.port),
        elsewhere,
    ] {
        let mut third = RunningProgram::start(&mut command);
        third.says("link").await;
        third.kill().await;
    }

    // Of two that ask for any port, the name tells them apart.
    let any = || inner_of(folder, main, 0);
    let mut one = RunningProgram::start(&mut any());
    one.service_port().await;
    let mut same = RunningProgram::start(&mut any());
    assert_eq!(same.end().await.code(), Some(2));
    let mut another = program::inner(folder);
    another.args(["127.0.0.1", &main.to_string(), "0", "--name", "another"]);
    let mut named = RunningProgram::start(&mut another);
    named.service_port().await;
    named.kill().await;
    one.kill().await;

    // One that is killed or ends lets go at once, also while its commands still run.
    first.kill().await;
    let mut first = RunningProgram::start(&mut start());
    first.service_port().await;
    let staying = asking(service.port, "/cgi?command=stay");
    until("it runs", || begun.exists()).await;
    first.signal(Signal::TERM);
    let next = RunningProgram::start(&mut start());
    next.service_port().await;
    assert!(!over.exists());
    std::fs::write(&gate, "").unwrap();
    first.end().await;
    assert!(over.exists());
    staying.abort();
}
