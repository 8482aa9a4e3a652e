//! Owns `/cgi`: from a request to a run on the link, and from what becomes of it to an answer.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use p2p_shared::key::Role;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{End, Refusal, RunSource};
use p2p_shared::text::Escaped;
use p2p_shared::timing;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::auth::access::Caller;
use crate::car::AdmissionError;
use crate::car::Car;
use crate::context::Context;
use crate::http::query::CgiQuery;
use crate::http::response::{
    self, AnswerBody, BrokenBody, Executed, Problem, answer, text_value, whole,
};
use crate::link::handle::QueueError;
use crate::link::handle::RunHandle;
use crate::net::limits;
use crate::net::quota::QuotaPermit;
use crate::routes::request::RequestContext;
use crate::run::RunKind;
use crate::run::record::{NewRun, RunRecord};
use crate::run::{Finish, RunEvent, RunOrder};

/// Output is kept until so much of it has come, so that a command which fails soon enough gets
/// the status that says so.
const KEPT: usize = 64 * 1024;

/// Answers `GET` and `POST /cgi`.
pub(crate) async fn run(
    asked: &RequestContext<'_>,
    caller: Caller,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Problem> {
    let query = CgiQuery::parse(request.uri().query().unwrap_or_default())
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let context = asked.context;
    let run = asked.run;
    let is_stop = asked.car.is_stop(&query.command);
    if !is_stop {
        caller.may("run commands", Role::may_run)?;
    }
    let mut record = asked.car.record(&NewRun {
        run,
        command: &query.command,
        arguments: &query.arguments,
        source: RunSource::Http,
        from: asked.peer,
        key: caller.key(),
        begun: asked.begun,
    });
    let wants_trailers = wants_trailers(request.headers());
    let body = if is_stop {
        // A stop waits for nothing, and is none of the runs that there may be.
        Bytes::new()
    } else {
        // Before its body comes: no more bodies are kept than there may be runs.
        let permit = permit(asked, &caller).inspect_err(|problem| tell(&mut record, problem))?;
        record.counts(Some(permit));
        let reading = read_body(request, context.http.max_body, context.http.patience.body);
        reading
            .await
            .inspect_err(|problem| tell(&mut record, problem))?
    };
    let wish = Wish {
        run,
        query,
        body,
        peer: asked.peer,
        wants_trailers,
    };
    carry_out(context, asked.car, caller, record, wish).await
}

/// A command that is asked for, all of it here.
pub(crate) struct Wish {
    pub run: RunId,
    pub query: CgiQuery,
    pub body: Bytes,
    pub peer: SocketAddr,
    pub wants_trailers: bool,
}

/// Has a command run and answers with what becomes of it.
pub(crate) async fn carry_out(
    context: &Context,
    car: &Car,
    caller: Caller,
    mut record: RunRecord,
    wish: Wish,
) -> Result<Response<AnswerBody>, Problem> {
    let Wish {
        run,
        query,
        body,
        peer,
        wants_trailers,
    } = wish;
    let kind = car
        .admit(&query.command, query.for_ms)
        .map_err(|why| not_admitted(&why))
        .inspect_err(|problem| tell(&mut record, problem))?;
    if kind == RunKind::Stop {
        car.stop_by_run(&caller.who(peer), peer, run);
    }
    let order = RunOrder {
        run,
        command: query.command,
        arguments: query.arguments,
        stdin: body,
        remote_addr: peer.ip().to_string(),
        kind,
        asked: timing::now(),
    };
    // Before it is looked at whether the router is going down: who comes through waits for us.
    let token = context.shutdown.open_runs.token();
    let begun = check_not_revoked(&caller).and_then(|()| begin(context, car, order));
    let handle = begun.inspect_err(|problem| tell(&mut record, problem))?;
    let open = Open {
        revoked: Box::pin(caller.revoked()),
        handle,
        record,
        _token: token,
    };
    open.answer(run, query.stream, wants_trailers).await
}

fn tell(record: &mut RunRecord, problem: &Problem) {
    record.finish(problem.status.as_u16(), &problem.sentence);
}

fn not_admitted(why: &AdmissionError) -> Problem {
    let status = match why {
        AdmissionError::Driven(_) => StatusCode::CONFLICT,
        AdmissionError::ForNoMotion | AdmissionError::ForTooLong(_) => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, why.to_string())
}

/// The caller's part in the runs that there may be.
fn permit(asked: &RequestContext<'_>, caller: &Caller) -> Result<QuotaPermit, Problem> {
    let permit = asked
        .context
        .quotas
        .runs
        .take(caller.quota_owner(asked.peer.ip()));
    permit.ok_or_else(|| {
        asked.context.metrics.over_quota.inc();
        let sentence = format!(
            "{} runs of this key are open, which is all it may: wait for one",
            limits::RUNS
        );
        Problem::retry_after(StatusCode::TOO_MANY_REQUESTS, 1, sentence)
    })
}

/// The key may have been revoked while the body came.
fn check_not_revoked(caller: &Caller) -> Result<(), Problem> {
    if !caller.is_revoked() {
        return Ok(());
    }
    let sentence = "the key was revoked: nothing was run";
    Err(Problem::new(StatusCode::UNAUTHORIZED, sentence)
        .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
}

/// Queues the run on the link, if there is one.
fn begin(context: &Context, car: &Car, order: RunOrder) -> Result<RunHandle, Problem> {
    if context.shutdown.draining.is_cancelled() && order.kind != RunKind::Stop {
        let sentence = "the router is restarting: try again in a moment";
        return Err(Problem::retry_after(
            StatusCode::SERVICE_UNAVAILABLE,
            2,
            sentence,
        ));
    }
    let name = car.name();
    let Some(link) = car.link() else {
        return Err(Problem::retry_after(
            StatusCode::SERVICE_UNAVAILABLE,
            2,
            format!(
                "{name} is not connected to the router (for {} s): nothing was run; try again when it is back",
                car.elapsed().as_secs()
            ),
        ));
    };
    link.begin(order).map_err(|error| match error {
        QueueError::TooMany => Problem::retry_after(
            StatusCode::TOO_MANY_REQUESTS,
            1,
            "the router waits for as many runs of this car as it may: try again in a moment",
        ),
        QueueError::Draining => Problem::retry_after(
            StatusCode::SERVICE_UNAVAILABLE,
            2,
            format!("{name} is restarting: try again in a moment"),
        ),
    })
}

/// The whole body of a POST; nothing of a GET.
async fn read_body(
    request: Request<Incoming>,
    max_body: usize,
    patience: Duration,
) -> Result<Bytes, Problem> {
    if request.method() != Method::POST {
        return Ok(Bytes::new());
    }
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the body has more than the {max_body} bytes that this router takes (--max-body)"
            ),
        )
    };
    let body = request.into_body();
    if body.size_hint().lower() > max_body as u64 {
        return Err(too_large());
    }
    let reading = Limited::new(body, max_body).collect();
    match tokio::time::timeout(patience, reading).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "the body is cut off or badly framed: nothing was run",
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!(
                "the body did not come within {} s: nothing was run",
                patience.as_secs_f32()
            ),
        )),
    }
}

