//! Defines the context of one request on a service port, and makes the common answers from it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use p2p_shared::names::RunId;

use crate::auth::access::Caller;
use crate::car::Car;
use crate::context::Context;
use crate::http::response::{AnswerBody, Executed, Problem, Timing, answer};
use crate::link::work::NoAnswer;
use crate::mesh::id::Start;
use crate::net::limits;
use crate::net::quota::QuotaPermit;
use crate::net::unauthenticated::PendingConnection;

/// A request on a service port, and its car.
pub(crate) struct RequestContext<'a> {
    pub context: &'a Arc<Context>,
    pub car: &'a Arc<Car>,
    pub pending: &'a PendingConnection,
    pub run: RunId,
    pub begun: Instant,
    /// True if the request came over TLS.
    pub is_tls: bool,
    /// The other router of the mesh that the request came to.
    pub via: Option<Start>,
}

impl RequestContext<'_> {
    pub(crate) fn timing(&self) -> Timing {
        Timing::since(self.begun)
    }

    /// Makes an answer of this type to a request that ran nothing.
    pub(crate) fn ok(&self, content_type: &'static str, body: AnswerBody) -> Response<AnswerBody> {
        let mut response = answer(StatusCode::OK, Executed::No, self.run, self.timing(), body);
        let content_type = HeaderValue::from_static(content_type);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, content_type);
        response
    }

    /// Counts an answer of the caller's, until it was sent, in what its key may leave unread.
    pub(crate) fn counted(&self, caller: &Caller, answer: Bytes) -> Result<Bytes, Problem> {
        Ok(self.room(caller, answer.len())?.kept_with(answer))
    }

    /// Counts bytes of a caller's in what its key may leave unread, until the permit is dropped.
    pub(crate) fn room(&self, caller: &Caller, bytes: usize) -> Result<QuotaPermit, Problem> {
        let owner = caller.quota_owner(self.pending.peer.ip());
        let permit = self.context.quotas.unread.take_sized(owner, bytes);
        permit.ok_or_else(|| {
            let sentence = format!(
                "answers of {} bytes to {} wait to be read, the most that a key may have: read them first",
                limits::UNREAD,
                owner.whose()
            );
            Problem::retry_after(StatusCode::TOO_MANY_REQUESTS, 1, sentence)
        })
    }

    /// Makes the answer to a question that the car did not answer.
    pub(crate) fn no_answer(&self, why: NoAnswer) -> Problem {
        Problem::unavailable(format!("{} {why}", self.car.name()))
    }
}
