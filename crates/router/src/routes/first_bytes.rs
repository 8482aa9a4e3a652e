//! Looks at the first bytes of connections to the main port: callers of cars do not wait for a turn, as inners
//! do, since a stop never waits.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_shared::protocol::LINK_PATH;
use p2p_shared::timing;
use parking_lot::Mutex;
use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::domain::Domain;
use crate::http::tls_or_plain::HANDSHAKE;
use crate::net::places::{Places, Rooms};

/// Most bytes that are looked at: a browser's first message of TLS has 2 KiB.
const MOST: usize = 8 * 1024;
/// Pause before looking again, if not enough had come.
const AGAIN: Duration = Duration::from_millis(5);

/// Connections that are looked at.
#[derive(Debug)]
pub(crate) struct FirstBytes {
    places: Mutex<Places<CancellationToken>>,
    ended: CancellationToken,
}

impl FirstBytes {
    /// Looks at no more connections at a time than these rooms have places, and at none once `ended`.
    pub(crate) fn new(rooms: Rooms, ended: CancellationToken) -> Self {
        Self {
            places: Mutex::new(Places::new(rooms)),
            ended,
        }
    }

    /// Returns true if this connection begins as those to cars below `domain` do. Waits for its first bytes,
    /// unless others need the place.
    pub(crate) async fn are_for_a_car(
        &self,
        domain: &Domain,
        stream: &TcpStream,
        peer: SocketAddr,
    ) -> bool {
        let end = self.ended.child_token();
        let net = peer.ip().into();
        let (place, gone) = self.places.lock().enter(net, false, end.clone());
        if let Some(gone) = gone {
            gone.cancel();
        }
        let looking = timeout(timing::HELLO, look(domain, stream));
        let found = end.run_until_cancelled(looking).await;
        self.places.lock().leave(place);
        found.is_some_and(|in_time| in_time.unwrap_or(false))
    }
}

async fn look(domain: &Domain, stream: &TcpStream) -> bool {
    let mut bytes = vec![0; MOST];
    loop {
        let Ok(length @ 1..) = stream.peek(&mut bytes).await else {
            return false;
        };
        match begin_for_a_car(domain, &bytes[..length]) {
            Some(found) => return found,
            None if length == MOST => return false,
            None => sleep(AGAIN).await,
        }
    }
}

/// Returns true for TLS with the name of a car, and for plain HTTP that is not for a link; `None`: more bytes
/// will tell.
fn begin_for_a_car(domain: &Domain, bytes: &[u8]) -> Option<bool> {
    if bytes.first() != Some(&HANDSHAKE) {
        let link = ["GET ", LINK_PATH].concat();
        let common = link.len().min(bytes.len());
        let is_link = bytes[..common] == link.as_bytes()[..common];
        return (!is_link || common == link.len()).then_some(!is_link);
    }
    let (mut acceptor, mut left) = (Acceptor::default(), bytes);
    while !left.is_empty() {
        match acceptor.read_tls(&mut left) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Some(false),
        }
    }
    let Ok(hello) = acceptor.accept() else {
        return Some(false);
    };
    let hello = hello?;
    // Who dials an address names none.
    let name = hello
        .client_hello()
        .server_name()
        .unwrap_or_default()
        .to_ascii_lowercase();
    Some(domain.car(&name).is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn hello(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client =
            ClientConnection::new(Arc::new(config.with_no_client_auth()), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn callers_of_cars_are_told_from_inners_by_their_first_bytes() {
        let domain = "cars.test".parse().unwrap();
        for (bytes, is_for_a_car) in [
            (hello("red.cars.test"), true),
            (hello("RED.cars.test"), true),
            (hello("cars.test"), false),
            (hello("192.0.2.1"), false),
            (b"GET /link HTTP/1.1".to_vec(), false),
            (b"GET /cgi?command=stop".to_vec(), true),
            (b"POST /".to_vec(), true),
        ] {
            let found = begin_for_a_car(&domain, &bytes);
            assert_eq!(found, Some(is_for_a_car), "{}", bytes.escape_ascii());
        }
        for part in [&b"GET /li"[..], b"", &hello("red.cars.test")[..60]] {
            assert_eq!(begin_for_a_car(&domain, part), None);
        }
    }
}
