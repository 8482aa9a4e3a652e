//! Those who say that they are routers of the mesh and are not.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::world::{Place, ReservedPort, main_port, read};
use crate::mesh::hub::Hub;

const UPGRADE: &str =
    "GET /peer HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: p2p-peer-1\r\n\r\n";

/// The head of the answer to an upgrade.
async fn upgraded(place: &Place) -> (p2p_shared::net::transport::Transport, String) {
    let mut stream = main_port(place).await;
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn strangers_are_no_members() {
    let place = Place::start(2, &Hub::new(1)).await;
    let mut stream = main_port(&place).await;
    let request = "GET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let said = read(stream).await;
    assert_eq!(
        (said.status(), said.header("upgrade")),
        (426, Some("p2p-peer-1")),
        "{said:?}"
    );
    for guess in [[0; 72], [255; 72]] {
        let (mut stream, head) = upgraded(&place).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream.write_all(&guess).await.unwrap();
        stream
            .write_all(b"GET /ping HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(read(stream).await.0, "");
    }
    // Whoever speaks before the holder has given its number has not heard it.
    let mut stream = main_port(&place).await;
    let early = [UPGRADE.as_bytes(), &[0; 72]].concat();
    stream.write_all(&early).await.unwrap();
    assert!(read(stream).await.0.ends_with("\r\n\r\n"));
}

#[tokio::test]
async fn what_a_member_said_once_is_worth_nothing_again() {
    let place = Place::start(2, &Hub::new(1)).await;
    let mesh = place.context().mesh.as_ref().unwrap();
    let (mut stream, head) = upgraded(&place).await;
    let number = head.split("p2p-number: ").nth(1).unwrap();
    let number = data_encoding::HEXLOWER
        .decode(&number.as_bytes()[..64])
        .unwrap();
    let (own, member) = ([5; 32], 9_u64.to_be_bytes());
    let transcript = [b"caller", &[0][..], &[0; 32], &number, &own, &member].concat();
    let code = mesh.peer_code(&transcript);
    let said = [&own[..], &member, code.as_ref()].concat();
    stream.write_all(&said).await.unwrap();
    stream.read_exact(&mut [0; 40]).await.unwrap();
    stream
        .write_all(b"GET /ping HTTP/1.1\r\n\r\nGET /commands HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let mut answers = [0; 12];
    stream.read_exact(&mut answers).await.unwrap();
    assert_eq!(&answers, b"HTTP/1.1 204");
    let (mut stream, _) = upgraded(&place).await;
    stream.write_all(&said).await.unwrap();
    assert_eq!(read(stream).await.0, "");
}

#[tokio::test]
async fn a_router_with_another_secret_passes_nothing_on() {
    // The bus carries nothing between them; they would not even know each other's address.
    let hub = Hub::new(1);
    let place = Place::start(2, &hub).await;
    let other = Place::with(super::world::config(3), [8; 32], &hub).await;
    let port = ReservedPort::new();
    let _inner = place.inner("one", port.port).await;
    let (mine, theirs) = (place.context(), other.context());
    let hops = theirs.hops.as_ref().unwrap();
    let member = crate::mesh::Member {
        id: mine.mesh.as_ref().unwrap().member(),
        start: mine.mesh.as_ref().unwrap().start(),
        address: std::sync::Arc::new(place.line.address.to_string().parse().unwrap()),
        state: crate::mesh::MemberState::Present,
        links: 0,
        consoles: 0,
        keys: None,
    };
    let why = hops.reach(&member).await.unwrap_err().to_string();
    assert!(why.contains("end of file") || why.contains("eof"), "{why}");
}

#[tokio::test]
async fn a_router_that_is_alone_has_no_such_path() {
    let router = crate::server::Router::start(super::world::config(2)).unwrap();
    let mut stream = tokio::net::TcpStream::connect(router.address())
        .await
        .unwrap();
    stream
        .write_all(UPGRADE.replace("upgrade\r\nU", "close\r\nU").as_bytes())
        .await
        .unwrap();
    assert_eq!(read(stream).await.status(), 404);
}
