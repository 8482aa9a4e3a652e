//! Draws a run as a line of a table, and the table of runs on the Drive screen.

use std::time::{Duration, Instant};

use p2p_shared::protocol::{RunInfo, RunResult};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::pane;
use crate::app::App;
use crate::text::{arguments, cell, fit, is_of_link, short, source_word, who};

pub(super) fn of_car(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(link) = app.link() else { return };
    let width = usize::from(area.width.saturating_sub(2));
    let rows = usize::from(area.height.saturating_sub(2));
    let runs = app.log.of_link(link.info.service_port).take(rows);
    let runs = runs.map(|run| line(app, run, width, 0)).collect();
    pane(frame, area, " Commands, newest first ", runs);
}

pub(super) fn events(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(timeline) = app.timeline() else {
        return;
    };
    let width = usize::from(area.width.saturating_sub(2));
    let rows = usize::from(area.height.saturating_sub(2));
    let theme = app.theme();
    let here = app.event_at_cursor(timeline);
    let cursor = here.filter(|_| app.timeline_view.cursor.is_some());
    let event = |event: &(Instant, String)| {
        let (at, text) = event;
        let line = Line::from(fit(&format!("{}  {text}", app.clock.moment(*at)), width));
        match cursor.is_some_and(|here| std::ptr::eq(here, event)) {
            true => line.style(theme.selected()),
            false => line,
        }
    };
    // Those at the cursor and before it, and some after it.
    let before = cursor.map_or(0, |here| {
        let mut events = timeline.events();
        events
            .position(|event| std::ptr::eq(here, event))
            .unwrap_or_default()
    });
    let events = timeline.events().skip(before.saturating_sub(rows / 2));
    let events = events.take(rows).map(event).collect();
    let title = match app.is_replay() {
        true => " What happened ",
        false => " The car says ",
    };
    pane(frame, area, title, events);
}

/// A run as a line: time, source, link (in so many columns), command, result, and where the time
/// went. A narrow line leaves out what can be.
pub(super) fn line<'a>(app: &App, run: &RunInfo, width: usize, link: usize) -> Line<'a> {
    let (theme, outcome) = (app.theme(), app.outcome(run));
    let link = match link {
        0 => String::new(),
        columns => cell(run.link.as_str(), columns) + " ",
    };
    let from = match width {
        110.. if is_of_link(run) => " ".repeat(23),
        110.. => cell(&who(run), 22) + " ",
        _ => String::new(),
    };
    let mut time = app.clock.time_of_day(run.at_ms);
    let source = match is_of_link(run) {
        true if run.from.raw().is_empty() => "link",
        true => run.from.raw(),
        false => source_word(run.source),
    };
    let source = match width {
        60.. => cell(source, 5) + " ",
        _ => {
            // Without milliseconds.
            time.truncate(time.len() - 4);
            String::new()
        }
    };
    let head = format!("{time} {source}{link}{from}");
    let mark = match &run.result {
        _ if is_of_link(run) => '·',
        None if outcome == "unknown" => '?',
        None => '…',
        Some(result) if result.status >= 400 => '✗',
        Some(_) => '✓',
    };
    let tail = match width {
        _ if is_of_link(run) => String::new(),
        60.. => format!(" {mark} {} {}", cell(&outcome, 10), times(run, width >= 76)),
        _ => format!(" {mark} {} {}", cell(&outcome, 8), times(run, false)),
    };
    let room = width.saturating_sub(head.width() + tail.width());
    let command = match run.result.as_ref().filter(|_| is_of_link(run)) {
        Some(result) if result.why.raw().is_empty() => run.command.to_string(),
        Some(result) => format!("{}: {}", run.command, result.why.raw()),
        None => format!("{}{}", run.command, arguments(&run.arguments)),
    };
    let command = cell(&command, room);
    let style = match &run.result {
        Some(result) if result.status >= 400 => theme.bad(),
        None => theme.strong(),
        Some(_) if is_of_link(run) => theme.quiet(),
        _ => Style::new(),
    };
    Line::styled(format!("{head}{command}{tail}"), style)
}

/// The times over the link and at the car, in words or, where there is no room for them, as a sum.
fn times(run: &RunInfo, in_words: bool) -> String {
    let result = run.result.as_ref().filter(|_| !is_of_link(run));
    let time = |us: u64| short(Duration::from_micros(us));
    let exec = |result: &RunResult| result.exec_us.map_or("–".to_owned(), time);
    match (result, in_words) {
        (Some(result), true) => {
            format!("link {:>7} exec {:>7}", time(result.link_us), exec(result))
        }
        (Some(result), false) => {
            let link = time(result.link_us);
            let link = link.strip_suffix(" ms").unwrap_or(&link);
            format!("{:>13}", format!("{link} + {}", exec(result)))
        }
        (None, true) => " ".repeat(25),
        (None, false) => " ".repeat(13),
    }
}
