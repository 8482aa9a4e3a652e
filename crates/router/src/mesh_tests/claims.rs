//! Who gets a port, and what becomes of it at the other routers.

use std::time::Duration;

use p2p_inner::LinkState;
use p2p_shared::names::{InstanceId, LinkName};
use p2p_shared::protocol::{LinkHello, MotionInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::{Place, ReservedPort, config, read};
use super::{soon, until};
use crate::car::registry::claim::{Claim, Granted, Refused};
use crate::config::Config;
use crate::mesh::hub::{Faults, Hub};
use crate::mesh::message::Topic;
use crate::net::client_net::QuotaOwner;
use crate::net::port_range::PortRange;

pub(super) fn hello(port: u16, identity: &str, instance: u64) -> LinkHello {
    LinkHello {
        name: "car".parse().unwrap(),
        service_port: port,
        identity: identity.parse().unwrap(),
        instance: InstanceId(instance),
        clock_ms: 0,
        software: "a test".into(),
        motion: MotionInfo {
            commands: Default::default(),
            stop: "stop".parse().unwrap(),
            lease_ms: 400,
            limit_ms: 2000,
        },
        camera: false,
        dial: 0,
        past: false,
    }
}

pub(super) fn claim_of(hello: &LinkHello) -> Claim<'_> {
    Claim {
        owner: QuotaOwner::At(std::net::IpAddr::from([127, 0, 0, 1]).into()),
        identity: hello.identity.clone(),
        ports: None,
        key: "",
        hello,
        grant: None,
    }
}

/// A link that comes up at this router.
async fn claim(place: &Place, hello: &LinkHello) -> Result<Granted, Refused> {
    let registry = &place.context().registry;
    registry.claim_everywhere(claim_of(hello)).await
}

async fn places<const N: usize>(hub: &Hub, config: impl Fn(u8) -> Config) -> [Place; N] {
    let mut all = Vec::new();
    for number in 2_u8.. {
        if all.len() == N {
            break;
        }
        all.push(Place::with(config(number), [7; 32], hub).await);
    }
    for place in &all {
        place.knows(N - 1).await;
    }
    all.try_into().ok().unwrap()
}

#[tokio::test]
async fn a_car_that_goes_to_another_router_keeps_its_port_and_ends_its_old_link() {
    let hub = Hub::new(1);
    let [a, b, c] = places(&hub, config).await;
    let port = ReservedPort::new();
    let old = a.inner("one", port.port).await;
    b.serves(port.port).await;
    a.script("where", "echo at a");
    b.script("where", "echo at b");
    assert_eq!(
        c.get(port.port, "/cgi?command=where").await.body(),
        "at a\n"
    );
    let mut states = old.link_state();
    let new = b.inner("one", port.port).await;
    let is_down = |state: &LinkState| *state == LinkState::Down;
    soon("the old link ends", states.wait_for(is_down))
        .await
        .unwrap();
    old.shut_down().await;
    until("a has given the car up", || {
        a.context().registry.car(port.port).is_none()
    })
    .await;
    for place in [&a, &b, &c] {
        let moved =
            async { while place.get(port.port, "/cgi?command=where").await.body() != "at b\n" {} };
        soon("it is answered at b", moved).await;
    }
    new.shut_down().await;
}

#[tokio::test]
async fn callers_keep_their_connections_while_their_car_goes_from_router_to_router() {
    let hub = Hub::new(1);
    let [a, b, c] = places(&hub, config).await;
    let port = ReservedPort::new();
    let old = a.inner("one", port.port).await;
    a.script("where", "echo at a");
    b.script("where", "echo at b");
    let mut callers = Vec::new();
    for place in [&a, &b, &c] {
        place.serves(port.port).await;
        let caller = TcpStream::connect((place.address, port.port)).await;
        callers.push((place, caller.unwrap()));
    }
    for (_, caller) in &mut callers {
        ask(caller, "at a\n").await;
    }
    let new = b.inner("one", port.port).await;
    old.shut_down().await;
    let at_b = b.context().mesh.as_ref().unwrap().start();
    for place in [&a, &c] {
        let mesh = place.context().mesh.as_ref().unwrap();
        until("where it is now is known", || {
            let there = mesh.holder_elsewhere(port.port);
            there.is_some_and(|there| there.member.start == at_b)
                && place.context().registry.car(port.port).is_none()
        })
        .await;
    }
    for (_, caller) in &mut callers {
        ask(caller, "at b\n").await;
    }
    new.shut_down().await;
    let car = b.context().registry.car(port.port).unwrap();
    until("it is away", || car.link().is_none()).await;
    assert!(b.context().registry.give_up(&car, true).is_some());
    // The port closes at all of them: nobody waits for the end of the connection's time.
    for (_, caller) in callers {
        let rest = read(caller).await;
        assert!(!rest.0.contains("HTTP/1.1"), "{rest:?}");
    }
}

