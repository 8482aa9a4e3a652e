//! Applies events of the terminal: keys, mouse, paste, size and focus.

use crossterm::event::{
    Event as Input, KeyCode, KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::Rect;

use super::actions::PAGE;
use super::{App, Overlay, Page};
use crate::app::text_field::{FieldPurpose, FieldResult, TextField};
use crate::drive::{Direction, DriveOrder};
use crate::keymap::{self, Action, Screen};
use crate::screen::layout::{self, PictureSize, ScreenShape};

/// Lines that the wheel moves by.
const WHEEL: i8 = 3;

impl App {
    pub(super) fn on_terminal(&mut self, event: Input) {
        match event {
            Input::Key(key) => self.key(&key),
            Input::Mouse(mouse) => self.mouse(mouse),
            Input::Paste(text) => {
                self.dirty = true;
                if let Some(field) = &mut self.field {
                    field.paste(&text);
                    self.filter_as_typed();
                } else {
                    // A paste into a driving console was meant for another window.
                    self.drive_with(|drive, _| drive.release_all());
                }
            }
            Input::FocusLost => {
                self.drive_with(|drive, _| drive.focus_lost());
                self.dirty = true;
            }
            Input::FocusGained => self.dirty = true,
            Input::Resize(width, height) => {
                self.setup.size = (width, height);
                self.dirty = true;
                if self.is_too_small() {
                    (self.question, self.field) = (None, None);
                    self.stop_if_ours();
                    self.drive_with(|drive, facts| drive.leave(facts));
                }
            }
        }
    }

    /// Handles input that waited too long: only stop and quit are acted on, and a held arrow key is
    /// not a new press.
    pub(super) fn on_stale(&mut self, event: &Input) {
        let key = match event {
            Input::Key(key) => key,
            Input::Mouse(mouse) if self.is_on_stop(mouse) => {
                return self.perform(Action::Stop);
            }
            _ => return,
        };
        let binding = keymap::find(self.screen, key, self.is_replay());
        let action = binding.map(|binding| binding.action);
        match (action, key.kind) {
            (Some(Action::Stop | Action::Quit), KeyEventKind::Press) => self.key(key),
            (Some(Action::Move(direction)), KeyEventKind::Press) => {
                self.drive.stale(direction, &self.facts());
            }
            (Some(Action::Move(_)), KeyEventKind::Release) => self.key(key),
            _ => {}
        }
    }

    fn key(&mut self, key: &KeyEvent) {
        let is_release = key.kind == KeyEventKind::Release;
        let screen = match self.overlay {
            // A page has the keys of a list.
            Some(_) if !is_release => Screen::Fleet,
            _ => self.screen,
        };
        let binding = keymap::find(screen, key, self.is_replay());
        let action = binding.map(|binding| binding.action);
        let takes_keys = !self.is_too_small() && self.overlay.is_none() && self.field.is_none();
        if !is_release && !matches!(action, Some(Action::Move(_))) {
            self.drive_with(|drive, facts| drive.end_latched(None, facts.now));
        }
        if let Some(Action::Move(direction)) = action
            && (takes_keys || is_release)
        {
            return self.direction(direction, key.kind);
        }
        if is_release {
            return;
        }
        self.dirty = true;
        // Where a text is typed, letters are letters: stop and quit have a key with Control.
        if let Some(everywhere) = binding.filter(|b| b.control)
            && key.kind == KeyEventKind::Press
        {
            return self.perform(everywhere.action);
        }
        if self.question.is_some() && key.code == KeyCode::Enter {
            // It asked: while it is held, the terminal may send it as further presses.
            return;
        }
        if let Some((question, _)) = self.question.take()
            && !matches!(action, Some(Action::Stop | Action::Quit))
        {
            if key.code == KeyCode::Char('y') && key.kind == KeyEventKind::Press {
                self.answer(question);
            }
            return;
        }
        if self.field.is_some() {
            return self.type_key(key);
        }
        let Some(action) = action else {
            return;
        };
        // Repeats of a held key only move the selection, or go through the past.
        if key.kind == KeyEventKind::Repeat && !action.is_repeated() {
            return;
        }
        if self.is_too_small() && !matches!(action, Action::Stop | Action::Quit) {
            return;
        }
        if let Some(overlay) = self.overlay
            && !matches!(action, Action::Stop | Action::Quit)
        {
            self.overlay = self.overlay_after(overlay, action);
            return;
        }
        self.perform(action);
    }

    fn type_key(&mut self, key: &KeyEvent) {
        let Some(field) = &mut self.field else { return };
        match (field.key(key), key.code) {
            (FieldResult::Editing, KeyCode::Up | KeyCode::Down) => {
                let by = if key.code == KeyCode::Up { -1 } else { 1 };
                let shown = self.palette().map_or(0, |shown| shown.len());
                let place = self.palette_place(shown).saturating_add_signed(by);
                self.palette_selected = place.min(shown.saturating_sub(1));
            }
            (FieldResult::Editing, _) => {
                self.palette_selected = 0;
                self.filter_as_typed();
            }
            (FieldResult::Cancelled, _) => {
                let before = std::mem::take(&mut field.before);
                field.text = before;
                self.filter_as_typed();
                self.field = None;
            }
            (FieldResult::Submitted, _) => self.submit_field(),
        }
    }

    fn filter_as_typed(&mut self) {
        let field = self.field.as_ref();
        if let Some(field) = field.filter(|field| field.purpose == FieldPurpose::Filter) {
            self.set_filter(field.text.clone());
        }
    }

    /// Drives; where nothing would drive by it, Left and Right move through the timeline. The drive
    /// hears of each key all the same, since one that is held must not drive later.
    fn direction(&mut self, direction: Direction, kind: KeyEventKind) {
        let steps = match direction {
            Direction::Left => Some(-1),
            Direction::Right => Some(1),
            Direction::Forward | Direction::Back => None,
        };
        let steps = steps.filter(|_| kind != KeyEventKind::Release && self.arrows_scrub());
        let facts = self.facts();
        let mut orders = match self.may_drive() {
            true => self.drive.key(direction, kind, &facts),
            false => Vec::new(),
        };
        if let Some(steps) = steps {
            orders.retain(|order| !matches!(order, DriveOrder::Report(_)));
            self.scrub(steps);
        }
        self.carry_out(orders);
    }

    /// The page after a key, if it stays open.
    fn overlay_after(&mut self, overlay: Overlay, action: Action) -> Option<Overlay> {
        match action {
            Action::Copy => self.copy(),
            Action::Filter => {
                self.field = Some(TextField::new(FieldPurpose::Search, &self.search));
            }
            _ => {}
        }
        let scrolled = |by: isize| {
            let hidden = self.page_overflow(overlay.page);
            let here = if overlay.follows { hidden } else { overlay.top };
            let top = here.saturating_add_signed(by).min(hidden);
            let follows = overlay.page == Page::Output && top == hidden && by > 0;
            Some(Overlay {
                top,
                follows,
                ..overlay
            })
        };
        match (action, overlay.page) {
            (Action::Help, Page::Run(_) | Page::Output) => Some(Overlay::new(Page::Help)),
            (Action::Lines(by), Page::Run(_)) => {
                self.log.scroll(isize::from(by));
                let run = self.log.selected_run();
                run.map_or(Some(overlay), |run| Some(Overlay::new(Page::Run(run.run))))
            }
            (Action::Lines(by), Page::Help | Page::Output) => scrolled(isize::from(by)),
            (Action::Pages(by), _) => scrolled(isize::from(by) * PAGE),
            (Action::First, _) => scrolled(isize::MIN),
            (Action::Last, _) => scrolled(isize::MAX),
            (Action::Escape | Action::Enter | Action::Help, _) => None,
            _ => Some(overlay),
        }
    }

    fn mouse(&mut self, mouse: MouseEvent) {
        if self.is_too_small() {
            return;
        }
        if matches!(mouse.kind, MouseEventKind::Down(_)) {
            self.question = None;
        }
        if self.is_on_stop(&mouse) {
            return self.perform(Action::Stop);
        }
        if matches!(mouse.kind, MouseEventKind::Down(_)) && self.drive.is_latched() {
            // It does nothing but that, on the pad too.
            self.dirty = true;
            return self.drive_with(|drive, facts| drive.end_latched(None, facts.now));
        }
        match mouse.kind {
            MouseEventKind::ScrollUp => return self.wheel(-1),
            MouseEventKind::ScrollDown => return self.wheel(1),
            MouseEventKind::Down(MouseButton::Left) if self.click(&mouse) => return,
            _ => {}
        }
        if self.screen != Screen::Drive || self.overlay.is_some() || self.field.is_some() {
            return;
        }
        let pad = self.pad();
        let place = ratatui::layout::Position::new(mouse.column, mouse.row);
        let on_pad = || layout::pad_at(pad, place);
        let is_down = mouse.kind == MouseEventKind::Down(MouseButton::Left);
        let has_pad = self.has_pad();
        let orders = match mouse.kind {
            MouseEventKind::Down(_) if is_down && has_pad && self.may_drive() => match on_pad() {
                Some(direction) => self.drive.pad_down(direction, &self.facts()),
                None => return,
            },
            MouseEventKind::Drag(_) if on_pad() == self.drive.asked().map(|(_, d)| d) => return,
            MouseEventKind::Up(_) | MouseEventKind::Drag(_) => self.drive.pad_up(),
            _ => return,
        };
        self.dirty = true;
        self.carry_out(orders);
    }

    fn wheel(&mut self, direction: i8) {
        self.dirty = true;
        match self.overlay {
            // The arrows go on to the next run.
            Some(overlay) => {
                let (up, by) = (direction < 0, isize::from(direction * WHEEL));
                let hidden = self.page_overflow(overlay.page);
                let here = if overlay.follows { hidden } else { overlay.top };
                let top = here.saturating_add_signed(by).min(hidden);
                let follows = overlay.page == Page::Output && top == hidden && !up;
                self.overlay = Some(Overlay {
                    top,
                    follows,
                    ..overlay
                });
            }
            None if self.field.is_none() && self.screen != Screen::Drive => {
                self.perform(Action::Lines(direction * WHEEL))
            }
            None => {}
        }
    }

    /// Does what a click on a tab, on a key in the last line, or on a line of a list asks for.
    fn click(&mut self, mouse: &MouseEvent) -> bool {
        let areas = self.areas();
        if self.field.is_some() {
            return false;
        }
        if mouse.row == areas.footer.y {
            let action = self.footer_action_at(mouse.column);
            let action = action.filter(|action| !matches!(action, Action::Move(_)));
            let is_there = action.is_some();
            action
                .into_iter()
                .for_each(|action| self.perform_clicked(action));
            return is_there;
        }
        if self.overlay.is_some() {
            return false;
        }
        if mouse.row == 0
            && let Some(screen) = self.tab_at(mouse.column)
        {
            self.go(screen);
            return true;
        }
        let Some(rows) = layout::list(self.screen, areas.body) else {
            return false;
        };
        let place = ratatui::layout::Position::new(mouse.column, mouse.row);
        if rows.contains(place) {
            self.click_line(usize::from(mouse.row - rows.y), usize::from(rows.height));
        }
        true
    }

    fn perform_clicked(&mut self, action: Action) {
        self.dirty = true;
        // A click runs nothing.
        if action == Action::Enter && self.screen == Screen::Commands && self.overlay.is_none() {
            return;
        }
        match self.overlay {
            Some(overlay) if !matches!(action, Action::Stop | Action::Quit) => {
                self.overlay = self.overlay_after(overlay, action);
            }
            _ => self.perform(action),
        }
    }

    /// Selects a line of the list; what is selected already is opened. A command is only selected: a
    /// click runs nothing.
    fn click_line(&mut self, line: usize, rows: usize) {
        self.dirty = true;
        let selected = match self.screen {
            Screen::Fleet => self.highlighted(&self.fleet_rows()),
            Screen::Log => self.log.selected(),
            Screen::Commands => self.commands.selected,
            Screen::Drive => return,
        };
        let by = layout::first_row(selected, rows) + line;
        let by = by.cast_signed() - selected.cast_signed();
        match self.screen {
            Screen::Fleet | Screen::Log if by == 0 => self.enter(),
            _ => self.scroll(by),
        }
    }

    pub(crate) fn pad(&self) -> Rect {
        layout::drive(self.areas().body, self.camera.size).pad
    }

    /// Returns true if the Drive screen shows the pad.
    fn has_pad(&self) -> bool {
        !self.is_replay()
            && layout::shape(self.setup.size) != ScreenShape::Strip
            && self.camera.size != PictureSize::Large
    }

    /// Returns true for a click on the pad's STOP.
    fn is_on_stop(&self, mouse: &MouseEvent) -> bool {
        let has_pad = self.screen == Screen::Drive
            && self.overlay.is_none()
            && self.field.is_none()
            && !self.is_too_small()
            && self.has_pad();
        let pad = self.pad();
        let place = ratatui::layout::Position::new(mouse.column, mouse.row);
        has_pad
            && mouse.kind == MouseEventKind::Down(MouseButton::Left)
            && layout::stop_cell(pad).contains(place)
    }
}
