//! The sentences of the banner: a lost connection, or a request for control. They say which
//! connection is lost, since when, when the car stops itself, and when the next attempt is.

use std::time::{Duration, Instant};

use p2p_shared::text::Escaped;

use super::{App, ConnectionState};
use crate::drive::ControlHolder;
use crate::screen::layout::{ScreenShape, shape};
use crate::text::{ago, fit, worded};

/// Columns before the second line of a sentence.
const INDENT: usize = 3;

/// Lines of the banner, of the screen's width; none without a banner. A long reason takes two lines
/// where there is room.
pub(crate) fn lines(app: &App) -> Vec<String> {
    let sentences = lost_router(app)
        .or_else(|| lost_car(app))
        .or_else(|| request(app))
        .unwrap_or_default();
    if shape(app.setup.size) == ScreenShape::Strip {
        return sentences;
    }
    let width = usize::from(app.setup.size.0).saturating_sub(INDENT);
    let in_two = |sentence: String| {
        let mut lines = worded(&Escaped(&sentence).to_string(), width);
        if lines.len() > 2 {
            lines.truncate(2);
            lines[1] = fit(&format!("{} …", lines[1]), width);
        }
        for more in lines.iter_mut().skip(1) {
            more.insert_str(0, &" ".repeat(INDENT));
        }
        lines
    };
    sentences.into_iter().flat_map(in_two).collect()
}

fn lost_router(app: &App) -> Option<Vec<String>> {
    match &app.connection {
        ConnectionState::Connecting { why, .. } if why.is_empty() => None,
        ConnectionState::Connecting { why, retry_at } => Some(vec![
            format!(" ✖ NO LINK console → router: {why}"),
            format!("   {}", next_try(*retry_at, app.now)),
        ]),
        ConnectionState::Lost {
            since,
            why,
            retry_at,
        } => {
            let since_text = ago(*since, app.now);
            let car = match app.link() {
                Some(link) => itself(link.info.lease_ms, *since, app.now),
                None => String::new(),
            };
            Some(vec![
                format!(" ✖ LINK LOST console → router, since {since_text}: {why}"),
                format!("   {car}{}", next_try(*retry_at, app.now)),
            ])
        }
        ConnectionState::Up { .. } | ConnectionState::Replay { .. } => None,
    }
}

fn lost_car(app: &App) -> Option<Vec<String>> {
    let link = app
        .link()
        .filter(|link| !link.info.is_up && !app.is_replay())?;
    let why = match link.why_down.as_str() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    Some(vec![
        format!(
            " ✖ LINK LOST router → car, since {}{why}",
            ago(link.since, app.now)
        ),
        format!(
            "   {}the car dials again by itself, every second or so",
            itself(link.info.lease_ms, link.since, app.now)
        ),
    ])
}

/// Says when a driven car stops by itself; the car heard its driver at `since` or earlier.
fn itself(lease_ms: u64, since: Instant, now: Instant) -> String {
    let lease = Duration::from_millis(lease_ms);
    if now.saturating_duration_since(since) > lease {
        format!("a driven car has stopped itself by now (lease {lease_ms} ms); ")
    } else {
        format!("a driven car stops itself within {lease_ms} ms; ")
    }
}

fn next_try(at: Option<Instant>, now: Instant) -> String {
    match at {
        None => "trying now".to_owned(),
        Some(at) => match at.saturating_duration_since(now).as_secs_f64() {
            ..=0.0 => "trying now".to_owned(),
            secs => format!("next try in {secs:.0} s", secs = secs.ceil()),
        },
    }
}

fn request(app: &App) -> Option<Vec<String>> {
    let link = app.link()?;
    let holder = app.holder();
    let name = |name: &str| fit(name, 30);
    match (&link.info.control.request, &holder) {
        (Some((asker, _)), ControlHolder::Us { .. }) => Some(vec![format!(
            " ⚑ {} asks for control{}: g hands it over, n keeps it",
            name(&asker.name),
            seconds(app)
        )]),
        (Some((asker, _)), ControlHolder::Other(holder)) if Some(asker.session) == app.session => {
            Some(vec![format!(
                " ⚑ you asked {} for control{}: silence means no",
                name(holder),
                seconds(app)
            )])
        }
        _ => None,
    }
}

fn seconds(app: &App) -> String {
    let left = app.request_left();
    left.map_or(String::new(), |left| {
        format!(" ({:.0} s)", left.as_secs_f64().ceil())
    })
}
