//! Cars that are driven from another router: one driver, and a stop whatever dies.

use std::path::PathBuf;

use p2p_shared::codec::Json;
use p2p_shared::protocol::{ControlRequest, DriveCommand, FeedEvent, PressId, SUBPROTOCOL};
use p2p_shared::websocket::{MessageSocket, SocketEvent};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::desk::Desk;
use super::hops::two;
use super::world::{Passing, Place, ReservedPort};
use super::{soon, until};
use crate::mesh::hub::Hub;

/// A car that notes when it moves and when it is stopped.
fn drivable(place: &Place) -> PathBuf {
    let ledger = place.note("ledger");
    for name in ["forward", "stop"] {
        place.script(name, &format!("echo {name} >> {}", ledger.display()));
    }
    ledger
}

fn count(ledger: &PathBuf, what: &str) -> usize {
    let text = std::fs::read_to_string(ledger).unwrap_or_default();
    text.lines().filter(|line| *line == what).count()
}

/// True if nobody drives the car, at the router that has it.
fn is_free(place: &Place, port: u16) -> bool {
    let car = place.context().registry.car(port);
    car.is_some_and(|car| car.driver().is_none())
}

/// Moves the car from a console at another router. Returns how often it was stopped before, too.
async fn moving(holder: &Place, other: &Place, port: u16) -> (PathBuf, Desk, PressId, usize) {
    let ledger = drivable(holder);
    let mut desk = Desk::at(other).await;
    desk.arms(port).await;
    let press = desk.moves(port).await;
    // The inner's own stop at its beginning is over by now.
    let stops = count(&ledger, "stop");
    (ledger, desk, press, stops)
}

/// Drives until `over`, and longer than a lease lasts by itself.
async fn drives_until<F: Future<Output = ()>>(desk: &mut Desk, port: u16, over: F) {
    let press = desk.moves(port).await;
    holds_until(desk, port, press, over).await;
}

async fn holds_until<F: Future<Output = ()>>(desk: &mut Desk, port: u16, press: PressId, over: F) {
    tokio::select! {
        () = desk.holds(port, press) => {}
        () = async {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            over.await;
        } => {}
    }
}

#[tokio::test]
async fn a_console_drives_a_car_elsewhere_and_its_end_stops_it() {
    let (holder, other, _inner, port, _reserved) = two().await;
    let (ledger, mut desk, press, stops) = moving(&holder, &other, port).await;
    holds_until(&mut desk, port, press, async {}).await;
    assert_eq!(
        (count(&ledger, "forward"), count(&ledger, "stop")),
        (1, stops)
    );
    drop(desk);
    until("control is given back", || is_free(&holder, port)).await;
    until("it is stopped", || count(&ledger, "stop") > stops).await;
    assert_eq!(count(&ledger, "forward"), 1);
}

#[tokio::test]
async fn the_end_of_the_router_between_stops_the_car_and_only_a_fresh_press_moves_it() {
    let (holder, other, _inner, port, _reserved) = two().await;
    let (ledger, mut desk, press, stops) = moving(&holder, &other, port).await;
    holds_until(&mut desk, port, press, async {
        holder.line.set(Passing::Refused);
        until("control is given back", || is_free(&holder, port)).await;
    })
    .await;
    until("it is stopped", || count(&ledger, "stop") > stops).await;
    desk.until("it is told", |desk| !desk.is_up(port)).await;
    holder.line.set(Passing::Open);
    desk.until("it is back", |desk| desk.is_up(port)).await;
    assert!(!desk.drives(port));
    // A press of before does not count.
    desk.presses(port);
    desk.until("it is refused", |desk| !desk.refused.is_empty())
        .await;
    assert_eq!(count(&ledger, "forward"), 1);
    desk.arms(port).await;
    desk.moves(port).await;
    until("it moves", || count(&ledger, "forward") == 2).await;
}

#[tokio::test]
async fn a_frozen_router_between_stops_the_car() {
    let (holder, other, _inner, port, _reserved) = two().await;
    let (ledger, mut desk, press, stops) = moving(&holder, &other, port).await;
    holds_until(&mut desk, port, press, async {
        holder.line.set(Passing::Frozen);
        until("the lease runs out", || count(&ledger, "stop") > stops).await;
    })
    .await;
    desk.until("it is told", |desk| !desk.is_up(port)).await;
    until("control is given back", || is_free(&holder, port)).await;
    assert_eq!(count(&ledger, "forward"), 1);
}

#[tokio::test]
async fn of_two_consoles_at_two_routers_one_drives() {
    let (holder, other, _inner, port, _reserved) = two().await;
    let ledger = drivable(&holder);
    let [mut here, mut there] = [Desk::at(&holder).await, Desk::at(&other).await];
    here.arms(port).await;
    there.asks(port, ControlRequest::Take);
    let is_asked = |desk: &Desk| desk.links[&port].control.request.is_some();
    there.until("it waits", is_asked).await;
    let (asking, _) = there.links[&port].control.request.clone().unwrap();
    assert_eq!(asking.session, there.session);
    assert!(!there.drives(port));
    there.says(&p2p_shared::protocol::ConsoleToRouter::Watch {
        service_port: Some(port),
    });
    there
        .until("ticks", |desk| desk.ticks.contains_key(&port))
        .await;
    there.presses(port);
    there
        .until("it is refused", |desk| !desk.refused.is_empty())
        .await;
    assert_eq!(count(&ledger, "forward"), 0);
    here.until("it is asked", is_asked).await;
    here.asks(port, ControlRequest::Grant);
    here.until("it is handed over", |desk| !desk.drives(port))
        .await;
    there.until("it drives", |desk| desk.drives(port)).await;
    there.moves(port).await;
    // A stop is anybody's.
    here.orders(port, DriveCommand::Stop);
    let stops = count(&ledger, "stop");
    tokio::select! {
        () = here.until("never", |_| false) => {}
        () = until("it is stopped", || count(&ledger, "stop") > stops) => {}
    }
    here.asks(port, ControlRequest::Seize);
    here.until("it is seized", |desk| desk.drives(port)).await;
    there.until("it is told", |desk| !desk.drives(port)).await;
    there.presses(port);
    there
        .until("it is refused", |desk| desk.refused.len() > 1)
        .await;
    assert_eq!(count(&ledger, "forward"), 1);
}

