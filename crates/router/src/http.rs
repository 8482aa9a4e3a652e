//! Owns an HTTP/1.1 connection: hyper speaks, and this sees to it that a caller is never left
//! without an answer of ours: not for garbage, not for a request that stops halfway.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use p2p_shared::timing;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Most bytes of a request's headers, its first line included, that are answered as asked.
pub(crate) const MAX_HEADERS: usize = 16 * 1024;
/// Most bytes of a request's address.
pub(crate) const MAX_ADDRESS: usize = 8 * 1024;
/// Where hyper itself gives up on a request: beyond our own limits, so that it is mostly we who
/// answer.
const MAX_BUFFER: usize = 2 * MAX_HEADERS;
/// Most headers of a request.
const MAX_HEADER_COUNT: usize = 128;

/// Answers requests on this connection until it ends or `closing` asks for the end after the
/// present answer. `refuse` writes the answer to what is no request.
pub(crate) async fn serve<H, F, B>(
    stream: TcpStream,
    closing: &CancellationToken,
    refuse: fn(StatusCode) -> Response<Bytes>,
    handle: H,
) where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let owed = Arc::new(Owed::default());
    let io = TokioIo::new(GuardedStream {
        stream: Some(stream),
        owed: owed.clone(),
        refuse,
        own: Bytes::new(),
    });
    let service = service_fn(|request| {
        owed.set(State::Asked);
        let answer = handle(request);
        let owed = owed.clone();
        async move { Ok::<_, Infallible>(answer.await.map(|body| GuardedBody { body, owed })) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timing::HTTP_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .max_headers(MAX_HEADER_COUNT)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // An error here is the caller's: it hung up, stalled, or spoke something else.
        _ = connection.as_mut() => return,
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// The connection under an upgraded request, and what was read of it beyond the request.
pub(crate) fn downcast(upgraded: hyper::upgrade::Upgraded) -> Option<(TcpStream, Vec<u8>)> {
    let parts = upgraded.downcast::<TokioIo<GuardedStream>>().ok()?;
    let stream = parts.io.into_inner().stream.take()?;
    Some((stream, parts.read_buf.into()))
}

/// What a connection owes its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// Nothing: between requests.
    Nothing,
    /// Part of a request has come.
    Head,
    /// A request is being answered and nothing of the answer was written.
    Asked,
    /// The answer is being written.
    Answering,
}

#[derive(Debug, Default)]
struct Owed {
    state: AtomicU8,
    body_done: AtomicBool,
}

impl Owed {
    fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    fn is(&self, state: State) -> bool {
        self.state.load(Ordering::Relaxed) == state as u8
    }
}

/// A body that says when it has ended.
struct GuardedBody<B> {
    body: B,
    owed: Arc<Owed>,
}

impl<B> Drop for GuardedBody<B> {
    fn drop(&mut self) {
        self.owed.body_done.store(true, Ordering::Relaxed);
    }
}

impl<B: Body + Unpin> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that knows what it owes. hyper answers what it can't parse with a bare status
/// line, and what comes too slowly not at all; here these become answers like all others.
struct GuardedStream {
    /// Gone only once it was upgraded.
    stream: Option<TcpStream>,
    owed: Arc<Owed>,
    refuse: fn(StatusCode) -> Response<Bytes>,
    /// An answer of ours that waits to be written in the place of hyper's.
    own: Bytes,
}

impl GuardedStream {
    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Whether these bytes are hyper's own answer, written when no request was handed to us.
    fn replaces(&mut self, written: &[u8]) -> bool {
        if self.owed.is(State::Asked) {
            self.owed.set(State::Answering);
        }
        if self.owed.is(State::Answering) {
            return false;
        }
        let status = written
            .get(9..12)
            .and_then(|digits| StatusCode::from_bytes(digits).ok());
        self.own = closing_answer((self.refuse)(status.unwrap_or(StatusCode::BAD_REQUEST)));
        self.owed.set(State::Nothing);
        true
    }

    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.own.has_remaining() {
            let own = self.own.clone();
            let written = ready!(self.stream()?.poll_write(cx, &own))?;
            self.own.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// The answer as bytes, after which the connection is closed.
fn closing_answer(response: Response<Bytes>) -> Bytes {
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
    text.into()
}

impl Drop for GuardedStream {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream
            && self.owed.is(State::Head)
        {
            let answer = closing_answer((self.refuse)(StatusCode::REQUEST_TIMEOUT));
            // Nothing else was written here, so there is room for it; a caller that has hung up
            // doesn't need it.
            let _ = stream.try_write(&answer);
        }
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.stream()?.poll_read(cx, buf))?;
        if buf.filled().len() > before && self.owed.is(State::Nothing) {
            self.owed.set(State::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replaces(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.replaces(bufs.first().map_or(&[], |first| first)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(cx))?;
        ready!(self.stream()?.poll_flush(cx))?;
        if self.owed.is(State::Answering) && self.owed.body_done.swap(false, Ordering::Relaxed) {
            self.owed.set(State::Nothing);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(cx))?;
        self.stream()?.poll_shutdown(cx)
    }
}
