//! Draws the pane of round trips: each connection on the way to the car, jitter, a sparkline, and a histogram where
//! there is room.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::pane;
use crate::app::App;
use crate::app::round_trips::{BARS, RoundTrips};
use crate::screen::theme::Theme;
use crate::text::short;

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(link) = app.link() else { return };
    let theme = app.theme();
    let inner = usize::from(area.width.saturating_sub(2));
    let mut lines = vec![hop("you–router", &app.rtts, inner, theme)];
    if link.info.router.is_some() {
        lines.push(hop("routers   ", &link.hops, inner, theme));
    }
    lines.push(hop("router–car", &link.rtts, inner, theme));
    let rows = usize::from(area.height.saturating_sub(2));
    if rows > lines.len() + BARS.len() {
        lines.push(Line::styled(
            format!(
                "router–car jitter {}; all so far:",
                short(link.rtts.jitter())
            ),
            theme.quiet(),
        ));
        lines.extend(histogram(&link.rtts, inner, theme));
    }
    let title = format!(" Round trips, jitter {} ", short(link.rtts.jitter()));
    pane(frame, area, title, lines);
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
    let room = width.saturating_sub(22) as u64;
    let lines = BARS.iter().zip(bars).map(|((_, name), count)| {
        let cells = usize::try_from((count * room).div_ceil(most)).unwrap_or_default();
        Line::from(vec![
            Span::styled(format!("{name:>5} ms "), theme.quiet()),
            Span::styled("█".repeat(cells), theme.accent()),
            Span::raw(format!(" {count}")),
        ])
    });
    lines.collect()
}

/// The last round trips as a line of blocks, newest at the right; the highest sets the scale.
pub(super) fn sparkline(rtts: &RoundTrips, columns: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let skip = rtts.recent().len().saturating_sub(columns);
    let least_scale = Duration::from_millis(5).as_micros();
    let most = rtts.recent().skip(skip).max().unwrap_or_default();
    let scale = u128::from(most).max(least_scale);
    let block = |us: u32| {
        let place = usize::try_from(u128::from(us) * 7 / scale).unwrap_or(7);
        BLOCKS.get(place).copied().unwrap_or('█')
    };
    rtts.recent().skip(skip).map(block).collect()
}
