//! Callers that wait for the list of a link's commands. One request is under way at a time, and its
//! answer, which they share, is for all who asked before it was sent. Sends nothing itself.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use p2p_shared::bounded::{List, Text};
use p2p_shared::names::LinkName;
use p2p_shared::protocol::{CommandInfo, MAX_ENTRIES};
use tokio::sync::oneshot;

use crate::link::end::ProtocolViolation;
use crate::net::limits;

/// Most commands of a list: as many as an inner sends.
const MAX_COMMANDS: usize = 10_000;

type Reply = oneshot::Sender<Arc<CommandList>>;

/// List of a car's commands, shared by all who asked for it.
#[derive(Debug, Default)]
pub(crate) struct CommandList {
    pub commands: Vec<CommandInfo>,
    /// Bytes of memory of all commands.
    pub bytes: usize,
    json: OnceLock<Bytes>,
}

impl CommandList {
    /// Returns the list as JSON, which is made once.
    pub(crate) fn json(&self) -> Bytes {
        let make = || Bytes::from(serde_json::json!({ "commands": self.commands }).to_string());
        self.json.get_or_init(make).clone()
    }
}

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
    list: CommandList,
    /// The number of commands that are left out, as the list would be too large.
    left_out: usize,
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

    /// Adds a part of this link's answer. Returns the number of the request to be sent now, if one is.
    pub(super) fn answer(
        &mut self,
        link: &LinkName,
        request: u64,
        commands: List<CommandInfo, MAX_ENTRIES>,
        more: bool,
    ) -> Result<Option<u64>, ProtocolViolation> {
        let Some(open) = self.open.as_mut().filter(|_| request == self.requests) else {
            return Ok(None);
        };
        let list = &mut open.list;
        for info in commands {
            let problem = info.problem.as_ref();
            let problem = problem.map_or(0, |problem: &Text| problem.raw().len());
            let bytes = size_of::<CommandInfo>() + info.name.as_str().len() + problem;
            if list.bytes + bytes > limits::COMMAND_LIST {
                open.left_out += 1;
            } else {
                list.bytes += bytes;
                list.commands.push(info);
            }
        }
        if list.commands.len() + open.left_out > MAX_COMMANDS {
            return Err(ProtocolViolation(
                "the inner sent a list of commands without end",
            ));
        }
        if more {
            return Ok(None);
        }
        if let Some(open) = self.open.take() {
            if open.left_out > 0 {
                let left_out = open.left_out;
                tracing::warn!(%link, left_out, "the list of the car's commands is too long: some are left out");
            }
            let mut list = open.list;
            list.commands.shrink_to_fit();
            let list = Arc::new(list);
            for reply in open.replies {
                // A caller that has gone away needs no answer.
                let _ = reply.send(list.clone());
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
            list: CommandList::default(),
            left_out: 0,
        });
        Some(self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn car() -> LinkName {
        "car".parse().unwrap()
    }

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
        let (third, third_list) = oneshot::channel();
        assert_eq!(listings.ask(first), Some(1));
        assert_eq!(listings.ask(second), None);
        assert_eq!(listings.ask(third), None);
        assert_eq!(
            listings
                .answer(&car(), 1, vec![command("a")].try_into().unwrap(), true)
                .unwrap(),
            None
        );
        assert!(first_list.try_recv().is_err());
        assert_eq!(
            listings
                .answer(&car(), 1, vec![command("b")].try_into().unwrap(), false)
                .unwrap(),
            Some(2)
        );
        assert!(second_list.try_recv().is_err());
        assert_eq!(first_list.try_recv().unwrap().commands.len(), 2);
        // An answer to a request that was not sent, or was answered already.
        assert_eq!(
            listings
                .answer(&car(), 1, vec![command("x")].try_into().unwrap(), false)
                .unwrap(),
            None
        );
        assert_eq!(
            listings
                .answer(&car(), 2, Default::default(), false)
                .unwrap(),
            None
        );
        let [second, third] = [second_list, third_list].map(|mut list| list.try_recv().unwrap());
        assert!(second.commands.is_empty());
        // One buffer for both.
        assert_eq!(second.json().as_ptr(), third.json().as_ptr());
        assert!(listings.is_idle());
    }

    #[test]
    fn a_list_without_end_is_cut_off() {
        let mut listings = CommandLists::default();
        let (reply, _list) = oneshot::channel();
        listings.ask(reply);
        assert!(!listings.is_idle());
        let mut parts = std::iter::repeat_with(|| vec![command("a"); 100].try_into().unwrap());
        assert!(parts.any(|part| listings.answer(&car(), 1, part, true).is_err()));
    }

    #[test]
    fn what_makes_a_list_too_large_is_left_out() {
        let mut listings = CommandLists::default();
        let (reply, mut list) = oneshot::channel();
        listings.ask(reply);
        let long = CommandInfo {
            problem: Some(Text::new("x".repeat(1900))),
            ..command("long")
        };
        for _ in 0..20 {
            let part = vec![long.clone(); 50].try_into().unwrap();
            listings.answer(&car(), 1, part, true).unwrap();
        }
        let last = vec![command("a")].try_into().unwrap();
        listings.answer(&car(), 1, last, false).unwrap();
        let list = list.try_recv().unwrap();
        assert!(list.bytes <= limits::COMMAND_LIST && list.commands.len() > 500);
        let texts = list.commands.iter().map(|info| {
            let problem = info
                .problem
                .as_ref()
                .map_or(0, |problem| problem.raw().len());
            info.name.as_str().len() + problem
        });
        let infos = list.commands.len() * size_of::<CommandInfo>();
        assert_eq!(list.bytes, infos + texts.sum::<usize>());
        assert_eq!(list.commands.last().unwrap().name.as_str(), "a");
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
