//! Draws the panes of the Drive screen: pad, facts, round trips, runs. "asked", "acknowledged" and
//! "ran" are three separate facts.

use p2p_shared::protocol::ActiveMotion;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::{pad, pane, picture, round_trips, runs, timeline};
use crate::app::fleet::MotionTold;
use crate::app::{App, ConnectionState};
use crate::drive::{ControlHolder, DriveState, KeyReleases};
use crate::screen::layout::{self, DriveAreas};
use crate::screen::theme::{MOVES, Theme};
use crate::text::{ago, fit, named, short, worded};

pub(super) fn render(frame: &mut Frame<'_>, body: Rect, app: &App) {
    let areas = layout::drive(body, app.camera.size);
    pad::render(frame, areas.pad, app);
    render_facts(frame, &areas, app);
    if let Some(area) = areas.round_trips {
        round_trips::render(frame, area, app);
    }
    timeline::render(frame, areas.timeline, app);
    runs::of_car(frame, areas.runs, app);
    runs::events(frame, areas.events, app);
    if let Some(area) = areas.picture {
        picture::render(frame, area, app);
    }
}

/// Draws the timeline of a past car, what it did at the moment that is shown, and all that happened to it.
pub(super) fn render_past(frame: &mut Frame<'_>, body: Rect, app: &App) {
    let areas = layout::past(body, app.camera.size);
    timeline::render(frame, areas.timeline, app);
    let width = usize::from(areas.facts.width.saturating_sub(2));
    pane(frame, areas.facts, " Motion ", facts(app, width, 1));
    runs::events(frame, areas.events, app);
    if let Some(area) = areas.picture {
        picture::render(frame, area, app);
    }
}

fn render_facts(frame: &mut Frame<'_>, areas: &DriveAreas, app: &App) {
    let Some(link) = app.link() else { return };
    let theme = app.theme();
    let width = usize::from(areas.facts.width.saturating_sub(2));
    let mut lines = facts(app, width, 2);
    let now = worded(&what_now(app), width);
    lines.extend(
        now.into_iter()
            .map(|text| Line::styled(text, theme.strong())),
    );
    if areas.round_trips.is_none() && width >= LEAST_OF_HOPS {
        lines.extend(round_trips::hops(app, link, width));
    }
    let limit = match link.info.motion_limit_ms {
        0 => "by http or send until stopped".to_owned(),
        ms => format!("by http or send {} s", ms / 1000),
    };
    let title = match areas.facts.width {
        50.. => format!(" Motion: lease {} ms, {limit} ", link.info.lease_ms),
        30.. => format!(" Motion: lease {} ms ", link.info.lease_ms),
        _ => " Motion ".to_owned(),
    };
    pane(frame, areas.facts, fit(&title, width), lines);
}

/// Least columns for the round trip over a hop.
const LEAST_OF_HOPS: usize = 40;
/// Columns of a fact's name.
const NAME: usize = 13;

/// What is said of what the file of a replay has not told.
const NOT_KNOWN: &str = "? not known: not in the file until now";

