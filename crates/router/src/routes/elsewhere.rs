//! Passes a request on to the router that holds its car, and its answer back. Keys, cookies, limits and bodies
//! are judged there.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};
use p2p_shared::names::RunId;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::car::elsewhere::ElsewherePort;
use crate::context::Context;
use crate::http::connection;
use crate::http::response::{AnswerBody, BrokenBody, EXECUTED, Executed, Problem, Timing, whole};
use crate::mesh::hop::headers::{self, PassedOn};
use crate::mesh::hop::{self, Exchange, Passed, Unreachable, Upload};
use crate::mesh::id::Start;
use crate::mesh::{Elsewhere, MemberState};
use crate::net::unauthenticated::{PassingOn, PendingConnection};
use crate::routes::request::RequestContext;

/// Time for the news that a car has moved, after its router has said that it does not have it any more.
const NEWS: Duration = Duration::from_millis(500);
/// Most headers of a request that is passed on: two less than a router takes, for those that are added.
const MOST_HEADERS: usize = 98;

/// A request on a service port of a car that another router has.
pub(crate) struct ElsewhereRequest<'a> {
    pub context: &'a Arc<Context>,
    pub port: &'a ElsewherePort,
    pub pending: &'a PendingConnection,
    pub peer: SocketAddr,
    pub run: RunId,
    pub begun: Instant,
    pub is_tls: bool,
}

/// The answer of the member that has the car.
type Found = (Response<Incoming>, Exchange, Elsewhere);

