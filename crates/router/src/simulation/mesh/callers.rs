//! Callers at all routers: make their requests over HTTP, and collect the answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::super::answers::{AnswerLog, CallerAnswer, INPUT, LONG, QUERIES, READS};
use super::super::keys::{KeyUse, SimKey};
use super::super::rng::Rng;
use super::world::MeshWorld;
use super::{NAMES, ROUTERS};
use crate::http::response::{EXECUTED, Executed, RUN};

/// The host names that callers ask for: an address, or the car's name.
pub(super) const HOSTS: [&str; 2] = ["127.0.0.1", "car.cars.test"];
/// Time within which every request is answered but one that runs for long.
const ANSWERED: Duration = Duration::from_secs(20);
/// Time after which no answer comes any more: above any limit of a router's.
const NEVER: Duration = Duration::from_secs(100);

/// A caller's connection.
pub(super) struct CallerConnection {
    sender: SendRequest<Full<Bytes>>,
    key: Arc<SimKey>,
    _task: AbortOnDropHandle<()>,
}

impl CallerConnection {
    pub(super) async fn new(world: &MeshWorld, router: usize, key: Arc<SimKey>) -> Option<Self> {
        let end = world.call(router).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(end)).await.ok()?;
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Some(Self {
            sender,
            key,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Asks for a command. Returns the answer, if one came whole.
    async fn ask(&mut self, query: &'static str, host: &'static str) -> Option<CallerAnswer> {
        let (asked, by) = (Instant::now(), KeyUse::begin(Some(self.key.clone())));
        let input = match query {
            READS => vec![b'x'; INPUT],
            _ => Vec::new(),
        };
        let (head, body) = self.send(&format!("/cgi?{query}"), host, input).await?;
        let header = |name| head.headers.get(name)?.to_str().ok();
        let executed = match header(EXECUTED) {
            Some("yes") => Executed::Yes,
            Some("no") => Executed::No,
            _ => Executed::Unknown,
        };
        Some(CallerAnswer {
            query,
            asked,
            status: head.status.as_u16(),
            executed: Some(executed),
            run: header(RUN)?.parse().ok()?,
            body: String::from_utf8_lossy(&body).into_owned(),
            at: Instant::now(),
            is_forbidden: by.is_forbidden(query),
        })
    }

    /// Sends a request. Returns the answer, if one came whole.
    pub(super) async fn send(
        &mut self,
        path: &str,
        host: &'static str,
        input: Vec<u8>,
    ) -> Option<(Parts, Bytes)> {
        let method = match input.is_empty() {
            true => Method::GET,
            false => Method::POST,
        };
        let mut request = Request::new(Full::new(Bytes::from(input)));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        let host = HeaderValue::from_static(host);
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        headers.insert(AUTHORIZATION, self.key.header.parse().unwrap());
        let (head, body) = self.sender.send_request(request).await.ok()?.into_parts();
        Some((head, body.collect().await.ok()?.to_bytes()))
    }
}

impl AnswerLog {
    /// Makes random requests at random routers until the world is quiet, some of them on kept connections.
    pub(super) async fn keep_asking_all(self, world: Arc<MeshWorld>, rng: Rng) {
        while !world.is_quiet() {
            let (router, rest) = (rng.below(ROUTERS), rng.fork());
            let (answers, world) = (self.clone(), world.clone());
            tokio::spawn(async move {
                let leaves = rest.one_in(12).then(|| rest.ms(1..400));
                let calling = answers.call(&world, router, &rest);
                let _ = timeout(leaves.unwrap_or(NEVER * 4), calling).await;
            });
            sleep(rng.ms(30..900)).await;
        }
    }

    /// Makes a few requests on one connection.
    async fn call(&self, world: &MeshWorld, router: usize, rng: &Rng) {
        let key = world.keys.one_of(rng);
        let Some(mut connection) = CallerConnection::new(world, router, key).await else {
            return;
        };
        for _ in 0..rng.number(1..4) {
            let (query, host) = (*rng.one_of(&QUERIES), *rng.one_of(&HOSTS));
            if self
                .ask_on(&mut connection, (world, router), query, host)
                .await
                .is_none()
                || world.is_quiet()
            {
                return;
            }
            sleep(rng.ms(0..800)).await;
        }
    }

    /// Makes one request; `None` without a router, a port or an answer.
    pub(super) async fn ask_at(
        &self,
        world: &MeshWorld,
        router: usize,
        query: &'static str,
    ) -> Option<CallerAnswer> {
        let key = world.keys.good();
        let mut connection = CallerConnection::new(world, router, key).await?;
        let host = HOSTS[0];
        self.ask_on(&mut connection, (world, router), query, host)
            .await
    }

    async fn ask_on(
        &self,
        connection: &mut CallerConnection,
        (world, router): (&MeshWorld, usize),
        query: &'static str,
        host: &'static str,
    ) -> Option<CallerAnswer> {
        let open = self.opened();
        let (asked, stalled, member) = (Instant::now(), world.stalled(), world.member_id(router));
        let answer = timeout(NEVER, connection.ask(query, host)).await;
        drop(open);
        let broken = |how| {
            let (name, waited) = (NAMES[router], asked.elapsed());
            let how = format!("a caller of {name} {how} after {waited:?}: {query}");
            world.history.violation(2, how);
        };
        let most = match query {
            LONG => NEVER,
            _ => ANSWERED + world.stalled() - stalled,
        };
        if answer.is_err() || asked.elapsed() > most {
            broken("was not answered, or late,");
        }
        let answer = answer.ok()??;
        // One that ends keeps its connections for a moment after it was taken away. Its id may change. A stop may
        // share another one's run.
        let is_of = |id| answer.run == answer.run.of_member(id);
        if !query.ends_with("stop")
            && member.is_some_and(|id| !is_of(id))
            && !world.member_id(router).is_some_and(is_of)
        {
            broken("was told the run of another router");
        }
        if answer.status == 421 {
            broken("asked for the car's own name, and there is none such");
        }
        self.add(world, answer.clone());
        Some(answer)
    }
}
