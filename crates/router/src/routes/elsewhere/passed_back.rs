//! Passes an answer back to the caller, as it comes from the router that has the car.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::http::response::{AnswerBody, BrokenBody, whole};
use crate::mesh::hop::{Exchange, headers};
use crate::net::unauthenticated::PassingOn;

/// What counts a run while its answer is on its way.
pub(super) type Counted = (Option<TaskTrackerToken>, PassingOn);

/// Makes the caller's answer from the holder's.
pub(super) fn answer(
    response: Response<Incoming>,
    exchange: Exchange,
    counted: Counted,
) -> Response<AnswerBody> {
    let (mut parts, mut body) = response.into_parts();
    headers::strip_connection(&mut parts.headers, true);
    // A short answer has come whole with its head.
    let first = match body.is_end_stream() {
        true => None,
        false => body.frame().now_or_never().flatten(),
    };
    if body.is_end_stream() && !matches!(first, Some(Err(_))) {
        exchange.end();
        let bytes = first.and_then(|frame| frame.ok()?.into_data().ok());
        return Response::from_parts(parts, whole(bytes.unwrap_or_default()));
    }
    let silent = Box::pin(exchange.silent.clone().cancelled_owned());
    let body = PassedBack {
        first,
        body,
        silent,
        exchange: Some(exchange),
        _counted: counted,
    };
    Response::from_parts(parts, body.boxed_unsync())
}

/// Body of an answer on its way from the holder. If it breaks off, so does the caller's.
struct PassedBack {
    first: Option<Result<Frame<Bytes>, hyper::Error>>,
    body: Incoming,
    silent: Pin<Box<WaitForCancellationFutureOwned>>,
    /// `None` once the body has come whole.
    exchange: Option<Exchange>,
    _counted: Counted,
}

impl Body for PassedBack {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        if self.exchange.is_some() && self.silent.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(BrokenBody)));
        }
        let frame = match self.first.take() {
            Some(first) => Some(first),
            None => ready!(Pin::new(&mut self.body).poll_frame(cx)),
        };
        let is_last = match &frame {
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) => false,
            None => true,
        };
        // hyper doesn't ask again after the last byte of a body whose length is known, nor after trailers.
        if (is_last || self.body.is_end_stream())
            && let Some(exchange) = self.exchange.take()
        {
            exchange.end();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|_| BrokenBody)))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self
            .first
            .as_ref()
            .and_then(|it| it.as_ref().ok()?.data_ref());
        let (first, rest) = (first.map_or(0, Bytes::len) as u64, self.body.size_hint());
        match rest.exact() {
            Some(rest) => SizeHint::with_exact(first + rest),
            None => SizeHint::new(),
        }
    }
}
