//! Performs the actions of keys, and turns orders of driving into messages.

use std::time::{Duration, Instant};

use p2p_shared::bounded::{Arguments, BoundError};
use p2p_shared::names::{Argument, CommandName};
use p2p_shared::protocol::{ConsoleToRouter, ControlRequest, DriveCommand};
use p2p_shared::text::Escaped;

use super::{App, Effect, NO_RECORDINGS, NO_STOP, NOTICE, Overlay, Page};
use crate::app::command_list::{CommandList, RunProgress, SentRun};
use crate::app::question::Question;
use crate::app::saved_log;
use crate::app::text_field::{self, FieldPurpose, TextField};
use crate::drive::hold::FIRST_REPEAT;
use crate::drive::{ControlHolder, Drive, DriveFacts, DriveOrder, KeyReleases};
use crate::keymap::{Action, Screen};
use crate::text::is_of_link;

/// Lines per page when scrolling.
pub(super) const PAGE: isize = 10;

impl App {
    pub(super) fn perform(&mut self, action: Action) {
        if self.is_held_switch(action) {
            return;
        }
        match action {
            Action::Quit => self.ask_to_quit(),
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
            Action::Seek(seconds) => self.seek_by(seconds, Duration::from_secs(1)),
            Action::SeekEvent { older } => self.seek_event(older),
            Action::Pause => self.pause(),
            Action::Speed { faster } => self.change_speed(faster),
            Action::First if self.screen == Screen::Drive && self.is_replay() => self.seek_first(),
            Action::Last if self.screen == Screen::Drive && self.is_replay() => self.seek_last(),
            Action::First if self.screen == Screen::Log => self.log.select_newest(),
            Action::Last if self.screen == Screen::Log => self.log.follow(),
            Action::Last if self.screen == Screen::Drive => self.timeline_view.cursor = None,
            Action::First => self.scroll(isize::MIN / 2),
            Action::Last => self.scroll(isize::MAX / 2),
            Action::Enter => self.enter(),
            Action::Filter => {
                let before = match self.screen {
                    Screen::Fleet => &self.fleet_list.filter,
                    _ => self.log.filter(),
                };
                self.field = Some(TextField::new(FieldPurpose::Filter, before));
            }
            Action::Palette => {
                self.leave_drive();
                self.palette_selected = 0;
                self.field = Some(TextField::new(FieldPurpose::Palette, ""));
            }
            Action::Copy => self.copy(),
            Action::Output if self.commands.run.is_some() => {
                self.overlay = Some(Overlay::new(Page::Output));
            }
            Action::Output => {}
            Action::Order => self.next_order(),
            Action::StopAll => self.ask_to_stop_all(),
            Action::Latch => self.toggle_latch(),
            Action::Picture => self.next_picture_size(),
            Action::Record => self.record(),
            Action::Scrub(steps) => self.scrub(steps),
            Action::Zoom { closer } => self.timeline_view.zoom(closer),
            Action::Freeze => self.log.toggle_freeze(),
            Action::Save => {
                let runs: Vec<_> = self.log.shown().collect();
                let newest = runs.iter().find(|run| !is_of_link(run)).or(runs.first());
                let name = saved_log::file_name(newest.map_or(0, |run| run.at_ms));
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

    /// Returns true for the repeats of a held key of which a second press has another meaning: where releases are not
    /// reported, they come as presses.
    fn is_held_switch(&mut self, action: Action) -> bool {
        match action {
            Action::Latch | Action::Freeze | Action::Record => {}
            Action::Quit if self.stop_failed() => {}
            _ => return false,
        }
        let before = self.switched.replace((action, self.now));
        let is_repeat = |at: Instant| self.now.saturating_duration_since(at) < FIRST_REPEAT;
        let is_guessed = self.drive.releases == KeyReleases::Guessed;
        is_guessed && before.is_some_and(|(was, at)| was == action && is_repeat(at))
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
                DriveOrder::Report(why) => self.report(why),
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
                DriveOrder::LatchEnded(why) => self.tell_of_latch(why),
            }
        }
    }

    /// Says on the car's timeline why a press that went on by itself has ended: the car knows only that it did.
    fn tell_of_latch(&mut self, why: &str) {
        let (now, port) = (self.now, self.chosen);
        if let Some(link) = port.and_then(|port| self.fleet.links.get_mut(&port)) {
            link.timeline
                .tell(now, format!("the latched press ends: {why}"));
        }
    }

    pub(super) fn go(&mut self, screen: Screen) {
        let is_there = self.tabs().any(|(tab, _)| tab == screen);
        if !is_there || screen == self.screen {
            return;
        }
        self.leave_drive();
        self.may_choose_screen = false;
        if self.is_replay() && screen == Screen::Drive {
            self.show_selected_run();
        }
        self.screen = screen;
        if screen == Screen::Commands {
            self.list_commands();
        }
        self.dirty = true;
    }

    fn turn(&mut self, back: bool) {
        let there: Vec<Screen> = self.tabs().map(|(screen, _)| screen).collect();
        let here = there.iter().position(|screen| *screen == self.screen);
        let step = if back { there.len() - 1 } else { 1 };
        let next = (here.unwrap_or_default() + step) % there.len();
        if let Some(screen) = there.get(next) {
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
            self.notify(NO_STOP, true);
        }
    }

    fn arm(&mut self) {
        if self.link().is_none() {
            return self.notify("choose a car on Fleet first", false);
        }
        self.drive_with(|drive, facts| drive.arm(facts));
    }

    /// Asks for a recording of the chosen car, or ends that: the router's answer says what became of it.
    fn record(&mut self) {
        let Some(link) = self.link() else {
            return self.notify("choose a car on Fleet first", false);
        };
        let Some(recording) = &link.info.control.recording else {
            return self.notify(NO_RECORDINGS, true);
        };
        let (service_port, on) = (link.info.service_port, recording.asked.is_none());
        self.send(ConsoleToRouter::Record { service_port, on });
    }

    fn toggle_latch(&mut self) {
        if self.drive.releases == KeyReleases::Reported {
            let why = "this terminal tells when a key is let go: no press need go on by itself";
            return self.notify(why, false);
        }
        self.drive.latches = !self.drive.latches;
        self.notify(
            match self.drive.latches {
                true => "a press goes on by itself now: any key stops it, or 5 s",
                false => "a press goes on only while its key is held",
            },
            false,
        );
    }

    fn escape(&mut self) {
        match self.screen {
            Screen::Drive => self.drive_with(|drive, facts| drive.disarm(facts)),
            Screen::Fleet => self.fleet_list.filter.clear(),
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
            self.granted = request == ControlRequest::Grant;
            self.send_control(request);
        }
    }

    fn seize(&mut self) {
        if self.link().is_none() {
            return;
        }
        if !self.role.may_administer() || self.setup.readonly {
            let why = "only an admin key may seize control: [a] asks for it";
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
        // A past is only looked at.
        if !self.is_replay() {
            self.effects.push(Effect::Send(message));
        }
    }

    pub(super) fn scroll(&mut self, by: isize) {
        match self.screen {
            Screen::Log => self.log.scroll(by),
            Screen::Commands => self.commands.scroll(by),
            Screen::Fleet => self.scroll_fleet(by),
            Screen::Drive => {}
        }
    }

    fn choose(&mut self, port: Option<u16>) {
        if port.is_none() || port == self.chosen {
            return;
        }
        self.drive_with(|drive, facts| drive.leave(facts));
        self.set_chosen(port);
        self.drive.change_car();
        self.timeline_view.cursor = None;
        // It speaks of the other car.
        self.notice = None;
        (self.healthy_since, self.start_delay) = (None, None);
        self.may_choose_screen = false;
    }

    pub(super) fn enter(&mut self) {
        match self.screen {
            Screen::Fleet if !self.fleet.links.is_empty() => {
                self.choose(self.highlighted_port());
                self.go(Screen::Drive);
            }
            Screen::Log => {
                if let Some(run) = self.log.selected_run() {
                    self.overlay = Some(Overlay::new(Page::Run(run.run)));
                }
            }
            Screen::Commands => self.run_command(Arguments::default(), String::new()),
            Screen::Fleet | Screen::Drive => {}
        }
    }

    /// Shows only what has these words.
    pub(super) fn set_filter(&mut self, words: String) {
        match self.screen {
            Screen::Fleet => self.fleet_list.filter = words,
            _ => self.log.set_filter(words),
        }
    }

    pub(super) fn submit_field(&mut self) {
        let Some(field) = self.field.take() else {
            return;
        };
        match field.purpose {
            FieldPurpose::Filter => self.set_filter(field.text),
            FieldPurpose::Search => self.search_page(field.text),
            FieldPurpose::Palette => {
                self.field = Some(field);
                self.submit_palette();
            }
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
        let old = std::mem::take(&mut self.commands);
        let car = self
            .link()
            .map(|link| (service_port, link.info.name.clone()));
        let is_same = old.car == car;
        self.commands = CommandList {
            request,
            is_old: true,
            car,
            list: if is_same { old.list } else { Vec::new() },
            selected: if is_same { old.selected } else { 0 },
            run: old.run,
            ..CommandList::default()
        };
        self.send(ConsoleToRouter::ListCommands {
            request,
            service_port,
        });
    }

    fn run_command(&mut self, arguments: Arguments, shown: String) {
        let Some(chosen) = self.commands.chosen().filter(|_| self.chosen.is_some()) else {
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
        let motion = self.link().map(|link| &link.info.motion);
        if motion.is_some_and(|motion| motion.contains(&command)) {
            return self.ask(Question::Run {
                command,
                arguments,
                typed: shown,
            });
        }
        self.send_command(command, arguments, shown);
    }

    pub(super) fn send_command(
        &mut self,
        command: CommandName,
        arguments: Arguments,
        shown: String,
    ) {
        let Some(service_port) = self.chosen else {
            return;
        };
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

    /// Quits; while the chosen car may still move, only when that is wanted a second time.
    fn ask_to_quit(&mut self) {
        let (now, since) = (self.now, self.wants_to_quit.replace(self.now));
        let is_second = since.is_some_and(|since| now.saturating_duration_since(since) < NOTICE);
        if !self.stop_failed() || is_second {
            return self.quit();
        }
        self.stop();
        self.ask(Question::Quit);
    }

    pub(super) fn quit(&mut self) {
        self.stop_if_ours();
        self.drive_with(|drive, facts| drive.leave(facts));
        self.effects.push(Effect::Quit);
    }
}
