//! Owns the WebSocket handshake, from the headers of a request to the connection behind it.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::SUBPROTOCOL;
use p2p_shared::text::Escaped;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::task::TaskTracker;

use crate::http::connection;
use crate::http::response::Problem;

/// Answers that the connection becomes a WebSocket, and serves it in a task of the tracker:
/// `serve` gets the connection and what came behind the request.
pub(crate) fn accept<F: Future<Output = ()> + Send + 'static>(
    tracker: &TaskTracker,
    mut request: Request<Incoming>,
    accept: HeaderValue,
    serve: impl FnOnce(Transport, Vec<u8>) -> F + Send + 'static,
) -> Response<Bytes> {
    let upgrading = hyper::upgrade::on(&mut request);
    tracker.spawn(async move {
        if let Ok(upgraded) = upgrading.await
            && let Some((stream, read)) = connection::downcast(upgraded)
        {
            serve(stream, read).await;
        }
    });
    switching(accept)
}

/// The answer after which a connection is a WebSocket.
fn switching(accept: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    response
}

/// The answer to the WebSocket handshake (RFC 6455, 4.2) of a peer that speaks our version.
pub(crate) fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let value = |name| {
        headers
            .get(name)
            .and_then(|v: &HeaderValue| v.to_str().ok())
            .unwrap_or("")
    };
    let accept = handshake(headers, "p2p-inner, p2p-console or a car's page")?;
    let offered = value(header::SEC_WEBSOCKET_PROTOCOL);
    if !offered
        .split(',')
        .any(|protocol| protocol.trim() == SUBPROTOCOL)
    {
        let offered = if offered.is_empty() { "none" } else { offered };
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!(
                "this router speaks {SUBPROTOCOL} and the peer {}: update the older of the two",
                Escaped(offered)
            ),
        ));
    }
    Ok(accept)
}

/// The same of a peer with whatever subprotocol. The path is for `whom`.
pub(crate) fn handshake(headers: &HeaderMap, whom: &str) -> Result<HeaderValue, Problem> {
    let is = |name, expected: &str| {
        let value = headers.get(name).map(HeaderValue::as_bytes);
        value.is_some_and(|value| value.eq_ignore_ascii_case(expected.as_bytes()))
    };
    let is_upgrade = is(header::UPGRADE, "websocket") && is(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let (true, Some(key)) = (is_upgrade, key) else {
        let sentence = format!("this path is for {whom}: it speaks WebSocket");
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, sentence)
            .with(header::UPGRADE, HeaderValue::from_static("websocket")));
    };
    HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
}

/// Whether the page asks for our version; it needn't, and a browser takes none that it hasn't
/// asked for.
pub(crate) fn offers_ours(headers: &HeaderMap) -> bool {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut offered = offered
        .iter()
        .filter_map(|value: &HeaderValue| value.to_str().ok());
    offered.any(|value| value.split(',').any(|word| word.trim() == SUBPROTOCOL))
}
