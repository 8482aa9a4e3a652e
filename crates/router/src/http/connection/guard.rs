//! Watches what hyper reads and writes on a connection, to know whether the caller has its answer.
//! Keeps back hyper's own answers, which have none of the router's headers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Body, Frame, SizeHint};
use p2p_shared::net::transport::Transport;
use parking_lot::{Mutex, MutexGuard};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::flushed::Flushed;
use crate::http::response::{AnswerBody, BrokenBody};
use crate::net::write_timeout::{self, WriteTimer};

/// State of a connection, shared by its stream, the bodies of its answers, and the task that serves
/// it.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub owed: Owed,
    body: Output,
    /// True if the end of the connection marks the end of the present answer: an answer that breaks
    /// off must not look complete.
    pub reset_unless_whole: bool,
    /// Flag of a live answer, which waits until its earlier parts are written.
    pub live: Option<Flushed>,
}

/// Part of the answer that the caller has not got yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Owed {
    /// Nothing: there was no complete request.
    #[default]
    Nothing,
    /// An answer of which no byte was written.
    Answer,
    /// An answer of which part was written.
    RestOfAnswer,
    /// The router's answer, with this status, to what hyper couldn't parse.
    Refusal(StatusCode),
    /// The rest of an answer that the caller could take for the whole, or doesn't read: the
    /// connection is reset.
    Reset,
}

/// Progress of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Output {
    #[default]
    Coming,
    /// The body broke off; what came before may not be written yet.
    BreakingOff,
    BrokenOff,
    Ended,
}

impl Guard {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Reports that a request has arrived.
    pub(super) fn asked(&self) {
        let mut state = self.lock();
        state.owed = Owed::Answer;
        state.body = Output::Coming;
        state.reset_unless_whole = false;
        state.live = None;
    }
}

/// Body of an answer. If the body breaks off, everything before is written first, and nothing
/// after.
pub(super) struct GuardedBody {
    pub body: AnswerBody,
    pub guard: Guard,
}

impl Drop for GuardedBody {
    fn drop(&mut self) {
        let mut state = self.guard.lock();
        if state.body == Output::Coming {
            state.body = Output::Ended;
        }
    }
}

impl Body for GuardedBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let output = self.guard.lock().body;
        match output {
            Output::Coming | Output::Ended => {
                let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
                if !matches!(frame, Some(Err(BrokenBody))) {
                    return Poll::Ready(frame);
                }
                self.guard.lock().body = Output::BreakingOff;
                Poll::Pending
            }
            // The flush that follows wakes this task.
            Output::BreakingOff => Poll::Pending,
            Output::BrokenOff => Poll::Ready(Some(Err(BrokenBody))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Connection under hyper.
#[derive(Debug)]
pub(super) struct GuardedStream {
    pub stream: Transport,
    guard: Guard,
    /// Longest time for which a caller takes nothing.
    patience: Duration,
    timer: WriteTimer,
}

impl GuardedStream {
    pub(super) fn new(stream: Transport, guard: Guard, patience: Duration) -> Self {
        Self {
            stream,
            guard,
            patience,
            timer: WriteTimer::default(),
        }
    }

    /// Checks what hyper is about to write. Returns true if it is kept back.
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
            // hyper itself answers a request that it can't parse, and closes the connection.
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

    /// Sets whether the connection is reset when it is dropped, so that its end doesn't look like
    /// the end of an answer, even if the router is killed.
    fn set_reset(&self, reset: bool) {
        if let Some(socket) = self.stream.socket() {
            // This fails only for a socket that is gone.
            let _ = SockRef::from(socket).set_linger(reset.then_some(Duration::ZERO));
        }
    }

    /// Returns the result of a write. Gives up a caller who has taken nothing for too long.
    fn within_patience<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        // Viewers of a stream have 2 s, as consoles have.
        let patience = match self.guard.lock().live {
            Some(_) => write_timeout::PATIENCE,
            None => self.patience,
        };
        let written = self.timer.watch(cx, patience, written);
        if matches!(&written, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut) {
            // Without a reset the unsent data would stay in the kernel's memory for minutes.
            self.set_reset(true);
            self.guard.lock().owed = Owed::Reset;
        }
        written
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
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
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.within_patience(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes when it has written everything, and only then.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS buffers what is written until the flush.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
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

    /// The task that reclaims the stream closes it, because an answer may be left to send.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
