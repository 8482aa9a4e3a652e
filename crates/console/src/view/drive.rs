//! Draws the panes of the Drive screen: pad, facts, round trips, runs. "asked", "acknowledged" and
//! "ran" are three separate facts.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Wrap};

use super::{pad, round_trips, runs};
use crate::app::App;
use crate::drive::{ControlHolder, DriveState};
use crate::screen::layout;
use crate::screen::theme::Theme;
use crate::text::end_text;
use crate::text::{ago, fit, named, short, worded};

pub(super) fn render(frame: &mut Frame<'_>, body: Rect, app: &App) {
    let areas = layout::drive(body);
    pad::render(frame, areas.pad, app);
    render_facts(frame, areas.facts, app);
    round_trips::render(frame, areas.round_trips, app);
    runs::of_car(frame, areas.runs, app);
}

fn render_facts(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme();
    let width = usize::from(area.width.saturating_sub(2));
    let mut lines = facts(app, width, 2);
    lines.push(Line::default());
    lines.push(Line::styled(what_now(app), theme.strong()));
    if let Some(link) = app.link() {
        let limit = match link.info.motion_limit_ms {
            0 => "motion by http or send goes on until stopped".to_owned(),
            ms => format!("motion by http or send {} s", ms / 1000),
        };
        let text = format!("lease {} ms; {limit}", link.info.lease_ms);
        lines.push(Line::styled(text, theme.quiet()));
    }
    let block = Block::bordered().title(" Motion ");
    let pane = Paragraph::new(lines).wrap(Wrap { trim: true }).block(block);
    frame.render_widget(pane, area);
}

/// Columns of a fact's name.
const NAME: usize = 13;

/// Requested, acknowledged and ended motion, in at most `lines` lines each.
pub(super) fn facts<'a>(app: &App, width: usize, lines: usize) -> Vec<Line<'a>> {
    let theme = app.theme();
    let nothing = || "–".to_owned();
    let asked = match (app.drive.asked(), app.drive.last_press) {
        (Some((id, direction)), _) => format!("{} key press #{}", direction.glyph(), id.number),
        (None, Some((id, direction, at))) => format!(
            "nothing (last {} #{}, {} ago)",
            direction.glyph(),
            id.number,
            ago(at, app.now)
        ),
        (None, None) => nothing(),
    };
    let link = app.link();
    let began = app
        .start_delay
        .map_or(String::new(), |took| format!(", began in {}", short(took)));
    let is_up = app.state() != DriveState::Offline;
    let acknowledged = match link.and_then(|link| link.moving.as_ref()) {
        _ if app.stop_failed() => "‼ may still move: the stop fails".to_owned(),
        Some((moving, _)) if !is_up => format!("? unknown now (last: {})", moving.command),
        None if !is_up => "? unknown now".to_owned(),
        Some((moving, since)) => {
            let by = if moving.press.is_some() {
                ""
            } else {
                " by http or send"
            };
            format!("▶ {}{by}, {}{began}", moving.command, ago(*since, app.now))
        }
        None => "■ stands".to_owned(),
    };
    let ran = link
        .and_then(|link| link.ran.as_ref())
        .map_or_else(nothing, |ran| {
            let (end, exec, then) = (end_text(ran.end), short(ran.exec), ago(ran.at, app.now));
            format!("{} {end}, {exec}, {then} ago", ran.command)
        });
    [
        ("asked", asked),
        ("acknowledged", acknowledged),
        ("ran", ran),
    ]
    .iter()
    .flat_map(|(name, text)| fact(name, text, width.saturating_sub(NAME), lines, theme))
    .collect()
}

/// A fact; its further lines are indented.
fn fact<'a>(name: &str, text: &str, width: usize, most: usize, theme: Theme) -> Vec<Line<'a>> {
    let lines = worded(&fit(text, width * most), width);
    let mut kept: Vec<String> = lines.iter().take(most).cloned().collect();
    if let Some(last) = kept.last_mut().filter(|_| lines.len() > most) {
        *last = fit(&format!("{last}…"), width);
    }
    named(name, NAME, theme.quiet(), kept).collect()
}

/// Advice to the operator.
pub(super) fn what_now(app: &App) -> &'static str {
    match (app.state(), app.holder()) {
        _ if app.stop_failed() => "Space: try to stop again",
        _ if !app.may_drive() => "watching; Space stops the car",
        (DriveState::Offline, _) => "nothing can be sent: see the banner",
        (DriveState::Stopped, _) => "stopped: press a to drive again",
        (DriveState::Failsafe, _) => "failsafe: press a to drive again",
        (DriveState::Driving(_), _) => "let go to stop",
        (DriveState::Armed, _) => "hold an arrow key to drive; Esc gives control back",
        (DriveState::View, ControlHolder::Other(_)) => {
            "someone else drives: press a to ask for control"
        }
        (DriveState::View, _) if app.drive.needs_arming() => "press a to take control",
        (DriveState::View, _) => "an arrow key takes control and drives",
    }
}
