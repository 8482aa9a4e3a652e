//! Owns a run that a worker has answered: its output is complete, and is passed on at once or, if
//! it is long, in pieces as the caller reads.

use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::protocol::{End, InnerToRouter, OutputPiece, PIECE};
use p2p_shared::timing::micros;
use tokio::time::sleep_until;

use super::{Run, RunEnd, Tail};

#[derive(Debug)]
pub(crate) struct WorkerResult {
    pub end: RunEnd,
    pub output: Bytes,
}

impl WorkerResult {
    pub(crate) fn new(end: End, output: String, error: &str) -> Self {
        let end = RunEnd {
            end,
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
            tracker.spawn(async move { self.pass_on_answer(&worker, answer, began).await });
        } else {
            self.answered_at_once(answer, began.elapsed(), Some(worker));
        }
    }

    /// Reports that the worker did not answer within the time limit.
    pub(crate) fn timed_out(self, began: Instant) {
        let nothing = WorkerResult::new(End::TimedOut, String::new(), "");
        self.answered_at_once(nothing, began.elapsed(), None);
    }

    fn answered_at_once(self, answer: WorkerResult, exec: Duration, worker: Option<&str>) {
        let WorkerResult { end, mut output } = answer;
        let stderr = end.stderr.kept();
        self.reporter.urgent(InnerToRouter::Answered {
            run: self.id(),
            end: end.end,
            exec_us: micros(exec),
            output: OutputPiece::split_from(&mut output),
            stderr: stderr.clone(),
        });
        self.log(&end, exec, &stderr, worker);
    }

    /// Passes an answer on as the caller reads, within the time limit of a process.
    pub(crate) async fn pass_on_answer(self, worker: &str, answer: WorkerResult, began: Instant) {
        let mut end = answer.end;
        let limit = self.limit.map(|limit| began + limit);
        let cut_off = tokio::select! {
            biased;
            () = self.caller.cancelled() => Some(End::Cancelled),
            () = self.pass_on_whole(answer.output) => None,
            () = sleep_until(limit.unwrap_or(began).into()), if limit.is_some() => Some(End::TimedOut),
        };
        if let Some(cut_off) = cut_off {
            self.abandon();
            // The end of a motion or a stop doesn't depend on its reader.
            if self.role.is_none() {
                end.end = cut_off;
            }
        }
        self.finish(began, end, Some(worker)).await;
    }
}
