//! Owns what a connection owes its caller: it watches what hyper reads and writes, and keeps
//! back hyper's own answers, which have none of our headers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::{Body, Frame, SizeHint};
use p2p_shared::net::transport::Transport;
use parking_lot::{Mutex, MutexGuard};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::http::flushed::Flushed;
use crate::net::write_timeout;

/// What is known of a connection by its stream, its answers' bodies, and whoever serves it.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    owed: Owed,
    body: Output,
    reset_unless_whole: bool,
    /// An answer that goes on, and wants to know when it is out.
    live: Option<Flushed>,
    stream: Option<Transport>,
}

/// What the caller has not got yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Owed {
    /// Nothing: it has asked nothing, or not to the end.
    #[default]
    Nothing,
    /// An answer of which nothing was written.
    Answer,
    /// An answer of which part was written.
    RestOfAnswer,
    /// Our answer, with this status, to what hyper couldn't read.
    Refusal(StatusCode),
    /// The rest of an answer that it could take for the whole, or that it doesn't take: dropped,
    /// the connection is reset.
    Reset,
}

/// How far the body of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Output {
    #[default]
    Coming,
    /// It has broken off; what came before may not be written yet.
    BreakingOff,
    BrokenOff,
    Ended,
}

impl Guard {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// A request has come.
    pub(super) fn asked(&self) {
        let mut state = self.lock();
        state.owed = Owed::Answer;
        state.body = Output::Coming;
        state.reset_unless_whole = false;
        state.live = None;
    }

    /// The present answer goes on and on, and its parts wait for those before them to be out.
    pub(super) fn is_live(&self, live: Flushed) {
        self.lock().live = Some(live);
    }

    /// The end of the present answer is told by the connection's: one that breaks off must not
    /// look like that.
    pub(super) fn reset_unless_whole(&self) {
        self.lock().reset_unless_whole = true;
    }

    pub(super) fn owed(&self) -> Owed {
        self.lock().owed
    }

    /// The stream that was dropped, unless it went to somebody else.
    pub(super) fn reclaim(&self) -> Option<Transport> {
        self.lock().stream.take()
    }
}

/// The body of an answer. What comes before it breaks off is written before the error is told,
/// after which nothing is.
pub(super) struct GuardedBody<B: Body> {
    body: B,
    guard: Guard,
    error: Option<B::Error>,
}

impl<B: Body> GuardedBody<B> {
    pub(super) fn new(body: B, guard: Guard) -> Self {
        Self {
            body,
            guard,
            error: None,
        }
    }
}

impl<B: Body> Drop for GuardedBody<B> {
    fn drop(&mut self) {
        let mut state = self.guard.lock();
        if state.body == Output::Coming {
            state.body = Output::Ended;
        }
    }
}

impl<B: Body + Unpin> Body for GuardedBody<B>
where
    B::Error: Unpin,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if self.error.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Err(error)) => {
                    self.error = Some(error);
                    self.guard.lock().body = Output::BreakingOff;
                }
                frame => return Poll::Ready(frame),
            }
        }
        if self.guard.lock().body == Output::BrokenOff {
            return Poll::Ready(self.error.take().map(Err));
        }
        // The flush that follows wakes us.
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The connection under hyper. Dropped, it leaves its stream to whoever reclaims it.
#[derive(Debug)]
pub(super) struct GuardedStream {
    stream: Option<Transport>,
    guard: Guard,
    patience: Duration,
    /// Runs while the caller takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl GuardedStream {
    /// Gives up a caller that takes nothing for as long as `patience`.
    pub(super) fn new(stream: Transport, guard: Guard, patience: Duration) -> Self {
        Self {
            stream: Some(stream),
            guard,
            patience,
            stalled: None,
        }
    }

    pub(super) fn into_stream(mut self) -> Option<Transport> {
        self.stream.take()
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Transport>> {
        self.stream
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Looks at what hyper is about to write; whether it is kept back.
    fn keeps_back(&mut self, written: &[u8]) -> bool {
        let mut state = self.guard.lock();
        match state.owed {
            Owed::Answer if state.reset_unless_whole => {
                state.owed = Owed::Reset;
                self.set_reset(true);
                false
            }
            Owed::Answer => {
                state.owed = Owed::RestOfAnswer;
                false
            }
            Owed::RestOfAnswer | Owed::Reset => false,
            // hyper answers by itself what it can't read, and ends.
            Owed::Nothing => {
                let status = written
                    .get(9..12)
                    .and_then(|digits| StatusCode::from_bytes(digits).ok());
                state.owed = Owed::Refusal(status.unwrap_or(StatusCode::BAD_REQUEST));
                true
            }
            Owed::Refusal(_) => true,
        }
    }

    /// Whether the connection is reset when it is dropped, so that its end looks like no end of
    /// an answer, even if we are killed.
    fn set_reset(&self, reset: bool) {
        if let Some(socket) = self.stream.as_ref().and_then(Transport::socket) {
            // Only a socket that is gone refuses.
            let _ = SockRef::from(socket).set_linger(reset.then_some(Duration::ZERO));
        }
    }

    /// The result of a write, unless the caller takes nothing for too long.
    fn within_patience<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        // Who looks at what goes on has seconds, as those at a console have.
        let patience = match self.guard.lock().live {
            Some(_) => write_timeout::PATIENCE,
            None => self.patience,
        };
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        // Closed, it would stay in the kernel's memory for minutes with all that waits.
        self.set_reset(true);
        self.guard.lock().owed = Owed::Reset;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Drop for GuardedStream {
    fn drop(&mut self) {
        self.guard.lock().stream = self.stream.take();
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.keeps_back(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = self.stream()?.poll_write(cx, buf);
        self.within_patience(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.keeps_back(bufs.first().map_or(&[], |first| first)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let written = self.stream()?.poll_write_vectored(cx, bufs);
        self.within_patience(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes when it has written all that it has, and only then.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS takes what is written and has it wait for the flush.
        let flushed = self.stream()?.poll_flush(cx);
        ready!(self.within_patience(cx, flushed))?;
        let mut state = self.guard.lock();
        if let Some(live) = &state.live {
            live.is_out();
        }
        match state.body {
            Output::BreakingOff => {
                state.body = Output::BrokenOff;
                cx.waker().wake_by_ref();
            }
            Output::Ended => match state.owed {
                Owed::RestOfAnswer => state.owed = Owed::Nothing,
                Owed::Reset => {
                    state.owed = Owed::Nothing;
                    self.set_reset(false);
                }
                Owed::Nothing | Owed::Answer | Owed::Refusal(_) => {}
            },
            Output::Coming | Output::BrokenOff => {}
        }
        Poll::Ready(Ok(()))
    }

    /// Whoever reclaims the stream closes it, since there may be something left to say.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
