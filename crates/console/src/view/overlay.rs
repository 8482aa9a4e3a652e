//! Owns what covers a screen: the help or one run, in a frame, scrolled.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph};

use super::{help, layout, run};
use crate::app::{App, Overlay, Page};

/// Draws it.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, overlay: Overlay) {
    let lines = lines(app, overlay.page, area);
    // The terminal may have grown since it was scrolled.
    let hidden = hidden(&lines, area);
    let top = overlay.top.min(hidden);
    let more = match (top, hidden) {
        (_, 0) => "",
        (top, hidden) if top < hidden => ", PgDn: more",
        _ => ", PgUp: back",
    };
    let name = match overlay.page {
        Page::Help => format!("Keys on {}", app.screen.name()),
        Page::Run(id) => format!("Run {id}"),
    };
    let block = Block::bordered().title(format!(" {name} (Esc closes{more}) "));
    let shown: Vec<_> = lines.into_iter().skip(top).collect();
    frame.render_widget(Paragraph::new(shown).block(block), area);
}

/// How many lines of a page don't fit on the screen as it is.
#[must_use]
pub fn overflow(app: &App, page: Page) -> usize {
    let area = layout::of_screen(app).body;
    hidden(&lines(app, page, area), area)
}

fn lines<'a>(app: &'a App, page: Page, area: Rect) -> Vec<Line<'a>> {
    let columns = usize::from(area.width.saturating_sub(2));
    match page {
        Page::Help => help::lines(app, columns),
        Page::Run(id) => run::lines(app, id, columns),
    }
}

fn hidden(lines: &[Line<'_>], area: Rect) -> usize {
    let rows = usize::from(area.height.saturating_sub(2));
    lines.len().saturating_sub(rows)
}
