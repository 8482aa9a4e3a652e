//! Serves `/cgi`: a request becomes a run, and the run's events become an answer.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use p2p_shared::key::Role;
use p2p_shared::names::CommandName;
use p2p_shared::protocol::{End, RunSource};

use crate::auth::access::{Caller, Revoked};
use crate::car::Car;
use crate::car::dispatch::Run;
use crate::http::query::CgiQuery;
use crate::http::response::{
    self, AnswerBody, BrokenBody, Executed, Problem, answer, text_value, whole,
};
use crate::ops::shutdown::Shutdown;
use crate::routes::request::RequestContext;
use crate::run::error::RunError;
use crate::run::record::RunRecord;
use crate::run::{Finish, NewRun, RunEvent};

/// Bytes of output that are kept back, so that a command that fails before it has printed more gets
/// an error status.
const KEPT: usize = 64 * 1024;
/// Age of a request from which no motion begins by it: longer than it takes to reach a router at the other end
/// of the world.
const OLD: Duration = Duration::from_millis(1500);

/// Answers `GET` and `POST /cgi`.
pub(crate) async fn run(
    asked: &RequestContext<'_>,
    caller: Caller,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Problem> {
    let query = CgiQuery::parse(request.uri().query().unwrap_or_default())
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error))?;
    let stream = query.stream;
    let context = asked.context;
    let is_stop = asked.car.is_stop(&query.command);
    // Who may only stop gives the stop command nothing to act on.
    if !is_stop || !query.arguments.is_empty() {
        caller.may("run commands", Role::may_run)?;
    }
    check_age(asked, &query.command)?;
    let mut new = NewRun {
        run: asked.run,
        command: query.command,
        arguments: query.arguments,
        stdin: Bytes::new(),
        for_ms: query.for_ms,
        source: RunSource::Http,
        by: caller.who(asked.pending.peer),
        key: caller.key().into(),
        from: asked.pending.peer,
        begun: asked.begun,
    };
    let mut record = asked.car.record(&new);
    let wants_trailers = wants_trailers(request.headers());
    // A stop waits for nothing, and doesn't count in the quota of runs.
    if !is_stop {
        // Taken before the body arrives, so that no more bodies are kept than there may be runs.
        let permit = context
            .quotas
            .runs
            .take(caller.quota_owner(asked.pending.peer.ip()));
        let permit = permit.ok_or(RunError::OverQuota);
        let permit = permit.inspect_err(|error| record.fail(error))?;
        record.permit = Some(permit);
        let config = &context.config;
        let most = (config.max_body, "that this router takes (--max-body)");
        new.stdin = read_body(request, most, config.patience.body)
            .await
            .inspect_err(|problem| finish(&mut record, problem))?;
    }
    let open = open(&context.shutdown, asked.car, caller, record, new)?;
    open.answer(stream, wants_trailers).await
}

/// Refuses a motion that was asked for too long ago: it has waited for a way to this router.
fn check_age(asked: &RequestContext<'_>, command: &CommandName) -> Result<(), Problem> {
    let age = asked.timing().link;
    if age < OLD || !asked.car.is_motion(command) {
        return Ok(());
    }
    Err(Problem::unavailable(format!(
        "the router that has this car was reached only after {} ms, and a motion is too old by then: nothing was run; try again",
        age.as_millis()
    )))
}

/// Begins a run, and returns it with the wait for its key's revocation.
pub(crate) fn open(
    shutdown: &Shutdown,
    car: &Car,
    caller: Caller,
    mut record: RunRecord,
    new: NewRun,
) -> Result<Open, Problem> {
    // The key may have been revoked while the body arrived.
    if let Err(why) = caller.check_revoked() {
        let problem = Problem::unauthorized(format!("{why}: nothing was run"));
        finish(&mut record, &problem);
        return Err(problem);
    }
    Ok(Open {
        run: car.dispatch(new, record, shutdown)?,
        revoked: Box::pin(async move { caller.revoked().await }),
    })
}

fn finish(record: &mut RunRecord, problem: &Problem) {
    record.finish(problem.status.as_u16(), &problem.sentence);
}

/// Reads the whole body of a POST, of so many bytes at most, and whose limit that is; nothing of a GET.
pub(crate) async fn read_body(
    request: Request<Incoming>,
    (max_body, limit): (usize, &str),
    patience: Duration,
) -> Result<Bytes, Problem> {
    if request.method() != Method::POST {
        return Ok(Bytes::new());
    }
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body has more than the {max_body} bytes {limit}"),
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

/// Returns true if the caller reads trailers (RFC 9110, 10.1.4).
fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        value
            .split(',')
            .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
    })
}

/// A run whose caller waits for it.
pub(crate) struct Open {
    run: Run,
    revoked: Pin<Box<dyn Future<Output = Revoked> + Send>>,
}

impl Open {
    /// Waits for the next event, or until the caller may not stay.
    async fn next(&mut self) -> Result<RunEvent, Revoked> {
        let run = &mut self.run;
        tokio::select! {
            biased;
            why = &mut self.revoked => Err(why),
            event = std::future::poll_fn(|task| run.poll_next(task)) => Ok(event),
        }
    }

