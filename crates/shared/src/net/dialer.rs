//! Dials the router and remembers its last address, so that a silent name server keeps nobody away.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;

use super::socket;
use super::transport::Transport;
use crate::key::Key;
use crate::timing;

mod address;
mod attempt;

pub use address::{MAIN_PORT, RouterAddress, bracketed, parse_host, parse_router};
pub use attempt::DialError;
use attempt::{Endpoint, connect, resolve, secure, too_slow, upgrade};

/// Time for the name to resolve before the router's last address is tried too: a resolver whose
/// question is lost asks again only after 5 s (resolv.conf(5), `timeout`).
const LOOKUP: Duration = Duration::from_secs(1);

/// Opens a WebSocket to this path of the router's main port, within [`timing::HELLO`]. If the
/// router's name is not found, or not soon, the address at which it was reached last is tried.
///
/// A key is sent over TLS only. Without a key there is nothing to know the router by: then only a
/// router on this machine is spoken to. `open` (`--open`) takes the risk: without a key any router
/// will do, and a key without a fingerprint goes in the clear to a router on this machine.
///
/// # Errors
/// See [`DialError`].
pub async fn dial(
    last: Option<SocketAddr>,
    router: &RouterAddress,
    path: &str,
    key: Option<&Key>,
    open: bool,
) -> Result<WebSocketStream<Transport>, DialError> {
    let deadline = Instant::now() + timing::HELLO;
    let (stream, not_found) = reach(last, router, deadline).await?;
    let endpoint = Endpoint::Messages(path);
    let upgraded = upgrade_by(deadline, router, endpoint, key, open, stream).await;
    upgraded.map_err(|error| to_report(error, not_found))
}

/// The same at this address only, whatever else the router's name stands for.
///
/// # Errors
/// See [`DialError`].
pub async fn dial_at(
    address: SocketAddr,
    router: &RouterAddress,
    path: &str,
    key: Option<&Key>,
    open: bool,
) -> Result<WebSocketStream<Transport>, DialError> {
    let deadline = Instant::now() + timing::HELLO;
    let stream = connect_by(deadline, router, vec![address]).await?;
    let endpoint = Endpoint::Messages(path);
    upgrade_by(deadline, router, endpoint, key, open, stream).await
}

/// Opens the WebSocket of a car's pictures at its service port, in the way of [`dial`]. docs/camera.md says what is spoken there.
///
/// # Errors
/// See [`DialError`].
pub async fn dial_pictures(
    service_port: &RouterAddress,
    key: Option<&Key>,
    open: bool,
) -> Result<WebSocketStream<Transport>, DialError> {
    let deadline = Instant::now() + timing::HELLO;
    let (stream, _) = reach(None, service_port, deadline).await?;
    upgrade_by(
        deadline,
        service_port,
        Endpoint::Pictures,
        key,
        open,
        stream,
    )
    .await
}

