//! Callers that wait for the report of a run. Each run is asked for once at a time, and the answer is
//! for all callers that wait. Sends nothing itself.

use std::collections::HashMap;

use p2p_shared::names::RunId;
use p2p_shared::protocol::RunReport;
use tokio::sync::oneshot;

use crate::link::work::NoAnswer;

/// Most runs that are asked for at a time: callers for more are told to ask again.
const OPEN: usize = 64;

type Reply = oneshot::Sender<Result<Option<RunReport>, NoAnswer>>;

/// The open questions about runs.
#[derive(Debug, Default)]
pub(super) struct RunQueries(HashMap<RunId, Vec<Reply>>);

impl RunQueries {
    pub(super) fn is_idle(&self) -> bool {
        self.0.values().flatten().all(Reply::is_closed)
    }

    /// Adds a caller. Returns true if the inner is to be asked now.
    pub(super) fn ask(&mut self, run: RunId, reply: Reply) -> bool {
        self.0.retain(|_, replies| {
            replies.retain(|reply| !reply.is_closed());
            !replies.is_empty()
        });
        if let Some(replies) = self.0.get_mut(&run) {
            replies.push(reply);
            return false;
        }
        if self.0.len() >= OPEN {
            let _ = reply.send(Err(NoAnswer::Busy));
            return false;
        }
        self.0.insert(run, vec![reply]);
        true
    }

    /// Passes the inner's answer on.
    pub(super) fn answer(&mut self, run: RunId, report: Option<&RunReport>) {
        for reply in self.0.remove(&run).unwrap_or_default() {
            // A caller that has gone away needs no answer.
            let _ = reply.send(Ok(report.cloned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_asked_for_once_and_all_who_wait_are_told() {
        let mut questions = RunQueries::default();
        let run = RunId::from_number(1);
        let (first, mut first_told) = oneshot::channel();
        let (second, mut second_told) = oneshot::channel();
        assert!(questions.ask(run, first));
        assert!(!questions.ask(run, second));
        // An answer to a question that was not asked.
        questions.answer(RunId::from_number(2), None);
        assert!(first_told.try_recv().is_err() && !questions.is_idle());
        questions.answer(run, None);
        assert_eq!(first_told.try_recv(), Ok(Ok(None)));
        assert_eq!(second_told.try_recv(), Ok(Ok(None)));
        assert!(questions.is_idle());
    }

    #[test]
    fn too_many_are_told_to_ask_again_and_those_who_left_make_room() {
        let mut questions = RunQueries::default();
        let mut told = Vec::new();
        for n in 0..OPEN as u64 {
            let (reply, answer) = oneshot::channel();
            assert!(questions.ask(RunId::from_number(n), reply));
            told.push(answer);
        }
        let (reply, mut answer) = oneshot::channel();
        assert!(!questions.ask(RunId::from_number(99), reply));
        assert_eq!(answer.try_recv(), Ok(Err(NoAnswer::Busy)));
        told.clear();
        let (reply, _answer) = oneshot::channel();
        assert!(questions.ask(RunId::from_number(99), reply));
    }
}
