//! Owns what actions do, and how orders of driving become messages.

use p2p_shared::names::Argument;
use p2p_shared::protocol::{ConsoleToRouter, ControlRequest};

use super::{App, Effect, Overlay, Page};
use crate::app::command_list::{CommandList, RunProgress, SentRun};
use crate::app::saved_log;
use crate::app::text_field::{self, FieldPurpose, TextField};
use crate::drive::{ControlHolder, DriveOrder};
use crate::keymap::{Action, Screen};

/// Lines per page when scrolling.
pub(super) const PAGE: isize = 10;

impl App {
    pub(super) fn perform(&mut self, action: Action, effects: &mut Vec<Effect>) {
        match action {
            Action::Quit => self.quit(effects),
            Action::Help => {
                self.leave_drive(effects);
                self.overlay = Some(Overlay::new(Page::Help));
            }
            Action::Go(screen) => self.go(screen, effects),
            Action::Turn { back } => self.turn(back, effects),
            Action::Stop => self.stop(effects),
            Action::Arm => self.arm(effects),
            Action::Escape => self.escape(effects),
            // Their strokes come earlier: they have a press, a hold and a release.
            Action::Move(_) => {}
            Action::Grant => self.answer_request(ControlRequest::Grant, effects),
            Action::Deny => self.answer_request(ControlRequest::Deny, effects),
            Action::Seize => self.seize(effects),
            Action::Lines(by) => self.scroll(isize::from(by), effects),
            Action::Pages(by) => self.scroll(isize::from(by) * PAGE, effects),
            Action::First if self.screen == Screen::Log => self.log.select_newest(),
            Action::Last if self.screen == Screen::Log => self.log.follow(),
            Action::First => self.scroll(isize::MIN / 2, effects),
            Action::Last => self.scroll(isize::MAX / 2, effects),
            Action::Enter => self.enter(effects),
            Action::Filter => {
                let field = TextField::new(FieldPurpose::Filter, self.log.filter());
                self.field = Some(field);
            }
            Action::Freeze => self.log.toggle_freeze(),
            Action::Save => {
                let runs: Vec<_> = self.log.shown().collect();
                effects.push(Effect::Save {
                    name: saved_log::file_name(runs.first().map_or(0, |run| run.at_ms)),
                    text: saved_log::text(runs.iter().rev().map(AsRef::as_ref)),
                });
            }
            Action::Arguments if self.may_drive() => {
                let chosen = self.commands.chosen().is_some();
                self.field = chosen.then(|| TextField::new(FieldPurpose::Arguments, ""));
            }
            Action::Cancel => {
                if let Some(run) = self.commands.run.as_mut().filter(|run| run.is_open()) {
                    let request = run.request;
                    // The router tells no more of it.
                    run.progress = RunProgress::Cancelled;
                    effects.push(Effect::Send(ConsoleToRouter::Cancel { request }));
                }
            }
            Action::Arguments => {}
        }
    }

    pub(super) fn carry_out(&mut self, orders: Vec<DriveOrder>, effects: &mut Vec<Effect>) {
        for order in orders {
            let is_heartbeat = matches!(order, DriveOrder::Renew(_));
            self.dirty |= !is_heartbeat;
            if let DriveOrder::Report(why) = &order {
                self.notify(why.to_string(), true);
                continue;
            }
            let message = self.message(&order);
            effects.extend(message.map(Effect::Send));
        }
    }

    fn message(&mut self, order: &DriveOrder) -> Option<ConsoleToRouter> {
        let link = self.link()?;
        let service_port = link.info.service_port;
        let tick_ms = link.tick.map_or(0, |(ms, _)| ms);
        let wish = |wish| ConsoleToRouter::Control { service_port, wish };
        Some(match *order {
            DriveOrder::Take => wish(ControlRequest::Take),
            DriveOrder::GiveBack => wish(ControlRequest::Release),
            DriveOrder::Press(press, direction) => {
                let command = link.info.motion.get(direction.index())?.clone();
                self.last_press = Some((press, direction, self.now));
                ConsoleToRouter::Press {
                    service_port,
                    press,
                    command,
                    tick_ms,
                }
            }
            DriveOrder::Renew(press) => ConsoleToRouter::Renew {
                service_port,
                press,
                tick_ms,
            },
            DriveOrder::Release(press) => ConsoleToRouter::Release {
                service_port,
                press,
            },
            DriveOrder::Stop => ConsoleToRouter::Stop { service_port },
            DriveOrder::Report(_) => return None,
        })
    }

