//! The palette: every action that the table of keys has for this screen, found by typing words of it.

use super::App;
use crate::app::text_field::FieldPurpose;
use crate::keymap::{Action, BINDINGS, KeyBinding};

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
            let text = format!("{label} {short} {help}").to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        let is_action = |binding: &&KeyBinding| {
            let moves = matches!(
                binding.action,
                Action::Move(_) | Action::Lines(_) | Action::Pages(_) | Action::Palette
            );
            !binding.help.is_empty() && !moves && (!binding.drives || self.may_drive())
        };
        let is_replay = self.is_replay();
        let here = (BINDINGS.iter()).filter(|b| b.is_for(self.screen, is_replay));
        Some(here.filter(is_action).filter(is_found).collect())
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
            Some(binding) => self.perform(binding.action),
            None => self.notify("no action is called so", false),
        }
    }
}
