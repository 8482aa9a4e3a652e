//! What becomes of requests where the way to the router that has the car is long, or is not known well.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::hops::{two, unchunked};
use super::world::{Passing, Place, ReservedPort, read};
use super::{soon, until};
use crate::mesh::hub::Hub;

#[tokio::test]
async fn requests_with_a_body_and_answers_with_trailers_leave_their_connection_for_the_next() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.script("echo", "cat");
    holder.script("more", "echo more");
    for _ in 0..5 {
        let post = format!(
            "POST /cgi?command=echo HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
            other.address
        );
        let said = other.ask(port, &post).await;
        assert_eq!((said.fate(), said.body()), ((200, "yes"), "hello"));
        let streamed = format!(
            "GET /cgi?command=more&stream=1 HTTP/1.1\r\nHost: {}\r\nConnection: TE, close\r\nTE: trailers\r\n\r\n",
            other.address
        );
        let said = other.ask(port, &streamed).await;
        assert_eq!(said.fate(), (200, "yes"));
        assert!(said.body().contains("p2p-exit: 0"), "{said:?}");
    }
    let connections = holder.line.connections();
    assert!(connections <= 3, "{connections}");
}

#[tokio::test]
async fn a_router_that_is_far_away_is_reached_and_no_motion_is_asked_for_that_is_old_by_then() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.script("forward", "echo moved");
    holder.script("stop", "true");
    // Closes what is kept.
    holder.line.set(Passing::Refused);
    until("the line is cut", || {
        std::net::TcpStream::connect(holder.line.address).is_err()
    })
    .await;
    holder.line.set(Passing::Far(Duration::from_millis(400)));
    until("the line is there", || {
        std::net::TcpStream::connect(holder.line.address).is_ok()
    })
    .await;
    let said = other.get(port, "/cgi?command=forward").await;
    assert_eq!(said.fate(), (503, "no"), "{said:?}");
    assert!(said.body().contains("too old"), "{said:?}");
    let said = other.get(port, "/cgi?command=forward").await;
    assert_eq!(said.fate(), (200, "yes"), "{said:?}");
}

#[tokio::test]
async fn a_caller_is_not_taken_for_a_member_that_pings() {
    let (_holder, other, _inner, port, _reserved) = two().await;
    let said = other.get(port, "/ping").await;
    assert_eq!(said.fate(), (404, "no"), "{said:?}");
}

#[tokio::test]
async fn as_many_headers_as_there_may_be_are_refused_in_the_same_words_as_everywhere() {
    let (_holder, other, _inner, port, _reserved) = two().await;
    for (count, status) in [(90, 200), (98, 431)] {
        let more: String = (0..count).map(|n| format!("X-{n}: 1\r\n")).collect();
        let request = format!(
            "GET /commands HTTP/1.1\r\nHost: {}\r\n{more}Connection: close\r\n\r\n",
            other.address
        );
        let said = other.ask(port, &request).await;
        assert_eq!(said.fate(), (status, "no"), "{said:?}");
        assert!(said.header("p2p-run").is_some());
    }
}

#[tokio::test]
async fn a_router_that_takes_no_new_connection_lives_as_long_as_it_answers_on_the_old_ones() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.long_script("long", "");
    until("it was pinged", || holder.line.connections() > 0).await;
    assert_eq!(other.get(port, "/commands").await.status(), 200);
    holder.line.set(Passing::NoNew);
    until("there is no new connection", || {
        std::net::TcpStream::connect(holder.line.address).is_err()
    })
    .await;
    let asking = other.get(port, "/cgi?command=long");
    let waiting = async {
        holder.has_begun().await;
        // Longer than it may be silent.
        tokio::time::sleep(Duration::from_secs(5)).await;
        std::fs::remove_file(holder.note("begun")).unwrap();
    };
    let (said, ()) = tokio::join!(asking, waiting);
    assert_eq!(said.fate(), (200, "yes"), "{said:?}");
}