    pub(super) fn go(&mut self, screen: Screen, effects: &mut Vec<Effect>) {
        if self.is_replay() || screen == self.screen {
            return;
        }
        if self.stop_failed() && self.screen == Screen::Drive {
            self.notify("STOP FAILED: Space tries to stop again", true);
            return;
        }
        self.leave_drive(effects);
        self.may_choose_screen = false;
        self.screen = screen;
        if screen == Screen::Commands {
            self.list_commands(effects);
        }
        self.dirty = true;
    }

    fn turn(&mut self, back: bool, effects: &mut Vec<Effect>) {
        let here = Screen::ALL.iter().position(|screen| *screen == self.screen);
        let step = if back { Screen::ALL.len() - 1 } else { 1 };
        let next = (here.unwrap_or_default() + step) % Screen::ALL.len();
        if let Some(screen) = Screen::ALL.get(next) {
            self.go(*screen, effects);
        }
    }

    /// Ends driving before another screen, a text field or the help takes the keys.
    fn leave_drive(&mut self, effects: &mut Vec<Effect>) {
        if self.screen == Screen::Drive {
            let orders = self.drive.leave(&self.facts());
            self.carry_out(orders, effects);
        }
    }

    fn stop(&mut self, effects: &mut Vec<Effect>) {
        if self.link().is_none() {
            return self.notify("there is no car to stop: choose one on Fleet", false);
        }
        let orders = self.drive.stop();
        self.carry_out(orders, effects);
        if !matches!(self.connection, super::ConnectionState::Up { .. }) {
            self.notify(
                "no link to the router: the stop can't be sent; the lease stops the car",
                true,
            );
        }
    }

    fn arm(&mut self, effects: &mut Vec<Effect>) {
        let facts = self.facts();
        if self.link().is_none() {
            return self.notify("choose a car on Fleet first", false);
        }
        let orders = self.drive.arm(&facts);
        self.carry_out(orders, effects);
    }

    fn escape(&mut self, effects: &mut Vec<Effect>) {
        match self.screen {
            Screen::Drive => {
                let orders = self.drive.disarm(&self.facts());
                self.carry_out(orders, effects);
            }
            Screen::Log if !self.log.filter().is_empty() => self.log.set_filter(String::new()),
            Screen::Log if !self.log.follows() => self.log.follow(),
            _ => {}
        }
    }

    fn answer_request(&mut self, wish: ControlRequest, effects: &mut Vec<Effect>) {
        let Some(link) = self.link() else { return };
        let asked = link.info.control.request.is_some();
        let service_port = link.info.service_port;
        if asked && matches!(self.holder(), ControlHolder::Us { .. }) {
            if wish == ControlRequest::Grant {
                let orders = self.drive.release_all();
                self.carry_out(orders, effects);
            }
            effects.push(Effect::Send(ConsoleToRouter::Control {
                service_port,
                wish,
            }));
        }
    }

    fn seize(&mut self, effects: &mut Vec<Effect>) {
        let Some(link) = self.link() else { return };
        let service_port = link.info.service_port;
        if !self.role.may_administer() || self.setup.readonly {
            return self.notify("only an admin key may seize control: a asks for it", true);
        }
        effects.push(Effect::Send(ConsoleToRouter::Control {
            service_port,
            wish: ControlRequest::Seize,
        }));
    }

