//! Draws the Drive screen where there is little room: the three facts, what to do, the round trips.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::drive::{facts, what_now};
use crate::app::App;
use crate::text::{ago, fit, short};

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(link) = app.link() else { return };
    let theme = app.theme();
    let width = usize::from(area.width);
    let mut lines = facts(app, width, 1);
    let hop = |rtt: Option<std::time::Duration>| rtt.map_or("–".to_owned(), short);
    let hops = format!(
        "hops         you {} router {} car",
        hop(app.rtts.last()),
        hop(link.rtts.last())
    );
    lines.insert(0, Line::styled(fit(&what_now(app), width), theme.strong()));
    lines.push(Line::styled(fit(&hops, width), theme.quiet()));
    for (at, event) in link.timeline.events() {
        let age = ago(*at, app.now);
        lines.push(Line::styled(
            fit(&format!("{age:>6} ago  {event}"), width),
            theme.quiet(),
        ));
    }
    lines.truncate(usize::from(area.height));
    frame.render_widget(Paragraph::new(lines), area);
}
