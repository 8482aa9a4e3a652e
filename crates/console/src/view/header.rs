//! Draws the two pinned lines (screens, router, state of the chosen car) and the banner below.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr;

use crate::app::contact::Contact;
use crate::app::fleet::FleetLink;
use crate::app::replay::Replay;
use crate::app::{App, ConnectionState, banner};
use crate::drive::{ControlHolder, DriveState, KeyReleases};
use crate::screen::theme::{MOVES, Theme, round_trip_word, state_words};
use crate::text::{fit, short};

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme();
    let width = usize::from(area.width);
    if app.stop_failed() && !app.is_replay() {
        return stop_failed(frame, area, app, theme);
    }
    let second = match &app.replay {
        Some(past) => replay(app, past, theme, width),
        None if app.link().is_none() => fleet(app, width),
        None => state(app, theme, width),
    };
    let lines = vec![screens(app, theme, width), second];
    frame.render_widget(Paragraph::new(lines), area);
}

/// Draws the banner across the screen: see [`banner`].
pub(super) fn render_banner(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let (width, theme) = (usize::from(area.width), app.theme());
    let lines: Vec<Line<'_>> = banner::lines(app)
        .into_iter()
        .map(|(tone, text)| {
            // What stands is a bar across the screen.
            let width = if tone.stands() { width } else { 0 };
            Line::styled(format!("{text:width$}"), theme.tone(tone))
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn stop_failed(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let width = usize::from(area.width);
    let name = app.link().map_or("", |link| link.info.name.as_str());
    let fill = |text: String| format!("{text:width$}");
    let failed = app
        .link()
        .map(|link| (failure(link, width), what_next(link, app.now, width)));
    let (why, second) = failed.unwrap_or_default();
    let first = format!(
        " ‼ STOP FAILED: {} may still move",
        fit(name, width.saturating_sub(40))
    );
    let room = width.saturating_sub(first.width());
    let first = match why {
        why if !why.is_empty() && room > LEAST_WHY => first + &fit(&format!(": {why}"), room),
        _ => first,
    };
    let recorded = match app.recording_word() {
        "" => String::new(),
        word => format!("  {word} "),
    };
    let second = fit(&second, width.saturating_sub(recorded.width())) + &recorded;
    let lines: Vec<Line<'_>> = [first, second]
        .map(|text| Line::styled(fill(fit(&text, width)), theme.alarm()))
        .into();
    frame.render_widget(Paragraph::new(lines), area);
}

/// Least columns for the reason of a failure.
const LEAST_WHY: usize = 8;

/// How the stop has failed, and what it said.
fn failure(link: &FleetLink, width: usize) -> String {
    let said = link.info.stop_failure.as_ref();
    let said = said.map(|failure| fit(failure.said.raw(), width));
    let said = said.filter(|said| !said.is_empty());
    let why: Vec<String> = link.failed_stop().into_iter().chain(said).collect();
    why.join(": ")
}

/// Says how often the stop has failed, when it is tried again, and what to do, as far as there is room.
fn what_next(link: &FleetLink, now: Instant, width: usize) -> String {
    let failure = link.info.stop_failure.as_ref();
    let tries = failure.map_or(3, |failure| failure.tries.max(3));
    let next = link.next_stop.map(|at| at.saturating_duration_since(now));
    let mut text = format!(" its stop failed {tries} times");
    text += &match next.map(|next| next.as_secs_f64().ceil()) {
        Some(secs) if secs > 0.0 => format!(". Next try in {secs:.0} s; [Space] now"),
        _ => ". [Space] tries again".to_owned(),
    };
    let advice = "; else cut its power";
    if text.width() + advice.width() <= width {
        text += advice;
    }
    text
}

fn screens<'a>(app: &App, theme: Theme, width: usize) -> Line<'a> {
    let mut spans = Vec::new();
    for (screen, text) in app.tabs() {
        let style = match screen == app.screen {
            true => theme.selected(),
            false => theme.quiet(),
        };
        spans.push(Span::styled(text, style));
    }
    let used: usize = spans.iter().map(|span| span.content.width()).sum();
    let right = router(app, width.saturating_sub(used + 1));
    let gap = width.saturating_sub(used + right.width());
    spans.push(Span::raw(" ".repeat(gap)));
    let style = match app.connection {
        ConnectionState::Up if app.router_silence().is_some() => theme.bad(),
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
        ConnectionState::Up if app.router_silence().is_some() => "? no answer",
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

fn fleet<'a>(app: &App, width: usize) -> Line<'a> {
    let text = match app.fleet.links.len() {
        1 => " 1 link".to_owned(),
        links => format!(" {links} links"),
    };
    Line::from(fit(&text, width))
}

/// Says that this is a past and how it is played, whose, of when, and what the car did then.
fn replay<'a>(app: &App, past: &Replay, theme: Theme, width: usize) -> Line<'a> {
    let badge = match past.plays {
        true => format!(" REPLAY {} ", past.speed()),
        false => format!(" REPLAY paused, {} ", past.speed()),
    };
    let contact = app.chosen_contact();
    let link = app.link();
    let is_known = link.is_some_and(|link| contact.knows_motion(link));
    let moving = link.and_then(|link| link.moving.as_ref());
    let moves = match (contact, moving) {
        _ if app.stop_failed() => ("STOP FAILED".to_owned(), theme.bad()),
        (Contact::Silent(silence), _) => {
            let length = silence.length(app.now);
            (format!("NO ANSWER {length}"), theme.caution())
        }
        (Contact::Lost, _) => ("LINK LOST".to_owned(), theme.bad()),
        _ if !is_known => ("? not known".to_owned(), theme.quiet()),
        (_, Some((moving, _))) => (format!("{MOVES} {}", moving.command), theme.good()),
        (_, None) => ("■ stands".to_owned(), Style::new()),
    };
    let driver = link.and_then(|link| link.info.control.driver.as_ref());
    let driver = driver.map(|driver| format!("driven by {}", fit(driver.name.raw(), 20)));
    let (behind, all) = past.progress();
    let name = link.map_or("", |link| link.info.name.as_str());
    let name = fit(name, (width / 3).saturating_sub(2));
    let mut line = vec![
        Span::styled(badge, theme.selected()),
        Span::styled(format!(" {name} "), theme.strong()),
        Span::raw(app.clock.moment(app.now)),
    ];
    let used: usize = line.iter().map(|span| span.content.width()).sum();
    let mut left = width.saturating_sub(used);
    for (text, style) in [
        moves,
        (
            driver
                .filter(|_| contact == Contact::Answers)
                .unwrap_or_default(),
            theme.strong(),
        ),
        (
            format!("{} of {}", minutes(behind), minutes(all)),
            theme.quiet(),
        ),
        (app.clock.corner(app.now, "%Y-%m-%d %Z"), theme.quiet()),
    ] {
        let wide = text.width() + 2;
        if text.is_empty() || wide > left {
            continue;
        }
        left -= wide;
        line.extend([Span::raw("  "), Span::styled(text, style)]);
    }
    Line::from(line)
}

/// A length of time: `4:05`, or `1:04:05`.
fn minutes(time: Duration) -> String {
    let (hours, minutes, secs) = (
        time.as_secs() / 3600,
        time.as_secs() / 60 % 60,
        time.as_secs() % 60,
    );
    match hours {
        0 => format!("{minutes}:{secs:02}"),
        hours => format!("{hours}:{minutes:02}:{secs:02}"),
    }
}

fn state<'a>(app: &App, theme: Theme, width: usize) -> Line<'a> {
    let state = app.state();
    let (glyph, word) = state_words(state);
    let mut badge = format!(" {glyph} {word} ");
    let contact = app.chosen_contact();
    if let Some(silence) = contact.silence() {
        badge += &format!("{} ", silence.length(app.now));
    }
    if let DriveState::Driving(direction) = state {
        badge.push(direction.glyph());
        badge.push(' ');
    }
    let badge_width = badge.width();
    let mut spans = vec![Span::styled(badge, theme.state(state))];
    let is_known = contact == Contact::Answers;
    let rtt = app.round_trip().filter(|_| is_known);
    let rtt_text = rtt.map_or("RTT –".to_owned(), |rtt| {
        format!("RTT {}{}", short(rtt), round_trip_word(rtt))
    });
    let driver = match app.holder() {
        _ if !is_known => String::new(),
        ControlHolder::Nobody => "free".to_owned(),
        ControlHolder::Us { .. } => "you drive".to_owned(),
        ControlHolder::Other(name) => format!("driven by {}", fit(&name, 20)),
    };
    let keys = match app.drive.releases {
        _ if !app.may_drive() => String::new(),
        KeyReleases::Reported => "KEYS hold".to_owned(),
        KeyReleases::Guessed if app.drive.latches => "KEYS latch".to_owned(),
        KeyReleases::Guessed => "KEYS tap".to_owned(),
    };
    if let Some(link) = app.link() {
        // Half of the line is for what changes.
        let room = (width / 2).saturating_sub(badge_width).max(12);
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
    // Cut rather than left out: a car that moves must not look as if it stood.
    let moves = app.motion_elsewhere().filter(|_| is_known);
    let moves = moves.map(|text| fit(&text, left.saturating_sub(2)));
    for (text, style) in [
        (moves.unwrap_or_default(), theme.warning()),
        (app.recording_word().to_owned(), theme.bad()),
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
