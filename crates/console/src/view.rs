//! Draws the whole screen from its panes. Changes nothing.
//!
//! ```text
//!   ┌ header ─ screens, router, key ─────────┐
//!   ├ state ── word, car, driver, RTT, KEYS ─┤   STOP FAILED fills both
//!   ├ banner ─ a lost hop, a request, a notice ─┤   its rows are kept free
//!   │ body ─── the screen's panes            │
//!   └ footer ─ keys, or what is typed ───────┘
//! ```

mod commands;
mod drive;
mod fleet;
mod footer;
mod header;
mod log;
mod overlay;
mod pad;
mod picture;
mod round_trips;
mod runs;
mod strip;
mod timeline;
mod too_small;

use p2p_shared::text::is_hidden;
use ratatui::Frame;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph};

use crate::app::App;
use crate::keymap::Screen;
use crate::screen::layout::ScreenShape;

pub fn render(frame: &mut Frame<'_>, app: &App) {
    render_panes(frame, app);
    hide_nothing(frame.buffer_mut());
}

/// Replaces what no terminal may see and a pane has let through. Panes escape texts from outside
/// themselves, so that they can be read.
fn hide_nothing(buffer: &mut Buffer) {
    let bad = |cell: &&mut Cell| cell.symbol().contains(is_hidden);
    for cell in buffer.content.iter_mut().filter(bad) {
        cell.set_symbol("\u{fffd}");
    }
}

fn render_panes(frame: &mut Frame<'_>, app: &App) {
    if app.is_too_small() {
        return too_small::render(frame, frame.area(), app);
    }
    let areas = app.areas();
    header::render(frame, areas.header, app);
    header::render_banner(frame, areas.banner, app);
    if let Some(actions) = app.palette() {
        overlay::render_palette(frame, areas.body, app, &actions);
        return footer::render(frame, areas.footer, app);
    }
    match (app.overlay, app.screen) {
        (Some(over), _) => overlay::render(frame, areas.body, app, over),
        (None, Screen::Drive) if app.is_replay() => drive::render_past(frame, areas.body, app),
        (None, Screen::Fleet) => fleet::render(frame, areas.body, app),
        (None, Screen::Drive) if app.link().is_none() => fleet::render(frame, areas.body, app),
        (None, Screen::Drive) if areas.shape == ScreenShape::Strip => {
            strip::render(frame, areas.body, app);
        }
        (None, Screen::Drive) => drive::render(frame, areas.body, app),
        (None, Screen::Log) => log::render(frame, areas.body, app),
        (None, Screen::Commands) => commands::render(frame, areas.body, app),
    }
    footer::render(frame, areas.footer, app);
}

/// Draws lines in a frame with a title.
fn pane<'a>(frame: &mut Frame<'_>, area: Rect, title: impl Into<Line<'a>>, lines: Vec<Line<'a>>) {
    let block = Block::bordered().title(title);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

#[cfg(test)]
mod tests;