/// Requested, acknowledged and ended motion, in at most `lines` lines each.
pub(super) fn facts<'a>(app: &App, width: usize, lines: usize) -> Vec<Line<'a>> {
    let theme = app.theme();
    let nothing = || "–".to_owned();
    let told = app.link().and_then(|link| link.told);
    let is_told = told.is_none_or(|told| told.motion != MotionTold::Nobody);
    let past_key = app.replay.as_ref().map(|past| past.key());
    let asked = match (app.drive.asked(), app.drive.last_press) {
        _ if let Some(key) = past_key => match key {
            Some(key) => format!("{key} key press"),
            None if is_told => "nothing".to_owned(),
            None => NOT_KNOWN.to_owned(),
        },
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
    // Of our own press, and of no other motion.
    let ours = app.drive.last_press.map(|(id, ..)| id);
    let began = |moving: &ActiveMotion| {
        let took = app
            .start_delay
            .filter(|_| moving.press.is_some() && moving.press == ours);
        took.map_or(String::new(), |took| format!(", began in {}", short(took)))
    };
    let contact = app.chosen_contact();
    let silent_for = match contact.silence() {
        Some(silence) => format!("for {}", silence.length(app.now)),
        None => "now".to_owned(),
    };
    let is_known = link.is_some_and(|link| contact.knows_motion(link));
    let acknowledged = match link.and_then(|link| link.moving.as_ref()) {
        _ if app.stop_failed() => "‼ may still move: the stop fails".to_owned(),
        _ if !is_told => NOT_KNOWN.to_owned(),
        Some((moving, _)) if !is_known => {
            format!("? unknown {silent_for} (last: {})", moving.command)
        }
        None if !is_known => format!("? unknown {silent_for}"),
        Some((moving, since)) => {
            let by = if moving.press.is_some() {
                ""
            } else {
                " by http or send"
            };
            let since = ago(*since, app.now);
            format!("{MOVES} {}{by}, {since}{}", moving.command, began(moving))
        }
        None => "■ stands".to_owned(),
    };
    let ran = link
        .and_then(|link| link.ran.as_ref())
        .map_or_else(nothing, |ran| {
            let (end, exec, then) = (ran.end_text(), short(ran.exec), ago(ran.at, app.now));
            format!("{} {end}, {exec}, {then} ago", ran.command)
        });
    let is_old = if is_known {
        Style::new()
    } else {
        theme.quiet()
    };
    [
        ("asked", asked),
        ("acknowledged", acknowledged),
        ("ran", ran),
    ]
    .iter()
    .flat_map(|(name, text)| fact(name, text, width, lines, theme))
    .map(|line| line.style(is_old))
    .collect()
}

/// A fact; its further lines are indented. Without room beside its name it stands below.
fn fact<'a>(name: &str, text: &str, width: usize, most: usize, theme: Theme) -> Vec<Line<'a>> {
    if width < 2 * NAME {
        return vec![
            Line::styled(name.to_owned(), theme.quiet()),
            Line::from(fit(text, width)),
        ];
    }
    let width = width.saturating_sub(NAME);
    let lines = worded(&fit(text, width * most), width);
    let mut kept: Vec<String> = lines.iter().take(most).cloned().collect();
    if let Some(last) = kept.last_mut().filter(|_| lines.len() > most) {
        *last = fit(&format!("{last}…"), width);
    }
    named(name, NAME, theme.quiet(), kept).collect()
}

/// Advice to the operator.
pub(super) fn what_now(app: &App) -> String {
    let advice = match (app.state(), app.holder()) {
        (DriveState::Offline, _) => return format!("nothing can be sent{}", why_offline(app)),
        _ if app.stop_failed() => "[Space] tries to stop again",
        _ if !app.may_drive() => "watching; [Space] stops the car",
        (DriveState::NoAnswer, _) => "no answer: [Space] sends a stop all the same",
        (DriveState::Stopped, _) => "stopped: [a] takes control again",
        (DriveState::Failsafe, _) => "failsafe: [a] takes control again",
        (DriveState::Driving(_), _) if app.drive.is_latched() => "any key stops, at the latest 5 s",
        (DriveState::Driving(_), _) => "let go to stop",
        (DriveState::Armed, _) if app.drive.releases == KeyReleases::Guessed => return tap(app),
        (DriveState::Armed, _) => "hold an arrow key to drive; [Esc] gives control back",
        (DriveState::View, ControlHolder::Other(_)) => "someone else drives: [a] asks for control",
        (DriveState::View, _) if app.drive.needs_arming() => "[a] takes control",
        (DriveState::View, _) => "an arrow key takes control and drives",
    };
    advice.to_owned()
}

/// What an arrow key does on a terminal that does not tell when it is let go.
fn tap(app: &App) -> String {
    match (app.drive.latches, app.drive.first_repeat) {
        (true, _) => "an arrow key drives until any key, at most 5 s; [L] ends that".to_owned(),
        (false, None) => {
            "hold an arrow key: a tap is 0.25 s, a hold begins with one; [L] latches".to_owned()
        }
        (false, Some(_)) => {
            let secs = app.drive.tap().as_secs_f64();
            format!(
                "hold an arrow key: a tap is {secs:.2} s, as this terminal repeats late; [L] latches"
            )
        }
    }
}

/// The whole reason: the banner may have had no room for it.
fn why_offline(app: &App) -> String {
    let why = match (&app.connection, app.link()) {
        (ConnectionState::Down { why, .. }, _) => why,
        (_, Some(link)) => &link.why_down,
        (_, None) => return String::new(),
    };
    match why.as_str() {
        "" => String::new(),
        why => format!(": {}", fit(why, 300)),
    }
}
