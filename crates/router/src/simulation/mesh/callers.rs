//! Callers at all routers: make their requests over HTTP, collect the answers, and check that they are true.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use p2p_shared::names::RunId;
use p2p_shared::timing;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::super::machine::LEASE;
use super::super::rng::Rng;
use super::world::MeshWorld;
use super::{NAMES, ROUTERS};
use crate::http::response::{EXECUTED, Executed, RUN};

/// A command that gets more input than a line between two routers holds at a time.
const READS: &str = "command=reads";
const INPUT: usize = 20 * 1024;
/// The requests to choose from.
const QUERIES: [&str; 11] = [
    READS,
    "command=hello",
    "command=hello",
    "command=hello",
    "command=slow",
    "command=fails",
    "command=missing",
    "command=forward",
    "command=forward&for=300",
    "command=back&for=120",
    "command=stop",
];
/// Time after which no answer comes any more: above any limit of a router's.
const NEVER: Duration = Duration::from_secs(100);

/// The answer to a caller.
#[derive(Debug, Clone)]
pub(super) struct MeshAnswer {
    query: &'static str,
    asked: Instant,
    pub status: u16,
    executed: Executed,
    run: RunId,
    body: String,
}

impl MeshAnswer {
    fn is_plain(&self) -> bool {
        ["hello", "slow", "fails", "missing", "reads"]
            .iter()
            .any(|command| self.query.ends_with(command))
    }

    /// Returns true if a motion was refused because somebody drives, or the car's stop has failed.
    pub(super) fn may_wait(&self) -> bool {
        self.status == 409 || self.status == 503 && self.body.contains("stop command fails")
    }
}

/// All answers of a history, and the number of open requests.
#[derive(Debug, Default, Clone)]
pub(super) struct Answers(Arc<Mutex<AnswerState>>);

#[derive(Debug, Default)]
struct AnswerState {
    open: usize,
    answers: Vec<MeshAnswer>,
}

/// A caller's connection.
struct CallerConnection {
    sender: SendRequest<Full<Bytes>>,
    _task: AbortOnDropHandle<()>,
}

impl CallerConnection {
    async fn new(world: &MeshWorld, router: usize) -> Option<Self> {
        let end = world.call(router).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(end)).await.ok()?;
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Some(Self {
            sender,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Sends a request. Returns the answer, if one came whole.
    async fn ask(&mut self, query: &'static str) -> Option<MeshAnswer> {
        let asked = Instant::now();
        let (method, input) = match query {
            READS => (Method::POST, vec![b'x'; INPUT]),
            _ => (Method::GET, Vec::new()),
        };
        let mut request = Request::new(Full::new(Bytes::from(input)));
        *request.method_mut() = method;
        *request.uri_mut() = format!("/cgi?{query}").parse().unwrap();
        let host = HeaderValue::from_static("127.0.0.1");
        request.headers_mut().insert(HOST, host);
        let (head, body) = self.sender.send_request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let header = |name| head.headers.get(name)?.to_str().ok();
        let executed = match header(EXECUTED) {
            Some("yes") => Executed::Yes,
            Some("no") => Executed::No,
            _ => Executed::Unknown,
        };
        Some(MeshAnswer {
            query,
            asked,
            status: head.status.as_u16(),
            executed,
            run: header(RUN)?.parse().ok()?,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

impl Answers {
    /// Number of requests that wait for an answer.
    pub(super) fn open(&self) -> usize {
        self.0.lock().unwrap().open
    }

    /// Makes random requests at random routers until the world is quiet, some of them on kept connections.
    pub(super) async fn keep_asking(self, world: Arc<MeshWorld>, rng: Rng) {
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
        let Some(mut connection) = CallerConnection::new(world, router).await else {
            return;
        };
        for _ in 0..rng.number(1..4) {
            let query = *rng.one_of(&QUERIES);
            if self
                .ask_on(&mut connection, world, router, query)
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
    pub(super) async fn ask(
        &self,
        world: &MeshWorld,
        router: usize,
        query: &'static str,
    ) -> Option<MeshAnswer> {
        let mut connection = CallerConnection::new(world, router).await?;
        self.ask_on(&mut connection, world, router, query).await
    }

    async fn ask_on(
        &self,
        connection: &mut CallerConnection,
        world: &MeshWorld,
        router: usize,
        query: &'static str,
    ) -> Option<MeshAnswer> {
        let open = Open::new(self);
        let asking = timeout(NEVER, connection.ask(query));
        let Ok(answer) = asking.await else {
            let how = format!("a caller of {} was not answered: {query}", NAMES[router]);
            world.history.violation(2, how);
            return None;
        };
        drop(open);
        let answer = answer?;
        world.history.mark(u64::from(answer.status));
        world.history.log(|| {
            let MeshAnswer {
                run,
                status,
                executed,
                ..
            } = &answer;
            let (took, what) = (answer.asked.elapsed(), answer.body.trim_end());
            let name = NAMES[router];
            format!(
                "{name}: {query}: run {run} answered after {took:?}: {status} {executed:?} {what}"
            )
        });
        self.0.lock().unwrap().answers.push(answer.clone());
        Some(answer)
    }

    /// Checks that no answer lies, against the machines. `stalled` is the time for which routers were stopped in
    /// all: requests may be late by that.
    pub(super) fn check(&self, world: &MeshWorld, stalled: Duration) {
        let state = self.0.lock().unwrap();
        let broken = |promise, how: String| world.history.violation(promise, how);
        for answer in &state.answers {
            let MeshAnswer { run, query, .. } = answer;
            let executions = world.machines.iter().flat_map(|it| it.executions(*run));
            let at: Vec<Instant> = executions.collect();
            world.history.count(|counts| {
                counts.answers += 1;
                counts.unknown += u64::from(answer.executed == Executed::Unknown);
            });
            if answer.executed == Executed::No && !at.is_empty() {
                broken(
                    1,
                    format!("run {run} ({query}) was executed, and the answer was 'no'"),
                );
            }
            // A motion may extend another one, and a stop may share another one's run.
            if answer.executed == Executed::Yes && at.is_empty() && answer.is_plain() {
                broken(
                    1,
                    format!("run {run} ({query}) was not executed, and the answer was 'yes'"),
                );
            }
            let is_own = answer.body.starts_with(&run.to_string());
            if answer.status == 200 && answer.is_plain() && !is_own {
                broken(2, format!("run {run} got '{}'", answer.body));
            }
            let waits = match answer.is_plain() {
                true => Duration::ZERO,
                false => LEASE,
            };
            let limit = timing::RUN_DEADLINE + stalled + waits + Duration::from_millis(50);
            if let Some(late) = at.first().map(|at| *at - answer.asked)
                && !query.ends_with("stop")
                // The time for its input does not count.
                && *query != READS
                && late > limit
            {
                broken(
                    3,
                    format!("run {run} ({query}) began {late:?} after it was asked for"),
                );
            }
        }
    }
}

/// Counts a request that waits for its answer.
struct Open<'a>(&'a Answers);

impl<'a> Open<'a> {
    fn new(answers: &'a Answers) -> Self {
        answers.0.lock().unwrap().open += 1;
        Self(answers)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().open -= 1;
    }
}
