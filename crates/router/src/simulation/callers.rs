//! Owns those who ask for commands over HTTP, what they were answered, and whether that was true.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use p2p_shared::names::RunId;
use p2p_shared::protocol::{Outcome, RunSource};
use p2p_shared::timing;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::dice::Dice;
use super::machine::{LEASE, LIMIT};
use super::relay::PEER;
use super::stage::Stage;
use crate::auth::access::Caller;
use crate::http::query::CgiQuery;
use crate::http::response::{EXECUTED, Executed};
use crate::routes::cgi::{self, Wish};
use crate::routes::service_port::AnswerBody;
use crate::run::record::{NewRun, RunRecord};

/// A command with as much input as fills a connection.
const READS: &str = "command=reads";
const INPUT: usize = 48 * 1024;
/// What is asked for.
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

/// What a caller was told.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    run: RunId,
    query: &'static str,
    asked: Instant,
    /// `None`: the connection broke, since the router died, or the caller left.
    executed: Option<Executed>,
    pub status: u16,
    body: String,
    /// When it was answered.
    at: Instant,
}

impl Answer {
    /// What a console was told of a command that it had run: this, with such a status, and this
    /// output.
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

/// All answers of a history.
#[derive(Debug, Default, Clone)]
pub(super) struct Answers(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    open: usize,
    told: Vec<Answer>,
}

impl Answers {
    /// How many wait for an answer.
    pub(super) fn open(&self) -> usize {
        self.0.lock().unwrap().open
    }

    /// Somebody was told this.
    pub(super) fn add(&self, stage: &Stage, answer: Answer) {
        stage.history.mark(u64::from(answer.status));
        stage.history.tell(|| {
            let Answer { run, status, .. } = answer;
            let what = answer.body.trim_end();
            format!("run {run} answered: {status} {:?} {what}", answer.executed)
        });
        self.0.lock().unwrap().told.push(answer);
    }

    /// Asks for things until it is quiet.
    pub(super) async fn ask_on(self, stage: Arc<Stage>, dice: Dice) {
        while !stage.is_quiet() {
            sleep(dice.ms(20..500)).await;
            let query = *dice.one_of(&QUERIES);
            let leaves = dice.one_in(12).then(|| dice.ms(1..400));
            let (answers, stage) = (self.clone(), stage.clone());
            tokio::spawn(async move { answers.ask(&stage, query, leaves).await });
        }
    }

