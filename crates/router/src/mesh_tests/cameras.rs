//! A camera's pictures at a router that does not have the car: one stream between the two, however many
//! watch.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::world::{Passing, Place, ReservedPort, config};
use super::{soon, until};
use crate::camera::frame_socket::NEXT;
use crate::config::Config;
use crate::mesh::hub::Hub;

/// Pictures without end; the number of the last is in the note `shown`.
fn camera(place: &Place) -> Vec<String> {
    let script = format!(
        "cd '{}'; n=0; while [ -e command ]; do n=$((n+1)); printf '\\377\\330\\377\\340\\000\\014%010d\\377\\332\\000\\010\\001\\001\\000\\000\\077\\000coded\\377\\331' $n; echo $n > shown; sleep 0.02; done",
        place.folder.path().display()
    );
    ["/bin/sh", "-c", &script].map(str::to_owned).to_vec()
}

async fn inner_at(place: &Place, port: u16) -> p2p_inner::Inner {
    inner_called(place, port, "car").await
}

async fn inner_called(place: &Place, port: u16, name: &str) -> p2p_inner::Inner {
    let config = p2p_inner::Config {
        name: name.parse().unwrap(),
        camera: Some(camera(place)),
        ..place.inner_config("one", port)
    };
    place.inner_with(config).await
}

fn viewers(place: &Place) -> i64 {
    place.context().metrics.viewers.get()
}

/// A page that watches.
struct Page(WebSocketStream<TcpStream>);

impl Page {
    async fn open(place: &Place, port: u16) -> Self {
        Self::at(place, port, &place.address.to_string()).await
    }

    async fn at(place: &Place, port: u16, host: &str) -> Self {
        let request = format!("ws://{host}:{port}/frames");
        let request = request.into_client_request().unwrap();
        let stream = TcpStream::connect((place.address, port)).await.unwrap();
        let opening = tokio_tungstenite::client_async(request, stream);
        Self(soon("a page is let in", opening).await.unwrap().0)
    }

