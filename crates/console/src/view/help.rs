//! Owns the help page: the key table, and the rules that a driver should know.

use ratatui::text::Line;

use super::text::{named, worded};
use super::theme::Theme;
use crate::app::App;
use crate::keymap::{BINDINGS, Screen};

const RULES: [&str; 4] = [
    "Hold a direction to drive, let go to stop. Space stops from any screen.",
    "Whatever fails, the car stops itself when its lease runs out; it never starts by itself.",
    "KEYS tap: without a report of the release a tap is 250 ms, and silence ends a hold.",
    "Anyone who watches may stop; one at a time drives.",
];

/// Columns of a key's name, with the space before it.
const KEY: usize = 11;

/// The page, in lines of so many columns.
pub(super) fn lines<'a>(app: &App, columns: usize) -> Vec<Line<'a>> {
    let theme = Theme::of(app);
    let bindings = BINDINGS
        .iter()
        .filter(|b| b.screens.contains(&app.screen) && !b.help.is_empty())
        .filter(|b| !b.drives || app.may_drive());
    let mut lines = Vec::new();
    for binding in bindings {
        let texts = worded(binding.help, columns.saturating_sub(KEY));
        let label = format!(" {}", binding.label);
        lines.extend(named(&label, KEY, theme.strong(), texts));
    }
    if app.screen == Screen::Drive {
        lines.push(Line::default());
        for rule in RULES {
            let texts = worded(rule, columns.saturating_sub(1));
            lines.extend(
                texts
                    .into_iter()
                    .map(|text| Line::styled(format!(" {text}"), theme.quiet())),
            );
        }
    }
    lines
}
