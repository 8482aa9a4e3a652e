//! The answers that callers and consoles got, and whether they are true.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use p2p_shared::names::RunId;
use p2p_shared::protocol::Outcome;
use p2p_shared::timing;
use tokio::time::Instant;

use super::machine::LEASE;
use super::shared::SharedWorld;
use crate::http::response::Executed;

/// A command that gets more input than a connection holds.
pub(super) const READS: &str = "command=reads";
/// The input of that command.
pub(super) const INPUT: usize = 48 * 1024;
/// A command that runs for longer than a router waits for one that is silent.
pub(super) const LONG: &str = "command=long";
/// The requests to choose from.
pub(super) const QUERIES: [&str; 13] = [
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

/// Time within which a router takes a motion: what comes later is refused, and some may be under way.
const MOTION_TAKEN: Duration = Duration::from_millis(2000);

/// The answer to a caller, or to a console that runs a command.
#[derive(Debug, Clone)]
pub(super) struct CallerAnswer {
    pub run: RunId,
    pub query: &'static str,
    pub asked: Instant,
    /// `None`: the router died, or the caller left.
    pub executed: Option<Executed>,
    pub status: u16,
    pub body: String,
    /// Time of the answer.
    pub at: Instant,
    /// Nothing may have been executed: the key is for something else, or was revoked before.
    pub is_forbidden: bool,
}

impl CallerAnswer {
    /// Returns true if a motion was refused because somebody drives, or the car's stop has failed.
    pub(super) fn may_wait(&self) -> bool {
        self.status == 409 || self.status == 503 && self.body.contains("stop command fails")
    }

    /// Returns true if the command moves nothing.
    pub(super) fn is_plain(&self) -> bool {
        ["hello", "slow", "fails", "missing", "reads", "long"]
            .iter()
            .any(|command| self.query.ends_with(command))
    }

    fn is_stop(&self) -> bool {
        self.query.ends_with("stop")
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
    /// The answers so far.
    pub(super) fn all(&self) -> Vec<CallerAnswer> {
        self.0.lock().unwrap().answers.clone()
    }

    /// Counts a request that waits for its answer, until that is dropped.
    pub(super) fn opened(&self) -> OpenRequest {
        self.0.lock().unwrap().open += 1;
        OpenRequest(self.clone())
    }

    /// Checks that all callers are answered, within this time.
    pub(super) async fn all_answered(&self, world: &SharedWorld, limit: Duration) {
        let (open, began) = (|| self.0.lock().unwrap().open, Instant::now());
        while open() > 0 && began.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if open() > 0 {
            let how = format!("{} callers were not answered within {limit:?}", open());
            world.history.violation(2, how);
        }
    }

    /// Records an answer.
    pub(super) fn add(&self, world: &SharedWorld, answer: CallerAnswer) {
        world.history.mark(u64::from(answer.status));
        world.history.log(|| {
            let CallerAnswer {
                run, status, query, ..
            } = answer;
            let (took, what) = (answer.asked.elapsed(), answer.body.trim_end());
            let executed = answer.executed;
            format!("run {run} ({query}) answered after {took:?}: {status} {executed:?} {what}")
        });
        self.0.lock().unwrap().answers.push(answer);
    }

    /// Checks promises 1 to 3 against the machines.
    pub(super) fn check(&self, world: &SharedWorld) {
        for answer in &self.0.lock().unwrap().answers {
            let at = executions(world, answer.run);
            world.history.count(|counts| {
                counts.answers += u64::from(answer.executed.is_some());
                counts.unknown += u64::from(answer.executed == Some(Executed::Unknown));
            });
            check_truth(world, answer, !at.is_empty());
            check_times(world, answer, &at);
        }
    }

    /// Checks promise 1: a report of a run is true. `None`: the inner does not know the run.
    pub(super) fn check_report(&self, world: &SharedWorld, run: RunId, outcome: Option<&Outcome>) {
        let was = !executions(world, run).is_empty();
        let is_true = match outcome {
            Some(Outcome::Running | Outcome::Ended { .. }) => was,
            Some(Outcome::Waiting | Outcome::Refused(_)) => !was,
            Some(Outcome::Unknown(_)) => true,
            None => world.may_be_forgotten(run),
        };
        if !is_true {
            let how = format!("/run/{run} says {outcome:?}; executed: {was}");
            world.history.violation(1, how);
        }
    }
}

impl SharedWorld {
    /// Returns true if the car need not know what became of this run: its inner was started anew since.
    pub(super) fn may_be_forgotten(&self, run: RunId) -> bool {
        let car = &self.machines[0];
        let started = car.host_started();
        self.has_twin() || car.executions(run).iter().all(|at| *at < started)
    }
}

fn executions(world: &SharedWorld, run: RunId) -> Vec<Instant> {
    let machines = world.machines.iter();
    machines.flat_map(|it| it.executions(run)).collect()
}

fn check_truth(world: &SharedWorld, answer: &CallerAnswer, was_executed: bool) {
    let CallerAnswer { run, query, .. } = answer;
    let broken = |promise, how: String| world.history.violation(promise, how);
    if was_executed && answer.is_forbidden {
        broken(
            11,
            format!("run {run} ({query}) was executed for a key that may not"),
        );
    }
    if answer.executed == Some(Executed::No) && was_executed {
        broken(
            1,
            format!("run {run} ({query}) was executed, and the answer was 'no'"),
        );
    }
    // A motion may extend another one, and a stop may share another one's run.
    if answer.executed == Some(Executed::Yes) && !was_executed && answer.is_plain() {
        broken(
            1,
            format!("run {run} ({query}) was not executed, and the answer was 'yes'"),
        );
    }
    let is_own = answer.body.starts_with(&run.to_string());
    if answer.status == 200 && answer.is_plain() && !is_own {
        broken(2, format!("run {run} got '{}'", answer.body));
    }
}

fn check_times(world: &SharedWorld, answer: &CallerAnswer, at: &[Instant]) {
    let CallerAnswer { run, query, .. } = answer;
    let broken = |how: String| world.history.violation(3, how);
    if answer.is_stop() {
        if answer.status == 200 && !world.has_twin() {
            // A stop that shares another one's run executes nothing itself.
            let by_then = at.first().copied().unwrap_or(answer.at);
            let presses = &world.presses;
            presses.check_stop(*run, by_then, &world.machines[0], &world.history);
        }
        return;
    }
    let (Some(begun), stalled) = (at.first(), world.stalled()) else {
        return;
    };
    let taken = world.presses.accepted_at(*run).map(|at| at - answer.asked);
    if let Some(late) = taken.filter(|late| *late > MOTION_TAKEN + stalled)
        && !answer.is_plain()
    {
        broken(format!(
            "run {run} ({query}) was let in {late:?} after it was asked for"
        ));
    }
    // A motion may wait for the one before it, as long as a press would.
    let waits = match answer.is_plain() {
        true => Duration::ZERO,
        false => LEASE,
    };
    let limit = timing::RUN_DEADLINE + stalled + waits + Duration::from_millis(50);
    let late = *begun - answer.asked;
    // The time for input does not count.
    if *query != READS && late > limit {
        broken(format!(
            "run {run} ({query}) began {late:?} after it was asked for"
        ));
    }
}

/// Request that waits for its answer.
pub(super) struct OpenRequest(AnswerLog);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().open -= 1;
    }
}