/// Asks where the car is, and reads until this comes.
async fn ask(caller: &mut TcpStream, answer: &str) {
    let request = "GET /cgi?command=where HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    caller.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains(answer) {
        let read = soon("an answer", caller.read_buf(&mut said)).await.unwrap();
        assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&said));
    }
}

#[tokio::test]
async fn a_run_that_is_open_when_the_car_moves_is_lost_and_nothing_says_no() {
    let hub = Hub::new(1);
    let [a, b] = places(&hub, config).await;
    let port = ReservedPort::new();
    let old = a.inner("one", port.port).await;
    b.serves(port.port).await;
    a.long_script("long", "");
    let asking = a.get(port.port, "/cgi?command=long");
    let moving = async {
        a.has_begun().await;
        b.inner("one", port.port).await
    };
    let (said, _new) = tokio::join!(asking, moving);
    assert_eq!(said.fate(), (502, "unknown"), "{said:?}");
    std::fs::remove_file(a.note("begun")).unwrap();
    old.shut_down().await;
}

#[tokio::test]
async fn a_port_of_another_identity_is_refused_and_the_sentence_says_where_it_is() {
    let hub = Hub::new(1);
    let [a, b] = places(&hub, config).await;
    let port = ReservedPort::new();
    let held = claim(&a, &hello(port.port, "one", 1)).await.unwrap();
    b.serves(port.port).await;
    let (_, why) = claim(&b, &hello(port.port, "two", 2)).await.unwrap_err();
    assert!(why.contains(&a.line.address.to_string()), "{why}");
    assert!(why.contains("another key"), "{why}");
    assert!(held.car.link().is_some());
    // Who asks for any gets another.
    let other = claim(&b, &hello(0, "two", 2)).await.unwrap();
    assert_ne!(other.car.port, port.port);
    let name: LinkName = "car-2".parse().unwrap();
    assert_eq!(other.name, name);
}

#[tokio::test]
async fn of_two_cars_that_got_one_name_in_a_split_the_next_to_come_gets_another() {
    let hub = Hub::new(1);
    let [a, b] = places(&hub, config).await;
    let mesh = b.context().mesh.clone().unwrap();
    hub.set_side(mesh.start(), 1);
    let (one, two) = (ReservedPort::new(), ReservedPort::new());
    let first = claim(&a, &hello(one.port, "one", 1)).await.unwrap();
    let second = claim(&b, &hello(two.port, "two", 2)).await.unwrap();
    assert_eq!(first.name, second.name);
    hub.set_side(mesh.start(), 0);
    a.serves(two.port).await;
    b.serves(one.port).await;
    let again = claim(&a, &hello(one.port, "one", 1)).await.unwrap();
    assert_ne!(again.name, second.name);
    until("the name is told", || {
        let there = mesh.holder_elsewhere(one.port);
        there.is_some_and(|there| there.record.name == again.name)
    })
    .await;
    let again = claim(&b, &hello(two.port, "two", 2)).await.unwrap();
    assert_eq!(again.name, second.name);
}

#[tokio::test]
async fn a_port_that_moves_counts_once_among_those_of_its_owner() {
    let hub = Hub::new(1);
    let one = |number| Config {
        max_links: 1,
        ..config(number)
    };
    let [a, b] = places(&hub, one).await;
    let port = ReservedPort::new();
    let first = claim(&a, &hello(port.port, "one", 1)).await.unwrap();
    b.serves(port.port).await;
    let (_, why) = claim(&b, &hello(0, "two", 2)).await.unwrap_err();
    assert!(why.contains("--max-links"), "{why}");
    let moved = claim(&b, &hello(port.port, "one", 1)).await.unwrap();
    assert!(moved.is_new && moved.was_elsewhere);
    until("a lets it go", || {
        a.context().registry.car(port.port).is_none()
    })
    .await;
    assert!(first.car.link().is_none());
    // And back, with any port.
    let back = claim(&a, &hello(0, "one", 1)).await.unwrap();
    assert_eq!(back.car.port, port.port);
    until("b lets it go", || {
        b.context().registry.car(port.port).is_none()
    })
    .await;
}

