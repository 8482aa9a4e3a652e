//! Owns a run that a worker has answered: its output is all there, and is passed on at once or, if it
//! is long, in pieces as the caller reads.

use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::protocol::{End, InnerToRouter, PIECE};
use p2p_shared::timing::micros;
use tokio::time::sleep_until;

use super::{Run, RunEnd, Tail};

#[derive(Debug)]
pub(crate) struct WorkerResult {
    pub end: RunEnd,
    pub output: Bytes,
}

impl WorkerResult {
    pub(crate) fn new(exit: i32, output: String, error: &str) -> Self {
        let end = RunEnd {
            end: End::Exit(exit),
            bytes: output.len() as u64,
            stderr: Tail::of(error.as_bytes()),
        };
        let output = output.into();
        Self { end, output }
    }
}

impl Run {
    pub(crate) fn answered(self, worker: &str, answer: WorkerResult, began: Instant) {
        if answer.output.len() > PIECE {
            let (tracker, worker) = (self.tracker.clone(), worker.to_owned());
            tracker.spawn(self.answered_at_length(worker, answer, began));
        } else {
            self.answered_at_once(answer, began.elapsed(), Some(worker));
        }
    }

    /// Reports that the worker did not answer within the time limit.
    pub(crate) fn timed_out(self, began: Instant) {
        let end = RunEnd {
            end: End::TimedOut,
            bytes: 0,
            stderr: Tail::default(),
        };
        let output = Bytes::new();
        self.answered_at_once(WorkerResult { end, output }, began.elapsed(), None);
    }

    fn answered_at_once(self, answer: WorkerResult, exec: Duration, worker: Option<&str>) {
        let WorkerResult { end, output } = answer;
        let stderr = end.stderr.kept();
        self.reporter.urgent(InnerToRouter::Answered {
            run: self.id(),
            end: end.end,
            exec_us: micros(exec),
            output,
            stderr: stderr.clone(),
        });
        self.log(&end, exec, &stderr, worker);
    }

    /// The caller has as long to read as a process has to run.
    async fn answered_at_length(self, worker: String, answer: WorkerResult, began: Instant) {
        let mut end = answer.end;
        let limit = self.limit.map(|limit| began + limit);
        let output = self.output();
        let cut_off = tokio::select! {
            biased;
            () = output.pass_on_whole(answer.output) => None,
            () = self.caller.cancelled() => Some(End::Cancelled),
            () = sleep_until(limit.unwrap_or(began).into()), if limit.is_some() => Some(End::TimedOut),
        };
        if let Some(cut_off) = cut_off {
            self.window.close();
            end.end = cut_off;
        }
        self.finish(began, end, &output, Some(&worker)).await;
    }

    /// Reports the answer of a worker to a motion or a stop, for as long as the caller reads.
    pub(crate) async fn motion_answered(self, worker: &str, answer: WorkerResult, began: Instant) {
        let output = self.output();
        let passing_on = output.pass_on_whole(answer.output);
        if self.caller.run_until_cancelled(passing_on).await.is_none() {
            self.abandon();
        }
        self.finish(began, answer.end, &output, Some(worker)).await;
    }
}
