//! Commands that a console runs over its connection to the router. Asks for the result of those
//! whose answer was lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use p2p_shared::names::RunId;
use p2p_shared::protocol::{ConsoleToRouter, End, Outcome, Refusal, RunAnswer, SendEvent, cost};
use tokio::time::Instant;

use super::super::answers::{AnswerLog, CallerAnswer};
use super::super::keys::{KeyUse, SimKey};
use super::super::rng::Rng;
use super::super::shared::SharedWorld;
use crate::http::response::Executed;

/// The commands to choose from.
const COMMANDS: [&str; 8] = [
    "hello", "hello", "slow", "fails", "missing", "forward", "back", "stop",
];

/// The commands of one console.
pub(super) struct SentCommands {
    world: Arc<SharedWorld>,
    answers: AnswerLog,
    next: u64,
    open: BTreeMap<u64, SentCommand>,
    /// Runs without an answer, to be asked for.
    lost: Vec<RunId>,
    /// The request that asks for one of them.
    asked: Option<(u64, RunId)>,
}

struct SentCommand {
    command: &'static str,
    /// The run's id, and when it became known.
    run: Option<(RunId, Instant)>,
    body: Vec<u8>,
    by: KeyUse,
}

impl SentCommands {
    pub(super) fn new(world: Arc<SharedWorld>, answers: AnswerLog) -> Self {
        Self {
            world,
            answers,
            next: 0,
            open: BTreeMap::new(),
            lost: Vec::new(),
            asked: None,
        }
    }

    /// The message that runs a random command.
    pub(super) fn send(
        &mut self,
        service_port: u16,
        rng: &Rng,
        key: Option<Arc<SimKey>>,
    ) -> ConsoleToRouter {
        let command = *rng.one_of(&COMMANDS);
        self.next += 1;
        let sent = SentCommand {
            command,
            run: None,
            body: Vec::new(),
            by: KeyUse::begin(key),
        };
        self.open.insert(self.next, sent);
        ConsoleToRouter::Send {
            request: self.next,
            service_port,
            command: command.parse().unwrap(),
            arguments: Default::default(),
            for_ms: None,
        }
    }

    /// Takes in an event of a command; returns the message to send in reply.
    pub(super) fn on_event(&mut self, request: u64, event: &SendEvent) -> Option<ConsoleToRouter> {
        let sent = self.open.get_mut(&request)?;
        let (executed, status) = match event {
            SendEvent::Queued { run } => {
                sent.run = Some((*run, Instant::now()));
                return None;
            }
            SendEvent::Started => return None,
            SendEvent::Output(bytes) => {
                sent.body.extend_from_slice(bytes);
                let more = cost(bytes);
                return Some(ConsoleToRouter::Window { request, more });
            }
            SendEvent::Finished { end, .. } => match end {
                End::Exit(0) | End::Ended => (Executed::Yes, 200),
                _ => (Executed::Yes, 500),
            },
            SendEvent::Refused {
                refusal: Some(Refusal::WorkerLost),
                ..
            }
            | SendEvent::Lost => (Executed::Unknown, 502),
            SendEvent::Refused { .. } => (Executed::No, 503),
        };
        self.end(request, executed, status);
        None
    }

    /// Ends all open commands as unknown: their connection is lost.
    pub(super) fn lose_all(&mut self) {
        self.asked = None;
        while let Some(request) = self.open.keys().next().copied() {
            self.end(request, Executed::Unknown, 502);
        }
    }

    fn end(&mut self, request: u64, executed: Executed, status: u16) {
        let Some(sent) = self.open.remove(&request) else {
            return;
        };
        // Without an id nobody can ask for its result.
        let Some((run, asked)) = sent.run else {
            return;
        };
        // A motion may extend another one, and a stop may share another one's run.
        let is_plain = !["forward", "back", "stop"].contains(&sent.command);
        if executed == Executed::Unknown && is_plain {
            self.lost.push(run);
        }
        let answer = CallerAnswer {
            run,
            query: sent.command,
            asked,
            executed: Some(executed),
            status,
            body: String::from_utf8_lossy(&sent.body).into_owned(),
            at: Instant::now(),
            is_forbidden: sent.by.is_forbidden(sent.command),
        };
        self.answers.add(&self.world, answer);
    }

    /// The message that asks for the next lost run.
    pub(super) fn ask(&mut self, service_port: u16) -> Option<ConsoleToRouter> {
        if self.asked.is_some() || self.lost.is_empty() {
            return None;
        }
        let run = self.lost.remove(0);
        self.next += 1;
        self.asked = Some((self.next, run));
        Some(ConsoleToRouter::AskRun {
            request: self.next,
            service_port,
            run,
        })
    }

    /// Checks the answer to the question for a lost run.
    pub(super) fn on_answer(&mut self, request: u64, answer: &RunAnswer) {
        let Some((_, run)) = self.asked.take_if(|(asked, _)| *asked == request) else {
            return;
        };
        self.world
            .history
            .log(|| format!("run {run} is asked for: {answer:?}"));
        let outcome = match answer {
            RunAnswer::Report(report) => Some(&report.outcome),
            RunAnswer::NotKnown => None,
            RunAnswer::Away => return self.lost.push(run),
        };
        match outcome {
            Some(Outcome::Waiting | Outcome::Running) => self.lost.push(run),
            outcome => self.answers.check_report(&self.world, run, outcome),
        }
    }
}
