//! Handles a connection from its first byte to its first request: TLS or plain, and what a plain
//! connection may ask for. Makes the last answer for a connection without a request.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Response, StatusCode};
use p2p_shared::net::socket;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{ADMIN_PATH, CALLER_LEFT, LINK_PATH, MEDIA_PATH};
use p2p_shared::timing;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::http::connection;
use crate::http::response::{Executed, Problem};
use crate::net::unauthenticated::PendingConnection;

/// First byte of every TLS connection: a handshake record (RFC 8446, 5.1). No HTTP method begins
/// with it.
pub(crate) const HANDSHAKE: u8 = 22;

/// Returns the connection once it is known to be TLS or plain; `None` if that took longer than
/// [`timing::HELLO`], or the connection had to be closed. A caller that has sent something by then
/// gets the answer of `refuse`.
pub(crate) async fn enter(
    acceptor: Option<TlsAcceptor>,
    pending: &PendingConnection,
    stream: TcpStream,
    refuse: impl Fn(StatusCode) -> Response<Bytes>,
) -> Option<Transport> {
    // Little unsent data may wait in the kernel, where it would grow old.
    socket::prepare_link(&stream);
    let Some(acceptor) = acceptor else {
        return Some(Transport::Plain(stream));
    };
    let until = Instant::now() + timing::HELLO;
    let mut first = [0];
    let peeking = timeout_at(until, stream.peek(&mut first));
    let status = match pending.end.run_until_cancelled(peeking).await {
        Some(Ok(Ok(_))) if first == [HANDSHAKE] => {
            let accepting = timeout_at(until, acceptor.accept(stream));
            let accepted = pending.end.run_until_cancelled(accepting).await?;
            return accepted.ok()?.ok().map(Transport::tls);
        }
        Some(Ok(Ok(_))) => return Some(Transport::Plain(stream)),
        Some(Ok(Err(_))) => return None,
        Some(Err(_)) => StatusCode::REQUEST_TIMEOUT,
        None => StatusCode::SERVICE_UNAVAILABLE,
    };
    let stream = Transport::Plain(stream);
    // A caller that began with TLS can't read a plain answer, and has asked nothing yet.
    if connection::what_has_come(&stream).is_some_and(|byte| byte != HANDSHAKE) {
        connection::close(stream, pending, Some(refuse(status))).await;
    }
    None
}

/// Makes the last answer on a connection without a request to answer: the request can't be parsed,
/// or didn't arrive within `patience`, or the router is closing. The sender may have done
/// everything right.
pub(crate) fn last_words(
    pending: &PendingConnection,
    status: StatusCode,
    patience: Duration,
) -> Problem {
    if pending.is_sent_away() {
        // Nothing runs for a caller that may be sent away.
        return Problem::unavailable(
            "too many callers without a key wait here: nothing was run; try again in a moment",
        );
    }
    let problem = |sentence: &str| Problem::new(status, sentence);
    match status {
        StatusCode::REQUEST_TIMEOUT => {
            let seconds = patience.as_secs_f32();
            let sentence = format!(
                "within {seconds} s the request was not complete, or the router did not get to read it: nothing was run"
            );
            Problem::new(status, sentence)
        }
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => problem(
            "the address and the headers are too large, or there are more than 100 headers: send a command's long input as the body of a POST",
        ),
        StatusCode::SERVICE_UNAVAILABLE => Problem::retry_after(
            status,
            2,
            "the router restarts, or closes this port, and did not get to read this: nothing was run; try again in a moment",
        ),
        status if status == CALLER_LEFT => Problem::new(
            StatusCode::BAD_REQUEST,
            "the connection was closed from your side before the answer, which ends the command: keep it open",
        )
        .executed(Executed::Unknown),
        _ => problem("this is not a complete HTTP/1.1 request, or not one for this port (a proxy sends the PROXY protocol only if the router's --proxy-protocol has its address): nothing was run"),
    }
}

/// Makes the answer to a request without TLS, which anybody on the way can read.
pub(crate) fn in_the_clear<B>(request: &Request<B>) -> Problem {
    // Refused even if the key is valid: a redirect would hide that others may know the key now.
    if request.headers().contains_key(header::AUTHORIZATION) {
        let sentence = "this key came without TLS, and anybody on the way may have read it: revoke it, make a new one with `p2p-router key add`, and send that by https:// alone (or update the program that sent this one): nothing was run";
        return Problem::new(StatusCode::FORBIDDEN, sentence);
    }
    let is_behind_tls = (request.headers().get("x-forwarded-proto"))
        .is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"));
    if is_behind_tls {
        // A redirect would lead back to the same proxy, for ever.
        let sentence = "the proxy in front of this router passes the request on without TLS, over a network that others may read: let it connect by https:// (in nginx `proxy_pass https://…`), or start p2p-router with --allow-plain-http: nothing was run";
        return Problem::new(StatusCode::FORBIDDEN, sentence);
    }
    if !matches!(request.uri().path(), LINK_PATH | MEDIA_PATH | ADMIN_PATH) {
        return redirect(request);
    }
    let sentence = "this router needs a key: `p2p-router key add` makes one";
    Problem::unauthorized(sentence)
}

/// Sends a caller to the same address over TLS.
fn redirect<B>(request: &Request<B>) -> Problem {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let path = request.uri().path_and_query();
    let location = host
        .zip(path)
        .and_then(|(host, path)| HeaderValue::try_from(format!("https://{host}{path}")).ok());
    let sentence = "this router speaks https:// only, so that nobody on the way reads the key or changes the command: nothing was run";
    match location {
        Some(location) => {
            Problem::new(StatusCode::PERMANENT_REDIRECT, sentence).with(header::LOCATION, location)
        }
        None => Problem::new(StatusCode::FORBIDDEN, sentence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_proxy_that_speaks_tls_nobody_is_sent_round_in_circles() {
        let status = |scheme: &str| {
            let request = Request::get("/cgi?command=hello").header("host", "car.test");
            let request = request
                .header("x-forwarded-proto", scheme)
                .body(())
                .unwrap();
            let problem = in_the_clear(&request);
            (problem.status, problem.headers.len())
        };
        assert_eq!(status("http"), (StatusCode::PERMANENT_REDIRECT, 1));
        assert_eq!(status("HTTPS"), (StatusCode::FORBIDDEN, 0));
    }
}
