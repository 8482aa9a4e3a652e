//! Answers a console's questions to a car: lists of commands, in messages that are small enough,
//! and what became of a run.

use p2p_shared::names::RunId;
use p2p_shared::protocol::{CommandInfo, RefusedReason, RouterToConsole, RunAnswer};
use p2p_shared::websocket::WebSocketError;

use crate::client::client_socket::ClientSocket;
use crate::client::task::{Answer, Console};

/// Most answers that one console waits for at a time.
const OPEN: usize = 8;
/// Most messages of answers that wait for a console to read: one that asks and does not read gets
/// no more answers until it does.
const WAITING: usize = 64;
/// A message is full at this size, by a rough count of the texts in it.
const FULL: usize = 16 * 1024;

impl<W: ClientSocket> Console<'_, W> {
    pub(super) fn on_list_commands(
        &mut self,
        request: u64,
        service_port: u16,
    ) -> Result<(), WebSocketError> {
        if self.parts.len() >= WAITING {
            return Ok(());
        }
        let car = self.context.registry.shown(service_port);
        match car.and_then(|car| car.link()) {
            Some(link) if self.answers.len() < OPEN => {
                let listing = async move { Answer::List(request, link.list().await) };
                self.answers.push(Box::pin(listing));
            }
            _ => self.on_list(request, None),
        }
        Ok(())
    }

    pub(super) fn on_ask_run(&mut self, request: u64, service_port: u16, run: RunId) {
        if self.parts.len() >= WAITING {
            return;
        }
        let car = self.context.registry.shown(service_port);
        match car.and_then(|car| car.link()) {
            Some(link) if self.answers.len() < OPEN => {
                let asking = async move {
                    let told = match link.ask_run(run).await {
                        Some(Some(story)) => RunAnswer::Story(story),
                        Some(None) => RunAnswer::NotKnown,
                        None => RunAnswer::Away,
                    };
                    Answer::Run(request, told)
                };
                self.answers.push(Box::pin(asking));
            }
            _ => self.parts.push_back(RouterToConsole::Run {
                request,
                told: RunAnswer::Away,
            }),
        }
    }

    pub(super) fn on_list(&mut self, request: u64, commands: Option<Vec<CommandInfo>>) {
        let Some(commands) = commands else {
            self.parts.push_back(RouterToConsole::Refused {
                reason: RefusedReason::Offline,
                press: None,
                message: "the car sent no list of its commands: try again in a moment".to_owned(),
            });
            return self.push_list_part(request, Vec::new(), false);
        };
        let mut size = 0;
        let mut part = Vec::new();
        for info in commands {
            size += size_of(&info);
            part.push(info);
            if size >= FULL {
                size = 0;
                self.push_list_part(request, std::mem::take(&mut part), true);
            }
        }
        self.push_list_part(request, part, false);
    }

    fn push_list_part(&mut self, request: u64, commands: Vec<CommandInfo>, more: bool) {
        self.parts.push_back(RouterToConsole::Commands {
            request,
            commands,
            more,
        });
    }
}

fn size_of(info: &CommandInfo) -> usize {
    info.name.as_str().len() + info.problem.as_ref().map_or(0, String::len) + 30
}
