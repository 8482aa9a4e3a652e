//! The tabs in the first line and the keys in the last one, and what a click on them does.

use unicode_width::UnicodeWidthStr;

use super::{App, banner};
use crate::keymap::{Action, BINDINGS, KeyBinding, Screen};
use crate::text::fit;

/// Columns from which the tabs have names.
const NAMED: u16 = 60;
/// Most columns of the pinned car's name beside STOP.
const PINNED: usize = 24;

/// A key of the last line: its name, and what it does.
#[derive(Debug)]
pub struct BarKey {
    pub action: Action,
    pub label: &'static str,
    pub does: String,
}

impl BarKey {
    pub fn width(&self) -> usize {
        self.label.width() + self.does.width() + 3
    }
}

impl App {
    /// The screens and their texts in the first line.
    pub fn tabs(&self) -> impl Iterator<Item = (Screen, String)> {
        let is_there = |screen| !self.is_replay() || matches!(screen, Screen::Log | Screen::Drive);
        let numbered = Screen::ALL.into_iter().zip(1..);
        let tabs = numbered.filter(move |(screen, _)| is_there(*screen));
        tabs.map(|(screen, number)| {
            let is_named = self.setup.size.0 >= NAMED || screen == self.screen;
            let text = match is_named {
                true => format!(" {number} {} ", screen.name()),
                false => format!(" {number} "),
            };
            (screen, text)
        })
    }

    /// The keys in the last line: those that there is room for. Stop, help and quit go first; beside a sentence
    /// there is room for stop alone.
    pub fn footer_keys(&self) -> Vec<BarKey> {
        let has_sentence = banner::left_over(self).is_some();
        let shown = BINDINGS.iter().filter(|b| {
            b.is_for(self.screen, self.is_replay())
                && !b.short.is_empty()
                && (!b.drives || self.may_drive() && !self.stop_failed())
                && (!has_sentence || matches!(b.action, Action::Stop))
        });
        let is_kept =
            |key: &BarKey| matches!(key.action, Action::Stop | Action::Help | Action::Quit);
        let keys: Vec<_> = shown.map(|binding| self.bar_key(binding)).collect();
        let mut kept: usize = keys
            .iter()
            .filter(|key| is_kept(key))
            .map(BarKey::width)
            .sum();
        let mut left = usize::from(self.setup.size.0);
        let has_room = |key: &BarKey| {
            kept -= if is_kept(key) { key.width() } else { 0 };
            let has_room = key.width() + kept <= left;
            left -= if has_room { key.width() } else { 0 };
            has_room
        };
        keys.into_iter().filter(has_room).collect()
    }

    fn bar_key(&self, binding: &KeyBinding) -> BarKey {
        // With several cars one must know which one stops.
        let pinned = self.link().filter(|_| self.fleet.links.len() > 1);
        let does = match (binding.action, pinned) {
            (Action::Stop, Some(link)) => {
                format!("STOP {}", fit(link.info.name.as_str(), PINNED))
            }
            _ => binding.short.to_owned(),
        };
        BarKey {
            action: binding.action,
            label: binding.label,
            does,
        }
    }

    /// The screen whose name is drawn in this column of the first line.
    pub(super) fn tab_at(&self, column: u16) -> Option<Screen> {
        if self.stop_failed() {
            return None;
        }
        let tabs = self.tabs().map(|(screen, text)| (screen, text.width()));
        at(column, tabs)
    }

    /// The action whose key is drawn in this column of the last line.
    pub(super) fn footer_action_at(&self, column: u16) -> Option<Action> {
        let keys = self.footer_keys();
        at(column, keys.iter().map(|key| (key.action, key.width())))
    }
}

/// The one of these at a column; each is so many columns wide.
fn at<T>(column: u16, all: impl Iterator<Item = (T, usize)>) -> Option<T> {
    let mut end = 0;
    for (one, width) in all {
        end += width;
        if usize::from(column) < end {
            return Some(one);
        }
    }
    None
}