/// Connects to this router, at whichever of its addresses answers first, within this time once they are known.
///
/// # Errors
/// If the name does not resolve, or no address answers.
pub async fn connect_to(router: &RouterAddress, within: Duration) -> std::io::Result<TcpStream> {
    let addresses = resolve(router).await.map_err(std::io::Error::other)?;
    let connected = timeout(within, connect(addresses)).await;
    connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// Connects to this router, within [`timing::HELLO`].
///
/// # Errors
/// See [`DialError`].
pub async fn connect_once(router: &RouterAddress) -> Result<TcpStream, DialError> {
    let (stream, _) = reach(None, router, Instant::now() + timing::HELLO).await?;
    Ok(stream)
}

async fn upgrade_by(
    deadline: Instant,
    router: &RouterAddress,
    endpoint: Endpoint<'_>,
    key: Option<&Key>,
    open: bool,
    stream: TcpStream,
) -> Result<WebSocketStream<Transport>, DialError> {
    socket::prepare_link(&stream);
    let upgraded = async {
        let transport = secure(router, key, open, stream).await?;
        upgrade(router, endpoint, key, transport).await
    };
    let upgraded = timeout_at(deadline, upgraded).await;
    upgraded.unwrap_or_else(|_| Err(DialError::Timeout(router.clone())))
}

async fn connect_by(
    deadline: Instant,
    router: &RouterAddress,
    addresses: Vec<SocketAddr>,
) -> Result<TcpStream, DialError> {
    let connected = timeout_at(deadline, connect(addresses)).await;
    let connected = connected.unwrap_or_else(|_| Err(too_slow()));
    connected.map_err(|error| DialError::Connect(router.clone(), error))
}

/// Connects. Also returns why the name was not found, if the connection is to the last address.
async fn reach(
    last: Option<SocketAddr>,
    router: &RouterAddress,
    deadline: Instant,
) -> Result<(TcpStream, Option<DialError>), DialError> {
    let unresolved = || DialError::Resolve(router.host.clone(), too_slow());
    let lookup = timeout_at(deadline, resolve(router));
    let lookup = async { lookup.await.unwrap_or_else(|_| Err(unresolved())) };
    let mut lookup = pin!(lookup);
    let addresses = match last {
        None => lookup.await?,
        Some(last) => match timeout(LOOKUP, &mut lookup).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(not_found)) => {
                return by_last_address(deadline, TcpStream::connect(last), not_found).await;
            }
            Err(_) => match select(pin!(TcpStream::connect(last)), lookup).await {
                Either::Left((Ok(stream), _)) => return Ok((stream, Some(unresolved()))),
                Either::Left((Err(_), lookup)) => lookup.await?,
                Either::Right((Ok(addresses), _)) => addresses,
                Either::Right((Err(not_found), connecting)) => {
                    return by_last_address(deadline, connecting, not_found).await;
                }
            },
        },
    };
    let stream = connect_by(deadline, router, addresses).await?;
    Ok((stream, None))
}

/// Decides which failure to report. The peer at the last address may be another host by now; then
/// the report is why the name was not found.
fn to_report(error: DialError, not_found: Option<DialError>) -> DialError {
    match error {
        DialError::Timeout(_) | DialError::Refused(..) => error,
        error => not_found.unwrap_or(error),
    }
}

