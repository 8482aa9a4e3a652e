//! Applies events of the terminal: keys, mouse, paste, size and focus.

use crossterm::event::{
    Event as Input, KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind,
};

use super::actions::PAGE;
use super::{App, Overlay, Page};
use crate::app::text_field::FieldResult;
use crate::keymap::{self, Action, Screen};
use crate::screen::layout::{self, ScreenShape};

impl App {
    pub(super) fn on_terminal(&mut self, event: Input) {
        match event {
            Input::Key(key) => self.key(&key),
            Input::Mouse(mouse) => self.mouse(mouse),
            Input::Paste(text) => {
                self.dirty = true;
                if let Some(field) = &mut self.field {
                    field.paste(&text);
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
        let action = keymap::find(self.screen, key).map(|binding| binding.action);
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
        let binding = keymap::find(screen, key);
        let action = binding.map(|binding| binding.action);
        let takes_keys = !self.is_too_small() && self.overlay.is_none() && self.field.is_none();
        if let Some(Action::Move(direction)) = action
            && (takes_keys || is_release)
        {
            if self.may_drive() {
                self.drive_with(|drive, facts| drive.key(direction, key.kind, facts));
            }
            return;
        }
        if is_release {
            return;
        }
        self.dirty = true;
        let is_control_c = binding.is_some_and(|b| b.action == Action::Quit && b.control);
        if is_control_c && key.kind == KeyEventKind::Press {
            return self.quit();
        }
        if let Some(field) = &mut self.field {
            match field.key(key) {
                FieldResult::Editing => {}
                FieldResult::Cancelled => self.field = None,
                FieldResult::Submitted => self.submit_field(),
            }
            return;
        }
        let Some(action) = action else {
            return;
        };
        // Repeats of a held key only move the selection.
        if key.kind == KeyEventKind::Repeat
            && !matches!(action, Action::Lines(_) | Action::Pages(_))
        {
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

    /// The page after a key, if it stays open.
    fn overlay_after(&mut self, overlay: Overlay, action: Action) -> Option<Overlay> {
        let scrolled = |by: isize| {
            let top = overlay.top.saturating_add_signed(by);
            let top = top.min(self.page_overflow(overlay.page));
            Some(Overlay { top, ..overlay })
        };
        match (action, overlay.page) {
            (Action::Help, Page::Run(_)) => Some(Overlay::new(Page::Help)),
            (Action::Lines(by), Page::Run(_)) => {
                self.log.scroll(isize::from(by));
                let run = self.log.selected_run();
                run.map_or(Some(overlay), |run| Some(Overlay::new(Page::Run(run.run))))
            }
            (Action::Lines(by), Page::Help) => scrolled(isize::from(by)),
            (Action::Pages(by), _) => scrolled(isize::from(by) * PAGE),
            (Action::First, _) => scrolled(isize::MIN),
            (Action::Last, _) => scrolled(isize::MAX),
            (Action::Escape | Action::Enter | Action::Help, _) => None,
            _ => Some(overlay),
        }
    }

    fn mouse(&mut self, mouse: MouseEvent) {
        if self.screen != Screen::Drive || self.overlay.is_some() || self.is_too_small() {
            return;
        }
        if self.is_on_stop(&mouse) {
            return self.perform(Action::Stop);
        }
        let pad = layout::drive(self.areas().body).pad;
        let place = ratatui::layout::Position::new(mouse.column, mouse.row);
        let on_pad = || layout::pad_at(pad, place);
        let is_down = mouse.kind == MouseEventKind::Down(MouseButton::Left);
        let has_pad = layout::shape(self.setup.size) != ScreenShape::Strip;
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

    /// Returns true for a click on the pad's STOP.
    fn is_on_stop(&self, mouse: &MouseEvent) -> bool {
        let has_pad = self.screen == Screen::Drive
            && self.overlay.is_none()
            && !self.is_too_small()
            && layout::shape(self.setup.size) != ScreenShape::Strip;
        let pad = layout::drive(self.areas().body).pad;
        let place = ratatui::layout::Position::new(mouse.column, mouse.row);
        has_pad
            && mouse.kind == MouseEventKind::Down(MouseButton::Left)
            && layout::stop_cell(pad).contains(place)
    }
}
