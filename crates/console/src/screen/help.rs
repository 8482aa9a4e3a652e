//! The help page: the keys of a screen, and rules that a driver should know.

use ratatui::text::Line;

use super::theme::Theme;
use crate::keymap::{BINDINGS, Screen};
use crate::text::{named, worded};

const RULES: [&str; 5] = [
    "Hold a direction to drive, let go to stop. Space stops from any screen.",
    "Whatever fails, the car stops itself when its lease runs out; it never starts by itself.",
    "KEYS tap: this terminal does not tell when a key is let go. A tap is 0.25 s at first; once the console knows how late a held key repeats here, a tap is a little longer than that, and a hold has no gap.",
    "kitty, foot, Ghostty, Alacritty, WezTerm, iTerm2 and new versions of Windows Terminal do tell; tmux and screen pass it on from none.",
    "Anyone who watches may stop; one at a time drives.",
];

/// Columns of a key's name, with the space before it.
const KEY: usize = 11;

/// Lines of the help of a screen; `may_drive` includes the driver's keys, and a replay has keys of its own.
pub(crate) fn lines<'a>(
    screen: Screen,
    may_drive: bool,
    is_replay: bool,
    columns: usize,
    theme: Theme,
) -> Vec<Line<'a>> {
    let bindings = BINDINGS
        .iter()
        .filter(|b| b.is_for(screen, is_replay) && !b.help.is_empty())
        .filter(|b| !b.drives || may_drive);
    let mut lines = Vec::new();
    for binding in bindings {
        let texts = worded(binding.help, columns.saturating_sub(KEY));
        let label = format!(" {}", binding.label);
        lines.extend(named(&label, KEY, theme.strong(), texts));
    }
    if screen == Screen::Drive && !is_replay {
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
