//! Draws what fits into a tiny terminal: the state, the size that is needed, and the two keys that
//! work.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

use crate::app::{App, LEAST_SIZE};
use crate::screen::theme::state_words;

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme();
    let (width, height) = LEAST_SIZE;
    let (_, word) = state_words(app.state());
    let first = if app.stop_failed() {
        "STOP FAILED"
    } else {
        word
    };
    let lines = vec![
        Line::styled(first, theme.state(app.state())),
        Line::from(format!("needs {width}×{height}")),
        Line::from("Space stop, q quit"),
    ];
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), area);
}
