//! Owns a run that a worker does instead of a process: what becomes of its answer, and a worker
//! that does not give one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::protocol::{End, InnerToRouter, PIECE, Refusal};
use p2p_shared::text::Escaped;
use tokio::time::{sleep_until, timeout};

use super::role::MOTION_GRACE;
use super::{MotionRole, Run, RunEnd, StopTarget, Tail};
use crate::commands::Commands;
use crate::drive::ProcessEvent;
use crate::worker::{AcceptedCall, Failure, WorkerAnswer, WorkerHandle};

/// How long a worker may take over a stop, before the stop command's file takes its place: a
/// moment, since the car still moves, and yet more than a busy Pi needs to answer.
const STOP_ANSWER: Duration = Duration::from_millis(250);

impl Run {
    /// The worker has answered.
    pub(crate) fn answered(self, worker: &str, answer: WorkerAnswer, begun: tokio::time::Instant) {
        let begun = begun.into_std();
        let story = RunEnd::of(&answer);
        let output = Bytes::from(answer.output);
        if output.len() > PIECE {
            let tracker = self.tracker.clone();
            let worker = worker.to_owned();
            tracker.spawn(self.answered_at_length(worker, output, story, begun));
            return;
        }
        self.answered_at_once(&story, output, begun.elapsed(), Some(worker));
    }

    fn answered_at_once(self, story: &RunEnd, output: Bytes, exec: Duration, worker: Option<&str>) {
        let stderr = story.stderr.kept();
        let answered = InnerToRouter::Answered {
            run: self.run_id(),
            end: story.end,
            exec_us: u64::try_from(exec.as_micros()).unwrap_or(u64::MAX),
            output,
            stderr: stderr.clone(),
        };
        self.reports.urgent(answered);
        self.record(story, exec, &stderr, worker);
    }

    /// Its reader has the time that it has to run, as with a process.
    async fn answered_at_length(
        self,
        worker: String,
        output: Bytes,
        mut story: RunEnd,
        begun: Instant,
    ) {
        let limit = self.limit.map(|limit| begun + limit);
        let telling = self.telling();
        let cut_off = tokio::select! {
            biased;
            () = telling.pass_on_whole(output) => None,
            () = self.cancel.cancelled() => Some(End::Cancelled),
            () = sleep_until(limit.unwrap_or(begun).into()), if limit.is_some() => Some(End::TimedOut),
        };
        if let Some(end) = cut_off {
            self.window.close();
            story.end = end;
        }
        self.finish(begun, story, &telling, Some(&worker)).await;
    }

    /// The worker did not answer in its time.
    pub(crate) fn timed_out(self, begun: tokio::time::Instant) {
        let story = RunEnd::ended(End::TimedOut);
        self.answered_at_once(&story, Bytes::new(), begun.elapsed(), None);
    }

    /// Has the worker move or stop the car.
    pub(super) async fn by_worker(self, worker: &WorkerHandle, commands: &Commands) {
        let Some(role) = &self.role else { return };
        let begun = Instant::now();
        let taken = match self.asked_of(worker, role, begun).await {
            Some(Ok(taken)) => taken,
            Some(Err((refusal, message))) if !role.is_stop => {
                return self.give_up(refusal, message);
            }
            None if !role.is_stop => {
                return self.give_up(Refusal::Late, "it was over before it began".to_owned());
            }
            not_taken => {
                let why = not_taken.and_then(Result::err);
                let why = why.map_or_else(|| "it takes no request".to_owned(), |(_, why)| why);
                return self.by_file_instead(commands, &why).await;
            }
        };
        let group = taken.group;
        match self.wait_for(role, taken, begun).await {
            Waited::Answered(answer) if role.is_stop && answer.exit != 0 => {
                let why = format!(
                    "it says that its stop failed: {}",
                    Escaped(&answer.error).cut(200)
                );
                self.by_file_instead(commands, &why).await;
            }
            Waited::Answered(_) if role.is_stop && role.stop_target.and_file() => {
                let why = "something else moved the car, too";
                self.by_file_instead(commands, why).await;
            }
            Waited::Answered(answer) => {
                let story = RunEnd::of(&answer);
                role.send_ended(story.end, begun.elapsed());
                let caller = role.caller.clone();
                let telling = self.telling();
                let passing_on = telling.pass_on_whole(answer.output.into());
                if caller.run_until_cancelled(passing_on).await.is_none() {
                    self.abandon();
                }
                self.finish(begun, story, &telling, Some(worker.name()))
                    .await;
            }
            // It may not even have read of it, behind other work.
            Waited::CutOff => {
                let why = "it did not end a motion that is over";
                worker.kill(group, why);
                role.send_ended(role.cut_off(), begun.elapsed());
                let message = format!(
                    "the worker was killed, since {why}: nobody knows whether it had begun it"
                );
                self.refuse(Refusal::WorkerLost, message);
            }
            // Nobody knows how far it came: the file stands in.
            Waited::TooLong => {
                let why = format!(
                    "it did not answer a stop within {} ms",
                    STOP_ANSWER.as_millis()
                );
                worker.kill(group, &why);
                self.by_file_instead(commands, &why).await;
            }
            Waited::Lost((_, why)) if role.is_stop => self.by_file_instead(commands, &why).await,
            Waited::Lost((refusal, message)) => {
                role.send_ended(End::Exit(-1), begun.elapsed());
                self.refuse(refusal, message);
            }
        }
    }

