//! Cars at host names of their own, on the main port.

use std::net::{Ipv4Addr, TcpStream};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use p2p_inner::Inner;
use p2p_router::auth::key_store::KeyStore;
use p2p_router::ops::inherited_listeners::InheritedListeners;
use p2p_router::ops::state_file::StateFile;
use p2p_router::{Config, Router};
use p2p_shared::key::Role;
use tokio::net::TcpSocket;

use crate::common::chromium::Chromium;
use crate::common::page::FakePage;
use crate::common::program::{RunningProgram, inner_of};
use crate::common::raw::RawCaller;
use crate::common::{
    HttpAnswer, World, ask, away, elsewhere, get, inner_config, local, router_config, soon,
    until_so,
};

fn config() -> Config {
    Config {
        domain: Some("cars.test".parse().unwrap()),
        ..router_config()
    }
}

fn world(config: Config) -> World {
    let world = World::with(config, tempfile::tempdir().unwrap());
    world.script("stop", ":");
    world.script("who", "echo I am $P2P_LINK");
    world
}

/// A car of this name.
async fn car(world: &World, name: &str) -> (Inner, u16) {
    let identity: String = name.bytes().map(|byte| format!("{byte:03}")).collect();
    let config = p2p_inner::Config {
        name: name.parse().unwrap(),
        identity: identity.parse().unwrap(),
        ..inner_config(world)
    };
    world.inner_with(config).await
}

/// Asks the main port for this host.
async fn at(world: &World, host: &str, target: &str) -> HttpAnswer {
    let request = Request::get(target).header("host", host);
    let request = request.body(Full::<Bytes>::default()).unwrap();
    ask(world.main_port(), request).await
}

const WHO: &str = "/cgi?command=who";

