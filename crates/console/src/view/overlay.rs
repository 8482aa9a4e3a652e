//! Draws the page that covers a screen, in a frame, scrolled.

use ratatui::Frame;
use ratatui::layout::Rect;

use super::pane;
use crate::app::overlay::hidden_lines;
use crate::app::{App, Overlay, Page};

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, overlay: Overlay) {
    let lines = app.page_lines(overlay.page, area);
    // The terminal may have grown since the page was scrolled.
    let hidden = hidden_lines(&lines, area);
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
    let title = format!(" {name} (Esc closes{more}) ");
    pane(frame, area, title, lines.into_iter().skip(top).collect());
}
