//! Callers while a car goes from router to router: each is told the truth.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use p2p_inner::LinkState;
use tokio::io::AsyncWriteExt;

use super::world::{Place, ReservedPort, read};
use super::{soon, until};
use crate::mesh::hub::{Faults, Hub};
use crate::ops::inherited_listeners::InheritedListeners;

#[tokio::test]
async fn whatever_a_moving_car_does_nothing_runs_twice_and_no_means_no() {
    let hub = Hub::new(3);
    let places = Place::three(&hub).await;
    hub.set_faults(Faults {
        lost: 100,
        repeated: 100,
        delay: Duration::from_millis(50),
    });
    let reserved = ReservedPort::new();
    let port = reserved.port;
    let ledger = places[0].note("ledger");
    for place in &places {
        let body = format!("cat >/dev/null; echo $1 >> {}", ledger.display());
        place.script("note", &body);
    }
    let mut inner = places[0].inner("one", port).await;
    for place in &places[1..] {
        place.serves(port).await;
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    // The callers go on until so many more of them were answered.
    let more = |answers: usize| {
        let (count, until_then) = (count.clone(), count.load(Ordering::SeqCst) + answers);
        async move {
            until("callers are answered", || {
                count.load(Ordering::SeqCst) >= until_then
            })
            .await
        }
    };
    let callers: Vec<_> = (0..places.len())
        .map(|at| {
            let (is_over, host) = (is_over.clone(), places[at].address);
            let count = count.clone();
            tokio::spawn(async move {
                let mut told = HashMap::new();
                for n in 0.. {
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    let (id, body) = (format!("{at}-{n}"), "x".repeat(5000));
                    let request = format!(
                        "POST /cgi?command=note&arg={id} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    // An inner that ends gives its port up, and its router may hear last where the car is.
                    let Ok(mut caller) = tokio::net::TcpStream::connect((host, port)).await else {
                        continue;
                    };
                    let _ = caller.write_all(request.as_bytes()).await;
                    let said = read(caller).await;
                    let executed = said.header("p2p-executed").unwrap_or("nothing").to_owned();
                    told.insert(id, (said.status(), executed));
                    count.fetch_add(1, Ordering::SeqCst);
                }
                told
            })
        })
        .collect();
    let mut old = Vec::new();
    for n in 1..8 {
        more(12).await;
        let next = places[n % places.len()].inner("one", port).await;
        old.push(tokio::spawn(
            std::mem::replace(&mut inner, next).shut_down(),
        ));
    }
    hub.set_faults(Faults::default());
    more(12).await;
    is_over.store(true, Ordering::SeqCst);
    let mut told = HashMap::new();
    for caller in callers {
        told.extend(caller.await.unwrap());
    }
    for old in old {
        old.await.unwrap();
    }
    inner.shut_down().await;
    let mut ran = HashMap::<String, u32>::new();
    for id in std::fs::read_to_string(ledger).unwrap().lines() {
        *ran.entry(id.to_owned()).or_default() += 1;
    }
    let mut answered = HashMap::<(u16, String), u32>::new();
    for (id, fate) in &told {
        let times = ran.get(id).copied().unwrap_or_default();
        match fate.1.as_str() {
            "yes" => assert_eq!(times, 1, "{id} {fate:?}"),
            "no" => assert_eq!(times, 0, "{id} {fate:?}"),
            "unknown" => assert!(times <= 1, "{id} {fate:?}"),
            // A connection is never closed without a status line.
            _ => panic!("{id} {fate:?}"),
        }
        *answered.entry(fate.clone()).or_default() += 1;
    }
    eprintln!("{answered:?}");
    let passed = answered.get(&(200, "yes".to_owned()));
    assert!(passed.is_some_and(|count| *count > 10), "{answered:?}");
}

#[tokio::test]
async fn a_router_that_is_replaced_in_place_refuses_no_caller_of_a_car_elsewhere() {
    let hub = Hub::new(1);
    let holder = Place::start(2, &hub).await;
    let other = Place::start(3, &hub).await;
    holder.knows(1).await;
    let port = ReservedPort::new();
    holder.script("hello", "echo hello");
    let _inner = holder.inner("one", port.port).await;
    other.serves(port.port).await;
    let (address, config) = (other.address, super::world::config(3));
    let sockets = other.router.hand_over(|| true).await;
    // Nobody accepts now.
    let mut caller = tokio::net::TcpStream::connect((address, port.port))
        .await
        .unwrap();
    let request =
        format!("GET /cgi?command=hello HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    caller.write_all(request.as_bytes()).await.unwrap();
    let inherited = InheritedListeners::handed_over(sockets);
    let config = crate::config::Config {
        sockets: inherited,
        ..config
    };
    let next = Place::with(config, [7; 32], &hub).await;
    let said = read(caller).await;
    assert_eq!(said.fate(), (200, "yes"), "{said:?}");
    drop(next);
}

#[tokio::test]
async fn a_car_with_two_routers_is_found_again_everywhere_once_its_router_is_gone() {
    let hub = Hub::new(1);
    let mut places = Vec::from(Place::three(&hub).await);
    let port = ReservedPort::new();
    let mut config = places[0].inner_config("one", port.port);
    let next = places[1].inner_config("one", port.port);
    config.routers.extend(next.routers);
    places[0].script("hello", "echo hello");
    let inner = places[0].inner_with(config).await;
    places[2].serves(port.port).await;
    let mut first = places.remove(0);
    first.vanish();
    let (folder, router) = (first.folder, first.router);
    drop(router);
    let found = async {
        loop {
            let said = places[1].get(port.port, "/cgi?command=hello").await;
            if said.fate() == (200, "yes") {
                break;
            }
            assert_ne!(said.fate().1, "yes", "{said:?}");
        }
    };
    soon("it is found at its other router", found).await;
    let said = places[0].get(port.port, "/cgi?command=hello").await;
    assert_eq!(said.fate(), (200, "yes"), "{said:?}");
    inner.shut_down().await;
    drop(folder);
}

#[tokio::test]
async fn a_car_whose_router_ends_goes_on_at_another_member_and_is_found_at_all_of_them() {
    let hub = Hub::new(1);
    let mut places = Vec::from(Place::three(&hub).await);
    let port = ReservedPort::new();
    places[0].script("hello", "echo hello");
    let config = p2p_inner::Config {
        routers: places.iter().map(Place::address).collect(),
        ..places[0].inner_config("one", port.port)
    };
    let inner = places[0].inner_with(config).await;
    let mut state = inner.link_state();
    let first = places.remove(0);
    let was_at = first.address();
    let is_at_first =
        |state: &LinkState| matches!(state, LinkState::Up { router, .. } if *router == was_at);
    assert!(is_at_first(&state.borrow()));
    let is_elsewhere =
        |state: &LinkState| matches!(state, LinkState::Up { .. }) && !is_at_first(state);
    first.router.shut_down().await;
    let moved = soon("the car is at another", state.wait_for(is_elsewhere)).await;
    drop(moved.unwrap());
    for place in &places {
        place.serves(port.port).await;
        // Where the car is now may not be known there yet.
        let found = async {
            while place.get(port.port, "/cgi?command=hello").await.fate() != (200, "yes") {}
        };
        soon("the car is found", found).await;
    }
    inner.shut_down().await;
}
