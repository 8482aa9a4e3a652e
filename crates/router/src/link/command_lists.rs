//! Callers that wait for the list of a link's commands. One request is under way at a time, and its
//! answer is for all who asked before it was sent. Sends nothing itself.

use p2p_shared::bounded::List;
use p2p_shared::protocol::{CommandInfo, MAX_ENTRIES};
use tokio::sync::oneshot;

use crate::link::end::ProtocolViolation;

/// Most commands of a list: as many as an inner sends.
const MAX_COMMANDS: usize = 10_000;
/// Most bytes of a list: the most commands, each with a long name and a long sentence.
const MAX_BYTES: usize = 16 * 1024 * 1024;

type Reply = oneshot::Sender<Vec<CommandInfo>>;

/// The lists of commands that are asked for.
#[derive(Debug, Default)]
pub(super) struct CommandLists {
    requests: u64,
    open: Option<Open>,
    /// Callers that have asked since the open request was sent.
    waiting: Vec<Reply>,
}

/// A request that was sent.
#[derive(Debug)]
struct Open {
    replies: Vec<Reply>,
    commands: Vec<CommandInfo>,
    bytes: usize,
}

impl CommandLists {
    pub(super) fn is_idle(&self) -> bool {
        let open = self.open.iter().flat_map(|open| &open.replies);
        open.chain(&self.waiting).all(Reply::is_closed)
    }

    /// Adds a caller that waits for a list. Returns the number of the request to be sent now, if one is.
    pub(super) fn ask(&mut self, reply: Reply) -> Option<u64> {
        self.waiting.retain(|reply| !reply.is_closed());
        self.waiting.push(reply);
        self.next()
    }

    /// Adds a part of an answer. Returns the number of the request to be sent now, if one is.
    pub(super) fn answer(
        &mut self,
        request: u64,
        commands: List<CommandInfo, MAX_ENTRIES>,
        more: bool,
    ) -> Result<Option<u64>, ProtocolViolation> {
        let Some(open) = self.open.as_mut().filter(|_| request == self.requests) else {
            return Ok(None);
        };
        for info in &*commands {
            open.bytes += info.name.as_str().len()
                + info
                    .problem
                    .as_ref()
                    .map_or(0, |problem| problem.raw().len());
        }
        open.commands.extend(commands);
        if open.commands.len() > MAX_COMMANDS || open.bytes > MAX_BYTES {
            return Err(ProtocolViolation(
                "the inner sent a list of commands without end",
            ));
        }
        if more {
            return Ok(None);
        }
        if let Some(open) = self.open.take() {
            for reply in open.replies {
                // A caller that has gone away needs no answer.
                let _ = reply.send(open.commands.clone());
            }
        }
        Ok(self.next())
    }

    fn next(&mut self) -> Option<u64> {
        if self.open.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.requests += 1;
        self.open = Some(Open {
            replies: std::mem::take(&mut self.waiting),
            commands: Vec::new(),
            bytes: 0,
        });
        Some(self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(name: &str) -> CommandInfo {
        CommandInfo {
            name: name.parse().unwrap(),
            problem: None,
        }
    }

    #[test]
    fn one_request_is_on_its_way_and_answers_all_who_asked_before_it() {
        let mut listings = CommandLists::default();
        let (first, mut first_list) = oneshot::channel();
        let (second, mut second_list) = oneshot::channel();
        let (third, mut third_list) = oneshot::channel();
        assert_eq!(listings.ask(first), Some(1));
        assert_eq!(listings.ask(second), None);
        assert_eq!(listings.ask(third), None);
        assert_eq!(
            listings
                .answer(1, vec![command("a")].try_into().unwrap(), true)
                .unwrap(),
            None
        );
        assert!(first_list.try_recv().is_err());
        assert_eq!(
            listings
                .answer(1, vec![command("b")].try_into().unwrap(), false)
                .unwrap(),
            Some(2)
        );
        assert_eq!(first_list.try_recv().unwrap().len(), 2);
        assert!(second_list.try_recv().is_err());
        // An answer to a request that was not sent, or was answered already.
        assert_eq!(
            listings
                .answer(1, vec![command("x")].try_into().unwrap(), false)
                .unwrap(),
            None
        );
        assert_eq!(listings.answer(2, Default::default(), false).unwrap(), None);
        assert_eq!(second_list.try_recv().unwrap(), []);
        assert_eq!(third_list.try_recv().unwrap(), []);
        assert!(listings.is_idle());
    }

    #[test]
    fn a_list_without_end_is_cut_off() {
        let mut listings = CommandLists::default();
        let (reply, _list) = oneshot::channel();
        listings.ask(reply);
        assert!(!listings.is_idle());
        let mut parts = std::iter::repeat_with(|| vec![command("a"); 100].try_into().unwrap());
        assert!(parts.any(|part| listings.answer(1, part, true).is_err()));
    }

    #[test]
    fn one_who_has_gone_away_keeps_nothing_busy() {
        let mut listings = CommandLists::default();
        let (reply, list) = oneshot::channel();
        listings.ask(reply);
        drop(list);
        assert!(listings.is_idle());
    }
}
