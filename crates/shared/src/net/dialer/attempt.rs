//! Makes one attempt to reach the router, for inner and console: resolve, connect, check that it is
//! the router, upgrade. `backoff` decides when to try again.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::key::Key;
use crate::net::tls;
use crate::net::transport::Transport;
use crate::protocol::SUBPROTOCOL;
use crate::text::Escaped;
use crate::{backoff, timing, websocket};

/// Pause before the next address is tried beside the earlier ones, unless those have failed already
/// (RFC 8305, 5: 250 ms).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Most bytes of a refusal that are read and shown.
const MAX_SAID: usize = 500;

/// Address of the router.
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

/// Returns the host as a URL has it: IPv6 addresses in brackets.
#[must_use]
pub fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Reason why the router was not reached. Each sentence says at which step, and what to do.
///
/// `router` is the address that was dialled, `source` the error of the step, `said` the router's own
/// sentence, and `why` says what is wrong and what to do.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the fields are said above")]
pub enum DialError {
    /// The name has no address.
    #[error(
        "the name {host} does not resolve ({source}): check the host name and this machine's DNS"
    )]
    Resolve { host: String, source: io::Error },
    /// No address of the router answers.
    #[error(
        "no connection to {router} ({source}): is the router running, and the port open in its firewall?"
    )]
    Connect {
        router: RouterAddress,
        source: io::Error,
    },
    /// The router did not complete the hello in time.
    #[error("{router} did not answer within {} s: is it a p2p-router?", timing::HELLO.as_secs())]
    Timeout { router: RouterAddress },
    /// The peer speaks no TLS, or TLS that can't be trusted.
    #[error("no safe connection to {router}: {why}")]
    Untrusted { router: RouterAddress, why: String },
    /// The router works with keys, and this program has none.
    #[error(
        "{router} needs a key, and there is none in ~/.config/p2prouter/key, --key-file or P2P_KEY: paste there what `p2p-router key add` prints on the router, and start again"
    )]
    NoKey { router: RouterAddress },
    /// The router refused the key.
    #[error("{router} refuses the key: {said}")]
    Denied { router: RouterAddress, said: String },
    /// The port is one of the router's service ports, not its main port.
    #[error(
        "{router} is one of the router's service ports: give its main port (8888, unless it was changed there)"
    )]
    ServicePort { router: RouterAddress },
    /// The router refused for another reason: another version, overload, shutting down.
    #[error("{router} refuses: {said}")]
    Refused {
        router: RouterAddress,
        said: String,
        /// Time until the router may answer differently.
        retry_after: Option<Duration>,
    },
    /// The peer is not a router of this version.
    #[error(
        "{router} is not a p2p-router that speaks {SUBPROTOCOL} ({source}): check host and port, or update the older of the two"
    )]
    NotARouter {
        router: RouterAddress,
        source: Box<WsError>,
    },
}

impl DialError {
    /// Returns the shortest pause before another attempt; zero where the schedule decides alone.
    #[must_use]
    pub fn least_pause(&self) -> Duration {
        match self {
            Self::Denied { .. } | Self::NoKey { .. } => backoff::DENIED,
            Self::Refused { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }
}

pub(super) fn too_slow() -> io::Error {
    let message = format!("no answer within {} s", timing::HELLO.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, message)
}

pub(super) fn unresolved(router: &RouterAddress, source: io::Error) -> DialError {
    DialError::Resolve {
        host: router.host.clone(),
        source,
    }
}

pub(super) async fn resolve(router: &RouterAddress) -> Result<Vec<SocketAddr>, DialError> {
    match tokio::net::lookup_host((router.host.as_str(), router.port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(unresolved(router, error)),
    }
}

/// Connects to the first address that accepts.
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        attempts.extend(waiting.next().map(TcpStream::connect));
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            },
            () = sleep(NEXT_ADDRESS), if waiting.len() > 0 => {}
            else => return Err(last),
        }
    }
}

/// Puts TLS on the connection if a key is to go over it.
pub(super) async fn secure(
    router: &RouterAddress,
    key: Option<&Key>,
    stream: TcpStream,
) -> Result<Transport, DialError> {
    let Some(key) = key else {
        return Ok(Transport::Plain(stream));
    };
    let peer = stream.peer_addr();
    let is_here = peer.is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
    if key.fingerprint().is_none() && is_here {
        return Ok(Transport::Plain(stream));
    }
    tls::connect(stream, &router.host, key.fingerprint())
        .await
        .map_err(|error| match tls::explain(&error) {
            Some(why) => DialError::Untrusted {
                router: router.clone(),
                why,
            },
            None => DialError::NotARouter {
                router: router.clone(),
                source: Box::new(WsError::Io(error)),
            },
        })
}

pub(super) async fn upgrade(
    router: &RouterAddress,
    path: &str,
    key: Option<&Key>,
    stream: Transport,
) -> Result<WebSocketStream<Transport>, DialError> {
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
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.bearer()))
            .map_err(|error| strange(WsError::HttpFormat(error.into())))?;
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
    match tokio_tungstenite::client_async_with_config(request, stream, Some(websocket::limits()))
        .await
    {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(response)) => Err(refusal(router, key.is_some(), response)),
        Err(error) => Err(strange(error)),
    }
}

/// Returns the time that the router says to wait, up to its longest pause for a wrong key.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let pause = Duration::from_secs(value.parse().ok()?);
    Some(pause.min(backoff::DENIED))
}

/// Turns an answer other than "switching protocols" into an error.
fn refusal(
    router: &RouterAddress,
    has_key: bool,
    response: Box<Response<Option<Vec<u8>>>>,
) -> DialError {
    let router = router.clone();
    let status = response.status();
    let type_of = response.headers().get(header::CONTENT_TYPE);
    // A router answers in plain text; a page is somebody else's.
    let is_ours = type_of.is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    let body = response.body().as_deref().unwrap_or_default();
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_SAID)]);
    let said = match text.trim() {
        sentence if is_ours && !sentence.is_empty() => Escaped(sentence).to_string(),
        _ => format!("HTTP status {status}"),
    };
    // Which every answer on a service port has, and none on the main port.
    if response.headers().contains_key("p2p-run") {
        return DialError::ServicePort { router };
    }
    // With another key it would be answered otherwise (RFC 9110, 11.6.1): whatever the status.
    let asks_for_key = response.headers().contains_key(header::WWW_AUTHENTICATE);
    match status {
        StatusCode::UNAUTHORIZED if !has_key => DialError::NoKey { router },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => DialError::Denied { router, said },
        StatusCode::TOO_MANY_REQUESTS if asks_for_key => DialError::Denied { router, said },
        _ if is_ours => DialError::Refused {
            router,
            said,
            retry_after: (status == StatusCode::TOO_MANY_REQUESTS)
                .then(|| retry_after(response.headers()))
                .flatten(),
        },
        _ => DialError::NotARouter {
            router,
            source: Box::new(WsError::Http(response)),
        },
    }
}
