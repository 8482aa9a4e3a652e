//! Owns reaching the router: resolve, connect, upgrade. One for inner and console. It tries
//! once; when to try again is `backoff`'s.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};

use crate::key::Key;
use crate::protocol::SUBPROTOCOL;
use crate::text::Escaped;
use crate::{socket, timing, wire};

/// Pause before the next address is tried beside those before it (RFC 8305, 5: 250 ms).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Where the router is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterAddress {
    /// A host name or an address, IPv6 without brackets.
    pub host: String,
    /// The main port.
    pub port: u16,
}

impl std::fmt::Display for RouterAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

/// The host as it stands in a URL: IPv6 addresses in brackets.
#[must_use]
pub fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Why the router was not reached; each says at which step, and what to do.
#[derive(Debug, Error)]
pub enum DialError {
    /// The name has no address.
    #[error(
        "the name {host} does not resolve ({source}): check the host name and this machine's DNS"
    )]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address answers.
    #[error(
        "no connection to {router} ({source}): is the router running, and the port open in its firewall?"
    )]
    Connect {
        /// Where.
        router: RouterAddress,
        /// What the last address tried said.
        source: io::Error,
    },
    /// The router did not complete the hello in time.
    #[error("{router} did not answer within {} s: is it a p2p-router?", timing::HELLO.as_secs())]
    Timeout {
        /// Where.
        router: RouterAddress,
    },
    /// The router refused the key.
    #[error("{router} refuses the key: {said}")]
    Denied {
        /// Where.
        router: RouterAddress,
        /// The router's own sentence.
        said: String,
    },
    /// The router answered otherwise: another version, overloaded, shutting down.
    #[error("{router} refuses: {said}")]
    Refused {
        /// Where.
        router: RouterAddress,
        /// The router's own sentence.
        said: String,
    },
    /// What is there isn't a router of this version.
    #[error(
        "{router} is not a p2p-router that speaks {SUBPROTOCOL} ({source}): check host and port, or update the older of the two"
    )]
    NotARouter {
        /// Where.
        router: RouterAddress,
        /// What went wrong.
        source: Box<WsError>,
    },
}

/// A WebSocket to the router at this path of its main port, within [`timing::HELLO`].
///
/// # Errors
/// See [`DialError`].
pub async fn dial(
    router: &RouterAddress,
    path: &str,
    key: Option<&Key>,
) -> Result<WebSocketStream<TcpStream>, DialError> {
    timeout(timing::HELLO, async {
        let stream = connect(router).await?;
        socket::prepare_link(&stream);
        upgrade(router, path, key, stream).await
    })
    .await
    .unwrap_or_else(|_| {
        Err(DialError::Timeout {
            router: router.clone(),
        })
    })
}

async fn connect(router: &RouterAddress) -> Result<TcpStream, DialError> {
    let unresolved = |source| DialError::Resolve {
        host: router.host.clone(),
        source,
    };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((router.host.as_str(), router.port))
        .await
        .map_err(unresolved)?
        .collect();
    let mut attempts: FuturesUnordered<_> = (0_u32..)
        .zip(addresses)
        .map(|(n, address)| async move {
            sleep(NEXT_ADDRESS * n).await;
            TcpStream::connect(address).await
        })
        .collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(DialError::Connect {
        router: router.clone(),
        source: last,
    })
}

async fn upgrade(
    router: &RouterAddress,
    path: &str,
    key: Option<&Key>,
    stream: TcpStream,
) -> Result<WebSocketStream<TcpStream>, DialError> {
    let strange = |source| DialError::NotARouter {
        router: router.clone(),
        source: Box::new(source),
    };
    let mut request = format!("ws://{router}{path}")
        .into_client_request()
        .map_err(strange)?;
    let headers = request.headers_mut();
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    if let Some(key) = key {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.expose()))
            .map_err(|error| strange(WsError::HttpFormat(error.into())))?;
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
    match tokio_tungstenite::client_async_with_config(request, stream, Some(wire::limits())).await {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let text = String::from_utf8_lossy(&body[..body.len().min(500)]);
            let said = match text.trim() {
                "" => format!("HTTP status {}", response.status()),
                sentence => Escaped(sentence).to_string(),
            };
            let router = router.clone();
            Err(match response.status() {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    DialError::Denied { router, said }
                }
                _ => DialError::Refused { router, said },
            })
        }
        Err(error) => Err(strange(error)),
    }
}
