//! Callers of commands over HTTP at one router: make their requests, and collect the answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use p2p_shared::protocol::RunSource;
use p2p_shared::timing;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::answers::{AnswerLog, CallerAnswer, INPUT, QUERIES, READS};
use super::machine::LIMIT;
use super::rng::Rng;
use super::sim_router::PEER;
use super::world::SimWorld;
use crate::auth::access::Caller;
use crate::http::query::CgiQuery;
use crate::http::response::{EXECUTED, Executed};
use crate::routes::cgi;
use crate::run::NewRun;

impl AnswerLog {
    /// Makes random requests until the world is quiet.
    pub(super) async fn keep_asking(self, world: Arc<SimWorld>, rng: Rng) {
        while !world.is_quiet() {
            sleep(rng.ms(20..500)).await;
            let query = *rng.one_of(&QUERIES);
            let leaves = rng.one_in(12).then(|| rng.ms(1..400));
            let (answers, world) = (self.clone(), world.clone());
            tokio::spawn(async move { answers.ask(&world, query, leaves).await });
        }
    }

    /// Makes a request, which the caller abandons after `leaves`; `None` without a router or port.
    pub(super) async fn ask(
        &self,
        world: &Arc<SimWorld>,
        query: &'static str,
        leaves: Option<Duration>,
    ) -> Option<CallerAnswer> {
        let asked = Instant::now();
        let (reply, answer) = oneshot::channel();
        let run = {
            let router = world.router.lock().unwrap();
            let router = router.as_ref()?;
            let context = router.context.clone();
            let car = world.car(router)?;
            let run = context.run_ids.next();
            let request = CgiQuery::parse(query).unwrap();
            let input = if query == READS { INPUT } else { 0 };
            let lasts = request.for_ms.map_or(LIMIT, Duration::from_millis);
            for machine in &world.machines {
                machine.expect_motion(run, lasts);
            }
            router.spawn(async move {
                let mut new = NewRun {
                    run,
                    command: request.command,
                    arguments: Default::default(),
                    stdin: Bytes::new(),
                    for_ms: request.for_ms,
                    source: RunSource::Http,
                    by: Caller::Anyone.who(PEER),
                    key: "".into(),
                    from: PEER,
                    begun: timing::now(),
                };
                let record = car.record(&new);
                new.stdin = vec![0; input].into();
                let answering = async {
                    let caller = Caller::Anyone;
                    let open = cgi::open(&context.shutdown, &car, caller, record, new)?;
                    open.answer(request.stream, false).await
                };
                let leaving = super::network::until(leaves.map(|after| Instant::now() + after));
                let result = tokio::select! {
                    biased;
                    answered = answering => match answered {
                        Ok(mut response) => {
                            let executed = match response.headers()[EXECUTED].as_bytes() {
                                b"yes" => Executed::Yes,
                                b"no" => Executed::No,
                                _ => Executed::Unknown,
                            };
                            // A streamed body is not waited for.
                            let body = match response.body().size_hint().exact() {
                                Some(_) => response.body_mut().collect().await.unwrap().to_bytes(),
                                None => Bytes::new(),
                            };
                            let body = String::from_utf8_lossy(&body).into_owned();
                            (response.status().as_u16(), executed, body)
                        }
                        Err(problem) => {
                            (problem.status.as_u16(), problem.executed, problem.sentence)
                        }
                    },
                    () = leaving => return,
                };
                let _ = reply.send(result);
            });
            run
        };
        let _open = self.opened();
        world.history.log(|| format!("request {query}: run {run}"));
        let (status, executed, body) = match answer.await.ok() {
            Some((status, executed, body)) => (status, Some(executed), body),
            None => (0, None, String::new()),
        };
        let answer = CallerAnswer {
            run,
            query,
            asked,
            executed,
            status,
            body,
            at: Instant::now(),
            is_forbidden: false,
        };
        self.add(world, answer.clone());
        Some(answer)
    }

    /// Asks the inner for the result of each run whose answer was `unknown`, and checks it.
    pub(super) async fn check_reports(&self, world: &SimWorld) {
        let is_unknown =
            |answer: &CallerAnswer| answer.executed == Some(Executed::Unknown) && answer.is_plain();
        for CallerAnswer { run, .. } in self.all().into_iter().filter(is_unknown) {
            let link = {
                let router = world.router.lock().unwrap();
                let car = router.as_ref().and_then(|router| world.car(router));
                match car.and_then(|car| car.link()) {
                    Some(link) => link,
                    None => continue,
                }
            };
            if let Ok(report) = link.ask_run(run).await {
                self.check_report(world, run, report.as_ref().map(|report| &report.outcome));
            }
        }
    }
}
