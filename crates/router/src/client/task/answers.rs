//! Answers a console's questions to a car: lists of commands, in messages that are small enough,
//! and what became of a run.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use p2p_shared::bounded::List;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{OutputPiece, PastSource, RefusedReason, RouterToConsole, RunAnswer};

use crate::car::Refused;
use crate::client::task::{Console, refusal};
use crate::feed::take_part;
use crate::link::command_lists::CommandList;
use crate::link::handle::LinkHandle;
use crate::net::quota::QuotaPermit;

/// Most answers that one console waits for at a time.
const OPEN: usize = 8;
/// Most answers that wait for a console to read: one that asks and does not read gets
/// no more answers until it does.
const WAITING: usize = 64;
/// Sentence for a console that gets no list.
const NO_LIST: &str = "the car sent no list of its commands: try again in a moment";
/// Sentence for a console whose key leaves too much unread.
const TOO_MUCH_UNREAD: &str =
    "too much of what was sent to this key was not read yet: try again in a moment";

/// Answer that waits for the console to read.
#[derive(Debug)]
pub(super) enum Answer {
    Message(Box<RouterToConsole>),
    Commands(UnreadList),
    Past(UnreadPast),
}

impl Answer {
    fn message(message: RouterToConsole) -> Self {
        Self::Message(Box::new(message))
    }
}

/// Rest of a list of commands, of which a message is made when there is room for it.
#[derive(Debug)]
pub(super) struct UnreadList {
    request: u64,
    list: Arc<CommandList>,
    /// The number of commands that were sent.
    sent: usize,
    /// Counts the list until its last message is sent.
    _permit: QuotaPermit,
}

impl UnreadList {
    /// Makes the next message. Returns also whether more come.
    fn next(&mut self) -> (RouterToConsole, bool) {
        let all = &self.list.commands;
        let mut rest = all.get(self.sent..).unwrap_or_default().iter().cloned();
        let commands = take_part(&mut rest, &mut 0);
        self.sent = all.len() - rest.len();
        let (request, more) = (self.request, rest.len() > 0);
        let message = RouterToConsole::Commands {
            request,
            commands,
            more,
        };
        (message, more)
    }
}

/// Rest of an answer about the past.
#[derive(Debug)]
pub(super) struct UnreadPast {
    request: u64,
    /// The lines of each source that are not sent yet.
    left: Vec<(PastSource, Bytes)>,
    /// Counts the lines until the last message is sent.
    _permit: Option<QuotaPermit>,
}

impl UnreadPast {
    /// Makes the next message. Returns also whether more come.
    fn next(&mut self) -> (RouterToConsole, bool) {
        let (source, lines) = match self.left.first_mut() {
            // No character is cut in two.
            Some((source, bytes)) => (*source, OutputPiece::lines_from(bytes)),
            None => (PastSource::Car, OutputPiece::default()),
        };
        self.left.retain(|(_, bytes)| !bytes.is_empty());
        let (request, more) = (self.request, !self.left.is_empty());
        let message = RouterToConsole::Past {
            request,
            source,
            lines,
            more,
        };
        (message, more)
    }
}