/// Whether the caller reads trailers (RFC 9110, 10.1.4).
fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        value
            .split(',')
            .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
    })
}

/// A run that is being waited for.
struct Open {
    handle: RunHandle,
    record: RunRecord,
    revoked: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Holds up the router's end for as long as the answer takes.
    _token: TaskTrackerToken,
}

/// What becomes of a run that is waited for.
enum Next {
    Event(RunEvent),
    /// The link was lost before it was handed over.
    NotSent,
    /// The caller may not wait any longer.
    Revoked,
}

impl Open {
    fn poll_next(&mut self, task: &mut Task<'_>) -> Poll<Next> {
        if self.revoked.as_mut().poll(task).is_ready() {
            return Poll::Ready(Next::Revoked);
        }
        let Some(event) = std::task::ready!(self.handle.poll_event(task)) else {
            return Poll::Ready(Next::NotSent);
        };
        match &event {
            RunEvent::Started => self.record.started(),
            RunEvent::Output(bytes) => self.record.output(bytes),
            RunEvent::Finished(finish) => self.record.run_finished(finish),
            RunEvent::Refused { .. } | RunEvent::Lost => {}
        }
        Poll::Ready(Next::Event(event))
    }

    /// Waits for the end, or for more than is kept, or with `stream` for the first output.
    async fn answer(
        mut self,
        run: RunId,
        stream: bool,
        wants_trailers: bool,
    ) -> Result<Response<AnswerBody>, Problem> {
        let mut kept = BytesMut::new();
        loop {
            let next = std::future::poll_fn(|task| self.poll_next(task)).await;
            let answered = match next {
                Next::Event(RunEvent::Started) => continue,
                Next::Event(RunEvent::Output(bytes)) => {
                    kept.extend_from_slice(&bytes);
                    // As much more may come, in however small pieces.
                    self.handle.taken(&bytes);
                    if kept.len() < KEPT && !stream {
                        continue;
                    }
                    return Ok(self.streamed(run, kept.freeze(), wants_trailers));
                }
                Next::Event(RunEvent::Finished(finish)) => {
                    self.whole(run, &finish, std::mem::take(&mut kept).freeze())
                }
                Next::Event(RunEvent::Refused { refusal, message }) => {
                    Err(refused(refusal, &message))
                }
                Next::Event(RunEvent::Lost) => Err(Problem::new(
                    StatusCode::BAD_GATEWAY,
                    format!(
                        "the link to the car was lost while the command ran: look before you run it again, at the car or, once it is back, at {}{run} here",
                        crate::routes::run_result::PATH
                    ),
                )
                .executed(Executed::Unknown)),
                Next::NotSent => Err(Problem::retry_after(
                    StatusCode::SERVICE_UNAVAILABLE,
                    2,
                    "the link to the car was lost before the command was sent: nothing was run; try again",
                )),
                Next::Revoked => Err(Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "the key was revoked: the command is being ended",
                )
                .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
                .executed(if self.record.has_started() {
                    Executed::Yes
                } else {
                    Executed::Unknown
                })),
            };
            match &answered {
                Ok(response) => self.record.finish(response.status().as_u16(), ""),
                Err(problem) => tell(&mut self.record, problem),
            }
            return answered.map_err(|problem| problem.timed(self.record.timing()));
        }
    }

    /// The answer to a run whose output is all there.
    fn whole(
        &self,
        run: RunId,
        finish: &Finish,
        output: Bytes,
    ) -> Result<Response<AnswerBody>, Problem> {
        let seconds = finish.exec.as_secs_f64();
        match finish.end {
            End::TimedOut => {
                let sentence = format!(
                    "the command ran past its time limit and was killed after {seconds:.1} s (p2p-inner --timeout)"
                );
                return Err(
                    Problem::new(StatusCode::GATEWAY_TIMEOUT, sentence).executed(Executed::Yes)
                );
            }
            End::Cancelled => {
                let sentence =
                    format!("the car had to restart and ended the command after {seconds:.1} s");
                return Err(
                    Problem::new(StatusCode::GATEWAY_TIMEOUT, sentence).executed(Executed::Yes)
                );
            }
            End::Exit(_) | End::Signal(_) | End::Ended => {}
        }
        let exit = finish.end.to_string();
        let (status, body) = match finish.end {
            End::Exit(0) | End::Ended => (StatusCode::OK, output),
            _ if !output.is_empty() => (StatusCode::INTERNAL_SERVER_ERROR, output),
            _ if !finish.stderr.is_empty() => {
                (StatusCode::INTERNAL_SERVER_ERROR, finish.stderr.clone())
            }
            _ => {
                let sentence = format!("the command ended with {exit} and said nothing\n");
                (StatusCode::INTERNAL_SERVER_ERROR, sentence.into())
            }
        };
        let body = whole(body);
        let mut response = answer(status, Executed::Yes, run, self.record.timing(), body);
        response
            .headers_mut()
            .insert(response::EXIT, text_value(&exit));
        Ok(response)
    }

    /// The answer to a run whose end is not known yet.
    fn streamed(self, run: RunId, kept: Bytes, wants_trailers: bool) -> Response<AnswerBody> {
        let timing = self.record.timing();
        let body = RunBody {
            open: self,
            kept: Some(kept),
            ended: false,
        };
        let body = body.boxed_unsync();
        let mut response = answer(StatusCode::OK, Executed::Yes, run, timing, body);
        if wants_trailers {
            let names = HeaderValue::from_static("P2P-Exit, Server-Timing");
            response.headers_mut().insert(header::TRAILER, names);
        }
        response
    }
}