#[tokio::test]
async fn what_may_be_a_stop_is_tried_though_the_router_was_not_reached_just_now() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.script("stop", "echo stopped");
    holder.line.set(Passing::Refused);
    until("the line is cut", || {
        std::net::TcpStream::connect(holder.line.address).is_err()
    })
    .await;
    let said = other.get(port, "/cgi?command=stop").await;
    assert_eq!(said.fate(), (503, "no"), "{said:?}");
    holder.line.set(Passing::Open);
    until("the line is there", || {
        std::net::TcpStream::connect(holder.line.address).is_ok()
    })
    .await;
    let said = other.get(port, "/cgi?command=stop").await;
    assert_eq!(said.fate(), (200, "yes"), "{said:?}");
}

/// Three routers, of which the last hears nothing of what the others say; the car is at the first.
async fn three() -> ([Place; 3], p2p_inner::Inner, ReservedPort) {
    let hub = Hub::new(1);
    let places = Place::three(&hub).await;
    let port = ReservedPort::new();
    let inner = places[0].inner("one", port.port).await;
    places[2].serves(port.port).await;
    places[1].serves(port.port).await;
    let mesh = places[2].context().mesh.as_ref().unwrap();
    hub.set_side(mesh.start(), 1);
    (places, inner, port)
}

#[tokio::test]
async fn a_car_that_has_moved_is_found_without_the_bus_and_gets_the_body_once() {
    let ([first, second, deaf], _inner, port) = three().await;
    let ledger = second.note("ledger");
    for place in [&first, &second] {
        place.script("note", &format!("cat | tee -a {}", ledger.display()));
    }
    let _moved = second.inner("one", port.port).await;
    first.serves(port.port).await;
    until("it has gone from the first", || {
        let mesh = first.context().mesh.as_ref().unwrap();
        mesh.holder_elsewhere(port.port).is_some()
    })
    .await;
    for n in 0..3 {
        let body = format!("{n:05000}");
        let post = format!(
            "POST /cgi?command=note HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 5000\r\n\r\n{body}",
            deaf.address
        );
        let said = deaf.ask(port.port, &post).await;
        assert_eq!(said.fate(), (200, "yes"), "{said:?}");
        let answer = match said.header("transfer-encoding") {
            Some(_) => unchunked(said.body()),
            None => said.body().to_owned(),
        };
        assert_eq!(answer, body);
    }
    let before = first.line.connections();
    for _ in 0..5 {
        let said = deaf.get(port.port, "/commands").await;
        assert_eq!(said.status(), 200, "{said:?}");
    }
    assert_eq!(std::fs::read(&ledger).unwrap().len(), 15_000);
    let more = first.line.connections() - before;
    assert!(more <= 2, "{more}");
}

#[tokio::test]
async fn a_request_that_is_on_its_way_when_the_car_comes_here_is_answered_here() {
    let (holder, other, _inner, port, _reserved) = two().await;
    let ledger = other.note("ledger");
    for place in [&holder, &other] {
        place.script(
            "note",
            &format!("echo $1; echo ran >> {}", ledger.display()),
        );
    }
    assert_eq!(other.get(port, "/commands").await.status(), 200);
    let mut caller = TcpStream::connect((other.address, port)).await.unwrap();
    holder.line.set(Passing::Frozen);
    let request = format!(
        "GET /cgi?command=note&arg=hello HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        other.address
    );
    caller.write_all(request.as_bytes()).await.unwrap();
    until("it is passed on", || {
        let hops = other.context().hops.as_ref().unwrap();
        hops.open() > 0
    })
    .await;
    let _moved = other.inner("one", port).await;
    until("it has gone from the first", || {
        let mesh = holder.context().mesh.as_ref().unwrap();
        mesh.holder_elsewhere(port).is_some()
    })
    .await;
    holder.line.set(Passing::Open);
    let said = soon("the answer", read(caller)).await;
    assert_eq!(
        (said.fate(), said.body()),
        ((200, "yes"), "hello\n"),
        "{said:?}"
    );
    assert_eq!(std::fs::read_to_string(&ledger).unwrap(), "ran\n");
}
