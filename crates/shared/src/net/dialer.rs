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

mod attempt;

pub use attempt::{DialError, RouterAddress, bracketed};
use attempt::{connect, resolve, secure, too_slow, upgrade};

/// Time for the name to resolve before the router's last address is tried too: a resolver whose
/// question is lost asks again only after 5 s (resolv.conf(5), `timeout`).
const LOOKUP: Duration = Duration::from_secs(1);

/// Opens a WebSocket to the router: see [`Reconnect::dial`](super::reconnect::Reconnect::dial).
pub(super) async fn dial(
    reached: &mut Option<SocketAddr>,
    router: &RouterAddress,
    path: &str,
    key: Option<&Key>,
) -> Result<WebSocketStream<Transport>, DialError> {
    let deadline = Instant::now() + timing::HELLO;
    let (stream, not_found) = reach(*reached, router, deadline).await?;
    let address = stream.peer_addr().ok();
    socket::prepare_link(&stream);
    let upgraded = async {
        let transport = secure(router, key, stream).await?;
        upgrade(router, path, key, transport).await
    };
    let upgraded = timeout_at(deadline, upgraded).await;
    let upgraded = upgraded.unwrap_or_else(|_| Err(DialError::Timeout(router.clone())));
    let socket = upgraded.map_err(|error| to_report(error, not_found))?;
    *reached = address;
    Ok(socket)
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
    let connected = timeout_at(deadline, connect(addresses)).await;
    let connected = connected.unwrap_or_else(|_| Err(too_slow()));
    let stream = connected.map_err(|error| DialError::Connect(router.clone(), error))?;
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
