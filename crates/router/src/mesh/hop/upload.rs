//! The body of a request that is passed on. Its beginning is kept until an answer comes, so that the request
//! can be passed on once more to a member that has the car by now, after the first one has refused it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;

/// Most bytes that are kept.
const KEPT: usize = 64 * 1024;

/// Body of one request.
#[derive(Debug)]
pub(crate) struct Upload {
    size: SizeHint,
    is_empty: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` once it was given back.
    body: Option<Incoming>,
    /// What was read so far; `None` once that was too much.
    kept: Option<Vec<Bytes>>,
    size: usize,
    /// Number of the attempt that may read on, and of the kept pieces that it has read.
    attempt: u32,
    read: usize,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Broken,
}

/// The body of one attempt to pass the request on; `None` is an empty one.
#[derive(Debug)]
pub(super) struct UploadBody(Option<Attempt>);

#[derive(Debug)]
struct Attempt {
    upload: Arc<Upload>,
    number: u32,
}

/// The caller did not send the whole body, or another attempt sends it now.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off")]
pub(super) struct BrokenUpload;

impl Upload {
    pub(crate) fn new(body: Incoming) -> Self {
        Self {
            size: body.size_hint(),
            is_empty: body.is_end_stream(),
            state: Mutex::new(State {
                body: Some(body),
                kept: Some(Vec::new()),
                size: 0,
                attempt: 0,
                read: 0,
                end: None,
            }),
        }
    }

    /// Makes an empty one.
    pub(crate) fn empty() -> Self {
        Self {
            size: SizeHint::with_exact(0),
            is_empty: true,
            state: Mutex::new(State {
                body: None,
                kept: Some(Vec::new()),
                size: 0,
                attempt: 0,
                read: 0,
                end: Some(End::Whole),
            }),
        }
    }

    /// Begins an attempt, and ends the one before; `None` if too much was sent in that.
    pub(super) fn begin(self: &Arc<Self>) -> Option<UploadBody> {
        let mut state = self.state.lock();
        state.kept.as_ref()?;
        state.attempt += 1;
        state.read = 0;
        Some(UploadBody(Some(Attempt {
            upload: self.clone(),
            number: state.attempt,
        })))
    }

    /// Gives the body back, if nothing was read of it, and ends all attempts.
    pub(crate) fn take_unread(&self) -> Option<Incoming> {
        let mut state = self.state.lock();
        if state.size > 0 || state.end.is_some() {
            return None;
        }
        state.attempt += 1;
        state.body.take()
    }

    /// The body of a request without one.
    pub(super) fn none() -> UploadBody {
        UploadBody(None)
    }

    /// Returns true if all of the body was read, so that its connection can take another request.
    pub(super) fn is_whole(&self) -> bool {
        self.is_empty || self.state.lock().end == Some(End::Whole)
    }

    /// Returns true if the caller's body broke off.
    pub(crate) fn is_broken(&self) -> bool {
        self.state.lock().end == Some(End::Broken)
    }

    /// Forgets what was kept: the request is not passed on again.
    pub(super) fn keep_nothing(&self) {
        let mut state = self.state.lock();
        let read = state.read;
        state.kept.take_if(|kept| read >= kept.len());
    }
}

impl State {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenUpload>>> {
        loop {
            match self.end {
                Some(End::Whole) => return Poll::Ready(None),
                Some(End::Broken) => return Poll::Ready(Some(Err(BrokenUpload))),
                None => {}
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(Some(Err(BrokenUpload)));
            };
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Nobody reads trailers of a request.
                    let Ok(bytes) = frame.into_data() else {
                        continue;
                    };
                    self.size += bytes.len();
                    if self.size > KEPT {
                        self.kept = None;
                    }
                    if let Some(kept) = &mut self.kept {
                        kept.push(bytes.clone());
                    }
                    // hyper doesn't ask again after the last byte of a body whose length is known.
                    if body.is_end_stream() {
                        self.end = Some(End::Whole);
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Err(_)) => self.end = Some(End::Broken),
                None => self.end = Some(End::Whole),
            }
        }
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = BrokenUpload;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenUpload>>> {
        let Some(attempt) = &self.0 else {
            return Poll::Ready(None);
        };
        let mut state = attempt.upload.state.lock();
        if state.attempt != attempt.number {
            return Poll::Ready(Some(Err(BrokenUpload)));
        }
        let kept = state.kept.as_ref().and_then(|kept| kept.get(state.read));
        let bytes = match kept.cloned() {
            Some(bytes) => bytes,
            None => match ready!(state.poll(cx)) {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            },
        };
        state.read += 1;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        let attempt = self.0.as_ref();
        attempt.is_none_or(|attempt| attempt.upload.is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        let attempt = self.0.as_ref();
        attempt.map_or(SizeHint::with_exact(0), |it| it.upload.size)
    }
}
