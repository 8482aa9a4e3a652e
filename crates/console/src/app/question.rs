//! Asks once before what moves a car from a list, or stops all of them.

use p2p_shared::bounded::Arguments;
use p2p_shared::names::CommandName;
use p2p_shared::protocol::{ConsoleToRouter, DriveCommand};

use super::{App, ConnectionState, NO_STOP};
use crate::app::stop_all::StopAll;
use crate::text::fit;

const NO_CAR: &str = "no car is linked: there is none to stop";

#[derive(Debug)]
pub enum Question {
    /// Run a motion command of the pinned car.
    Run {
        command: CommandName,
        arguments: Arguments,
        /// The arguments as they were typed.
        typed: String,
    },
    StopAll,
    /// Quit while the chosen car may still move.
    Quit,
}

impl App {
    /// The sentence of the question that waits for an answer.
    pub(super) fn question_text(&self) -> Option<String> {
        let text = match &self.question.as_ref()?.0 {
            Question::Quit => {
                let car = self.link().map_or("", |link| link.info.name.as_str());
                return Some(format!(
                    " ⚑ {} may still move: its stop fails. [q] or [y] quits all the same",
                    fit(car, 30)
                ));
            }
            Question::Run { command, typed, .. } => {
                let car = self.link().map_or("", |link| link.info.name.as_str());
                let what = fit(&format!("{command} {typed}"), 40);
                format!("{} moves {}: run it?", what.trim_end(), fit(car, 30))
            }
            Question::StopAll => match self.cars_to_stop().count() {
                1 => "STOP ALL: stop the one car that is linked?".to_owned(),
                cars => format!("STOP ALL: stop {cars} cars?"),
            },
        };
        Some(format!(" ⚑ {text} [y] does, any other key does not"))
    }

    fn cars_to_stop(&self) -> impl Iterator<Item = u16> {
        let links = self.fleet.links.values().filter(|link| link.info.is_up);
        links.map(|link| link.info.service_port)
    }

    pub(super) fn ask(&mut self, question: Question) {
        self.question = Some((question, self.now));
    }

    pub(super) fn ask_to_stop_all(&mut self) {
        if self.cars_to_stop().next().is_none() {
            return self.notify(NO_CAR, false);
        }
        self.ask(Question::StopAll);
    }

    pub(super) fn answer(&mut self, question: Question) {
        match question {
            Question::StopAll if !matches!(self.connection, ConnectionState::Up) => {
                self.notify(NO_STOP, true);
            }
            Question::Run {
                command,
                arguments,
                typed,
            } => self.send_command(command, arguments, typed),
            Question::Quit => self.quit(),
            Question::StopAll => {
                let ports: Vec<u16> = self.cars_to_stop().collect();
                if ports.is_empty() {
                    return self.notify(NO_CAR, true);
                }
                if self.chosen.is_some_and(|chosen| ports.contains(&chosen)) {
                    self.drive_with(|drive, _| drive.stop());
                }
                let others = ports.iter().filter(|port| Some(**port) != self.chosen);
                for service_port in others.copied().collect::<Vec<_>>() {
                    self.send(ConsoleToRouter::Drive {
                        service_port,
                        command: DriveCommand::Stop,
                    });
                }
                self.stop_all = Some(StopAll::of(&ports, self.now));
                self.tell_of_stop_all();
            }
        }
    }
}
