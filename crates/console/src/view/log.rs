//! Draws the Log screen: every run, newest first. Its title says whether the view is held.

use std::sync::Arc;

use p2p_shared::protocol::RunInfo;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::{pane, runs};
use crate::app::App;
use crate::screen::layout;
use crate::text::fit;

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme();
    let log = &app.log;
    let rows = usize::from(area.height.saturating_sub(2)).max(1);
    let width = usize::from(area.width.saturating_sub(2));
    let widest = |run: Arc<RunInfo>| run.link.as_str().width();
    let link = log.shown().take(rows).map(widest).max().unwrap_or_default();
    let link = if width >= 60 { link.min(width / 5) } else { 0 };
    // Keeps the selected line visible; the newest run is on top.
    let first = layout::first_row(log.selected(), rows);
    let mut lines: Vec<Line<'_>> = log
        .shown()
        .skip(first)
        .take(rows)
        .zip(first..)
        .map(|(run, place)| {
            let line = runs::line(app, &run, width, link);
            if place == log.selected() && (!log.follows() || app.is_replay()) {
                line.style(theme.selected())
            } else {
                line
            }
        })
        .collect();
    if lines.is_empty() {
        let why = match log.filter() {
            "" => "no command has run yet",
            _ => "nothing matches the filter (Esc clears it)",
        };
        lines.push(Line::styled(why, theme.quiet()));
    }
    let title = fit(&title(app), usize::from(area.width.saturating_sub(4)));
    pane(frame, area, title, lines);
}

fn title(app: &App) -> String {
    let log = &app.log;
    let mut title = match (log.is_frozen(), log.follows()) {
        _ if app.is_replay() => " Past runs, newest first".to_owned(),
        (true, _) => format!(" ❚❚ FROZEN, {} came since (f goes on)", log.came()),
        (false, true) => " Runs, newest first".to_owned(),
        (false, false) => format!(" ‖ HELD, {} came since (End follows)", log.came()),
    };
    if !log.filter().is_empty() {
        title += &format!("; filter: {}", log.filter());
    }
    if log.missed > 0 {
        title += &format!("; {} events missed, this console was too slow", log.missed);
    }
    title + " "
}