#[tokio::test(flavor = "multi_thread")]
async fn a_car_is_at_its_name_and_at_its_number_what_it_is_at_its_port() {
    let world = world(config());
    let (_red, port) = car(&world, "Red-2").await;
    let (_blue, _) = car(&world, "blue").await;
    let number = format!("{port}.cars.test");
    for host in ["red-2.cars.test", "RED-2.Cars.Test.:8888", &number] {
        let answer = at(&world, host, WHO).await;
        assert_eq!(answer.verdict(), (200, "yes"), "{host}: {}", answer.text());
        assert_eq!(answer.text(), "I am Red-2\n");
        let run = format!("/run/{}", answer.header("p2p-run"));
        let there = at(&world, host, &run).await.text();
        assert!(there.contains("I am Red-2"), "{there}");
    }
    let answer = at(&world, "blue.cars.test", WHO).await;
    assert_eq!(answer.text(), "I am blue\n");
    let red = "red-2.cars.test";
    for path in ["/", "/commands", "/frame.jpg", "/cgi", "/link2", "/metrics"] {
        let (here, there) = (at(&world, red, path).await, get(port, path).await);
        assert_eq!(here.verdict(), there.verdict(), "{path}");
    }
    // The bare domain and all other names are the main port's own.
    for host in ["localhost", "127.0.0.1", "cars.test", "car.test"] {
        assert_eq!(at(&world, host, WHO).await.status, 404, "{host}");
    }
    assert_eq!(at(&world, "localhost", "/healthz").await.text(), "ok\n");
    let answer = at(&world, "car.test", "/healthz").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_a_connection_is_for_its_own_host() {
    let world = world(config());
    let (_red, _) = car(&world, "red").await;
    let (_blue, _) = car(&world, "blue").await;
    let mut caller = RawCaller::connect(world.main_port()).await;
    for name in ["red", "blue", "red"] {
        let request = format!("GET {WHO} HTTP/1.1\r\nHost: {name}.cars.test\r\n\r\n");
        caller.send(request).await;
        assert_eq!(caller.answer().await.text(), format!("I am {name}\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_car_drives_at_its_name() {
    let world = world(config());
    world.script("forward", ":");
    let (_red, _) = car(&world, "red").await;
    let hosted = [("host", "red.cars.test")];
    let mut page = FakePage::with(world.main_port(), &hosted).await.unwrap();
    page.receives("car").await;
    let foreign = [hosted[0], ("origin", "http://blue.cars.test")];
    assert_eq!(
        FakePage::with(world.main_port(), &foreign).await.err(),
        Some(403)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_no_cars_is_refused_in_words() {
    let world = world(config());
    let (red, port) = car(&world, "red").await;
    let (_two, _) = car(&world, "two words").await;
    for (host, words) in [
        ("green.cars.test", "no car called 'green'"),
        ("9.cars.test", "at service port 9"),
        ("my_car.cars.test", "SERVICE_PORT.cars.test"),
        ("a.red.cars.test", "SERVICE_PORT.cars.test"),
        ("-red.cars.test", "SERVICE_PORT.cars.test"),
    ] {
        let answer = at(&world, host, WHO).await;
        assert_eq!(answer.verdict(), (404, "no"), "{host}");
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    // A car that is away is awaited under its name as at its port.
    red.shut_down().await;
    away(port).await;
    let (here, there) = (at(&world, "red.cars.test", WHO).await, get(port, WHO).await);
    assert_eq!(here.verdict(), (503, "no"));
    assert_eq!(here.text(), there.text());
    assert_eq!(here.header("retry-after"), there.header("retry-after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_at_the_name_of_a_car_that_is_away_waits_for_it() {
    let world = world(config());
    let told = at(&world, "green.cars.test", "/").await;
    assert_eq!(told.header("content-type"), "text/plain; charset=utf-8");
    let browser = Chromium::start(&["green.cars.test"]).await;
    let address = format!("http://green.cars.test:{}/", world.main_port());
    browser.open(&address).await;
    browser.reads("The car is not there now").await;
    browser.reads("no car called 'green'").await;
    let (_green, _) = car(&world, "green").await;
    browser.reads("press a direction").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_differ_in_capitals_only_are_two_names() {
    let world = world(config());
    let (_one, _) = car(&world, "Red").await;
    let (two, _) = car(&world, "red").await;
    let (name, _) = crate::common::link_up(&two).await;
    assert_eq!(name, "red-2");
    for (host, who) in [("red.cars.test", "Red"), ("red-2.cars.test", "red-2")] {
        let answer = at(&world, host, WHO).await;
        assert_eq!(answer.text(), format!("I am {who}\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_two_hosts_is_for_neither() {
    let world = world(config());
    let (_red, _) = car(&world, "red").await;
    let status = async |request: &str| {
        let mut caller = RawCaller::saying(world.main_port(), request).await;
        caller.answer().await.status.as_u16()
    };
    let whole = "GET http://RED.cars.test/cgi?command=who HTTP/1.1\r\nHost: red.cars.test\r\n\r\n";
    assert_eq!(status(whole).await, 200);
    for one in [
        "GET http://red.cars.test:80/cgi?command=who HTTP/1.1\r\nHost: red.cars.test\r\n\r\n",
        "GET http://router.test/healthz HTTP/1.0\r\n\r\n",
    ] {
        assert_eq!(status(one).await, 200, "{one}");
    }
    for two in [
        "GET http://red.cars.test/cgi?command=who HTTP/1.1\r\nHost: blue.cars.test\r\n\r\n",
        "GET http://red.cars.test:81/cgi?command=who HTTP/1.1\r\nHost: red.cars.test\r\n\r\n",
        "GET http://red.cars.test/cgi?command=who HTTP/1.0\r\n\r\n",
        "GET http://cars.test/cgi?command=who HTTP/1.1\r\nHost: red.cars.test\r\n\r\n",
        "GET /cgi?command=who HTTP/1.1\r\nHost: blue.cars.test@red.cars.test\r\n\r\n",
        "GET /cgi?command=who HTTP/1.1\r\nHost: green.cars.test\r\nHost: green.cars.test\r\n\r\n",
        "GET /cgi?command=who HTTP/1.1\r\nHost: red.cars.test\r\nHost: red.cars.test\r\n\r\n",
    ] {
        assert_eq!(status(two).await, 400, "{two}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_port_does_not_answer_to_the_name_of_another_car() {
    let world = world(config());
    let (_red, port) = car(&world, "red").await;
    let (_blue, _) = car(&world, "blue").await;
    let number = format!("{port}.cars.test");
    for (host, status) in [
        ("red.cars.test", 200),
        (&*number, 200),
        ("127.0.0.1", 200),
        ("blue.cars.test", 421),
        ("green.cars.test", 421),
    ] {
        let request = Request::get(WHO).header("host", host);
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let answer = ask(port, request).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_there_are_is_told_to_key_holders_alone() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyStore::open(folder.path().join("state")).unwrap();
    let world = World::with(
        Config {
            keys: Some(keys),
            ..config()
        },
        folder,
    );
    let key = world.key("wall", Role::View).await.expose();
    let link = world.key("red", Role::Link).await.expose();
    let answer = async |key: &str| {
        let request = Request::get(WHO)
            .header("host", "red.cars.test")
            .header("authorization", format!("Bearer {key}"));
        let request = request.body(Full::<Bytes>::default()).unwrap();
        ask(world.main_port(), request).await.status.as_u16()
    };
    assert_eq!(
        at(&world, "red.cars.test", WHO).await.verdict(),
        (401, "no")
    );
    for (key, status) in [(&*key, 404), (&link, 403), ("x", 401)] {
        assert_eq!(answer(key).await, status);
    }
    let spoilt = at(&world, "red.cars.test", &format!("{WHO}&key={key}")).await;
    assert!(spoilt.text().contains("revoke"), "{}", spoilt.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_service_ports_cars_have_numbers_and_nothing_listens_there() {
    let world = world(Config {
        service_ports: "none".parse().unwrap(),
        ..config()
    });
    let (_red, red) = car(&world, "red").await;
    let (_blue, blue) = car(&world, "blue").await;
    assert_ne!(red, blue);
    for (name, port) in [("red", red), ("blue", blue)] {
        assert!(TcpStream::connect(local(port)).is_err());
        let number = port.to_string();
        for part in [name, &number] {
            let answer = at(&world, &format!("{part}.cars.test"), WHO).await;
            assert_eq!(answer.text(), format!("I am {name}\n"));
        }
    }
    assert_eq!(world.metric("p2p_router_service_ports").await, 0);
    // The inner says where it is reached.
    let main = world.main_port();
    let car = RunningProgram::start(&mut inner_of(world.folder.path(), main, 9000));
    car.says(&format!("link up: http://car.cars.test:{main}/"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_place_closes_the_ports_that_are_not_to_be_open_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let with = |service_ports: &str, sockets| Config {
        service_ports: service_ports.parse().unwrap(),
        known_links: Some(StateFile::new(&state, "links")),
        sockets,
        ..config()
    };
    let world = world(with("1024-65535", InheritedListeners::default()));
    let main = world.main_port();
    let (_red, port) = car(&world, "red").await;
    let mut router = world.router;
    for (service_ports, is_open) in [("none", false), ("1024-65535", true), ("none", false)] {
        let sockets = InheritedListeners::handed_over(router.hand_over(|| true).await);
        router = Router::start(with(service_ports, sockets)).unwrap();
        let request = || Request::get(WHO).header("host", "red.cars.test");
        until_so("the car is back", async || {
            let request = request().body(Full::<Bytes>::default()).unwrap();
            ask(main, request).await.status == 200
        })
        .await;
        assert_eq!(TcpStream::connect(local(port)).is_ok(), is_open);
    }
}

/// A connection from this address of loopback.
async fn connect_from(from: Ipv4Addr, port: u16) -> RawCaller {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let connecting = socket.connect(local(port));
    RawCaller::new(soon("a connection", connecting).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_by_name_does_not_wait_behind_inners_that_come_all_at_once() {
    let world = world(config());
    let (_red, _) = car(&world, "red").await;
    const STOP: &[u8] = b"GET /cgi?command=stop HTTP/1.1\r\nHost: red.cars.test\r\n\r\n";
    let (mut inners, mut stops) = (Vec::new(), Vec::new());
    for n in 0..2000_u16 {
        let [high, low] = n.to_be_bytes();
        let from = Ipv4Addr::new(127, 1, high, low);
        let mut inner = connect_from(from, world.main_port()).await;
        inner.send("GET /link HTTP/1.1\r\n").await;
        inners.push(inner);
        if n % 50 == 0 {
            let mut caller =
                connect_from(Ipv4Addr::new(127, 2, high, low), world.main_port()).await;
            caller.send(STOP).await;
            stops.push(caller);
        }
    }
    for mut stop in stops {
        let answer = stop.try_answer().await.expect("a status");
        assert_eq!(answer.verdict(), (200, "yes"), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_roles_and_privacy_are_checked_at_a_name_as_at_a_port() {
    let Some(address) = elsewhere() else { return };
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyStore::open(folder.path().join("state")).unwrap();
    let world = World::with(
        Config {
            bind: "0.0.0.0".parse().unwrap(),
            keys: Some(keys),
            ..config()
        },
        folder,
    );
    world.script("who", "echo I am $P2P_LINK");
    let config = p2p_inner::Config {
        name: "red".parse().unwrap(),
        key: Some(world.key("red", Role::Link).await),
        ..inner_config(&world)
    };
    let (_red, port) = world.inner_with(config).await;
    let other = Some((port + 1).to_string().parse().unwrap());
    let drive = world.key("desk", Role::Drive).await.expose();
    let view = world.key("wall", Role::View).await.expose();
    let wrong = world.key_for("next", Role::Drive, other).await.expose();
    for (key, status) in [
        (&drive, 200),
        (&view, 403),
        (&wrong, 403),
        (&"x".to_owned(), 401),
    ] {
        let request = Request::get(WHO)
            .header("host", "red.cars.test")
            .header("authorization", format!("Bearer {key}"));
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let answer = ask(world.main_port(), request).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    }
    // Nothing goes in the clear over a network, and one is sent to TLS under the same name.
    let request = format!("GET {WHO} HTTP/1.1\r\nHost: red.cars.test:8888\r\n\r\n");
    let stream = tokio::net::TcpStream::connect((address, world.main_port())).await;
    let mut caller = RawCaller::new(stream.unwrap());
    caller.send(request).await;
    let answer = caller.answer().await;
    assert_eq!(answer.verdict(), (308, "no"));
    let location = answer.header("location");
    assert!(
        location.starts_with("https://red.cars.test:8888/cgi"),
        "{location}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_in_at_one_car_is_not_signed_in_at_another() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyStore::open(folder.path().join("state")).unwrap();
    let world = World::with(
        Config {
            keys: Some(keys),
            ..config()
        },
        folder,
    );
    let mut cars = Vec::new();
    for name in ["red", "blue"] {
        let config = p2p_inner::Config {
            name: name.parse().unwrap(),
            key: Some(world.key(name, Role::Link).await),
            ..inner_config(&world)
        };
        cars.push(world.inner_with(config).await);
    }
    let key = world.key("desk", Role::Drive).await.expose();
    let browser = Chromium::start(&["red.cars.test", "blue.cars.test"]).await;
    let page = |name: &str| format!("http://{name}.cars.test:{}/", world.main_port());
    browser.open(&page("red")).await;
    browser.fill("#key", &key).await;
    browser.click("main button").await;
    browser.reads("Signed in as desk").await;
    let cookie = browser.cookies().await;
    assert_eq!(cookie[0]["domain"], "red.cars.test", "{cookie}");
    browser.open(&page("blue")).await;
    browser.reads("This needs a key").await;
    assert_eq!(browser.cookies().await.as_array().unwrap().len(), 0);
    browser.open(&page("red")).await;
    browser.reads("Signed in as desk").await;
    // A page of one car reads and runs nothing at another.
    let other = format!(
        "return fetch('{}commands').then(() => 'read', () => 'refused')",
        page("blue")
    );
    assert_eq!(browser.script(&other).await, "refused");
}