impl Console<'_> {
    /// Answers with what the car remembers, and with what the router's log has, if that is wanted. A console that
    /// waits for many answers gets an empty one.
    pub(super) fn on_ask_past(
        &mut self,
        request: u64,
        service_port: u16,
        last: Duration,
        log: bool,
    ) {
        if !self.may_ask() {
            let left = Vec::new();
            return self.queue(vec![Answer::Past(UnreadPast {
                request,
                left,
                _permit: None,
            })]);
        }
        let car = self.guard.car(service_port);
        let name = car.as_ref().map(|car| car.name()).filter(|_| log);
        let link = car.and_then(|car| car.link_with_past());
        let (quota, owner) = (self.context.quotas.unread.clone(), self.permit.owner());
        let log = self.context.own_log.clone();
        let asking = async move {
            let car = async {
                match &link {
                    Some(link) => link.ask_past(last).await.unwrap_or_default(),
                    None => Bytes::new(),
                }
            };
            let router = async {
                match name {
                    Some(name) => log.of_car(name, last).await,
                    None => Bytes::new(),
                }
            };
            let (car, router) = tokio::join!(car, router);
            let permit = quota.take_sized(owner, car.len() + router.len());
            let mut left = vec![(PastSource::Router, router), (PastSource::Car, car)];
            left.retain(|(_, bytes)| !bytes.is_empty() && permit.is_some());
            vec![Answer::Past(UnreadPast {
                request,
                left,
                _permit: permit,
            })]
        };
        self.answers.push(Box::pin(asking));
    }

    pub(super) fn on_list_commands(&mut self, request: u64, service_port: u16) {
        match self.link_to_ask(service_port) {
            Some(link) => {
                let (quota, owner) = (self.context.quotas.unread.clone(), self.permit.owner());
                let listing = async move {
                    let list = link.list().await.map_err(|_| NO_LIST);
                    let counted = list.and_then(|list| {
                        let permit = quota.take_sized(owner, list.bytes);
                        Ok((list, permit.ok_or(TOO_MUCH_UNREAD)?))
                    });
                    list_answers(request, counted)
                };
                self.answers.push(Box::pin(listing));
            }
            None => self.queue(list_answers(request, Err(NO_LIST))),
        }
    }

    pub(super) fn on_ask_run(&mut self, request: u64, service_port: u16, run: RunId) {
        let message = move |answer| vec![Answer::message(RouterToConsole::Run { request, answer })];
        match self.link_to_ask(service_port) {
            Some(link) => {
                let asking = async move {
                    message(match link.ask_run(run).await {
                        Ok(Some(report)) => RunAnswer::Report(report),
                        Ok(None) => RunAnswer::NotKnown,
                        Err(_) => RunAnswer::Away,
                    })
                };
                self.answers.push(Box::pin(asking));
            }
            None => self.queue(message(RunAnswer::Away)),
        }
    }

    /// Queues these answers, unless too many wait already.
    pub(super) fn queue(&mut self, answers: Vec<Answer>) {
        if self.unread.len() < WAITING {
            self.unread.extend(answers);
        }
    }

    /// Takes the next message of the answers that wait.
    pub(super) fn next_answer(&mut self) -> Option<RouterToConsole> {
        match self.unread.pop_front()? {
            Answer::Message(message) => Some(*message),
            Answer::Past(mut past) => {
                let (message, more) = past.next();
                if more {
                    self.unread.push_front(Answer::Past(past));
                }
                Some(message)
            }
            Answer::Commands(mut list) => {
                let (message, more) = list.next();
                if more {
                    self.unread.push_front(Answer::Commands(list));
                }
                Some(message)
            }
        }
    }

    /// Returns the link of this car, if another question may be asked now.
    fn link_to_ask(&self, service_port: u16) -> Option<LinkHandle> {
        let car = self.guard.car(service_port)?;
        car.link().filter(|_| self.may_ask())
    }

    fn may_ask(&self) -> bool {
        self.answers.len() < OPEN && self.unread.len() < WAITING
    }
}

/// The answer with a list of commands, or those that say why there is none.
fn list_answers(
    request: u64,
    counted: Result<(Arc<CommandList>, QuotaPermit), &'static str>,
) -> Vec<Answer> {
    match counted {
        Ok((list, permit)) => vec![Answer::Commands(UnreadList {
            request,
            list,
            sent: 0,
            _permit: permit,
        })],
        Err(why) => {
            let none = RouterToConsole::Commands {
                request,
                commands: List::default(),
                more: false,
            };
            let refused = refusal(None, Refused::new(RefusedReason::Offline, why));
            [refused, none].map(Answer::message).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use p2p_shared::protocol::CommandInfo;
    use prometheus_client::metrics::counter::Counter;

    use super::*;
    use crate::net::client_net::QuotaOwner;
    use crate::net::quota::Quota;

    #[test]
    fn a_list_that_nobody_reads_is_not_copied_and_counts_until_its_last_message() {
        let command = |n: usize| CommandInfo {
            name: format!("c{n}").parse().unwrap(),
            problem: None,
        };
        let mut list = CommandList::default();
        list.commands.extend((0..10_000).map(command));
        let list = Arc::new(list);
        let quota = Quota::new(1, Counter::default());
        let owner = QuotaOwner::At(IpAddr::from(Ipv4Addr::LOCALHOST).into());
        let permit = quota.take(owner).unwrap();
        let mut answers = list_answers(7, Ok((list.clone(), permit)));
        // One answer that has the list itself, not its messages.
        assert_eq!((answers.len(), Arc::strong_count(&list)), (1, 2));
        let Some(Answer::Commands(mut unread)) = answers.pop() else {
            panic!("no list");
        };
        let mut all = Vec::new();
        loop {
            let (message, more) = unread.next();
            let RouterToConsole::Commands {
                request: 7,
                commands,
                more: said,
            } = message
            else {
                panic!("{message:?}");
            };
            assert_eq!(said, more);
            all.extend(commands);
            if !more {
                break;
            }
            assert!(quota.take(owner).is_none());
        }
        assert_eq!(all, list.commands);
        drop(unread);
        assert!(quota.take(owner).is_some());
    }
}