/// The answer to a run that did not begin.
fn refused(refusal: Refusal, message: &str) -> Problem {
    let sentence = Escaped(message).to_string();
    let unavailable = |s| Problem::retry_after(StatusCode::SERVICE_UNAVAILABLE, 2, s);
    match refusal {
        Refusal::NotFound => Problem::new(StatusCode::NOT_FOUND, sentence),
        Refusal::NotExecutable => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, sentence),
        Refusal::Busy => Problem::retry_after(StatusCode::TOO_MANY_REQUESTS, 1, sentence),
        Refusal::Late | Refusal::Draining | Refusal::StopFailed | Refusal::WorkerAway => {
            unavailable(sentence)
        }
        Refusal::Repeated | Refusal::WorkerLost => {
            Problem::new(StatusCode::BAD_GATEWAY, sentence).executed(Executed::Unknown)
        }
    }
}

/// A body that is a run's output as it comes. One that ends in an error is never completed, so
/// that its reader sees a broken transfer.
struct RunBody {
    open: Open,
    kept: Option<Bytes>,
    ended: bool,
}

impl Body for RunBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        if let Some(bytes) = self.kept.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            let frame = match std::task::ready!(self.open.poll_next(task)) {
                Next::Event(RunEvent::Started) => continue,
                Next::Event(RunEvent::Output(bytes)) => Ok(self.taken(bytes)),
                Next::Event(RunEvent::Finished(finish)) => self.finished(&finish),
                Next::Event(RunEvent::Refused { .. } | RunEvent::Lost) | Next::NotSent => {
                    self.broken("the link was lost")
                }
                Next::Revoked => self.broken("the key was revoked"),
            };
            return Poll::Ready(Some(frame));
        }
    }
}

impl RunBody {
    fn taken(&mut self, bytes: Bytes) -> Frame<Bytes> {
        self.open.handle.taken(&bytes);
        Frame::data(bytes)
    }

    fn finished(&mut self, finish: &Finish) -> Result<Frame<Bytes>, BrokenBody> {
        let exit = finish.end.to_string();
        match finish.end {
            End::TimedOut => return self.broken("it ran past its time limit"),
            End::Cancelled => return self.broken("the car had to restart"),
            End::Exit(_) | End::Signal(_) | End::Ended => {}
        }
        self.ended = true;
        self.open.record.finish(StatusCode::OK.as_u16(), "");
        let mut trailers = HeaderMap::new();
        trailers.insert(response::EXIT, text_value(&exit));
        trailers.insert(
            response::SERVER_TIMING,
            text_value(&self.open.record.timing()),
        );
        Ok(Frame::trailers(trailers))
    }

    fn broken(&mut self, why: &str) -> Result<Frame<Bytes>, BrokenBody> {
        self.ended = true;
        self.open.record.finish(StatusCode::OK.as_u16(), why);
        Err(BrokenBody)
    }
}
