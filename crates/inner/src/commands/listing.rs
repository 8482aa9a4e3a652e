//! Answers questions that need the disk (the list of commands, the car's past): one at a time and off the
//! link's task, since a folder may be slow; in messages that are small enough.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use p2p_shared::bounded::Text;
use p2p_shared::protocol::{CommandInfo, InnerToRouter, MAX_MESSAGE, OutputPiece};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::Commands;
use crate::ring::Ring;

/// Most waiting questions. A router sends one for a list at a time; about the past, one for each who asks.
const MAX_WAITING: usize = 16;
/// Most of them about the past: many who ask hide no list.
const MAX_PASTS: usize = MAX_WAITING / 2;

/// Question of the router, with the number of its request.
#[derive(Debug)]
pub(crate) enum Question {
    Commands(u64),
    Past { request: u64, last: Duration },
}

#[derive(Debug)]
pub(crate) struct Listing {
    questions: mpsc::Sender<Question>,
    /// The messages of all answers, in order.
    pub answers: mpsc::Receiver<InnerToRouter>,
}

impl Listing {
    pub(crate) fn new(commands: Arc<Commands>, ring: Ring) -> Self {
        let (questions, mut asked) = mpsc::channel(MAX_WAITING);
        let (answer, answers) = mpsc::channel(1);
        // The task ends when the other ends of its queues are dropped.
        tokio::spawn(async move {
            while let Some(question) = asked.recv().await {
                let (commands, ring) = (commands.clone(), ring.clone());
                let list = move || match question {
                    Question::Commands(request) => {
                        in_parts(request, commands.list().unwrap_or_default())
                    }
                    Question::Past { request, last } => in_pieces(request, ring.past(last)),
                };
                // A listing that panicked has no answer; the router doesn't wait for ever.
                for part in spawn_blocking(list).await.unwrap_or_default() {
                    if answer.send(part).await.is_err() {
                        return;
                    }
                }
            }
        });
        Self { questions, answers }
    }

    /// Takes a question; returns false if too many wait.
    pub(crate) fn ask(&self, question: Question) -> bool {
        let most = match question {
            Question::Commands(_) => MAX_WAITING,
            Question::Past { .. } => MAX_PASTS,
        };
        let waiting = MAX_WAITING - self.questions.capacity();
        waiting < most && self.questions.try_send(question).is_ok()
    }
}

fn in_pieces(request: u64, lines: Vec<u8>) -> Vec<InnerToRouter> {
    let mut left = Bytes::from(lines);
    let mut parts = Vec::new();
    loop {
        let lines = OutputPiece::split_from(&mut left);
        let more = !left.is_empty();
        parts.push(InnerToRouter::Past {
            request,
            lines,
            more,
        });
        if !more {
            return parts;
        }
    }
}

fn in_parts(request: u64, commands: Vec<CommandInfo>) -> Vec<InnerToRouter> {
    let mut parts = vec![Vec::new()];
    let mut filled = 0;
    for info in commands {
        let size = 64
            + info.name.as_str().len()
            + info
                .problem
                .as_ref()
                .map_or(0, |problem: &Text| problem.raw().len());
        filled += size;
        if filled > MAX_MESSAGE / 2 {
            parts.push(Vec::new());
            filled = size;
        }
        if let Some(part) = parts.last_mut() {
            part.push(info);
        }
    }
    let last = parts.len() - 1;
    let message = |(n, part): (usize, Vec<_>)| InnerToRouter::Commands {
        request,
        commands: part.into_iter().collect(),
        more: n < last,
    };
    parts.into_iter().enumerate().map(message).collect()
}

#[cfg(test)]
mod tests {
    use p2p_shared::codec::encode;

    use super::*;

    #[test]
    fn long_lists_go_in_parts_that_fit() {
        let info = |n| CommandInfo {
            name: format!("command-{n}").parse().unwrap(),
            problem: Some(Text::new("x".repeat(500))),
        };
        let parts = in_parts(7, (0..1000).map(info).collect());
        let mut total = 0;
        for (n, part) in parts.iter().enumerate() {
            encode(part).unwrap();
            let InnerToRouter::Commands {
                request: 7,
                commands,
                more,
            } = part
            else {
                panic!("{part:?}")
            };
            assert_eq!(*more, n + 1 < parts.len());
            total += commands.len();
        }
        assert_eq!(total, 1000);
        assert_eq!(in_parts(7, Vec::new()).len(), 1);
    }

    #[tokio::test]
    async fn many_questions_about_the_past_leave_room_for_lists() {
        let folder = tempfile::tempdir().unwrap();
        let files = crate::catalog::Catalog::open(folder.path()).unwrap();
        let listing = Listing::new(crate::testing::commands(files), Ring::in_memory());
        let last = Duration::from_secs(1);
        let taken = (0..99).filter(|request| {
            let request = *request;
            listing.ask(Question::Past { request, last })
        });
        assert_eq!(taken.count(), MAX_PASTS);
        assert!(listing.ask(Question::Commands(99)));
    }

    #[tokio::test]
    async fn each_request_is_answered_in_its_turn_and_too_many_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let files = crate::catalog::Catalog::open(folder.path()).unwrap();
        let mut listing = Listing::new(crate::testing::commands(files), Ring::in_memory());
        for request in 0..MAX_WAITING as u64 {
            assert!(listing.ask(Question::Commands(request)));
        }
        assert!(!listing.ask(Question::Commands(99)));
        for expected in 0..MAX_WAITING as u64 {
            let answer = listing.answers.recv().await.unwrap();
            let InnerToRouter::Commands { request, more, .. } = answer else {
                panic!("{answer:?}")
            };
            assert_eq!((request, more), (expected, false));
        }
    }
}
