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
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, StatusCode, header};

use super::address::{RouterAddress, bracketed};
use crate::key::Key;
use crate::net::tls;
use crate::net::transport::Transport;
use crate::protocol::{PICTURES_PATH, SUBPROTOCOL};
use crate::text::Escaped;
use crate::{backoff, timing, websocket};

/// Pause before the next address is tried beside the earlier ones, unless those have failed already
/// (RFC 8305, 5: 250 ms).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Most bytes of a refusal that are read and shown.
const MAX_SAID: usize = 500;

/// Reason why the router was not reached. Each sentence says at which step, and what to do.
#[derive(Debug, Error)]
pub enum DialError {
    /// This name has no address.
    #[error("the name {0} does not resolve ({1}): check the host name and this machine's DNS")]
    Resolve(String, io::Error),
    /// This address has a zone that this machine doesn't know.
    #[error(
        "{0} can't be reached: what stands behind the % is no network interface of this machine"
    )]
    NoZone(String),
    /// No address of the router answers.
    #[error(
        "no connection to {0} ({1}): is the router running, and the port open in its firewall?"
    )]
    Connect(RouterAddress, io::Error),
    /// The router did not complete the hello in time.
    #[error("{0} did not answer within {secs} s: is it a p2p-router?", secs = timing::HELLO.as_secs())]
    Timeout(RouterAddress),
    /// The peer speaks no TLS, or TLS that can't be trusted, for this reason.
    #[error("no safe connection to {0}: {1}")]
    Untrusted(RouterAddress, String),
    /// There is no key to know the router by, it is not on this machine, and nobody said `--open`.
    #[error(
        "{0} is not on this machine, and there is no key to know it by: give one (`p2p-router key add`, --key-file), or obey whoever answers, by --open (P2P_OPEN=1)"
    )]
    Unprotected(RouterAddress),
    /// The router works with keys, and this program has none.
    #[error(
        "{0} needs a key, and there is none in ~/.config/p2prouter/key, --key-file or P2P_KEY: get one by `p2p-inner setup` or `p2p-console login`, with what `p2p-router key add NAME --role ROLE --invite` prints on the router"
    )]
    NoKey(RouterAddress),
    /// The router refused the key, and said this.
    #[error("{0} refuses the key: {1}")]
    Denied(RouterAddress, String),
    /// The port is one of the router's service ports, not its main port.
    #[error(
        "{0} is one of the router's service ports: give its main port (8888, unless it was changed there)"
    )]
    ServicePort(RouterAddress),
    /// The router refused for another reason (another version, overload, shutting down), and said
    /// this. It may answer differently after this time.
    #[error("{0} refuses: {1}")]
    Refused(RouterAddress, String, Option<Duration>),
    /// The peer is not a router of this version.
    #[error(
        "{0} is not a p2p-router that speaks {SUBPROTOCOL} ({1}): check host and port, or update the older of the two"
    )]
    NotARouter(RouterAddress, Box<WsError>),
    /// Somebody in between answered with this status, as the sign-in page of a network does.
    #[error(
        "somebody in between answers for {0} (HTTP status {1}): a network that wants you to sign in first, or a proxy"
    )]
    InBetween(RouterAddress, StatusCode),
}