#[tokio::test]
async fn a_router_that_is_gone_leaves_its_ports_open_for_a_minute() {
    let hub = Hub::new(1);
    let [mut a, b] = places(&hub, config).await;
    let port = ReservedPort::new();
    let _held = claim(&a, &hello(port.port, "one", 1)).await.unwrap();
    b.serves(port.port).await;
    a.vanish();
    let gone = async {
        loop {
            let said = b.get(port.port, "/cgi?command=any").await;
            assert_eq!(said.fate(), (503, "no"), "{said:?}");
            if said.body().contains("has not been heard of for") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    soon("its router is missed", gone).await;
    let (_, why) = claim(&b, &hello(port.port, "two", 2)).await.unwrap_err();
    assert!(why.contains("car"), "{why}");
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(70)).await;
    tokio::time::resume();
    until("the port is closed", || {
        std::net::TcpStream::connect((b.address, port.port)).is_err()
    })
    .await;
    let taken = claim(&b, &hello(port.port, "two", 2)).await.unwrap();
    assert!(taken.is_new && !taken.was_elsewhere);
}

#[tokio::test]
async fn a_port_that_cannot_be_opened_here_is_no_fault_and_the_car_may_still_come() {
    let hub = Hub::new(1);
    let [a, b] = places(&hub, config).await;
    let port = ReservedPort::new();
    let taken = std::net::TcpListener::bind((b.address, 0)).unwrap();
    drop(port);
    let port = taken.local_addr().unwrap().port();
    let _held = claim(&a, &hello(port, "one", 1)).await.unwrap();
    let mesh = b.context().mesh.as_ref().unwrap();
    until("b knows of it", || mesh.holder_elsewhere(port).is_some()).await;
    assert_eq!(b.context().health.problem(), None);
    let refused = claim(&b, &hello(port, "one", 1)).await.unwrap_err();
    assert!(
        refused.1.contains("taken by another program"),
        "{}",
        refused.1
    );
    drop(taken);
    assert!(claim(&b, &hello(port, "one", 1)).await.is_ok());
}

#[tokio::test]
async fn a_port_that_something_else_had_for_a_moment_is_opened_once_that_is_gone() {
    let hub = Hub::new(1);
    let [a, b] = places(&hub, config).await;
    let taken = std::net::TcpListener::bind((b.address, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let held = claim(&a, &hello(port, "one", 1)).await.unwrap();
    let registry = &b.context().registry;
    until("b can't open it", || registry.not_opened().contains(&port)).await;
    drop(taken);
    b.serves(port).await;
    assert!(registry.not_opened().is_empty());
    drop(held);
}

#[tokio::test]
async fn cars_that_ask_for_any_port_do_not_all_get_the_lowest_that_is_free() {
    let hub = Hub::new(1);
    let place = Place::start(2, &hub).await;
    let mut ports = Vec::new();
    for identity in ["one", "two", "three", "four"] {
        let hello = hello(0, identity, 1);
        let claim = Claim {
            // No kernel chooses one of these.
            ports: Some(PortRange::CARS),
            ..claim_of(&hello)
        };
        let granted = place.context().registry.claim_everywhere(claim).await;
        ports.push(granted.unwrap().car.port);
    }
    assert!(!ports.is_sorted(), "{ports:?}");
}

#[tokio::test]
async fn of_two_who_may_have_one_port_alone_the_second_learns_why_it_is_refused() {
    let hub = Hub::new(1);
    let [a, b] = places(&hub, config).await;
    let port = ReservedPort::new();
    hub.set_faults(Faults {
        delay: Duration::from_millis(50),
        ..Faults::default()
    });
    let asked = [hello(0, "one", 1), hello(0, "two", 2)];
    let only = PortRange::one(port.port);
    let claims = [(&a, &asked[0]), (&b, &asked[1])].map(|(place, hello)| {
        let claim = Claim {
            ports: Some(only),
            ..claim_of(hello)
        };
        place.context().registry.claim_everywhere(claim)
    });
    let [one, other] = claims;
    let (one, other) = tokio::join!(one, other);
    let (_, why) = match (one, other) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        both => panic!("{both:?}"),
    };
    assert!(why.contains("to another inner"), "{why}");
}

#[tokio::test]
async fn a_router_that_goes_down_meanwhile_takes_no_car() {
    let hub = Hub::new(1);
    let [a, b] = places(&hub, config).await;
    let port = ReservedPort::new();
    hub.record();
    // The question has no answer.
    hub.set_side(b.context().mesh.as_ref().unwrap().start(), 1);
    let to_b = Topic::Member(b.context().mesh.as_ref().unwrap().start());
    let commands = a.folder.path().join("command");
    std::fs::create_dir_all(commands).unwrap();
    let inner = p2p_inner::Inner::start(a.inner_config("one", port.port)).unwrap();
    until("b is asked", || {
        hub.record().iter().any(|(to, _)| *to == to_b)
    })
    .await;
    let shutdown = &a.context().shutdown;
    shutdown.draining.cancel();
    let car = || a.context().registry.car(port.port);
    until("the inner is sent away", || {
        shutdown.links.is_empty() || car().is_some()
    })
    .await;
    assert!(car().is_none());
    inner.shut_down().await;
}
