//! Draws the two pinned lines (screens, router, state of the chosen car) and the banner below.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr;

use crate::app::fleet::FleetLink;
use crate::app::{App, ConnectionState, banner};
use crate::drive::{ControlHolder, DriveState, KeyReleases};
use crate::keymap::Screen;
use crate::screen::theme::{Theme, round_trip_word, state_words};
use crate::text::{fit, short};

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme();
    let width = usize::from(area.width);
    if app.stop_failed() {
        return stop_failed(frame, area, app, theme);
    }
    let second = if app.is_replay() || app.link().is_none() {
        replay_or_fleet(app, width)
    } else {
        state(app, theme, width)
    };
    let lines = vec![screens(app, theme, width), second];
    frame.render_widget(Paragraph::new(lines), area);
}

/// Draws the banner across the screen: see [`banner`].
pub(super) fn render_banner(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let width = usize::from(area.width);
    let style = app.theme().alarm();
    let lines: Vec<Line<'_>> = banner::lines(app)
        .into_iter()
        .map(|text| Line::styled(format!("{:width$}", fit(&text, width)), style))
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn stop_failed(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let width = usize::from(area.width);
    let name = app.link().map_or("", |link| link.info.name.as_str());
    let fill = |text: String| format!("{text:width$}");
    let first = format!(
        " ‼ STOP FAILED: {} may still move",
        fit(name, width.saturating_sub(40))
    );
    // Without room for both, the advice is more important than the reason.
    let end = app.link().and_then(FleetLink::failed_stop);
    let why = end.filter(|_| width >= 100).map_or(String::new(), |end| {
        format!(" ({})", crate::text::end_text(end))
    });
    let second =
        format!(" its stop command failed 3 times{why}. Space tries again; else cut its power");
    let lines: Vec<Line<'_>> = [first, second]
        .map(|text| Line::styled(fill(fit(&text, width)), theme.alarm()))
        .into();
    frame.render_widget(Paragraph::new(lines), area);
}

fn screens<'a>(app: &App, theme: Theme, width: usize) -> Line<'a> {
    let mut spans = Vec::new();
    let long = width >= 60;
    for (screen, number) in Screen::ALL.into_iter().zip(1..) {
        if app.is_replay() && screen != Screen::Log {
            continue;
        }
        let here = screen == app.screen;
        let text = if long || here {
            format!(" {number} {} ", screen.name())
        } else {
            format!(" {number} ")
        };
        let style = if here {
            theme.selected()
        } else {
            theme.quiet()
        };
        spans.push(Span::styled(text, style));
    }
    let used: usize = spans.iter().map(|span| span.content.width()).sum();
    let right = router(app, width.saturating_sub(used + 1));
    let gap = width.saturating_sub(used + right.width());
    spans.push(Span::raw(" ".repeat(gap)));
    let style = match app.connection {
        ConnectionState::Up | ConnectionState::Replay { .. } => theme.quiet(),
        _ => theme.bad(),
    };
    spans.push(Span::styled(right, style));
    Line::from(spans)
}

fn router(app: &App, columns: usize) -> String {
    let state = match &app.connection {
        ConnectionState::Replay { file } => return fit(&format!("replay of {file}"), columns),
        ConnectionState::Down { since: None, .. } => "… connecting",
        ConnectionState::Down { .. } => "✖ lost",
        ConnectionState::Up => "● up",
    };
    let mut text = format!("{} {state}", app.setup.router);
    if !app.key.is_empty() && columns >= 50 {
        text += &format!("  key {} ({})", app.key, app.role);
    }
    if app.setup.readonly {
        text += "  readonly";
    } else if !app.role.may_run() && app.session.is_some() {
        text += "  view only";
    }
    if text.width() > columns {
        text = state.to_owned();
    }
    fit(&text, columns)
}

fn replay_or_fleet<'a>(app: &App, width: usize) -> Line<'a> {
    let text = if app.is_replay() {
        " a past log: nothing here is live".to_owned()
    } else {
        match app.fleet.links.len() {
            1 => " 1 link".to_owned(),
            links => format!(" {links} links"),
        }
    };
    Line::from(fit(&text, width))
}

fn state<'a>(app: &App, theme: Theme, width: usize) -> Line<'a> {
    let state = app.state();
    let (glyph, word) = state_words(state);
    let mut badge = format!(" {glyph} {word} ");
    if let DriveState::Driving(direction) = state {
        badge.push(direction.glyph());
        badge.push(' ');
    }
    let mut spans = vec![Span::styled(badge, theme.state(state))];
    let is_up = state != DriveState::Offline;
    let rtt = app.round_trip().filter(|_| is_up);
    let rtt_text = rtt.map_or("RTT –".to_owned(), |rtt| {
        format!("RTT {}{}", short(rtt), round_trip_word(rtt))
    });
    let driver = match app.holder() {
        // Unknown without a connection.
        _ if !is_up => String::new(),
        ControlHolder::Nobody => "free".to_owned(),
        ControlHolder::Us { .. } => "you drive".to_owned(),
        ControlHolder::Other(name) => format!("driven by {}", fit(&name, 20)),
    };
    let keys = match app.drive.releases {
        _ if !app.may_drive() => String::new(),
        KeyReleases::Reported => "KEYS hold".to_owned(),
        KeyReleases::Guessed if width >= 110 => {
            "KEYS tap: this terminal reports no key's release".to_owned()
        }
        KeyReleases::Guessed => "KEYS tap".to_owned(),
    };
    if let Some(link) = app.link() {
        let room = if width >= 60 { 24 } else { 12 };
        let name = fit(link.info.name.as_str(), room);
        spans.push(Span::styled(
            format!(" {name} :{} ", link.info.service_port),
            theme.strong(),
        ));
    }
    let used: usize = spans.iter().map(|span| span.content.width()).sum();
    let mut left = width.saturating_sub(used);
    let rtt_style = rtt.map_or(theme.quiet(), |rtt| theme.round_trip(rtt));
    let router = app.link().and_then(|link| link.info.router.as_ref());
    let at = router.map_or(String::new(), |router| {
        format!("at {}", fit(router.raw(), 30))
    });
    for (text, style) in [
        (rtt_text, rtt_style),
        (driver, theme.strong()),
        (at, theme.quiet()),
        (keys, theme.quiet()),
    ] {
        let wide = text.width() + 2;
        if text.is_empty() || wide > left {
            continue;
        }
        left -= wide;
        spans.push(Span::raw("  "));
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}
