//! Performs the actions of keys, and turns orders of driving into messages.

use p2p_shared::bounded::{Arguments, BoundError};
use p2p_shared::names::Argument;
use p2p_shared::protocol::{ConsoleToRouter, ControlRequest, DriveCommand};
use p2p_shared::text::Escaped;

use super::{App, Effect, Overlay, Page};
use crate::app::command_list::{CommandList, RunProgress, SentRun};
use crate::app::saved_log;
use crate::app::text_field::{self, FieldPurpose, TextField};
use crate::drive::{ControlHolder, Drive, DriveFacts, DriveOrder};
use crate::keymap::{Action, Screen};

/// Lines per page when scrolling.
pub(super) const PAGE: isize = 10;

impl App {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Quit => self.quit(),
            Action::Help => {
                self.leave_drive();
                self.overlay = Some(Overlay::new(Page::Help));
            }
            Action::Go(screen) => self.go(screen),
            Action::Turn { back } => self.turn(back),
            Action::Stop => self.stop(),
            Action::Arm => self.arm(),
            Action::Escape => self.escape(),
            // Handled earlier, because a direction is pressed, held and released.
            Action::Move(_) => {}
            Action::Grant => self.answer_request(ControlRequest::Grant),
            Action::Deny => self.answer_request(ControlRequest::Deny),
            Action::Seize => self.seize(),
            Action::Lines(by) => self.scroll(isize::from(by)),
            Action::Pages(by) => self.scroll(isize::from(by) * PAGE),
            Action::First if self.screen == Screen::Log => self.log.select_newest(),
            Action::Last if self.screen == Screen::Log => self.log.follow(),
            Action::First => self.scroll(isize::MIN / 2),
            Action::Last => self.scroll(isize::MAX / 2),
            Action::Enter => self.enter(),
            Action::Filter => {
                let field = TextField::new(FieldPurpose::Filter, self.log.filter());
                self.field = Some(field);
            }
            Action::Freeze => self.log.toggle_freeze(),
            Action::Save => {
                let runs: Vec<_> = self.log.shown().collect();
                let name = saved_log::file_name(runs.first().map_or(0, |run| run.at_ms));
                let text = saved_log::text(runs.iter().rev().map(AsRef::as_ref));
                self.effects.push(Effect::Save { name, text });
            }
            Action::Arguments if self.may_drive() => {
                let chosen = self.commands.chosen().is_some();
                self.field = chosen.then(|| TextField::new(FieldPurpose::Arguments, ""));
            }
            Action::Cancel => {
                if let Some(run) = self.commands.run.as_mut().filter(|run| run.is_open()) {
                    // The router reports nothing more of this run.
                    run.progress = RunProgress::Cancelled;
                    let request = run.request;
                    self.send(ConsoleToRouter::Cancel { request });
                }
            }
            Action::Arguments => {}
        }
    }

    /// Lets the drive handle what happens, and carries out its orders.
    pub(super) fn drive_with(
        &mut self,
        happens: impl FnOnce(&mut Drive, &DriveFacts) -> Vec<DriveOrder>,
    ) {
        let facts = self.facts();
        let orders = happens(&mut self.drive, &facts);
        self.carry_out(orders);
    }

    pub(super) fn carry_out(&mut self, orders: Vec<DriveOrder>) {
        for order in orders {
            self.dirty |= !matches!(order, DriveOrder::Renew(_));
            let link = self.link();
            let tick_ms = link.and_then(|link| link.tick).map_or(0, |(ms, _)| ms);
            match order {
                DriveOrder::Report(why) => self.notify(why.to_string(), true),
                DriveOrder::Take => self.send_control(ControlRequest::Take),
                DriveOrder::GiveBack => self.send_control(ControlRequest::Release),
                DriveOrder::Press(press, direction) => {
                    let command = link.and_then(|link| link.info.motion.get(direction.index()));
                    if let Some(command) = command.cloned() {
                        self.send_drive(DriveCommand::Press {
                            press,
                            command,
                            tick_ms,
                        });
                    }
                }
                DriveOrder::Renew(press) => self.send_drive(DriveCommand::Renew { press, tick_ms }),
                DriveOrder::Release(press) => self.send_drive(DriveCommand::Release(press)),
                DriveOrder::Stop => self.send_drive(DriveCommand::Stop),
            }
        }
    }

    pub(super) fn go(&mut self, screen: Screen) {
        if self.is_replay() || screen == self.screen {
            return;
        }
        if self.stop_failed() && self.screen == Screen::Drive {
            self.notify("STOP FAILED: Space tries to stop again", true);
            return;
        }
        self.leave_drive();
        self.may_choose_screen = false;
        self.screen = screen;
        if screen == Screen::Commands {
            self.list_commands();
        }
        self.dirty = true;
    }

    fn turn(&mut self, back: bool) {
        let here = Screen::ALL.iter().position(|screen| *screen == self.screen);
        let step = if back { Screen::ALL.len() - 1 } else { 1 };
        let next = (here.unwrap_or_default() + step) % Screen::ALL.len();
        if let Some(screen) = Screen::ALL.get(next) {
            self.go(*screen);
        }
    }

    /// Ends driving before another screen, a text field or the help takes the keys.
    fn leave_drive(&mut self) {
        if self.screen == Screen::Drive {
            self.drive_with(|drive, facts| drive.leave(facts));
        }
    }

    fn stop(&mut self) {
        if self.link().is_none() {
            return self.notify("there is no car to stop: choose one on Fleet", false);
        }
        self.drive_with(|drive, _| drive.stop());
        if !matches!(self.connection, super::ConnectionState::Up) {
            let why = "no link to the router: the stop can't be sent; the lease stops the car";
            self.notify(why, true);
        }
    }

    fn arm(&mut self) {
        if self.link().is_none() {
            return self.notify("choose a car on Fleet first", false);
        }
        self.drive_with(|drive, facts| drive.arm(facts));
    }

    fn escape(&mut self) {
        match self.screen {
            Screen::Drive => self.drive_with(|drive, facts| drive.disarm(facts)),
            Screen::Log if !self.log.filter().is_empty() => self.log.set_filter(String::new()),
            Screen::Log if !self.log.follows() => self.log.follow(),
            _ => {}
        }
    }

    fn answer_request(&mut self, request: ControlRequest) {
        let link = self.link();
        let asked = link.is_some_and(|link| link.info.control.request.is_some());
        if asked && matches!(self.holder(), ControlHolder::Us { .. }) {
            if request == ControlRequest::Grant {
                self.drive_with(|drive, _| drive.release_all());
            }
            self.send_control(request);
        }
    }

    fn seize(&mut self) {
        if self.link().is_none() {
            return;
        }
        if !self.role.may_administer() || self.setup.readonly {
            let why = "only an admin key may seize control: press a to ask for it";
            return self.notify(why, true);
        }
        self.send_control(ControlRequest::Seize);
    }

    fn send_control(&mut self, request: ControlRequest) {
        self.send_to_car(|service_port| ConsoleToRouter::Control {
            service_port,
            request,
        });
    }

    fn send_drive(&mut self, command: DriveCommand) {
        self.send_to_car(|service_port| ConsoleToRouter::Drive {
            service_port,
            command,
        });
    }

    /// Sends a message about the chosen car, if there is one.
    fn send_to_car(&mut self, message: impl FnOnce(u16) -> ConsoleToRouter) {
        if let Some(port) = self.link().map(|link| link.info.service_port) {
            self.send(message(port));
        }
    }

    pub(super) fn send(&mut self, message: ConsoleToRouter) {
        self.effects.push(Effect::Send(message));
    }

    fn scroll(&mut self, by: isize) {
        match self.screen {
            Screen::Log => self.log.scroll(by),
            Screen::Commands => self.commands.scroll(by),
            Screen::Fleet => {
                let ports: Vec<u16> = self.fleet.links.keys().copied().collect();
                let here = ports.iter().position(|port| Some(*port) == self.chosen);
                let next = here.map_or(0, |here| {
                    here.saturating_add_signed(by)
                        .min(ports.len().saturating_sub(1))
                });
                self.choose(ports.get(next).copied());
            }
            Screen::Drive => {}
        }
    }

    fn choose(&mut self, port: Option<u16>) {
        if port.is_none() || port == self.chosen {
            return;
        }
        self.drive_with(|drive, facts| drive.leave(facts));
        self.set_chosen(port);
        self.drive = Drive::new(self.setup.releases);
        (self.healthy_since, self.start_delay) = (None, None);
        self.may_choose_screen = false;
    }

    fn enter(&mut self) {
        match self.screen {
            Screen::Fleet if self.link().is_some() => self.go(Screen::Drive),
            Screen::Log => {
                if let Some(run) = self.log.selected_run() {
                    self.overlay = Some(Overlay::new(Page::Run(run.run)));
                }
            }
            Screen::Commands => self.run_command(Arguments::default(), String::new()),
            Screen::Fleet | Screen::Drive => {}
        }
    }

    pub(super) fn submit_field(&mut self) {
        let Some(field) = self.field.take() else {
            return;
        };
        match field.purpose {
            FieldPurpose::Filter => self.log.set_filter(field.text),
            FieldPurpose::Arguments => match text_field::words(&field.text) {
                Ok(words) => {
                    let as_argument = |word: String| Argument::try_from(bytes::Bytes::from(word));
                    match words
                        .into_iter()
                        .map(as_argument)
                        .collect::<Result<Vec<_>, _>>()
                    {
                        Ok(arguments) => match arguments.try_into() {
                            Ok(arguments) => self.run_command(arguments, field.text),
                            Err(why) => self.notify(BoundError::to_string(&why), true),
                        },
                        Err(why) => {
                            self.notify(format!("an argument can't be passed: {why}"), true)
                        }
                    }
                }
                Err(why) => {
                    self.notify(why, true);
                    self.field = Some(field);
                }
            },
        }
    }

    pub(super) fn list_commands(&mut self) {
        let Some(service_port) = self.chosen else {
            return;
        };
        self.next_request += 1;
        let request = self.next_request;
        let run = self.commands.run.take();
        self.commands = CommandList {
            request,
            run,
            ..CommandList::default()
        };
        self.send(ConsoleToRouter::ListCommands {
            request,
            service_port,
        });
    }

    fn run_command(&mut self, arguments: Arguments, shown: String) {
        let (Some(chosen), Some(service_port)) = (self.commands.chosen(), self.chosen) else {
            return;
        };
        if !self.may_drive() {
            return self.notify("this console only watches: running needs a drive key", true);
        }
        if let Some(problem) = &chosen.problem {
            return self.notify(Escaped(problem.raw()).cut(300).to_string(), true);
        }
        if self.commands.run.as_ref().is_some_and(SentRun::is_open) {
            return self.notify("one runs already: wait for it, or end it with x", false);
        }
        let command = chosen.name.clone();
        self.next_request += 1;
        let request = self.next_request;
        self.commands.run = Some(SentRun::new(request, command.clone(), shown));
        self.send(ConsoleToRouter::Send {
            request,
            service_port,
            command,
            arguments,
            for_ms: None,
        });
    }

    pub(super) fn stop_if_ours(&mut self) {
        if self.drive.is_armed() {
            self.carry_out(vec![DriveOrder::Stop]);
        }
    }

    pub(super) fn quit(&mut self) {
        self.stop_if_ours();
        self.drive_with(|drive, facts| drive.leave(facts));
        self.effects.push(Effect::Quit);
    }
}
