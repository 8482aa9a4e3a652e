//! Serves an HTTP/1.1 connection with hyper, and makes sure that a caller always gets an answer
//! with the router's headers, even to garbage or to half a request, and has time to read the
//! answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::CALLER_LEFT;
use p2p_shared::timing;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http::flushed::Flushed;
use crate::http::response::AnswerBody;
use crate::net::unauthenticated::PendingConnection;

mod guard;

use guard::{Guard, GuardedBody, GuardedStream, Owed};

/// Most bytes of a request's headers, its first line included.
pub(crate) const MAX_HEADERS: usize = 16 * 1024;
pub(crate) const MAX_ADDRESS: usize = 8 * 1024;
/// hyper's own limit: above the router's, so that mostly the router answers. Its limit of 100 headers
/// stays, since with any other it takes memory twice for each request.
const MAX_BUFFER: usize = 2 * MAX_HEADERS;

/// Most bytes that are read and thrown away after an answer: the caller gets to read the answer only
/// if no unread byte is left when the connection is closed (RFC 9112, 9.6).
const THROWN_AWAY: u64 = 8 * 1024 * 1024;
/// Longest time for reading and throwing away.
const LINGER: Duration = Duration::from_secs(2);

/// Time that a caller has.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For all headers of a request.
    pub headers: Duration,
    /// For the whole body.
    pub body: Duration,
    /// For reading on, after the caller has stopped reading an answer (nginx's `send_timeout`).
    pub reading: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            headers: timing::HTTP_HEADERS,
            body: timing::HTTP_BODY,
            reading: Duration::from_secs(60),
        }
    }
}

