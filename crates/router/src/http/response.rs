//! Form of every HTTP answer: status, headers, and for an error one sentence.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use p2p_shared::names::RunId;
use p2p_shared::timing;

/// Header that says whether the command was executed.
pub const EXECUTED: HeaderName = HeaderName::from_static("p2p-executed");
/// Header with the run's id.
pub const RUN: HeaderName = HeaderName::from_static("p2p-run");
/// Header with the run's end: an exit code, a signal's name, or `ended`.
pub const EXIT: HeaderName = HeaderName::from_static("p2p-exit");
/// Header that tells nginx, and proxies like it, to pass a body on as it comes.
pub const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);
/// Header with the times (W3C Server Timing).
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Value of `P2P-Executed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executed {
    /// The command was not executed, and won't be.
    No,
    /// The inner reported that the command started.
    Yes,
    /// The command was handed to the link, and nobody knows what became of it.
    Unknown,
}

impl Executed {
    /// Returns the header's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Unknown => "unknown",
        }
    }
}

/// Times of a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// Time on the way there and back, and in the queues of both programs.
    pub link: Duration,
    /// Time from the start of the process to its end, once known.
    pub exec: Option<Duration>,
}

impl Timing {
    /// The time since a request came, of which nothing was executed yet.
    pub(crate) fn since(begun: Instant) -> Self {
        Self {
            link: timing::now().saturating_duration_since(begun),
            exec: None,
        }
    }

    /// The text of the header, in milliseconds. Made without the formatter, which takes a fiftieth of
    /// the router's time for a run.
    fn text(&self) -> String {
        let mut text = String::with_capacity(USUAL_VALUE);
        text.push_str("link;dur=");
        push_millis(&mut text, self.link);
        if let Some(exec) = self.exec {
            text.push_str(", exec;dur=");
            push_millis(&mut text, exec);
        }
        text
    }

    /// The value of the header.
    pub(crate) fn value(&self) -> HeaderValue {
        value_of(&self.text())
    }
}

/// Appends a time in milliseconds, with three decimals.
fn push_millis(text: &mut String, time: Duration) {
    let us = timing::micros(time);
    let mut digits = itoa::Buffer::new();
    text.push_str(digits.format(us / 1000));
    text.push('.');
    for place in [100, 10, 1] {
        text.push_str(digits.format(us / place % 10));
    }
}

/// Answer for an error: one sentence that says what happened, where, and what to do.
#[derive(Debug, Clone)]
pub struct Problem {
    pub status: StatusCode,
    /// Value of `P2P-Executed`.
    pub executed: Executed,
    pub sentence: String,
    /// Further headers that the status asks for.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Times, if there was a run.
    pub timing: Option<Box<Timing>>,
    /// The run that the car knows, if it is not the request's own.
    pub run: Option<RunId>,
}

impl Problem {
    /// Makes an error of a request that executed nothing.
    pub fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self {
            status,
            executed: Executed::No,
            sentence: sentence.into(),
            headers: Vec::new(),
            timing: None,
            run: None,
        }
    }

    /// Makes an error with `Retry-After`, in seconds.
    pub fn retry_after(status: StatusCode, seconds: u32, sentence: impl Into<String>) -> Self {
        Self::new(status, sentence).with(header::RETRY_AFTER, seconds.into())
    }

    /// Makes a 503 for a state that is over soon; nothing was executed.
    pub fn unavailable(sentence: impl Into<String>) -> Self {
        Self::retry_after(StatusCode::SERVICE_UNAVAILABLE, 2, sentence)
    }

    /// Makes a 401 for a caller without a valid key, with the challenge that HTTP demands.
    pub fn unauthorized(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, sentence).challenge()
    }

    /// Adds the challenge to send a key.
    #[must_use]
    pub fn challenge(self) -> Self {
        let bearer = HeaderValue::from_static("Bearer");
        self.with(header::WWW_AUTHENTICATE, bearer)
    }

    /// Sets the value of `P2P-Executed`.
    #[must_use]
    pub fn executed(self, executed: Executed) -> Self {
        Self { executed, ..self }
    }

    #[must_use]
    pub fn timed(self, timing: Timing) -> Self {
        Self {
            timing: Some(Box::new(timing)),
            ..self
        }
    }

    /// Names the run that the car knows.
    #[must_use]
    pub fn of_run(self, run: RunId) -> Self {
        Self {
            run: Some(run),
            ..self
        }
    }

    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Makes the answer without the headers about runs.
    #[must_use]
    pub fn into_plain_response(self) -> Response<Bytes> {
        let mut response = plain(self.status, Bytes::from(self.sentence + "\n"));
        response.headers_mut().extend(self.headers);
        response
    }

    #[must_use]
    pub fn into_response(self, run: RunId, timing: Timing) -> Response<Bytes> {
        let timing = self.timing.map_or(timing, |timing| *timing);
        let body = Bytes::from(self.sentence + "\n");
        let run = self.run.unwrap_or(run);
        let mut response = answer(self.status, self.executed, run, timing, body);
        response.headers_mut().extend(self.headers);
        response
    }
}

/// Makes an answer with the headers that every answer on a service port has.
pub fn answer<B>(
    status: StatusCode,
    executed: Executed,
    run: RunId,
    timing: Timing,
    body: B,
) -> Response<B> {
    let mut response = plain(status, body);
    let headers = response.headers_mut();
    headers.insert(EXECUTED, HeaderValue::from_static(executed.as_str()));
    headers.insert(RUN, text_value(&run));
    headers.insert(SERVER_TIMING, timing.value());
    response
}

/// Room for the value of a header.
const USUAL_VALUE: usize = 48;
/// Room for the headers of an answer to a run.
const USUAL_HEADERS: usize = 8;

/// Makes an answer without the headers about runs.
pub fn plain<B>(status: StatusCode, body: B) -> Response<B> {
    const HEADERS: [(HeaderName, &str); 3] = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    *headers = HeaderMap::with_capacity(USUAL_HEADERS);
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

pub fn text_value(text: &impl std::fmt::Display) -> HeaderValue {
    let mut value = String::with_capacity(USUAL_VALUE);
    // A string takes all that is written to it.
    let _ = write!(value, "{text}");
    value_of(&value)
}

fn value_of(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("?"))
}

/// Body of an answer.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, BrokenBody>;

/// Error of a body that broke off: the run was killed or lost when part of its output had been
/// sent.
#[derive(Debug, thiserror::Error)]
#[error("the run was killed or lost")]
pub(crate) struct BrokenBody;

/// Makes a body from bytes.
pub(crate) fn whole(bytes: Bytes) -> AnswerBody {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timing_is_in_milliseconds() {
        let timing = Timing {
            link: Duration::from_micros(412),
            exec: Some(Duration::from_millis(20)),
        };
        assert_eq!(timing.text(), "link;dur=0.412, exec;dur=20.000");
    }
}
