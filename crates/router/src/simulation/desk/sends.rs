//! Owns the commands that a console has run over its connection to the router, and its asking by
//! itself what became of those whose answer was lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use p2p_shared::names::RunId;
use p2p_shared::protocol::{ConsoleToRouter, End, Outcome, Refusal, RunAnswer, SendEvent, cost};
use tokio::time::Instant;

use super::super::callers::{Answer, Answers};
use super::super::dice::Dice;
use super::super::stage::Stage;
use crate::http::response::Executed;

/// What is asked for.
const COMMANDS: [&str; 8] = [
    "hello", "hello", "slow", "fails", "missing", "forward", "back", "stop",
];

/// The sends of one console.
pub(super) struct Sends {
    stage: Arc<Stage>,
    answers: Answers,
    next: u64,
    open: BTreeMap<u64, Sent>,
    /// Those that are to be asked for, and by which request one of them is.
    lost: Vec<RunId>,
    asked: Option<(u64, RunId)>,
}

struct Sent {
    command: &'static str,
    /// Its id, and since when it is known.
    run: Option<(RunId, Instant)>,
    body: Vec<u8>,
}

impl Sends {
    pub(super) fn new(stage: Arc<Stage>, answers: Answers) -> Self {
        Self {
            stage,
            answers,
            next: 0,
            open: BTreeMap::new(),
            lost: Vec::new(),
            asked: None,
        }
    }

    /// Something is to be run.
    pub(super) fn send(&mut self, service_port: u16, dice: &Dice) -> ConsoleToRouter {
        let command = *dice.one_of(&COMMANDS);
        self.next += 1;
        let sent = Sent {
            command,
            run: None,
            body: Vec::new(),
        };
        self.open.insert(self.next, sent);
        ConsoleToRouter::Send {
            request: self.next,
            service_port,
            command: command.parse().unwrap(),
            arguments: Vec::new(),
            for_ms: None,
        }
    }

    /// What became of one; what is to be said to that.
    pub(super) fn hear(&mut self, request: u64, event: &SendEvent) -> Option<ConsoleToRouter> {
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

    /// The connection is gone, and with it all answers.
    pub(super) fn lose(&mut self) {
        self.asked = None;
        while let Some(request) = self.open.keys().next().copied() {
            self.end(request, Executed::Unknown, 502);
        }
    }

    fn end(&mut self, request: u64, executed: Executed, status: u16) {
        let Some(sent) = self.open.remove(&request) else {
            return;
        };
        // Of one that has no id nobody can say anything.
        let Some((run, asked)) = sent.run else {
            return;
        };
        // A motion may extend another, and a stop be another's: these run nothing themselves.
        let is_plain = !["forward", "back", "stop"].contains(&sent.command);
        if executed == Executed::Unknown && is_plain {
            self.lost.push(run);
        }
        self.answers.add(
            &self.stage,
            Answer::of_send(run, sent.command, asked, (executed, status, sent.body)),
        );
    }

    /// Asks for the next of those that were lost.
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

    /// What became of it.
    pub(super) fn told(&mut self, request: u64, told: &RunAnswer) {
        let Some((_, run)) = self.asked.take_if(|(asked, _)| *asked == request) else {
            return;
        };
        self.stage
            .history
            .tell(|| format!("run {run} is asked for: {told:?}"));
        let outcome = match told {
            RunAnswer::Story(story) => Some(&story.outcome),
            RunAnswer::NotKnown => None,
            RunAnswer::Away => return self.lost.push(run),
        };
        match outcome {
            Some(Outcome::Waiting | Outcome::Running) => self.lost.push(run),
            outcome => self.answers.check_story(&self.stage, run, outcome),
        }
    }
}
