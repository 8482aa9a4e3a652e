//! Cars at host names of their own, at each router.

use super::world::{Place, ReservedPort, Said, config};
use super::{soon, until};
use crate::config::Config;
use crate::mesh::hub::Hub;

fn by_name(number: u8, service_ports: &str) -> Config {
    Config {
        domain: Some("cars.test".parse().unwrap()),
        service_ports: service_ports.parse().unwrap(),
        ..config(number)
    }
}

/// Asks on the main port for this host.
async fn at(place: &Place, host: &str, path: &str) -> Said {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}.cars.test\r\nConnection: close\r\n\r\n");
    place.ask(place.router.address().port(), &request).await
}

async fn known(place: &Place, name: &str) {
    let name = name.parse().unwrap();
    let registry = &place.context().registry;
    until("the name is known", || !registry.named(&name).is_empty()).await;
}

async fn informed(place: &Place) {
    let mesh = place.context().mesh.as_ref().unwrap();
    until("the others were heard", || mesh.is_informed()).await;
}

#[tokio::test]
async fn a_router_that_has_just_come_says_of_no_car_that_it_is_gone() {
    let hub = Hub::new(1);
    let place = Place::with(by_name(2, "none"), [7; 32], &hub).await;
    let mesh = place.context().mesh.clone().unwrap();
    for host in ["car", "9000"] {
        let said = at(&place, host, "/cgi?command=who").await;
        if !mesh.is_informed() {
            assert_eq!(said.fate(), (503, "no"), "{said:?}");
            assert!(said.header("retry-after").is_some());
        }
    }
    informed(&place).await;
    let said = at(&place, "car", "/cgi?command=who").await;
    assert_eq!(said.fate(), (404, "no"), "{said:?}");
}

#[tokio::test]
async fn a_car_is_at_its_name_at_each_router_also_where_its_port_is_not_open() {
    let hub = Hub::new(1);
    let holder = Place::with(by_name(2, "1024-65535"), [7; 32], &hub).await;
    let other = Place::with(by_name(3, "none"), [7; 32], &hub).await;
    let narrow = Place::with(by_name(4, "1-2"), [7; 32], &hub).await;
    for place in [&holder, &other, &narrow] {
        place.knows(2).await;
    }
    holder.script("who", "echo $P2P_LINK $P2P_REMOTE_ADDR");
    let reserved = ReservedPort::new();
    let inner = holder.inner("one", reserved.port).await;
    for place in [&holder, &other, &narrow] {
        known(place, "car").await;
        informed(place).await;
        for host in ["CAR", &reserved.port.to_string()] {
            let said = at(place, host, "/cgi?command=who").await;
            assert_eq!(said.fate(), (200, "yes"), "{said:?}");
            assert!(said.body().starts_with("car 127.0.0.1"), "{said:?}");
        }
        let said = at(place, "van", "/cgi?command=who").await;
        assert_eq!(said.fate(), (404, "no"), "{said:?}");
    }
    for place in [&other, &narrow] {
        let at = (place.address, reserved.port);
        assert!(std::net::TcpStream::connect(at).is_err());
    }
    // The drive page's WebSocket goes through as well.
    let said = at(&other, "car", "/drive").await;
    assert_eq!(said.status(), 426, "{said:?}");
    soon("the inner ends", inner.shut_down()).await;
    let gone = at(&other, "car", "/cgi?command=who").await;
    assert_eq!(gone.fate(), (503, "no"), "{gone:?}");
}

#[tokio::test]
async fn a_name_that_two_cars_have_is_nobodys_and_their_numbers_go_on() {
    let hub = Hub::new(1);
    let one = Place::with(by_name(2, "none"), [7; 32], &hub).await;
    let two = Place::with(by_name(3, "none"), [7; 32], &hub).await;
    // Both get their name before they know each other.
    let config = |place: &Place, identity: &str, port, name: &str| p2p_inner::Config {
        name: name.parse().unwrap(),
        ..place.inner_config(identity, port)
    };
    one.script("who", "echo one");
    two.script("who", "echo two");
    let start = one.context().mesh.as_ref().unwrap().start();
    hub.set_side(start, 1);
    let _one = one.inner_with(config(&one, "one", 9001, "car")).await;
    let _two = two.inner_with(config(&two, "two", 9002, "Car")).await;
    hub.set_side(start, 0);
    let registry = &one.context().registry;
    let name = "car".parse().unwrap();
    until("both are known", || registry.named(&name).len() == 2).await;
    let said = at(&one, "car", "/cgi?command=who").await;
    assert_eq!(said.fate(), (404, "no"), "{said:?}");
    assert!(
        said.body().contains("ask for 9001.cars.test or 9002"),
        "{said:?}"
    );
    for (number, who) in [("9001", "one"), ("9002", "two")] {
        let said = at(&one, number, "/cgi?command=who").await;
        assert!(said.body().starts_with(who), "{said:?}");
    }
}

#[tokio::test]
async fn who_has_not_heard_of_a_cars_new_name_reaches_nobody_by_the_old_one() {
    let hub = Hub::new(1);
    // The holder knows no host names.
    let config = Config {
        domain: None,
        ..by_name(2, "none")
    };
    let holder = Place::with(config, [7; 32], &hub).await;
    let other = Place::with(by_name(3, "none"), [7; 32], &hub).await;
    let third = Place::with(by_name(4, "none"), [7; 32], &hub).await;
    for place in [&holder, &other, &third] {
        place.knows(2).await;
    }
    let note = holder.note("ran");
    holder.script("runs", &format!("echo >> {}", note.display()));
    let called = |name: &str| p2p_inner::Config {
        name: name.parse().unwrap(),
        ..holder.inner_config("one", 9001)
    };
    let inner = holder.inner_with(called("red")).await;
    known(&other, "red").await;
    informed(&other).await;
    soon("the inner ends", inner.shut_down()).await;
    let start = holder.context().mesh.as_ref().unwrap().start();
    hub.set_side(start, 1);
    let _inner = holder.inner_with(called("blue")).await;
    let said = at(&other, "red", "/cgi?command=runs").await;
    assert_eq!(said.fate(), (503, "no"), "{said:?}");
    assert!(said.body().contains("has another name"), "{said:?}");
    assert!(said.header("retry-after").is_some() && !note.exists());
    // Nobody else knows better.
    let passed_on = other.context().metrics.text();
    let once = "mesh_hops_total{result=\"not_there\"} 1\n";
    assert!(passed_on.contains(once), "{passed_on}");
    hub.set_side(start, 0);
    known(&other, "blue").await;
    let said = at(&other, "blue", "/cgi?command=runs").await;
    assert_eq!(said.fate(), (200, "yes"), "{said:?}");
    let said = at(&other, "red", "/cgi?command=runs").await;
    assert_eq!(said.fate(), (404, "no"), "{said:?}");
}
