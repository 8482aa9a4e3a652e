//! The palette: the actions of the table of keys, found by typing words of them. Those of this screen come first; those
//! of another one open it.

use super::App;
use crate::app::text_field::FieldPurpose;
use crate::keymap::{Action, BINDINGS, KeyBinding, Screen};

impl App {
    /// The actions that the palette shows, if it is open.
    pub fn palette(&self) -> Option<Vec<&'static KeyBinding>> {
        let field = self.field.as_ref();
        let field = field.filter(|field| field.purpose == FieldPurpose::Palette)?;
        let words: Vec<_> = field
            .text
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        let is_found = |binding: &&KeyBinding| {
            let KeyBinding {
                label, short, help, ..
            } = binding;
            let screen = self.screen_of(binding).map_or("", Screen::name);
            let text = format!("{label} {short} {help} {screen}").to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        let is_action = |binding: &&KeyBinding| {
            let moves = matches!(
                binding.action,
                Action::Move(_) | Action::Lines(_) | Action::Pages(_) | Action::Palette
            );
            !binding.help.is_empty() && !moves && (!binding.drives || self.may_drive())
        };
        // What is selected on another screen is not seen here.
        let needs_selection = |binding: &KeyBinding| {
            matches!(
                binding.action,
                Action::Enter
                    | Action::First
                    | Action::Last
                    | Action::Copy
                    | Action::Arguments
                    | Action::Output
                    | Action::Cancel
            )
        };
        let is_replay = self.is_replay();
        let is_here = |binding: &&KeyBinding| binding.is_for(self.screen, is_replay);
        let here = BINDINGS.iter().filter(is_here);
        let elsewhere = BINDINGS
            .iter()
            .filter(|b| self.screen_of(b).is_some() && !needs_selection(b));
        let all = here.chain(elsewhere);
        Some(all.filter(is_action).filter(is_found).collect())
    }

    /// The screen that has this action, if it is another one.
    pub fn screen_of(&self, binding: &KeyBinding) -> Option<Screen> {
        let (screen, is_replay) = (self.screen, self.is_replay());
        let mut others = binding.screens.iter().copied();
        match binding.is_for(screen, is_replay) {
            true => None,
            false => others.find(|screen| binding.is_for(*screen, is_replay)),
        }
    }

    /// Position of the selected action among those.
    pub fn palette_place(&self, shown: usize) -> usize {
        self.palette_selected.min(shown.saturating_sub(1))
    }

    /// Performs the selected action.
    pub(super) fn submit_palette(&mut self) {
        let shown = self.palette().unwrap_or_default();
        let chosen = shown.get(self.palette_place(shown.len())).copied();
        self.field = None;
        match chosen {
            Some(binding) => {
                if let Some(screen) = self.screen_of(binding) {
                    self.go(screen);
                }
                self.perform(binding.action);
            }
            None => self.notify("no action is called so", false),
        }
    }
}
