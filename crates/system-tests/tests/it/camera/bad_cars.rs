//! Cars, and what pretends to be one, on the media connection.

use bytes::Bytes;
use p2p_shared::key::{Key, Role};
use p2p_shared::net::dialer::{self, DialError, RouterAddress};
use p2p_shared::protocol::{
    InnerToRouter, LinkHello, MAX_PICTURE, MEDIA_PATH, MediaTicket, MediaToRouter, RouterToInner,
    RouterToMedia,
};
use tokio_tungstenite::tungstenite::Message;

use super::fixture::{Page, Sent, jpeg};
use crate::common::peer::{self, FakeInner, WebSocketPeer};
use crate::common::{World, get, raw};

async fn media(world: &World, key: Option<&Key>) -> Result<WebSocketPeer, DialError> {
    let router = RouterAddress {
        host: "127.0.0.1".to_owned(),
        port: world.main_port(),
    };
    let socket = dialer::dial(None, &router, MEDIA_PATH, key, true).await?;
    Ok(WebSocketPeer(socket))
}

/// A car with a camera, by hand.
async fn car(world: &World, key: Option<&Key>) -> (FakeInner, u16) {
    let mut inner = peer::dial(world.main_port(), key).await.unwrap();
    let hello = LinkHello {
        camera: true,
        dial: 0,
        ..peer::hello("identity1", 0)
    };
    inner.send(InnerToRouter::Hello(hello)).await;
    let (_, port) = inner.is_welcomed().await;
    (inner, port)
}

/// The ticket that a car is told.
async fn ticket(inner: &mut FakeInner) -> Option<MediaTicket> {
    loop {
        if let Some(RouterToInner::Video { ticket }) = inner.receive().await {
            return ticket;
        }
    }
}

