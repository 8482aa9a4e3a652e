//! Answers a console's questions to a car: lists of commands, in messages that are small enough,
//! and what became of a run.

use p2p_shared::bounded::List;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{CommandInfo, RefusedReason, RouterToConsole, RunAnswer};

use crate::car::Refused;
use crate::client::task::{Console, refusal};
use crate::feed::take_part;
use crate::link::handle::LinkHandle;

/// Most answers that one console waits for at a time.
const OPEN: usize = 8;
/// Most messages of answers that wait for a console to read: one that asks and does not read gets
/// no more answers until it does.
const WAITING: usize = 64;

impl Console<'_> {
    pub(super) fn on_list_commands(&mut self, request: u64, service_port: u16) {
        match self.link_to_ask(service_port) {
            Some(link) => {
                let listing = async move { list_messages(request, link.list().await) };
                self.answers.push(Box::pin(listing));
            }
            None => self.queue(list_messages(request, None)),
        }
    }

    pub(super) fn on_ask_run(&mut self, request: u64, service_port: u16, run: RunId) {
        let message = move |answer| vec![RouterToConsole::Run { request, answer }];
        match self.link_to_ask(service_port) {
            Some(link) => {
                let asking = async move {
                    message(match link.ask_run(run).await {
                        Some(Some(report)) => RunAnswer::Report(report),
                        Some(None) => RunAnswer::NotKnown,
                        None => RunAnswer::Away,
                    })
                };
                self.answers.push(Box::pin(asking));
            }
            None => self.queue(message(RunAnswer::Away)),
        }
    }

    /// Queues these messages, unless too many wait already.
    pub(super) fn queue(&mut self, messages: Vec<RouterToConsole>) {
        if self.parts.len() < WAITING {
            self.parts.extend(messages);
        }
    }

    /// Returns the link of this car, if another question may be asked now.
    fn link_to_ask(&self, service_port: u16) -> Option<LinkHandle> {
        let may_ask = self.answers.len() < OPEN && self.parts.len() < WAITING;
        let car = self.guard.car(service_port)?;
        car.link().filter(|_| may_ask)
    }
}

/// The messages of a list of commands; `None`: the car sent none.
fn list_messages(request: u64, commands: Option<Vec<CommandInfo>>) -> Vec<RouterToConsole> {
    let part = |commands, more| RouterToConsole::Commands {
        request,
        commands,
        more,
    };
    let Some(commands) = commands else {
        let message = "the car sent no list of its commands: try again in a moment";
        let refused = Refused::new(RefusedReason::Offline, message);
        return vec![refusal(None, refused), part(List::default(), false)];
    };
    let (mut messages, mut commands) = (Vec::new(), commands.into_iter());
    loop {
        let some = take_part(&mut commands, &mut 0);
        let more = commands.len() > 0;
        messages.push(part(some, more));
        if !more {
            return messages;
        }
    }
}
