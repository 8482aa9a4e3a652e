//! Draws what covers a screen, in a frame: a page, scrolled, or the palette.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::pane;
use crate::app::overlay::{hidden_lines, is_found};
use crate::app::{App, Overlay, Page};
use crate::keymap::KeyBinding;
use crate::text::{cell, fit};

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, overlay: Overlay) {
    let lines = app.page_lines(overlay.page, area);
    // The terminal may have grown since the page was scrolled.
    let hidden = hidden_lines(&lines, area);
    let top = match overlay.follows {
        true => hidden,
        false => overlay.top.min(hidden),
    };
    let more = match (top, hidden) {
        (_, 0) => "",
        (top, hidden) if top < hidden => ", PgDn: more",
        _ => ", PgUp: back",
    };
    let name = match overlay.page {
        Page::Help => format!("Keys on {}", app.screen.name()),
        Page::Run(id) => format!("Run {id}"),
        Page::Output => "Output".to_owned(),
    };
    let title = format!(" {name} (Esc closes{more}) ");
    let theme = app.theme();
    let shown = lines.into_iter().skip(top);
    let marked = shown.map(|line| match is_found(&line, &app.search) {
        true => line.patch_style(theme.strong().patch(theme.selected())),
        false => line,
    });
    pane(frame, area, title, marked.collect());
}

/// Draws the actions that the palette found.
pub(super) fn render_palette(frame: &mut Frame<'_>, area: Rect, app: &App, shown: &[&KeyBinding]) {
    let theme = app.theme();
    let selected = app.palette_place(shown.len());
    let rows = usize::from(area.height.saturating_sub(2)).max(1);
    let width = usize::from(area.width.saturating_sub(2));
    let first = selected.saturating_sub(rows - 1);
    let lines = shown.iter().zip(0..).skip(first).take(rows);
    let lines = lines.map(|(binding, place)| {
        let screen = app.screen_of(binding);
        let screen = screen.map_or(String::new(), |screen| format!("{}: ", screen.name()));
        let text = format!(" {} {screen}{}", cell(binding.label, 10), binding.help);
        match place == selected {
            true => Line::styled(cell(&text, width), theme.selected()),
            false => Line::from(fit(&text, width)),
        }
    });
    let title = format!(" Actions on {} (↑ ↓ select) ", app.screen.name());
    pane(frame, area, title, lines.collect());
}