    async fn by_file_instead(self, commands: &Commands, why: &str) {
        tracing::warn!(
            why,
            "the stop command's file is run, rather than the worker alone"
        );
        self.by_file(commands).await;
    }

    /// Asks the worker, and waits until it has the request, or why it doesn't. Nothing: it was over
    /// before, or a stop has waited long enough, and the worker never sees it.
    async fn asked_of(
        &self,
        worker: &WorkerHandle,
        role: &MotionRole,
        begun: Instant,
    ) -> Option<Result<AcceptedCall, Failure>> {
        let among = match &role.stop_target {
            StopTarget::Workers { groups, .. } if role.is_stop => Some(groups.clone()),
            _ => None,
        };
        if let Err(refused) = self.may_begin() {
            return Some(Err(refused));
        }
        let mut reply = worker.call(self.request.clone(), role.token, among);
        let given_up = async {
            if role.is_stop {
                return sleep_until((begun + STOP_ANSWER).into()).await;
            }
            tokio::select! {
                () = self.cancel.cancelled() => {}
                () = role.caller.cancelled() => {}
            }
        };
        tokio::select! {
            biased;
            taken = &mut reply => return taken.ok(),
            () = given_up => {}
        }
        // It may have been taken in this very moment: one of the two it is.
        reply.close();
        reply.try_recv().ok()
    }

    async fn wait_for(&self, role: &MotionRole, taken: AcceptedCall, begun: Instant) -> Waited {
        let mut answer = taken.answer;
        let lost = || {
            let message = "the worker was lost before it answered: look before you run it again";
            Waited::Lost((Refusal::WorkerLost, message.to_owned()))
        };
        let too_long = sleep_until((begun + STOP_ANSWER).into());
        let mut too_long = std::pin::pin!(too_long);
        let mut is_abandoned = false;
        loop {
            tokio::select! {
                answered = &mut answer => return match answered {
                    Ok(Ok(answer)) => Waited::Answered(answer),
                    Ok(Err(failure)) => Waited::Lost(failure),
                    Err(_) => lost(),
                },
                () = &mut too_long, if role.is_stop => return Waited::TooLong,
                () = self.cancel.cancelled(), if !role.is_stop => {
                    return match timeout(MOTION_GRACE, answer).await {
                        Ok(Ok(Ok(answer))) => Waited::Answered(answer),
                        Ok(Ok(Err(failure))) => Waited::Lost(failure),
                        Ok(Err(_)) => lost(),
                        Err(_) => Waited::CutOff,
                    };
                }
                () = role.caller.cancelled(), if !is_abandoned => {
                    is_abandoned = true;
                    self.abandon();
                }
            }
        }
    }
}

/// What came of waiting for a worker.
enum Waited {
    Answered(WorkerAnswer),
    /// A motion that is over did not end.
    CutOff,
    /// A stop takes too long.
    TooLong,
    /// The worker is gone.
    Lost(Failure),
}

impl MotionRole {
    /// There is no process of its own that could be left.
    fn send_ended(&self, end: End, exec: Duration) {
        let token = self.token;
        self.send(ProcessEvent::Ended { token, end, exec });
        if !self.is_stop {
            self.send(ProcessEvent::Reaped { token });
        }
    }
}

impl StopTarget {
    fn and_file(&self) -> bool {
        matches!(self, Self::Workers { and_file: true, .. })
    }
}

impl RunEnd {
    fn of(answer: &WorkerAnswer) -> Self {
        Self {
            end: End::Exit(answer.exit),
            bytes: answer.output.len() as u64,
            stderr: Tail::of(answer.error.as_bytes()),
        }
    }

    fn ended(end: End) -> Self {
        Self {
            end,
            bytes: 0,
            stderr: Tail::default(),
        }
    }
}