    /// Asks for this; `None` if there is nobody to answer.
    pub(super) async fn ask(
        &self,
        stage: &Arc<Stage>,
        wanted: &'static str,
        leaves: Option<Duration>,
    ) -> Option<Answer> {
        let asked = Instant::now();
        let (reply, answer) = oneshot::channel();
        let run = {
            let relay = stage.relay.lock().unwrap();
            let relay = relay.as_ref()?;
            let context = relay.context.clone();
            let service = stage.service(relay)?;
            let run = context.run_ids.next();
            let query = CgiQuery::parse(wanted).unwrap();
            let input = if wanted == READS { INPUT } else { 0 };
            let lasts = query.for_ms.map_or(LIMIT, Duration::from_millis);
            for machine in &stage.machines {
                machine.expect(run, lasts);
            }
            relay.spawn(async move {
                let record = RunRecord::new(
                    &context,
                    &NewRun {
                        run,
                        service_port: service.port,
                        link: service.name(),
                        command: &query.command,
                        arguments: &[],
                        source: RunSource::Http,
                        from: PEER,
                        key: "",
                        begun: p2p_shared::timing::now(),
                    },
                );
                let wish = Wish {
                    run,
                    query,
                    body: vec![0; input].into(),
                    peer: PEER,
                    wants_trailers: false,
                };
                let answering = cgi::carry_out(&context, &service, Caller::Anyone, record, wish);
                let leaving = super::network::until(leaves.map(|after| Instant::now() + after));
                let told = tokio::select! {
                    biased;
                    answered = answering => match answered {
                        Ok(mut response) => {
                            let executed = match response.headers()[EXECUTED].as_bytes() {
                                b"yes" => Executed::Yes,
                                b"no" => Executed::No,
                                _ => Executed::Unknown,
                            };
                            let body = match response.body_mut() {
                                AnswerBody::Whole(body) => body.take().unwrap_or_default(),
                                AnswerBody::Run(_) | AnswerBody::Live(_) => bytes::Bytes::new(),
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
                let _ = reply.send(told);
            });
            run
        };
        self.0.lock().unwrap().open += 1;
        stage
            .history
            .tell(|| format!("asked for {wanted}: run {run}"));
        let told = answer.await.ok();
        let (status, executed, body) = match told {
            Some((status, executed, body)) => (status, Some(executed), body),
            None => (0, None, String::new()),
        };
        let answer = Answer {
            run,
            query: wanted,
            asked,
            executed,
            status,
            body,
            at: Instant::now(),
        };
        self.0.lock().unwrap().open -= 1;
        self.add(stage, answer.clone());
        Some(answer)
    }

    /// Promises 1 to 3, by what the machines saw. Stalls of the router that took so long in all
    /// may have held up what was asked for.
    pub(super) fn check(&self, stage: &Stage, stalled: Duration) {
        let book = self.0.lock().unwrap();
        let broken = |promise, how: String| stage.history.broken(promise, how);
        for answer in &book.told {
            let Answer { run, query, .. } = answer;
            let mut at = Vec::new();
            for machine in &stage.machines {
                at.extend(machine.executions(*run));
            }
            stage.history.count(|counts| {
                counts.answers += u64::from(answer.executed.is_some());
                counts.unknown += u64::from(answer.executed == Some(Executed::Unknown));
            });
            let said = answer.executed;
            if said == Some(Executed::No) && !at.is_empty() {
                broken(
                    1,
                    format!("run {run} ({query}) was executed, and 'no' was said"),
                );
            }
            // A motion that extends another, or a stop that another answers, runs nothing itself.
            if said == Some(Executed::Yes) && at.is_empty() && answer.is_plain() {
                broken(
                    1,
                    format!("run {run} ({query}) was not executed, and 'yes' was said"),
                );
            }
            if query.ends_with("stop") && answer.status == 200 && !stage.has_twin() {
                // One that another answers runs nothing itself.
                let by_then = at.first().copied().unwrap_or(answer.at);
                let presses = &stage.presses;
                presses.check_stop(*run, by_then, &stage.machines[0], &stage.history);
            }
            if answer.status == 200
                && answer.is_plain()
                && !answer.body.starts_with(&run.to_string())
            {
                broken(2, format!("run {run} got '{}'", answer.body));
            }
            // A motion may wait for the one before it as long as a press would.
            let waits = if answer.is_plain() {
                Duration::ZERO
            } else {
                LEASE
            };
            let limit = timing::RUN_DEADLINE + stalled + waits + Duration::from_millis(50);
            let is_stop = query.ends_with("stop");
            if let Some(late) = at.first().map(|at| *at - answer.asked)
                && !is_stop
                // How long its input takes does not count.
                && *query != READS
                && late > limit
            {
                broken(
                    3,
                    format!("run {run} ({query}) began {late:?} after it was asked for"),
                );
            }
        }
        let other = stage.machines[1].executed();
        if other > 0 && !stage.has_twin() {
            broken(4, format!("{other} runs on another's machine"));
        }
        for machine in &stage.machines {
            stage.presses.check(machine, &stage.history);
            for run in machine.executed_twice() {
                broken(1, format!("run {run} was executed more than once"));
            }
        }
    }

    /// What the inner says became of those runs whose answer was `unknown`, if it still knows.
    pub(super) async fn ask_what_became(&self, stage: &Stage) {
        let unknown: Vec<_> = {
            let book = self.0.lock().unwrap();
            let unknown = book
                .told
                .iter()
                .filter(|answer| answer.executed == Some(Executed::Unknown) && answer.is_plain());
            unknown.map(|answer| answer.run).collect()
        };
        for run in unknown {
            let link = {
                let relay = stage.relay.lock().unwrap();
                let service = relay.as_ref().and_then(|relay| stage.service(relay));
                match service.map(|service| service.occupant()) {
                    Some(crate::car::registry::Occupant::Linked(link)) => link,
                    _ => continue,
                }
            };
            if let Some(told) = link.ask_run(run).await {
                self.check_story(stage, run, told.as_ref().map(|story| &story.outcome));
            }
        }
    }

    /// Promise 1: what an inner says of a run that is over for its caller is true; `None`: it says
    /// that it doesn't know it.
    pub(super) fn check_story(&self, stage: &Stage, run: RunId, told: Option<&Outcome>) {
        let mut machines = stage.machines.iter();
        let was = machines.any(|machine| !machine.executions(run).is_empty());
        let car = &stage.machines[0];
        let is_true = match told {
            Some(Outcome::Running | Outcome::Ended { .. }) => was,
            Some(Outcome::Waiting | Outcome::Refused(_)) => !was,
            Some(Outcome::Unknown(_)) => true,
            None => stage.has_twin() || car.executions(run).iter().all(|at| *at < car.seated()),
        };
        if !is_true {
            let how = format!("/run/{run} says {told:?}; executed: {was}");
            stage.history.broken(1, how);
        }
    }
}