    /// The next picture; `None` if the connection ends.
    async fn picture(&mut self) -> Option<Vec<u8>> {
        let _ = self.0.send(Message::text(NEXT)).await;
        loop {
            match soon("the page is told", self.0.next()).await {
                Some(Ok(Message::Binary(picture))) => return Some(picture.to_vec()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

async fn two(port: u16) -> (Place, Place, p2p_inner::Inner) {
    let hub = Hub::new(1);
    let holder = Place::start(2, &hub).await;
    let other = Place::start(3, &hub).await;
    holder.knows(1).await;
    other.knows(1).await;
    let inner = inner_at(&holder, port).await;
    other.serves(port).await;
    (holder, other, inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_viewers_at_another_router_are_one_at_the_holder() {
    let reserved = ReservedPort::new();
    let port = reserved.port;
    let (holder, other, _inner) = two(port).await;
    let mut pages = Vec::new();
    for _ in 0..50 {
        pages.push(Page::open(&other, port).await);
    }
    for _ in 0..3 {
        for page in &mut pages {
            let picture = page.picture().await.unwrap();
            assert!(picture[8..].starts_with(&[0xff, 0xd8, 0xff]), "{picture:?}");
            assert!(picture.ends_with(&[0xff, 0xd9]), "{picture:?}");
        }
    }
    assert_eq!((viewers(&other), viewers(&holder)), (50, 1));
    let said = other.get(port, "/frame.jpg").await;
    assert_eq!(said.fate(), (200, "no"), "{said:?}");
    assert_eq!(viewers(&holder), 1);
    // The stream ends with the last.
    drop(pages);
    until("nobody watches", || {
        viewers(&other) == 0 && viewers(&holder) == 0
    })
    .await;
    // And comes again.
    assert!(Page::open(&other, port).await.picture().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_stay_while_the_car_moves_and_when_it_comes_to_their_router_they_come_again() {
    let reserved = ReservedPort::new();
    let port = reserved.port;
    let hub = Hub::new(1);
    let mut places = Vec::new();
    for number in [2, 3, 4] {
        places.push(Place::start(number, &hub).await);
    }
    for place in &places {
        place.knows(2).await;
    }
    let [first, second, own] = places.try_into().ok().unwrap();
    let one = inner_at(&first, port).await;
    own.serves(port).await;
    let mut page = Page::open(&own, port).await;
    assert!(page.picture().await.is_some());
    let two = inner_at(&second, port).await;
    until("the stream follows", || {
        viewers(&second) == 1 && viewers(&first) == 0
    })
    .await;
    for _ in 0..10 {
        assert!(page.picture().await.is_some());
    }
    soon("the first inner ends", one.shut_down()).await;
    let _three = inner_at(&own, port).await;
    while page.picture().await.is_some() {}
    until("nobody watches", || viewers(&second) == 0).await;
    assert!(Page::open(&own, port).await.picture().await.is_some());
    drop(two);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_learns_that_the_car_has_no_camera_or_is_away() {
    let reserved = ReservedPort::new();
    let port = reserved.port;
    let hub = Hub::new(1);
    let holder = Place::start(2, &hub).await;
    let other = Place::start(3, &hub).await;
    holder.knows(1).await;
    other.knows(1).await;
    let inner = holder.inner("one", port).await;
    other.serves(port).await;
    for path in ["/frame.jpg", "/video"] {
        let (here, there) = (holder.get(port, path).await, other.get(port, path).await);
        assert_eq!(there.fate(), (404, "no"), "{there:?}");
        assert_eq!(here.body(), there.body());
    }
    soon("the inner ends", inner.shut_down()).await;
    let (here, there) = (
        holder.get(port, "/video").await,
        other.get(port, "/video").await,
    );
    assert_eq!(there.fate(), (503, "no"), "{there:?}");
    assert_eq!(here.body(), there.body());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_lost_is_said_and_its_pictures_come_again() {
    let reserved = ReservedPort::new();
    let port = reserved.port;
    let (holder, other, _inner) = two(port).await;
    let mut page = Page::open(&other, port).await;
    assert!(page.picture().await.is_some());
    holder.line.set(Passing::Refused);
    let _ = page.0.send(Message::text(NEXT)).await;
    let away = async {
        while let Some(Ok(message)) = page.0.next().await {
            if message.to_text().is_ok_and(|text| text.contains("away")) {
                return true;
            }
        }
        false
    };
    assert!(soon("the page is told", away).await);
    holder.line.set(Passing::Open);
    assert!(page.picture().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn by_an_old_name_nobody_sees_whose_camera_that_was() {
    let reserved = ReservedPort::new();
    let port = reserved.port;
    let hub = Hub::new(1);
    // It knows no host names of its own.
    let holder = Place::start(2, &hub).await;
    let by_name = Config {
        domain: Some("cars.test".parse().unwrap()),
        service_ports: "none".parse().unwrap(),
        ..config(3)
    };
    let other = Place::with(by_name, [7; 32], &hub).await;
    for place in [&holder, &other] {
        place.knows(1).await;
    }
    let red = inner_called(&holder, port, "Red").await;
    let main_port = other.router.address().port();
    let shown = async |host: &str| {
        let request = format!(
            "GET /frame.jpg HTTP/1.1\r\nHost: {host}.cars.test\r\nConnection: close\r\n\r\n"
        );
        other.ask(main_port, &request).await
    };
    let name = "red".parse().unwrap();
    let registry = &other.context().registry;
    until("the car is known", || !registry.named(&name).is_empty()).await;
    let mut page = Page::at(&other, main_port, "red.cars.test").await;
    assert!(page.picture().await.is_some());
    // Nobody hears of its new name.
    let start = holder.context().mesh.as_ref().unwrap().start();
    hub.set_side(start, 1);
    soon("the inner ends", red.shut_down()).await;
    let _blue = inner_called(&holder, port, "blue").await;
    until("the stream has ended", || viewers(&holder) == 0).await;
    let said = shown("red").await;
    assert_eq!(said.fate(), (503, "no"), "{said:?}");
    // Its port is its own, whatever it is called.
    let said = shown(&port.to_string()).await;
    assert_eq!(said.fate(), (200, "no"), "{said:?}");
    hub.set_side(start, 0);
    let name = "blue".parse().unwrap();
    until("the new name is known", || {
        !registry.named(&name).is_empty()
    })
    .await;
    let said = shown("blue").await;
    assert_eq!(said.fate(), (200, "no"), "{said:?}");
    while page.picture().await.is_some() {}
}

/// Behind one address for all routers the pictures find the one that has the link.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_go_where_the_router_says_that_it_takes_them() {
    let hub = Hub::new(1);
    let elsewhere = ReservedPort::new();
    let wrong = format!("127.0.0.1:{}", elsewhere.port);
    let place = Config {
        media_address: Some(wrong.parse().unwrap()),
        ..config(2)
    };
    let place = Place::with(place, [7; 32], &hub).await;
    let reserved = ReservedPort::new();
    let _inner = inner_at(&place, reserved.port).await;
    let mut page = Page::open(&place, reserved.port).await;
    let listener = tokio::net::TcpListener::bind(&wrong).await.unwrap();
    let came = soon("the car comes", listener.accept());
    let (came, _) = tokio::join!(came, page.0.send(Message::text(NEXT)));
    came.unwrap();
}