#[tokio::test]
async fn control_does_not_travel_with_a_car_that_goes_to_another_router() {
    let hub = Hub::new(1);
    let mut places = Vec::new();
    for number in 2..5 {
        places.push(Place::start(number, &hub).await);
    }
    for place in &places {
        place.knows(2).await;
    }
    let reserved = ReservedPort::new();
    let port = reserved.port;
    let ledgers: Vec<_> = places.iter().map(drivable).collect();
    let moved = |all: &[PathBuf]| all.iter().map(|it| count(it, "forward")).sum::<usize>();
    let mut old = vec![places[0].inner("one", port).await];
    places[2].serves(port).await;
    // From another, then from the one that it goes to, and back.
    let mut desk = Desk::at(&places[2]).await;
    for (n, to) in [1, 2, 0].into_iter().enumerate() {
        desk.arms(port).await;
        let at = places[to].line.address.to_string();
        let router = (to != 2).then_some(at);
        let moves = n + 1;
        drives_until(&mut desk, port, async {
            old.push(places[to].inner("one", port).await);
        })
        .await;
        let is_there = |desk: &Desk| desk.is_up(port) && desk.router_of(port) == router;
        desk.until("it is there", is_there).await;
        assert!(!desk.drives(port));
        let refusals = desk.refused.len();
        desk.presses(port);
        desk.until("it is refused", |desk| desk.refused.len() > refusals)
            .await;
        assert_eq!(moved(&ledgers), moves);
    }
    assert_eq!(desk.links.len(), 1);
}

#[tokio::test]
async fn late_news_of_another_router_take_no_car_from_here() {
    let (holder, other, _inner, port, _reserved) = two().await;
    let ledger = drivable(&holder);
    let mut desk = Desk::at(&holder).await;
    let mut link = Box::new(desk.links[&port].clone());
    link.epoch = link.epoch.map(|epoch| epoch - 1);
    let feed = other.context().feed.clone();
    // The other had it before, and its word was on the way for long.
    feed.publish(|| FeedEvent::Link(link));
    let after = ReservedPort::new();
    let _after = other.inner("two", after.port).await;
    desk.until("it is heard", |desk| desk.is_up(after.port))
        .await;
    assert_eq!(desk.router_of(port), None);
    feed.publish(|| FeedEvent::LinkGone { service_port: port });
    let stops = count(&ledger, "stop");
    desk.orders(port, DriveCommand::Stop);
    tokio::select! {
        () = desk.until("never", |_| false) => {}
        () = until("it is stopped", || count(&ledger, "stop") > stops) => {}
    }
    assert!(desk.refused.is_empty(), "{:?}", desk.refused);
    desk.arms(port).await;
}

/// A page's WebSocket at a router.
async fn page(place: &Place, port: u16) -> MessageSocket<TcpStream, Value, Value, Json> {
    let mut request = format!("ws://{}:{port}/drive", place.address)
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
    let stream = TcpStream::connect((place.address, port)).await.unwrap();
    let (socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    MessageSocket::new(socket)
}

async fn hears(
    page: &mut MessageSocket<TcpStream, Value, Value, Json>,
    what: &str,
    is_it: impl Fn(&Value) -> bool,
) -> Value {
    soon(what, async {
        loop {
            match page.event().await.unwrap() {
                SocketEvent::Message(message) if is_it(&message) => break message,
                SocketEvent::Closed(why) => panic!("closed: {why}"),
                _ => {}
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_page_at_another_router_drives_and_its_end_stops_the_car() {
    let (holder, other, _inner, port, _reserved) = two().await;
    let ledger = drivable(&holder);
    let mut page = page(&other, port).await;
    let car = hears(&mut page, "the car", |it| it["car"].is_object()).await;
    let car = &car["car"];
    let address = holder.line.address.to_string();
    assert_eq!(car["car"]["router"], json!(address));
    page.push(&json!({"watch": true})).unwrap();
    page.push(&json!({"control": "take"})).unwrap();
    let is_ours = |it: &Value| it["control"]["driver"]["session"] == car["session"];
    let control = hears(&mut page, "control", is_ours).await;
    hears(&mut page, "the way between the routers", |it| {
        it["hop"].is_u64()
    })
    .await;
    let tick = hears(&mut page, "a tick", |it| it["tick"].is_u64()).await;
    let press = json!({"epoch": control["control"]["epoch"], "number": 1});
    let order = json!({"press": {"press": press, "command": "forward", "tick_ms": tick["tick"]}});
    page.push(&order).unwrap();
    let is_moving = |it: &Value| it["motion"]["started"].is_object();
    hears(&mut page, "it moves", is_moving).await;
    let stops = count(&ledger, "stop");
    holder.line.set(Passing::Refused);
    until("control is given back", || is_free(&holder, port)).await;
    until("it is stopped", || count(&ledger, "stop") > stops).await;
    assert_eq!(count(&ledger, "forward"), 1);
}
