//! WebSocket handshake, from a request to the connection behind it.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::SUBPROTOCOL;
use p2p_shared::text::Escaped;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_util::task::TaskTracker;

use crate::http::connection;
use crate::http::response::Problem;
use crate::ops::shutdown::own;

/// Answers with the response of a handshake, after which the connection is a WebSocket, and serves
/// it in a task of the tracker: `serve` gets the connection and the bytes after the request.
pub(crate) fn accept<F: Future<Output = ()> + Send + 'static>(
    tracker: &TaskTracker,
    mut request: Request<Incoming>,
    response: Response<Bytes>,
    serve: impl FnOnce(Transport, Vec<u8>) -> F + Send + 'static,
) -> Response<Bytes> {
    let upgrading = hyper::upgrade::on(&mut request);
    tracker.spawn(own(async move {
        if let Ok(upgraded) = upgrading.await
            && let Some((stream, read)) = connection::downcast(upgraded)
        {
            serve(stream, read).await;
        }
    }));
    response
}

/// Returns the response to the handshake of a peer that speaks this version of the protocol.
pub(crate) fn handshake_ours(request: &Request<Incoming>) -> Result<Response<Bytes>, Problem> {
    let response = handshake(request, "p2p-inner, p2p-console or a car's page")?;
    if response
        .headers()
        .contains_key(header::SEC_WEBSOCKET_PROTOCOL)
    {
        return Ok(response);
    }
    let offered = offered(request).next().unwrap_or("none");
    let sentence = format!(
        "this router speaks {SUBPROTOCOL} and the peer {}: update the older of the two",
        Escaped(offered)
    );
    Err(Problem::new(StatusCode::BAD_REQUEST, sentence))
}

/// Returns the response to the handshake (RFC 6455, 4.2) of a peer with any version. The response
/// names ours only if the peer offered ours: a browser refuses any other. `whom` says who uses the
/// path.
pub(crate) fn handshake(
    request: &Request<Incoming>,
    whom: &str,
) -> Result<Response<Bytes>, Problem> {
    let mut response = create_response_with_body(request, Bytes::new).map_err(|_| {
        let sentence = format!("this path is for {whom}: it speaks WebSocket");
        Problem::new(StatusCode::UPGRADE_REQUIRED, sentence)
            .with(header::UPGRADE, HeaderValue::from_static("websocket"))
    })?;
    let is_ours = |offered: &str| offered.split(',').any(|word| word.trim() == SUBPROTOCOL);
    if offered(request).any(is_ours) {
        let ours = HeaderValue::from_static(SUBPROTOCOL);
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, ours);
    }
    Ok(response)
}

fn offered(request: &Request<Incoming>) -> impl Iterator<Item = &str> {
    let values = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    values.iter().filter_map(|value| value.to_str().ok())
}