    /// Answers at the end, at more output than is kept back, or with `stream` at the first output.
    pub(crate) async fn answer(
        mut self,
        stream: bool,
        wants_trailers: bool,
    ) -> Result<Response<AnswerBody>, Problem> {
        let mut kept = BytesMut::new();
        loop {
            let answered = match self.next().await {
                Ok(RunEvent::Started) => continue,
                Ok(RunEvent::Output(bytes)) => {
                    kept.extend_from_slice(&bytes);
                    // This much more output may come.
                    self.run.handle.taken(&bytes);
                    if kept.len() < KEPT && !stream {
                        continue;
                    }
                    return Ok(self.streamed(kept.freeze(), wants_trailers));
                }
                Ok(RunEvent::Finished(finish)) => {
                    self.whole(&finish, std::mem::take(&mut kept).freeze())
                }
                Ok(RunEvent::Failed(error)) => Err(error.into()),
                Err(why) => Err(Problem::unauthorized(format!(
                    "{why}: the command is being ended"
                ))
                .executed(if self.run.record.has_started() {
                    Executed::Yes
                } else {
                    Executed::Unknown
                })),
            };
            let record = &mut self.run.record;
            match &answered {
                Ok(response) => record.finish(response.status().as_u16(), ""),
                Err(problem) => finish(record, problem),
            }
            let run = self.run.handle.answers();
            return answered.map_err(|problem| problem.timed(record.timing()).of_run(run));
        }
    }

    /// Makes the answer to a run that has ended.
    fn whole(&self, finish: &Finish, output: Bytes) -> Result<Response<AnswerBody>, Problem> {
        match finish.end {
            End::TimedOut => return Err(RunError::TimedOut(finish.exec).into()),
            End::Cancelled => return Err(RunError::Cancelled(finish.exec).into()),
            End::Exit(_) | End::Signal(_) | End::Ended => {}
        }
        let (status, body) = match finish.end {
            End::Exit(0) | End::Ended => (StatusCode::OK, output),
            _ if !output.is_empty() => (StatusCode::INTERNAL_SERVER_ERROR, output),
            _ if !finish.stderr.is_empty() => (
                StatusCode::INTERNAL_SERVER_ERROR,
                finish.stderr.clone().into(),
            ),
            _ => {
                let end = finish.end;
                let sentence = format!("the command ended with {end} and printed nothing\n");
                (StatusCode::INTERNAL_SERVER_ERROR, sentence.into())
            }
        };
        let mut response = self.answer_with(status, whole(body));
        let exit = match finish.end {
            End::Exit(0) => HeaderValue::from_static("0"),
            end => text_value(&end),
        };
        response.headers_mut().insert(response::EXIT, exit);
        Ok(response)
    }

    fn answer_with<B>(&self, status: StatusCode, body: B) -> Response<B> {
        let record = &self.run.record;
        let run = self.run.handle.answers();
        answer(status, Executed::Yes, run, record.timing(), body)
    }

    /// Makes the answer to a run that goes on.
    fn streamed(self, kept: Bytes, wants_trailers: bool) -> Response<AnswerBody> {
        let mut response = self.answer_with(StatusCode::OK, ());
        response.headers_mut().extend([response::UNBUFFERED]);
        if wants_trailers {
            let names = HeaderValue::from_static("P2P-Exit, Server-Timing");
            response.headers_mut().insert(header::TRAILER, names);
        }
        let first = stream::once(std::future::ready(Ok(Frame::data(kept))));
        let rest = stream::unfold(Some(self), |open| async move { open?.next_frame().await });
        response.map(|()| StreamBody::new(first.chain(rest)).boxed_unsync())
    }

    /// Returns the next frame of a streamed answer, and the run unless the frame is the last. A body
    /// that ends in an error is never completed, so that the client sees a broken transfer.
    async fn next_frame(mut self) -> Option<(Result<Frame<Bytes>, BrokenBody>, Option<Self>)> {
        let broken = loop {
            match self.next().await {
                Ok(RunEvent::Started) => {}
                Ok(RunEvent::Output(bytes)) => {
                    self.run.handle.taken(&bytes);
                    return Some((Ok(Frame::data(bytes.into())), Some(self)));
                }
                Ok(RunEvent::Finished(finish)) => match finish.end {
                    End::TimedOut => break RunError::TimedOut(finish.exec).to_string(),
                    End::Cancelled => break RunError::Cancelled(finish.exec).to_string(),
                    End::Exit(_) | End::Signal(_) | End::Ended => {
                        let record = &mut self.run.record;
                        record.finish(StatusCode::OK.as_u16(), "");
                        let mut trailers = HeaderMap::new();
                        trailers.insert(response::EXIT, text_value(&finish.end));
                        trailers.insert(response::SERVER_TIMING, record.timing().value());
                        return Some((Ok(Frame::trailers(trailers)), None));
                    }
                },
                Ok(RunEvent::Failed(error)) => break error.to_string(),
                Err(why) => break why.to_string(),
            }
        };
        self.run.record.finish(StatusCode::OK.as_u16(), &broken);
        Some((Err(BrokenBody), None))
    }
}