/// Answers requests on this connection until it ends or `pending` is told to go, after the present
/// answer. `refuse` makes the answer to what is not a request. Each answer has the header `always`.
pub(crate) async fn serve_with<F: Future<Output = Response<AnswerBody>>>(
    patience: Patience,
    stream: Transport,
    pending: &PendingConnection,
    always: Option<(HeaderName, HeaderValue)>,
    refuse: impl Fn(StatusCode) -> Response<Bytes>,
    handle: impl Fn(Request<Incoming>) -> F,
) {
    let closing = &pending.end;
    let guard = Guard::default();
    let io = TokioIo::new(GuardedStream::new(stream, guard.clone(), patience.reading));
    let service = service_fn(|request: Request<Incoming>| {
        guard.asked();
        let is_http_10 = request.version() == Version::HTTP_10;
        let has_body = !request.body().is_end_stream();
        let method = request.method().clone();
        let guard = guard.clone();
        let always = always.clone();
        // Not `async`, which would hold the answer's future twice.
        handle(request).map(move |mut response| {
            response.headers_mut().extend(always);
            if has_body && leaves_body(&method, response.status()) {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            if let Some(live) = response.extensions_mut().remove::<Flushed>() {
                guard.lock().live = Some(live);
            }
            if is_http_10 && response.body().size_hint().exact().is_none() {
                guard.lock().reset_unless_whole = true;
            }
            Ok::<_, Infallible>(response.map(|body| GuardedBody { body, guard }))
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.headers)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(io, service)
        .with_upgrades();
    let ended = match closing.run_until_cancelled(&mut connection).await {
        Some(ended) => ended,
        None if guard.lock().owed == Owed::Nothing => Ok(()),
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            if pending.is_sent_away() {
                // The caller may be one that never reads.
                let last = tokio::time::timeout(LINGER, &mut connection).await;
                last.unwrap_or(Ok(()))
            } else {
                (&mut connection).await
            }
        }
    };
    // `None` only if the connection was upgraded.
    let Some(parts) = connection.into_parts() else {
        return;
    };
    let stream = parts.io.into_inner().stream;
    let is_closing = closing.is_cancelled();
    let has_begun = begins(&parts.read_buf).is_some() || what_has_come(&stream).is_some();
    let owed = guard.lock().owed;
    let last_words = match owed {
        Owed::Nothing if has_begun => cut_off(&ended, is_closing),
        // Between requests either end may close.
        Owed::Nothing if ended.is_err() || is_closing => return,
        Owed::Nothing | Owed::RestOfAnswer => None,
        Owed::Answer => StatusCode::from_u16(CALLER_LEFT).ok(),
        Owed::Refusal(status) => Some(status),
        Owed::Reset => return,
    };
    let last_words = last_words.map(|status| {
        let mut response = refuse(status);
        response.headers_mut().extend(always.clone());
        response
    });
    close(stream, pending, last_words).await;
}

/// Sends the last words, if there are any, and closes. A caller that doesn't take them in time
/// doesn't get them.
pub(crate) async fn close(
    mut stream: Transport,
    pending: &PendingConnection,
    last_words: Option<Response<Bytes>>,
) {
    let last_words = last_words.map(closing_answer).unwrap_or_default();
    let linger = if pending.is_sent_away() {
        Duration::ZERO
    } else {
        LINGER
    };
    // Waits for the caller to read them and close.
    let closing = async {
        stream.write_all(&last_words).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(THROWN_AWAY), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(linger, closing).await;
}

/// Returns true if this answer has to be the last on its connection: the rest of an unread body
/// must not be taken for the next request.
fn leaves_body(method: &Method, status: StatusCode) -> bool {
    // Only a POST's body is always read before the answer, unless the POST is refused.
    method != Method::POST || status.is_client_error() || status.is_server_error()
}

/// Returns the first byte of a request in these bytes, if there is one.
fn begins(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|byte| !b"\r\n".contains(byte))
}

/// Returns the first byte that has arrived and was not read yet: the router didn't get to run in
/// time, or is closing. Asks the kernel, because tokio may not know of it before its next turn.
pub(crate) fn what_has_come(stream: &Transport) -> Option<u8> {
    let mut bytes = [0; 16];
    let looked = recv(
        stream.socket()?,
        &mut bytes,
        RecvFlags::PEEK | RecvFlags::DONTWAIT,
    );
    let (length, _) = looked.ok()?;
    begins(&bytes[..length])
}

/// Returns the status for a caller whose request has only partly arrived.
fn cut_off(ended: &hyper::Result<()>, is_closing: bool) -> Option<StatusCode> {
    match ended {
        _ if is_closing => Some(StatusCode::SERVICE_UNAVAILABLE),
        Err(error) if error.is_timeout() => Some(StatusCode::REQUEST_TIMEOUT),
        Err(_) => Some(StatusCode::BAD_REQUEST),
        // This request came after the last one that is answered here.
        Ok(()) => None,
    }
}

/// Returns the connection under an upgraded request, and the bytes that were read beyond the
/// request.
pub(crate) fn downcast(upgraded: hyper::upgrade::Upgraded) -> Option<(Transport, Vec<u8>)> {
    let parts = upgraded.downcast::<TokioIo<GuardedStream>>().ok()?;
    Some((parts.io.into_inner().stream, parts.read_buf.into()))
}

/// Encodes the answer, after which the connection is closed.
fn closing_answer(response: Response<Bytes>) -> Vec<u8> {
    let (head, body) = response.into_parts();
    let mut text = format!("HTTP/1.1 {}\r\nconnection: close\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_ref());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    text.extend_from_slice(&body);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_what_the_contract_says() {
        let patience = Patience::default();
        assert_eq!(patience.headers, Duration::from_secs(10));
        assert_eq!(patience.body, Duration::from_secs(10));
    }

    #[tokio::test]
    async fn what_came_and_was_not_read_is_seen() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut caller = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = Transport::Plain(listener.accept().await.unwrap().0);
        assert_eq!(what_has_come(&stream), None);
        // The runtime doesn't notice this: the test keeps it from running.
        std::io::Write::write_all(&mut caller, b"G").unwrap();
        assert_eq!(what_has_come(&stream), Some(b'G'));
        drop(caller);
        assert_eq!(what_has_come(&stream), Some(b'G'));
    }

    #[tokio::test]
    async fn who_is_turned_away_gets_to_read_why_though_nobody_read_what_it_said() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut caller = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let request = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(8 << 10));
        caller.write_all(request.as_bytes()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let stream = Transport::Plain(stream);
        while what_has_come(&stream).is_none() {
            tokio::task::yield_now().await;
        }
        let metrics = std::sync::Arc::new(crate::ops::metrics::Metrics::new());
        let strangers = std::sync::Arc::new(crate::net::unauthenticated::Unauthenticated::new(
            metrics,
            &crate::net::limits::OpenFileLimits::of(u64::MAX),
        ));
        let pending = strangers.admit(peer, &tokio_util::sync::CancellationToken::new());
        let mut response = Response::new(Bytes::from_static(b"later\n"));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let hearing = async {
            let mut said = String::new();
            caller.read_to_string(&mut said).await.unwrap();
            drop(caller);
            said
        };
        let ((), said) = tokio::join!(close(stream, &pending, Some(response)), hearing);
        assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
        assert!(said.ends_with("\r\n\r\nlater\n"), "{said}");
    }
}
