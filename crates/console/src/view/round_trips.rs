//! Draws the pane of round trips: each connection on the way to the car, jitter, a sparkline, and a histogram where
//! there is room.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::pane;
use crate::app::App;
use crate::app::contact::Contact;
use crate::app::fleet::FleetLink;
use crate::app::round_trips::{BARS, RoundTrips};
use crate::screen::theme::Theme;
use crate::text::short;

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(link) = app.link() else { return };
    let theme = app.theme();
    let inner = usize::from(area.width.saturating_sub(2));
    let mut lines = hops(app, link, inner);
    let rows = usize::from(area.height.saturating_sub(2));
    if rows >= lines.len() + BARS.len() {
        lines.extend(histogram(&link.rtts, inner, theme));
    }
    let title = match app.contact(link) {
        Contact::Answers => format!("jitter {}", short(link.rtts.jitter())),
        _ => "as they were".to_owned(),
    };
    pane(frame, area, format!(" Round trips, {title} "), lines);
}

/// A line for each connection on the way to the car.
pub(super) fn hops<'a>(app: &App, link: &FleetLink, width: usize) -> Vec<Line<'a>> {
    let theme = app.theme();
    let is_old = match app.contact(link) {
        Contact::Answers => Style::new(),
        _ => theme.quiet(),
    };
    let routers = link.info.router.is_some();
    let all = [
        Some(("you–router", &app.rtts)),
        routers.then_some(("routers   ", &link.hops)),
        Some(("router–car", &link.rtts)),
    ];
    let lines = all.into_iter().flatten();
    lines
        .map(|(name, rtts)| hop(name, rtts, width, theme).style(is_old))
        .collect()
}

fn hop<'a>(name: &'a str, rtts: &RoundTrips, width: usize, theme: Theme) -> Line<'a> {
    let last = rtts.last().map_or("–".to_owned(), short);
    let p95 = rtts.quantile(0.95).map_or("–".to_owned(), short);
    let text = format!("{name} {last:>7}  p95 {p95:>7}  ");
    let left = width.saturating_sub(text.chars().count());
    let style = rtts
        .last()
        .map_or(theme.quiet(), |rtt| theme.round_trip(rtt));
    let (name, numbers) = text.split_at(name.len());
    Line::from(vec![
        Span::styled(name.to_owned(), theme.quiet()),
        Span::styled(numbers.to_owned(), style),
        Span::styled(sparkline(rtts, left), theme.accent()),
    ])
}

fn histogram<'a>(rtts: &RoundTrips, width: usize, theme: Theme) -> Vec<Line<'a>> {
    let bars = rtts.bars();
    let most = bars.iter().copied().max().unwrap_or_default().max(1);
    let room = width.saturating_sub(24) as u64;
    let lines = BARS.iter().zip(bars).map(|((_, name, block), count)| {
        let cells = usize::try_from((count * room).div_ceil(most)).unwrap_or_default();
        Line::from(vec![
            Span::styled(format!("{block} {name:>5} ms "), theme.quiet()),
            Span::styled("█".repeat(cells), theme.accent()),
            Span::raw(format!(" {count}")),
        ])
    });
    lines.collect()
}

/// The last round trips as a line of blocks, newest at the right. Everywhere the same height is the
/// same time: that of a bar of the histogram.
pub(super) fn sparkline(rtts: &RoundTrips, columns: usize) -> String {
    let skip = rtts.recent().len().saturating_sub(columns);
    let block = |us: u32| {
        let ms = u64::from(us / 1000);
        let bar = BARS.iter().find(|(below, ..)| ms < *below);
        bar.map_or('█', |(.., block)| *block)
    };
    rtts.recent().skip(skip).map(block).collect()
}