/// Waits for the connection to the last address; if that fails too, returns `not_found`.
async fn by_last_address(
    deadline: Instant,
    connecting: impl Future<Output = std::io::Result<TcpStream>>,
    not_found: DialError,
) -> Result<(TcpStream, Option<DialError>), DialError> {
    match timeout_at(deadline, connecting).await {
        Ok(Ok(stream)) => Ok((stream, Some(not_found))),
        _ => Err(not_found),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    fn router(host: &str) -> RouterAddress {
        RouterAddress {
            host: host.to_owned(),
            port: 8888,
        }
    }

    #[tokio::test]
    async fn a_router_whose_name_is_not_found_is_where_it_was() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let unknown = router("name.invalid");
        let deadline = || Instant::now() + timing::HELLO;
        let nowhere = reach(None, &unknown, deadline()).await;
        assert!(matches!(nowhere, Err(DialError::Resolve(..))));
        let (stream, why) = reach(Some(address), &unknown, deadline()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(matches!(why, Some(DialError::Resolve(..))));
    }

    /// Somebody who answers every caller with this head, and ends; how long the caller then waits.
    async fn answered(head: &'static str) -> (String, Duration) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answering = async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\nno");
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let host = "127.0.0.1".to_owned();
        let router = RouterAddress { host, port };
        let dialling = dial(None, &router, "/link", None, false);
        let (dialled, ()) = tokio::join!(dialling, answering);
        let error = dialled.unwrap_err();
        (error.to_string(), error.least_pause())
    }

    #[tokio::test]
    async fn only_the_routers_own_word_costs_a_minute() {
        let ours = "content-type: text/plain; charset=utf-8";
        for (head, says, pause) in [
            ("403 Forbidden\r\ncontent-type: text/html", "sign in", 0),
            ("401 No\r\nwww-authenticate: Basic", "sign in", 0),
            ("407 No\r\ncontent-type: text/html", "a proxy", 0),
            (
                "429 Slow\r\nretry-after: 9\r\nwww-authenticate: Basic",
                "a proxy",
                0,
            ),
            ("511 Sign in\r\ncontent-type: text/html", "sign in", 0),
            ("302 There\r\nlocation: http://portal.test/", "sign in", 0),
            (
                "200 OK\r\ncontent-type: text/html",
                "is not a p2p-router",
                0,
            ),
        ] {
            let (said, waits) = answered(head).await;
            assert!(said.contains(says), "{head}: {said}");
            assert_eq!(waits, Duration::from_secs(pause), "{head}");
        }
        for head in ["401 No", "403 No", "429 No\r\nwww-authenticate: Bearer"] {
            let head = format!("{head}\r\n{ours}").leak();
            let (said, waits) = answered(head).await;
            assert_eq!(waits, Duration::from_secs(60), "{head}: {said}");
        }
    }

    #[tokio::test]
    async fn without_a_key_only_this_machine_is_spoken_to_unless_it_is_open() {
        let here = super::super::socket::listen((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = here.local_addr().unwrap().port();
        // The address by which this machine would leave, if it has one.
        let leaving = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let elsewhere = leaving.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).is_ok();
        let hosts = [
            Some(Ipv4Addr::LOCALHOST.into()),
            elsewhere.then(|| leaving.local_addr().unwrap().ip()),
        ];
        for host in hosts.into_iter().flatten() {
            for open in [false, true] {
                let stream = TcpStream::connect((host, port)).await.unwrap();
                let router = router(&host.to_string());
                let secured = secure(&router, None, open, stream).await;
                match secured {
                    Ok(Transport::Plain(_)) => assert!(open || host.is_loopback()),
                    Err(error @ DialError::Unprotected(_)) => {
                        assert!(!open && !host.is_loopback());
                        assert!(error.to_string().contains("P2P_OPEN=1"), "{error}");
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[tokio::test]
    async fn a_key_without_a_fingerprint_goes_in_the_clear_only_where_it_is_open() {
        let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let key = Key::generate().unwrap();
        let router = router("127.0.0.1");
        for open in [false, true] {
            let stream = TcpStream::connect(here.local_addr().unwrap())
                .await
                .unwrap();
            let accepting = async {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let (mut stream, _) = here.accept().await.unwrap();
                // Nothing comes in the clear before anything is asked.
                let mut first = [0; 1];
                if !open {
                    stream.read_exact(&mut first).await.unwrap();
                    stream.write_all(b"no TLS").await.unwrap();
                }
                first[0]
            };
            let securing = secure(&router, Some(&key), open, stream);
            let (secured, first) = tokio::join!(securing, accepting);
            assert_eq!(
                matches!(secured, Ok(Transport::Plain(_))),
                open,
                "{secured:?}"
            );
            // The first byte of a TLS record with a handshake.
            assert!(open || first == 0x16, "{first}");
        }
    }

    #[test]
    fn who_is_where_the_router_was_and_is_none_is_no_news() {
        let router = router("router.test");
        let not_found = || Some(DialError::Resolve(router.host.clone(), too_slow()));
        let busy = DialError::Timeout(router.clone());
        let error = to_report(busy, not_found());
        assert!(matches!(error, DialError::Timeout(_)));
        let untrusted = DialError::Untrusted(router.clone(), "another key".to_owned());
        let error = to_report(untrusted, not_found());
        assert!(matches!(error, DialError::Resolve(..)));
        assert_eq!(error.least_pause(), Duration::ZERO);
    }
}
