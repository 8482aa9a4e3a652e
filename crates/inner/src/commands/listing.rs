//! Answers requests for the list of commands: one listing at a time and off the link's task, since
//! a folder may be slow; in messages that are small enough.

use std::sync::Arc;

use p2p_shared::bounded::Text;
use p2p_shared::protocol::{CommandInfo, InnerToRouter, MAX_MESSAGE};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::Commands;

/// Most waiting requests: a router sends one at a time.
const MAX_WAITING: usize = 16;

#[derive(Debug)]
pub(crate) struct CommandListing {
    requests: mpsc::Sender<u64>,
    /// The messages of all answers, in order.
    pub answers: mpsc::Receiver<InnerToRouter>,
}

impl CommandListing {
    pub(crate) fn new(commands: Arc<Commands>) -> Self {
        let (requests, mut asked) = mpsc::channel(MAX_WAITING);
        let (answer, answers) = mpsc::channel(1);
        // The task ends when the other ends of its queues are dropped.
        tokio::spawn(async move {
            while let Some(request) = asked.recv().await {
                let commands = commands.clone();
                let list = move || in_parts(request, commands.list().unwrap_or_default());
                // A listing that panicked has no answer; the router doesn't wait for ever.
                for part in spawn_blocking(list).await.unwrap_or_default() {
                    if answer.send(part).await.is_err() {
                        return;
                    }
                }
            }
        });
        Self { requests, answers }
    }

    /// Takes a request; returns false if too many wait, since no router asks so fast.
    pub(crate) fn ask(&self, request: u64) -> bool {
        self.requests.try_send(request).is_ok()
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
    async fn each_request_is_answered_in_its_turn_and_too_many_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let files = crate::catalog::Catalog::open(folder.path()).unwrap();
        let mut listing = CommandListing::new(crate::testing::commands(files));
        for request in 0..MAX_WAITING as u64 {
            assert!(listing.ask(request));
        }
        assert!(!listing.ask(99));
        for expected in 0..MAX_WAITING as u64 {
            let answer = listing.answers.recv().await.unwrap();
            let InnerToRouter::Commands { request, more, .. } = answer else {
                panic!("{answer:?}")
            };
            assert_eq!((request, more), (expected, false));
        }
    }
}