    fn scroll(&mut self, by: isize, effects: &mut Vec<Effect>) {
        match self.screen {
            Screen::Log => self.log.scroll(by),
            Screen::Commands => self.commands.scroll(by),
            Screen::Fleet => {
                let ports: Vec<u16> = self.fleet.iter().map(|l| l.info.service_port).collect();
                let here = ports.iter().position(|port| Some(*port) == self.chosen);
                let next = here.map_or(0, |here| {
                    here.saturating_add_signed(by)
                        .min(ports.len().saturating_sub(1))
                });
                self.choose(ports.get(next).copied(), effects);
            }
            Screen::Drive => {}
        }
    }

    fn choose(&mut self, port: Option<u16>, effects: &mut Vec<Effect>) {
        if port.is_none() || port == self.chosen {
            return;
        }
        let orders = self.drive.leave(&self.facts());
        self.carry_out(orders, effects);
        self.set_chosen(port);
        self.drive = crate::drive::Drive::new(self.setup.releases);
        self.healthy_since = None;
        (self.last_press, self.start_delay) = (None, None);
        self.may_choose_screen = false;
    }

    fn enter(&mut self, effects: &mut Vec<Effect>) {
        match self.screen {
            Screen::Fleet if self.link().is_some() => self.go(Screen::Drive, effects),
            Screen::Log => {
                if let Some(run) = self.log.selected_run() {
                    self.overlay = Some(Overlay::new(Page::Run(run.run)));
                }
            }
            Screen::Commands => self.send(Vec::new(), String::new(), effects),
            Screen::Fleet | Screen::Drive => {}
        }
    }

    pub(super) fn submit_field(&mut self, effects: &mut Vec<Effect>) {
        let Some(field) = self.field.take() else {
            return;
        };
        match field.purpose {
            FieldPurpose::Filter => self.log.set_filter(field.text),
            FieldPurpose::Arguments => match text_field::words(&field.text) {
                Ok(words) => {
                    let as_argument = |word: String| Argument::try_from(bytes::Bytes::from(word));
                    match words.into_iter().map(as_argument).collect() {
                        Ok(arguments) => self.send(arguments, field.text, effects),
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

    pub(super) fn list_commands(&mut self, effects: &mut Vec<Effect>) {
        let Some(service_port) = self.chosen else {
            return;
        };
        self.next_request += 1;
        let request = self.next_request;
        let run = self.commands.run.take();
        self.commands = CommandList {
            service_port: Some(service_port),
            request,
            run,
            ..CommandList::default()
        };
        effects.push(Effect::Send(ConsoleToRouter::ListCommands {
            request,
            service_port,
        }));
    }

    fn send(&mut self, arguments: Vec<Argument>, shown: String, effects: &mut Vec<Effect>) {
        let (Some(chosen), Some(service_port)) = (self.commands.chosen(), self.chosen) else {
            return;
        };
        if !self.may_drive() {
            return self.notify("this console only watches: running needs a drive key", true);
        }
        if let Some(problem) = &chosen.problem {
            let problem = p2p_shared::text::Escaped(problem).cut(300).to_string();
            return self.notify(problem, true);
        }
        if self.commands.run.as_ref().is_some_and(SentRun::is_open) {
            return self.notify("one runs already: wait for it, or end it with x", false);
        }
        let command = chosen.name.clone();
        self.next_request += 1;
        let request = self.next_request;
        self.commands.run = Some(SentRun::new(request, command.clone(), shown));
        effects.push(Effect::Send(ConsoleToRouter::Send {
            request,
            service_port,
            command,
            arguments,
            for_ms: None,
        }));
    }

    pub(super) fn stop_if_ours(&mut self, effects: &mut Vec<Effect>) {
        if self.drive.is_armed() {
            let orders = vec![DriveOrder::Stop];
            self.carry_out(orders, effects);
        }
    }

    pub(super) fn quit(&mut self, effects: &mut Vec<Effect>) {
        self.stop_if_ours(effects);
        let orders = self.drive.leave(&self.facts());
        self.carry_out(orders, effects);
        effects.push(Effect::Quit);
    }
}
