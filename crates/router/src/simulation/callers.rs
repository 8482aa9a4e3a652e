//! Callers of commands over HTTP: makes their requests, collects the answers, and checks that the
//! answers are true.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{Outcome, RunSource};
use p2p_shared::timing;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::machine::{LEASE, LIMIT};
use super::rng::Rng;
use super::sim_router::PEER;
use super::world::SimWorld;
use crate::auth::access::Caller;
use crate::http::query::CgiQuery;
use crate::http::response::{EXECUTED, Executed};
use crate::routes::cgi;
use crate::run::NewRun;

/// A command that gets more input than a connection holds.
const READS: &str = "command=reads";
const INPUT: usize = 48 * 1024;
/// The requests to choose from.
const QUERIES: [&str; 13] = [
    READS,
    "command=hello",
    "command=hello",
    "command=hello",
    "command=slow",
    "command=slow",
    "command=fails",
    "command=missing",
    "command=forward",
    "command=forward&for=300",
    "command=back&for=120",
    "command=stop",
    "command=stop",
];

/// The answer that a caller got.
#[derive(Debug, Clone)]
pub(super) struct CallerAnswer {
    run: RunId,
    query: &'static str,
    asked: Instant,
    /// `None`: the router died, or the caller left.
    executed: Option<Executed>,
    pub status: u16,
    body: String,
    /// Time of the answer.
    at: Instant,
}

impl CallerAnswer {
    /// Returns true if a motion was refused because the car's stop has failed.
    pub(super) fn is_stop_failed(&self) -> bool {
        self.status == 503 && self.body.contains("stop command fails")
    }

    /// The result of a command that a console ran, as the answer to a caller.
    pub(super) fn of_send(
        run: RunId,
        command: &'static str,
        asked: Instant,
        (executed, status, body): (Executed, u16, Vec<u8>),
    ) -> Self {
        Self {
            run,
            query: command,
            asked,
            executed: Some(executed),
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
            at: Instant::now(),
        }
    }

    fn is_plain(&self) -> bool {
        ["hello", "slow", "fails", "missing", "reads"]
            .iter()
            .any(|command| self.query.ends_with(command))
    }
}

/// All answers of a history, and the number of open requests.
#[derive(Debug, Default, Clone)]
pub(super) struct AnswerLog(Arc<Mutex<AnswerState>>);

#[derive(Debug, Default)]
struct AnswerState {
    open: usize,
    answers: Vec<CallerAnswer>,
}

impl AnswerLog {
    /// Number of requests that wait for an answer.
    pub(super) fn open(&self) -> usize {
        self.0.lock().unwrap().open
    }

    /// Records an answer.
    pub(super) fn add(&self, world: &SimWorld, answer: CallerAnswer) {
        world.history.mark(u64::from(answer.status));
        world.history.log(|| {
            let CallerAnswer { run, status, .. } = answer;
            let what = answer.body.trim_end();
            format!("run {run} answered: {status} {:?} {what}", answer.executed)
        });
        self.0.lock().unwrap().answers.push(answer);
    }

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
        self.0.lock().unwrap().open += 1;
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
        };
        self.0.lock().unwrap().open -= 1;
        self.add(world, answer.clone());
        Some(answer)
    }

    /// Checks promises 1 to 3 against the machines. `stalled` is the time for which the router was
    /// stopped in all: requests may be late by that.
    pub(super) fn check(&self, world: &SimWorld, stalled: Duration) {
        let state = self.0.lock().unwrap();
        let broken = |promise, how: String| world.history.violation(promise, how);
        for answer in &state.answers {
            let CallerAnswer { run, query, .. } = answer;
            let mut at = Vec::new();
            for machine in &world.machines {
                at.extend(machine.executions(*run));
            }
            world.history.count(|counts| {
                counts.answers += u64::from(answer.executed.is_some());
                counts.unknown += u64::from(answer.executed == Some(Executed::Unknown));
            });
            if answer.executed == Some(Executed::No) && !at.is_empty() {
                let how = format!("run {run} ({query}) was executed, and the answer was 'no'");
                broken(1, how);
            }
            // A motion may extend another one, and a stop may share another one's run.
            if answer.executed == Some(Executed::Yes) && at.is_empty() && answer.is_plain() {
                let how = format!("run {run} ({query}) was not executed, and the answer was 'yes'");
                broken(1, how);
            }
            if query.ends_with("stop") && answer.status == 200 && !world.has_twin() {
                // A stop that shares another one's run executes nothing itself.
                let by_then = at.first().copied().unwrap_or(answer.at);
                let presses = &world.presses;
                presses.check_stop(*run, by_then, &world.machines[0], &world.history);
            }
            if answer.status == 200
                && answer.is_plain()
                && !answer.body.starts_with(&run.to_string())
            {
                broken(2, format!("run {run} got '{}'", answer.body));
            }
            // A motion may wait for the one before it, as long as a press would.
            let waits = if answer.is_plain() {
                Duration::ZERO
            } else {
                LEASE
            };
            let limit = timing::RUN_DEADLINE + stalled + waits + Duration::from_millis(50);
            let is_stop = query.ends_with("stop");
            if let Some(late) = at.first().map(|at| *at - answer.asked)
                && !is_stop
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
        let other = world.machines[1].executed_count();
        if other > 0 && !world.has_twin() {
            broken(4, format!("{other} runs on another's machine"));
        }
        for machine in &world.machines {
            world.presses.check(machine, &world.history);
            for run in machine.executed_twice() {
                broken(1, format!("run {run} was executed more than once"));
            }
        }
    }

    /// Asks the inner for the result of each run whose answer was `unknown`, and checks it.
    pub(super) async fn check_reports(&self, world: &SimWorld) {
        let unknown: Vec<_> = {
            let state = self.0.lock().unwrap();
            let unknown = state
                .answers
                .iter()
                .filter(|answer| answer.executed == Some(Executed::Unknown) && answer.is_plain());
            unknown.map(|answer| answer.run).collect()
        };
        for run in unknown {
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

    /// Checks promise 1: an inner's report of a run is true. `None`: the inner does not know the run.
    pub(super) fn check_report(&self, world: &SimWorld, run: RunId, outcome: Option<&Outcome>) {
        let mut machines = world.machines.iter();
        let was = machines.any(|machine| !machine.executions(run).is_empty());
        let car = &world.machines[0];
        let is_true = match outcome {
            Some(Outcome::Running | Outcome::Ended { .. }) => was,
            Some(Outcome::Waiting | Outcome::Refused(_)) => !was,
            Some(Outcome::Unknown(_)) => true,
            None => {
                world.has_twin()
                    || car
                        .executions(run)
                        .iter()
                        .all(|at| *at < car.host_started())
            }
        };
        if !is_true {
            let how = format!("/run/{run} says {outcome:?}; executed: {was}");
            world.history.violation(1, how);
        }
    }
}
