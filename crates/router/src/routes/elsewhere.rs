//! Passes a request on to the router that holds its car, and its answer back. Keys, cookies, limits and bodies
//! are judged there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};
use p2p_shared::names::RunId;

use crate::car::elsewhere::ElsewherePort;
use crate::context::Context;
use crate::http::connection;
use crate::http::response::{AnswerBody, EXECUTED, Problem, Timing, whole};
use crate::mesh::Elsewhere;
use crate::mesh::hop::headers::{self, PassedOn};
use crate::mesh::hop::{self, Exchange, Passed, Upload};
use crate::mesh::id::Start;
use crate::net::unauthenticated::PendingConnection;
use crate::routes::request::RequestContext;

mod passed_back;
mod problems;

pub(crate) use problems::moving;

use passed_back::{Counted, answer};
use problems::{check_number, not_again, not_reached};

/// Time for the news that a car has moved, after its router has said that it does not have it any more.
const NEWS: Duration = Duration::from_millis(500);

/// A request on a service port of a car that another router has.
pub(crate) struct ElsewhereRequest<'a> {
    pub context: &'a Arc<Context>,
    pub port: &'a ElsewherePort,
    pub pending: &'a PendingConnection,
    pub run: RunId,
    pub begun: Instant,
    pub is_tls: bool,
}

/// The answer of the member that has the car.
type Found = (Response<Incoming>, Exchange, Elsewhere);

impl ElsewhereRequest<'_> {
    pub(crate) fn error_response(&self, problem: Problem) -> Response<AnswerBody> {
        let timing = Timing::since(self.begun);
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
        let counted = self.counted(&request);
        let upgrading = is_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let upload = Arc::new(Upload::new(body));
        headers::prepare(&mut parts.headers);
        check_number(&parts.headers)?;
        let mut request = Request::from_parts(parts, ());
        let passed_on = PassedOn {
            port: self.port.open.port,
            name: self.port.name.clone(),
            caller: self.pending.peer,
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
        let mut response = answer(response, exchange, counted);
        if is_over {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        Ok(response)
    }

    /// Counts a request until its answer has gone back. The router waits for runs as it goes down, wherever they
    /// are; but not for new ones, for which it would wait as long as callers come.
    fn counted(&self, request: &Request<Incoming>) -> Counted {
        let shutdown = &self.context.shutdown;
        let is_awaited = request.uri().path() == "/cgi" && !shutdown.draining.is_cancelled();
        let token = is_awaited.then(|| shutdown.open_runs.token());
        (token, self.pending.pass_on())
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
                Passed::OtherName => return Err(self.renamed()),
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
        car.while_called(self.port.name.as_ref())
            .ok_or_else(|| self.renamed())?;
        let asked = RequestContext {
            context: self.context,
            car,
            pending: self.pending,
            run: self.run,
            begun: self.begun,
            is_tls: self.is_tls,
            via: None,
        };
        asked.answer(request).await
    }

    /// Lets the connection stay, if this router knows the key. Returns true if it does, and its owner has as
    /// many connections here as it may: then only a stop is let in. The holder judges all others.
    fn is_over(&self, headers: &HeaderMap) -> bool {
        let (access, pending) = (&self.context.access, self.pending);
        !pending.stays() && access.recognise(pending, headers, self.is_tls) && !pending.stays()
    }

    /// Who has the car; `None` if it has come here.
    pub(crate) fn look(&self) -> Option<Elsewhere> {
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
                biased;
                () = joined => {}
                () = silent.cancelled() => {}
                () = closed.cancelled() => {}
            }
            drop(exchange);
        });
        response.map(|_| whole(Bytes::new()))
    }
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}
