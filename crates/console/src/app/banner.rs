//! The sentences of the banner: a lost connection, or a request for control. They say which
//! connection is lost, since when, when the car stops itself, and when the next attempt is.

use std::time::{Duration, Instant};

use p2p_shared::text::Escaped;

use super::{App, ConnectionState};
use crate::app::fleet::FleetLink;
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
    let ConnectionState::Down {
        since,
        why,
        retry_at,
    } = &app.connection
    else {
        return None;
    };
    let next_try = next_try(*retry_at, app.now);
    let Some(since) = *since else {
        let no_link = format!(" ✖ NO LINK console → router: {why}");
        return (!why.is_empty()).then(|| vec![no_link, format!("   {next_try}")]);
    };
    let car = app.link().map(|link| itself(link, since, app.now));
    let ago = ago(since, app.now);
    Some(vec![
        format!(" ✖ LINK LOST console → router, since {ago}: {why}"),
        format!("   {}{next_try}", car.unwrap_or_default()),
    ])
}

fn lost_car(app: &App) -> Option<Vec<String>> {
    let link = app
        .link()
        .filter(|link| !link.info.is_up && !app.is_replay())?;
    let why = match link.why_down.as_str() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    let way = match &link.info.router {
        Some(_) => "router → router → car",
        None => "router → car",
    };
    Some(vec![
        format!(
            " ✖ LINK LOST {way}, since {}{why}",
            ago(link.since, app.now)
        ),
        format!(
            "   {}the car dials again by itself, every second or so",
            itself(link, link.since, app.now)
        ),
    ])
}

/// Says when a driven car stops by itself; the car heard its driver at `since` or earlier.
fn itself(link: &FleetLink, since: Instant, now: Instant) -> String {
    let lease_ms = link.info.lease_ms;
    if lease_ms == 0 {
        // Its router was not heard of yet.
        return String::new();
    }
    if now.saturating_duration_since(since) > Duration::from_millis(lease_ms) {
        format!("a driven car has stopped itself by now (lease {lease_ms} ms); ")
    } else {
        format!("a driven car stops itself within {lease_ms} ms; ")
    }
}

fn next_try(at: Option<Instant>, now: Instant) -> String {
    match at {
        Some(at) if at > now => {
            let secs = at.duration_since(now).as_secs_f64().ceil();
            format!("next try in {secs:.0} s")
        }
        _ => "trying now".to_owned(),
    }
}

fn request(app: &App) -> Option<Vec<String>> {
    let link = app.link()?;
    let holder = app.holder();
    let name = |name: &str| fit(name, 30);
    let left = link.request_until.map(|until| {
        let left = until.saturating_duration_since(app.now);
        format!(" ({:.0} s)", left.as_secs_f64().ceil())
    });
    let left = left.unwrap_or_default();
    match (&link.info.control.request, &holder) {
        (Some((asker, _)), ControlHolder::Us { .. }) => Some(vec![format!(
            " ⚑ {} asks for control{left}: g hands it over, n keeps it",
            name(asker.name.raw())
        )]),
        (Some((asker, _)), ControlHolder::Other(holder)) if Some(asker.session) == app.session => {
            Some(vec![format!(
                " ⚑ you asked {} for control{left}: silence means no",
                name(holder)
            )])
        }
        _ => None,
    }
}