async fn is_refused(mut media: WebSocketPeer, service_port: u16, ticket: MediaTicket) {
    let hello = MediaToRouter::Hello {
        service_port,
        ticket,
    };
    media.send(&hello).await;
    match media.receive().await {
        Some(RouterToMedia::Refused { message }) => {
            assert!(
                message.raw().contains("not the pictures of a link"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(media.receive::<RouterToMedia>().await, None);
}

async fn greeting(world: &World, service_port: u16, ticket: MediaTicket) -> WebSocketPeer {
    let mut media = media(world, None).await.unwrap();
    let hello = MediaToRouter::Hello {
        service_port,
        ticket,
    };
    media.send(&hello).await;
    media
}

#[tokio::test]
async fn nobody_feeds_pictures_to_the_port_of_another() {
    let world = World::keyed();
    let car_key = world.key("car", Role::Link).await;
    let other_key = world.key("other", Role::Link).await;
    let viewer = world.key("viewer", Role::View).await;
    let (mut inner, port) = car(&world, Some(&car_key)).await;
    let _page = Page::open(port, Some(&viewer)).await;
    let ticket = ticket(&mut inner).await.unwrap();
    // Another's ticket, with another's key, at another port, and none of it.
    let by = async |key| media(&world, Some(key)).await.unwrap();
    is_refused(by(&car_key).await, port, MediaTicket(ticket.0 ^ 1)).await;
    is_refused(by(&other_key).await, port, ticket).await;
    is_refused(by(&car_key).await, port.wrapping_add(1), ticket).await;
    for (key, what) in [(None, "needs a key"), (Some(&viewer), "role view")] {
        let refused = media(&world, key).await.err().unwrap().to_string();
        assert!(refused.contains(what), "{refused}");
    }
    // A page in a browser is none of ours.
    let asked = format!(
        "GET {MEDIA_PATH} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.test\r\nConnection: close\r\n\r\n"
    );
    let mut caller = raw::RawCaller::saying(world.main_port(), asked).await;
    assert_eq!(caller.answer().await.status, 403);
}

#[tokio::test]
async fn pictures_come_whole_and_a_second_connection_replaces_the_first() {
    let world = World::open();
    let (mut inner, port) = car(&world, None).await;
    let mut page = Page::open(port, None).await;
    let ticket = ticket(&mut inner).await.unwrap();
    let mut first = greeting(&world, port, ticket).await;
    let picture = jpeg(1, 10);
    let begins = |length: usize, bytes: &[u8]| MediaToRouter::Picture {
        captured_ms: 77,
        length: length.try_into().unwrap(),
        bytes: Bytes::copy_from_slice(bytes).try_into().unwrap(),
    };
    // Half of one, and then another.
    first.send(&begins(100, b"half")).await;
    first.send(&begins(picture.len(), &picture[..9])).await;
    let bytes = Bytes::copy_from_slice(&picture[9..]).try_into().unwrap();
    first.send(&MediaToRouter::Piece { bytes }).await;
    let mut taken = 0;
    while taken < 4 + u32::try_from(picture.len()).unwrap() {
        match first.receive().await {
            Some(RouterToMedia::Taken { bytes }) => taken += bytes,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(page.picture().await, (77, picture.clone()));
    let mut second = greeting(&world, port, ticket).await;
    assert_eq!(first.receive::<RouterToMedia>().await, None);
    second.send(&begins(picture.len(), &picture)).await;
    assert_eq!(page.picture().await, (77, picture));
    // The end of its link ends it, too.
    drop(inner);
    page.receives_send_event("away").await;
    while let Some(RouterToMedia::Taken { .. }) = second.receive().await {}
}

#[tokio::test]
async fn what_is_no_picture_ends_the_connection_and_nothing_else() {
    let world = World::open();
    let (mut inner, port) = car(&world, None).await;
    let mut page = Page::open(port, None).await;
    let ticket = ticket(&mut inner).await.unwrap();
    let picture = |length, bytes: &'static [u8]| MediaToRouter::Picture {
        captured_ms: 0,
        length,
        bytes: Bytes::from_static(bytes).try_into().unwrap(),
    };
    let too_large = u32::try_from(MAX_PICTURE).unwrap() + 1;
    for bad in [
        picture(0, b""),
        picture(u32::MAX, b"x"),
        picture(too_large, b"x"),
        picture(1, b"xy"),
        MediaToRouter::Piece {
            bytes: p2p_shared::bounded::Piece::first_of(b"x"),
        },
        MediaToRouter::Hello {
            service_port: port,
            ticket,
        },
    ] {
        let mut media = greeting(&world, port, ticket).await;
        media.send(&bad).await;
        assert_eq!(media.receive::<RouterToMedia>().await, None, "{bad:?}");
    }
    for noise in [
        Message::binary(vec![0xc1; 100]),
        Message::text("hello"),
        Message::binary(vec![0; 100_000]),
    ] {
        let mut media = greeting(&world, port, ticket).await;
        media.try_send(noise).await;
        assert_eq!(media.receive::<RouterToMedia>().await, None);
    }
    // The link is none the worse, nor is the page.
    let jpeg = jpeg(1, 10);
    let mut media = greeting(&world, port, ticket).await;
    let bytes = Bytes::from(jpeg.clone());
    let length = jpeg.len().try_into().unwrap();
    let captured_ms = 5;
    let good = MediaToRouter::Picture {
        captured_ms,
        length,
        bytes: bytes.try_into().unwrap(),
    };
    media.send(&good).await;
    assert_eq!(page.picture().await, (5, jpeg));
}

#[tokio::test]
async fn a_car_that_asks_for_nothing_is_asked_for_nothing() {
    // An inner of a version before the camera doesn't know the word.
    let world = World::open();
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let mut page = Page::open(port, None).await;
    let none = Sent::Camera(r#"{"camera":"none"}"#.to_owned());
    assert_eq!(page.receive().await, none);
    assert_eq!(get(port, "/video").await.status, 404);
    let listing = tokio::spawn(get(port, "/commands"));
    loop {
        match inner.receive().await {
            Some(RouterToInner::ListCommands { .. }) => break,
            Some(RouterToInner::Video { .. }) => panic!("asked for pictures"),
            Some(_) => {}
            None => panic!("closed"),
        }
    }
    listing.abort();
}
