//! Draws a car's timeline: its tracks on one clock, the events as marks in the frame below them, and
//! what happened at the cursor, or last.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};
use unicode_width::UnicodeWidthStr;

use crate::app::App;
use crate::app::timeline::{Sign, TRACKS, Timeline, column};
use crate::screen::theme::Theme;
use crate::text::{age, fit};

/// Columns of a track's name.
const NAME: u16 = 5;

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(timeline) = app.timeline() else {
        return;
    };
    let theme = app.theme();
    let columns = usize::from(area.width.saturating_sub(2 + NAME));
    let (from, to) = app.timeline_view.window(app.timeline_end());
    let tracks = timeline.rows(from, to, columns);
    let mut lines: Vec<Line<'_>> = TRACKS
        .iter()
        .zip(&tracks)
        .map(|(name, row)| track(name, row, theme))
        .collect();
    lines.push(happened(
        app,
        timeline,
        usize::from(area.width.saturating_sub(2)),
    ));
    let span = age(app.timeline_view.span());
    let title = match app.timeline_view.cursor {
        Some(at) if app.is_replay() => {
            format!(" {}, in {span} ([z] [Z] zoom) ", app.clock.moment(at))
        }
        Some(at) => format!(" {}, in {span} ([End] follows) ", app.clock.moment(at)),
        None => format!(" The last {span} ([,] goes back, [+] [-] zoom) "),
    };
    let block = Block::bordered().title(fit(&title, columns));
    frame.render_widget(Paragraph::new(lines).block(block), area);
    if area.height < 2 || columns == 0 {
        return;
    }
    let (left, bottom) = (area.x + 1 + NAME, area.bottom() - 1);
    let mut mark = |place: usize, glyph, style| {
        let x = u16::try_from(place.min(columns - 1)).unwrap_or_default();
        frame
            .buffer_mut()
            .set_string(left + x, bottom, glyph, style);
    };
    for place in timeline.marks(from, to, columns) {
        mark(place, "┴", theme.strong());
    }
    if let Some(at) = app.timeline_view.cursor {
        mark(column(at, from, to, columns), "▲", theme.accent());
    }
}

fn track<'a>(name: &str, row: &[Sign], theme: Theme) -> Line<'a> {
    let width = usize::from(NAME);
    let mut spans = vec![Span::styled(format!("{name:<width$}"), theme.quiet())];
    for run in row.chunk_by(|a, b| a == b) {
        let (glyph, style) = match run.first().copied().unwrap_or_default() {
            Sign::Blank => (' ', theme.quiet()),
            Sign::Calm => ('─', theme.quiet()),
            Sign::Active(glyph) => (glyph, theme.good()),
            Sign::Doubt => ('?', theme.caution()),
            Sign::Bad => ('✖', theme.bad()),
        };
        spans.push(Span::styled(glyph.to_string().repeat(run.len()), style));
    }
    Line::from(spans)
}

/// The event at the cursor or before it, and its cause.
fn happened<'a>(app: &App, timeline: &Timeline, width: usize) -> Line<'a> {
    let theme = app.theme();
    let Some((at, what)) = app.event_at_cursor(timeline) else {
        return Line::styled("nothing has happened yet", theme.quiet());
    };
    let time = format!("{}  ", app.clock.moment(*at));
    let what = fit(what, width.saturating_sub(time.width()));
    Line::from(vec![Span::styled(time, theme.quiet()), Span::raw(what)])
}
