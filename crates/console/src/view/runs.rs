//! Draws a run as a line of a table, and the table of runs on the Drive screen.

use std::time::{Duration, Instant};

use p2p_shared::protocol::RunInfo;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::pane;
use crate::app::App;
use crate::screen::theme::Theme;
use crate::text::{
    ago, arguments, cell, fit, is_of_link, outcome, short, source_word, time_of_day, who,
};

pub(super) fn of_car(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(link) = app.link() else { return };
    if area.height < 3 {
        return;
    }
    let theme = app.theme();
    let with_events = area.width >= 100;
    let parts = Layout::horizontal([
        Constraint::Min(0),
        Constraint::Length(if with_events { 46 } else { 0 }),
    ]);
    let [left, right] = parts.areas(area);
    let width = usize::from(left.width.saturating_sub(2));
    let rows = usize::from(left.height.saturating_sub(2));
    let runs = app.log.of_link(link.info.service_port).take(rows);
    let runs = runs.map(|run| line(run, width, false, theme)).collect();
    pane(frame, left, " Commands, newest first ", runs);
    let width = usize::from(right.width.saturating_sub(2));
    let event = |(at, text): &(Instant, String)| {
        Line::from(fit(&format!("{:>6}  {text}", ago(*at, app.now)), width))
    };
    let events = link.events.iter().rev().take(rows).map(event).collect();
    pane(frame, right, " The car says ", events);
}

/// A run as a line: time, source, command, result, and where the time went.
pub(super) fn line<'a>(run: &RunInfo, width: usize, with_link: bool, theme: Theme) -> Line<'a> {
    let times = times(run);
    let link = match with_link {
        true if width >= 60 => cell(run.link.as_str(), 10) + " ",
        _ => String::new(),
    };
    let from = match width {
        120.. => cell(&who(run), 22) + " ",
        _ => String::new(),
    };
    let time = time_of_day(run.at_ms);
    let source = if is_of_link(run) {
        "link"
    } else {
        source_word(run.source)
    };
    let head = format!("{time} {source:<5} {link}{from}");
    let mark = match &run.result {
        _ if is_of_link(run) => '·',
        None => '…',
        Some(result) if result.status >= 400 => '✗',
        Some(_) => '✓',
    };
    let wide = width >= 76;
    let tail = format!(
        " {mark} {} {}",
        cell(&outcome(run), 10),
        if wide { &times } else { "" }
    );
    let room = width.saturating_sub(head.width() + tail.width());
    let command = format!("{}{}", run.command, arguments(&run.arguments));
    let command = cell(&command, room);
    let style = match &run.result {
        Some(result) if result.status >= 400 => theme.bad(),
        None => theme.strong(),
        _ => Style::new(),
    };
    Line::styled(format!("{head}{command}{tail}"), style)
}

fn times(run: &RunInfo) -> String {
    let Some(result) = run.result.as_ref().filter(|_| !is_of_link(run)) else {
        return " ".repeat(25);
    };
    let time = |us: u64| short(Duration::from_micros(us));
    let exec = result.exec_us.map_or("–".to_owned(), time);
    format!("link {:>7} exec {exec:>7}", time(result.link_us))
}