impl DialError {
    /// Returns the shortest pause before another attempt; zero where the schedule decides alone.
    #[must_use]
    pub fn least_pause(&self) -> Duration {
        match self {
            Self::Denied(..) | Self::NoKey(_) | Self::Unprotected(_) => backoff::DENIED,
            Self::Refused(.., retry_after) => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }
}

pub(super) fn too_slow() -> io::Error {
    let message = format!("no answer within {} s", timing::HELLO.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, message)
}

pub(super) async fn resolve(router: &RouterAddress) -> Result<Vec<SocketAddr>, DialError> {
    match tokio::net::lookup_host((router.host.as_str(), router.port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(_) if router.host.contains('%') => Err(DialError::NoZone(router.host.clone())),
        Err(error) => Err(DialError::Resolve(router.host.clone(), error)),
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

/// Puts TLS on the connection if a key is to go over it. In the clear go only: a program without a
/// key to a router on this machine; and if it is `open`, that to any router, and a key without a
/// fingerprint to a router on this machine.
pub(super) async fn secure(
    router: &RouterAddress,
    key: Option<&Key>,
    open: bool,
    stream: TcpStream,
) -> Result<Transport, DialError> {
    let peer = stream.peer_addr();
    let is_here = peer.is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
    let Some(key) = key else {
        return match is_here || open {
            true => Ok(Transport::Plain(stream)),
            false => Err(DialError::Unprotected(router.clone())),
        };
    };
    if key.fingerprints().is_empty() && is_here && open {
        return Ok(Transport::Plain(stream));
    }
    let host = router.host_without_zone();
    let secured = tls::connect(stream, host, key.fingerprints()).await;
    secured.map_err(|error| match tls::explain(&error) {
        Some(why) => DialError::Untrusted(router.clone(), why),
        None => DialError::NotARouter(router.clone(), Box::new(WsError::Io(error))),
    })
}

/// WebSocket of a router.
#[derive(Clone, Copy)]
pub(super) enum Endpoint<'a> {
    /// Of our messages, at this path of the main port.
    Messages(&'a str),
    /// Of a car's pictures, at its service port.
    Pictures,
}

pub(super) async fn upgrade(
    router: &RouterAddress,
    endpoint: Endpoint<'_>,
    key: Option<&Key>,
    stream: Transport,
) -> Result<WebSocketStream<Transport>, DialError> {
    let (path, limits) = match endpoint {
        Endpoint::Messages(path) => (path, websocket::limits()),
        Endpoint::Pictures => (PICTURES_PATH, websocket::limits_of_pictures()),
    };
    let strange = |error| DialError::NotARouter(router.clone(), Box::new(error));
    let host = bracketed(router.host_without_zone());
    let url = format!("ws://{host}:{}{path}", router.port);
    let mut request = url.into_client_request().map_err(strange)?;
    let headers = request.headers_mut();
    if let Endpoint::Messages(_) = endpoint {
        let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    if let Some(key) = key {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.bearer()))
            .map_err(|error| strange(WsError::HttpFormat(error.into())))?;
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
    match tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(response)) => {
            // Every answer on a service port has this header, and none on the main port.
            let is_service_port = response.headers().contains_key("p2p-run");
            if is_service_port && let Endpoint::Messages(_) = endpoint {
                return Err(DialError::ServicePort(router.clone()));
            }
            Err(refusal(router.clone(), key.is_some(), response))
        }
        Err(error) => Err(strange(error)),
    }
}

/// Turns an answer other than "switching protocols" into an error.
fn refusal(
    router: RouterAddress,
    has_key: bool,
    response: Box<Response<Option<Vec<u8>>>>,
) -> DialError {
    let (status, headers) = (response.status(), response.headers());
    // A router answers in plain text; a page is somebody else's.
    let type_of = headers.get(header::CONTENT_TYPE);
    let is_ours = type_of.is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    let body = response.body().as_deref().unwrap_or_default();
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_SAID)]);
    let said = match text.trim() {
        sentence if is_ours && !sentence.is_empty() => Escaped(sentence).to_string(),
        _ => format!("HTTP status {status}"),
    };
    // This header asks for another key, whatever the status (RFC 9110, 11.6.1).
    let asks_for_key = headers.contains_key(header::WWW_AUTHENTICATE);
    let retry_after = headers.get(header::RETRY_AFTER);
    match status {
        // Nothing that the router said, which may be reached in a moment.
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::NETWORK_AUTHENTICATION_REQUIRED
            if !is_ours =>
        {
            DialError::InBetween(router, status)
        }
        status if status.is_redirection() && !is_ours => DialError::InBetween(router, status),
        StatusCode::UNAUTHORIZED if !has_key => DialError::NoKey(router),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => DialError::Denied(router, said),
        StatusCode::TOO_MANY_REQUESTS if asks_for_key => DialError::Denied(router, said),
        StatusCode::TOO_MANY_REQUESTS => {
            let seconds = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
            // At most the longest pause that a router asks for.
            let pause = seconds.map(|seconds| Duration::from_secs(seconds).min(backoff::DENIED));
            DialError::Refused(router, said, pause)
        }
        _ if is_ours => DialError::Refused(router, said, None),
        _ => DialError::NotARouter(router, Box::new(WsError::Http(response))),
    }
}
