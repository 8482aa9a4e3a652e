//! Owns the help page: the key table, and the rules that a driver should know.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Wrap};

use super::theme::Theme;
use crate::app::App;
use crate::keymap::{BINDINGS, Screen};

const RULES: [&str; 4] = [
    "Hold a direction to drive, let go to stop. Space stops from any screen.",
    "Whatever fails, the car stops itself when its lease runs out; it never starts by itself.",
    "KEYS tap: without a report of the release a tap is 250 ms, and silence ends a hold.",
    "Anyone who watches may stop; one at a time drives.",
];

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = Theme::of(app);
    let mut lines: Vec<Line<'_>> = BINDINGS
        .iter()
        .filter(|b| b.screens.contains(&app.screen) && !b.help.is_empty())
        .filter(|b| !b.drives || app.may_drive())
        .map(|b| {
            Line::from(vec![
                Span::styled(format!(" {:<10}", b.label), theme.strong()),
                Span::raw(b.help),
            ])
        })
        .collect();
    if app.screen == Screen::Drive {
        lines.push(Line::default());
        lines.extend(RULES.map(|rule| Line::styled(format!(" {rule}"), theme.quiet())));
    }
    let title = format!(" Keys on {} (Esc closes) ", app.screen.name());
    let page = Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .block(Block::bordered().title(title));
    frame.render_widget(page, area);
}