impl ElsewhereRequest<'_> {
    pub(crate) fn error_response(&self, problem: Problem) -> Response<AnswerBody> {
        let timing = Timing {
            link: self.begun.elapsed(),
            exec: None,
        };
        problem.into_response(self.run, timing).map(whole)
    }

    /// Passes the request on, and further if its router says that the car has moved.
    pub(crate) async fn pass_on(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let Some(there) = self.look() else {
            return self.answer_here(request).await;
        };
        let is_over = self.is_over(request.headers());
        let is_run = request.uri().path() == "/cgi";
        // The router waits for runs as it goes down, wherever they are; but not for new ones, for which it
        // would wait as long as callers come.
        let shutdown = &self.context.shutdown;
        let is_awaited = is_run && !shutdown.draining.is_cancelled();
        let token = is_awaited.then(|| shutdown.open_runs.token());
        let passing_on = self.pending.pass_on();
        let upgrading = is_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let upload = Arc::new(Upload::new(body));
        headers::prepare(&mut parts.headers);
        check_number(&parts.headers)?;
        let mut request = Request::from_parts(parts, ());
        let passed_on = PassedOn {
            port: self.port.open.port,
            caller: self.peer,
            run: self.run,
            begun: self.begun,
            is_tls: self.is_tls,
            is_over,
        };
        let found = self.find(there, &passed_on, &request, &upload).await?;
        let Some((response, exchange, there)) = found else {
            let body = upload.take_unread().ok_or_else(|| self.moved())?;
            if let Some(upgrading) = upgrading {
                request.extensions_mut().insert(upgrading);
            }
            return self.answer_here(request.map(|()| body)).await;
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return match upgrading {
                Some(upgrading) => Ok(self.join(upgrading, response, exchange)),
                None => Err(self.lost(&there)),
            };
        }
        if !response.headers().contains_key(EXECUTED) {
            return Err(self.not_understood(&there));
        }
        let mut response = answer(response, exchange, (token, passing_on));
        if is_over {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        Ok(response)
    }

    /// Passes the request on until a member answers that has the car; `None` if that has come to this router
    /// meanwhile.
    async fn find(
        &self,
        mut there: Elsewhere,
        passed_on: &PassedOn,
        request: &Request<()>,
        upload: &Arc<Upload>,
    ) -> Result<Option<Found>, Problem> {
        let hops = self.context.hops.as_ref().ok_or_else(|| self.moved())?;
        let mut asked = Vec::new();
        loop {
            asked.push(there.member.start);
            let passing = hops.pass_on(&there.member, passed_on, request, upload);
            match passing.await {
                Passed::Answer(response, exchange) => {
                    return Ok(Some((response, exchange, there)));
                }
                Passed::Lost if upload.is_broken() => return Err(self.broken_off()),
                Passed::Lost => return Err(self.lost(&there)),
                Passed::NotAgain => return Err(not_again(&there)),
                // Of the others nobody knows that they have the car.
                Passed::Unreachable(why) if asked.len() == 1 => {
                    return Err(not_reached(&there, &why));
                }
                Passed::Unreachable(_) | Passed::NotThere => {}
            }
            let next = self.next(&there, &asked).await;
            there = match next {
                Some(next) => next,
                None if self.look().is_none() => return Ok(None),
                None => return Err(self.moved()),
            };
        }
    }

    /// Where the car may be that `there` does not have: where it is by the news, or, if none comes, at any
    /// other member. Nothing was handed to a link, so it does no harm to ask each.
    async fn next(&self, there: &Elsewhere, asked: &[Start]) -> Option<Elsewhere> {
        if asked.len() == 1
            && let Some(new) = self.news(there).await
        {
            return Some(new);
        }
        self.look()?;
        let members = self.context.mesh.as_ref()?.members();
        let mut others = members.into_iter().filter(|it| !asked.contains(&it.start));
        let member = others.find(|member| !member.is_away())?;
        Some(Elsewhere {
            member,
            ..there.clone()
        })
    }

    /// Answers a request for a car that has come to this router.
    async fn answer_here(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let car = self.context.registry.car(self.port.open.port);
        let car = &car.ok_or_else(|| self.moved())?;
        let asked = RequestContext {
            context: self.context,
            car,
            pending: self.pending,
            peer: self.peer,
            run: self.run,
            begun: self.begun,
            // What a caller has to fulfil at any router was checked.
            is_private: true,
            is_tls: self.is_tls,
        };
        asked.answer(request).await
    }

    /// Lets the connection stay, if this router knows the key. Returns true if it does, and its owner has as
    /// many connections here as it may: then only a stop is let in. The holder judges all others.
    fn is_over(&self, headers: &HeaderMap) -> bool {
        let (access, pending) = (&self.context.access, self.pending);
        !pending.stays() && access.recognise(pending, headers, self.is_tls) && !pending.stays()
    }

    fn look(&self) -> Option<Elsewhere> {
        self.context
            .mesh
            .as_ref()?
            .holder_elsewhere(self.port.open.port)
    }

    /// Waits a moment for another holder than this one, or a later link.
    async fn news(&self, old: &Elsewhere) -> Option<Elsewhere> {
        let until = tokio::time::Instant::now() + NEWS;
        loop {
            let news = self.context.mesh.as_ref()?.next_change();
            let new = self.look()?;
            if new.member.start != old.member.start || new.record.epoch() > old.record.epoch() {
                return Some(new);
            }
            tokio::time::timeout_at(until, news).await.ok()?;
        }
    }

    /// Answers a handshake, and joins both ends of the WebSocket.
    fn join(
        &self,
        upgrading: hyper::upgrade::OnUpgrade,
        mut response: Response<Incoming>,
        exchange: Exchange,
    ) -> Response<AnswerBody> {
        let holder = hyper::upgrade::on(&mut response);
        let closed = self.port.closed.clone();
        self.context.shutdown.spawn(async move {
            let silent = exchange.silent.clone();
            let joined = async {
                let (Ok(caller), Ok(holder)) = tokio::join!(upgrading, holder) else {
                    return;
                };
                if let Some(caller) = connection::downcast(caller)
                    && let Some(holder) = hop::downcast(holder)
                {
                    hop::join(caller, holder).await;
                }
            };
            tokio::select! {
                () = joined => {}
                () = silent.cancelled() => {}
                () = closed.cancelled() => {}
            }
            drop(exchange);
        });
        response.map(|_| whole(Bytes::new()))
    }

    fn moved(&self) -> Problem {
        let sentence = format!(
            "the car at service port {} goes from one router to another: nothing was run; try again in a moment",
            self.port.open.port
        );
        Problem::retry_after(StatusCode::SERVICE_UNAVAILABLE, 1, sentence)
    }

    fn lost(&self, there: &Elsewhere) -> Problem {
        let sentence = format!(
            "the connection to {}, the router that has {}, was lost before it answered: before you run it again, look at the car or, once that is reached, at /run/{} here",
            there.member.address, there.record.name, self.run
        );
        Problem::new(StatusCode::BAD_GATEWAY, sentence).executed(Executed::Unknown)
    }

    fn not_understood(&self, there: &Elsewhere) -> Problem {
        let sentence = format!(
            "{}, the router that has {}, answered what no router of this version does: before you run it again, look at the car or at /run/{} here",
            there.member.address, there.record.name, self.run
        );
        Problem::new(StatusCode::BAD_GATEWAY, sentence).executed(Executed::Unknown)
    }

    fn broken_off(&self) -> Problem {
        let sentence = format!(
            "the body is cut off or badly framed: only a stop may have run without it, /run/{} says so",
            self.run
        );
        Problem::new(StatusCode::BAD_REQUEST, sentence).executed(Executed::Unknown)
    }
}

fn not_reached(there: &Elsewhere, why: &Unreachable) -> Problem {
    let (name, address) = (&there.record.name, &there.member.address);
    Problem::unavailable(match there.member.state {
        MemberState::Away { since } => format!(
            "{name} is at the router {address}, and its router has not been heard of for {} s: nothing was run; try again in a moment",
            since.elapsed().as_secs()
        ),
        MemberState::Present | MemberState::Draining => format!(
            "{name} is at the router {address}, which this one does not reach ({why}): nothing was run; try again in a moment"
        ),
    })
}

fn not_again(there: &Elsewhere) -> Problem {
    let sentence = format!(
        "the connection to {}, the router that has {}, was closed as the request was to be sent: nothing was run; try again",
        there.member.address, there.record.name
    );
    Problem::retry_after(StatusCode::SERVICE_UNAVAILABLE, 1, sentence)
}

/// Refuses a request with more headers than fit beside those that are added.
fn check_number(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.len() <= MOST_HEADERS {
        return Ok(());
    }
    let sentence = format!(
        "there are more than {MOST_HEADERS} headers, the most that can be passed on to the router that has this car: nothing was run"
    );
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Err(Problem::new(status, sentence))
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}

/// What counts a run while its answer is on its way.
type Counted = (Option<TaskTrackerToken>, PassingOn);

/// Makes the caller's answer from the holder's.
fn answer(
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
        cx: &mut TaskContext<'_>,
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
