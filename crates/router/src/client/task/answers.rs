//! Answers a console's questions to a car: lists of commands, in messages that are small enough,
//! and what became of a run.

use std::sync::Arc;

use p2p_shared::bounded::List;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{RefusedReason, RouterToConsole, RunAnswer};

use crate::car::Refused;
use crate::client::task::{Console, Part, refusal};
use crate::feed::take_part;
use crate::link::command_lists::CommandList;
use crate::link::handle::LinkHandle;
use crate::net::quota::QuotaPermit;

/// Most answers that one console waits for at a time.
const OPEN: usize = 8;
/// Most messages of answers that wait for a console to read: one that asks and does not read gets
/// no more answers until it does.
const WAITING: usize = 64;
/// What a console is told that gets no list.
const NO_LIST: &str = "the car sent no list of its commands: try again in a moment";
const TOO_MUCH_UNREAD: &str =
    "too much of what was sent to this key was not read yet: try again in a moment";

impl Console<'_> {
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
                    list_parts(request, counted)
                };
                self.answers.push(Box::pin(listing));
            }
            None => self.queue(list_parts(request, Err(NO_LIST))),
        }
    }

    pub(super) fn on_ask_run(&mut self, request: u64, service_port: u16, run: RunId) {
        let message = move |answer| vec![(RouterToConsole::Run { request, answer }, None)];
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

    /// Queues these messages, unless too many wait already.
    pub(super) fn queue(&mut self, parts: Vec<Part>) {
        if self.parts.len() < WAITING {
            self.parts.extend(parts);
        }
    }

    /// Returns the link of this car, if another question may be asked now.
    fn link_to_ask(&self, service_port: u16) -> Option<LinkHandle> {
        let may_ask = self.answers.len() < OPEN && self.parts.len() < WAITING;
        let car = self.guard.car(service_port)?;
        car.link().filter(|_| may_ask)
    }
}

/// The messages of a list of commands, or the one that says why there is none.
fn list_parts(
    request: u64,
    counted: Result<(Arc<CommandList>, QuotaPermit), &'static str>,
) -> Vec<Part> {
    let message = |commands, more| RouterToConsole::Commands {
        request,
        commands,
        more,
    };
    let (list, permit) = match counted {
        Ok((list, permit)) => (list, Some(Arc::new(permit))),
        Err(why) => {
            let refused = refusal(None, Refused::new(RefusedReason::Offline, why));
            return vec![(refused, None), (message(List::default(), false), None)];
        }
    };
    let (mut parts, mut commands) = (Vec::new(), list.commands.iter().cloned());
    loop {
        let some = take_part(&mut commands, &mut 0);
        let more = commands.len() > 0;
        parts.push((message(some, more), permit.clone()));
        if !more {
            return parts;
        }
    }
}
