//! Draws the last line: the keys of the screen, or the text field with the keys that work there.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr;

use crate::app::text_field::{FieldPurpose, TextField};
use crate::app::{App, banner};
use crate::screen::theme::Theme;
use crate::text::fit;

/// Keys that work while a text is typed, the most important first.
const TYPING: [(&str, &str); 3] = [("Ctrl-X", "STOP"), ("Enter", "done"), ("Esc", "leave")];

fn render_field(frame: &mut Frame<'_>, area: Rect, field: &TextField, theme: Theme) {
    let what = match field.purpose {
        FieldPurpose::Filter => "filter",
        FieldPurpose::Arguments => "arguments",
        FieldPurpose::Palette => "action",
        FieldPurpose::Search => "search",
    };
    let keys = |shown: usize| TYPING.iter().take(shown);
    let wide = |shown| -> usize {
        keys(shown)
            .map(|(key, does)| key.len() + does.len() + 3)
            .sum()
    };
    let width = usize::from(area.width);
    let shown = if width >= 60 { TYPING.len() } else { 1 };
    let room = width.saturating_sub(what.len() + 4 + wide(shown));
    // The end of the text is shown, where the cursor is.
    let over = field.text.width().saturating_sub(room);
    let mut skipped = 0;
    let end = field.text.chars().skip_while(|c| {
        let skip = skipped < over;
        skipped += unicode_width::UnicodeWidthChar::width(*c).unwrap_or(0);
        skip
    });
    let end = fit(&end.collect::<String>(), room);
    let gap = room.saturating_sub(end.width());
    let mut spans = vec![
        Span::styled(format!(" {what}: "), theme.strong()),
        Span::raw(end),
        Span::styled(" ", theme.selected()),
        Span::raw(" ".repeat(gap)),
    ];
    for (key, does) in keys(shown) {
        spans.push(Span::styled(format!(" {key}"), theme.strong()));
        spans.push(Span::styled(format!(" {does} "), theme.quiet()));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme();
    if let Some(field) = &app.field {
        return render_field(frame, area, field, theme);
    }
    let mut left = usize::from(area.width);
    let mut spans = Vec::new();
    for key in app.footer_keys() {
        left = left.saturating_sub(key.width());
        spans.push(Span::styled(format!(" {}", key.label), theme.strong()));
        spans.push(Span::styled(format!(" {} ", key.does), theme.quiet()));
    }
    if let Some((tone, text)) = banner::left_over(app) {
        spans.push(Span::styled(fit(&text, left), theme.tone(tone)));
        return frame.render_widget(Paragraph::new(Line::from(spans)), area);
    }
    // The time of day and its zone in the corner, if there is room.
    let formats: &[_] = match app.is_replay() {
        true => &[],
        false => &["%H:%M:%S %Z", "%H:%M %Z"],
    };
    let mut times = formats
        .iter()
        .map(|format| app.clock.corner(app.now, format));
    if let Some(time) = times.find(|time| time.width() < left) {
        spans.push(Span::raw(" ".repeat(left - time.width())));
        spans.push(Span::styled(time, theme.quiet()));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}
