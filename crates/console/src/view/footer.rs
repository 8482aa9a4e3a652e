//! Draws the last lines: a notice or the text field, and the keys of the screen.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr;

use crate::app::App;
use crate::app::text_field::FieldPurpose;
use crate::keymap::{BINDINGS, KeyBinding};
use crate::text::fit;

pub(super) fn render_line(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme();
    let width = usize::from(area.width);
    let line = if let Some(field) = &app.field {
        let what = match field.purpose {
            FieldPurpose::Filter => "filter",
            FieldPurpose::Arguments => "arguments",
        };
        let room = width.saturating_sub(what.len() + 4);
        // The end of the text is shown, where the cursor is.
        let wide = field.text.width().saturating_sub(room);
        let mut skipped = 0;
        let shown: String = field
            .text
            .chars()
            .skip_while(|c| {
                let skip = skipped < wide;
                skipped += unicode_width::UnicodeWidthChar::width(*c).unwrap_or(0);
                skip
            })
            .collect();
        Line::from(vec![
            Span::styled(format!(" {what}: "), theme.strong()),
            Span::raw(fit(&shown, room)),
            Span::styled(" ", theme.selected()),
        ])
    } else if let Some(notice) = &app.notice {
        let (glyph, style) = match notice.is_bad {
            true => ('!', theme.bad()),
            false => ('·', theme.good()),
        };
        Line::styled(fit(&format!(" {glyph} {}", notice.text), width), style)
    } else {
        return;
    };
    frame.render_widget(Paragraph::new(line), area);
}

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme();
    let mut left = usize::from(area.width);
    let mut spans = Vec::new();
    let nothing_but_stop = app.stop_failed();
    let shown = BINDINGS.iter().filter(|b| {
        b.screens.contains(&app.screen)
            && !b.short.is_empty()
            && (!b.drives || app.may_drive())
            && (!nothing_but_stop || matches!(b.short, "STOP" | "quit"))
            && !(app.is_replay() && b.short == "STOP")
    });
    // Stop, help and quit are shown before the keys of the screen.
    let always = |b: &KeyBinding| matches!(b.short, "STOP" | "help" | "quit");
    let wide = |b: &KeyBinding| format!(" {} {} ", b.label, b.short).width();
    let mut kept: usize = shown.clone().filter(|b| always(b)).map(wide).sum();
    for binding in shown {
        let width = wide(binding);
        if always(binding) {
            kept -= width;
        }
        if width + kept > left {
            continue;
        }
        left -= width;
        spans.push(Span::styled(format!(" {}", binding.label), theme.strong()));
        spans.push(Span::styled(format!(" {} ", binding.short), theme.quiet()));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}
