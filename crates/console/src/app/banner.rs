//! The sentences of the banner: a lost connection, a request for control, a notice. They say which
//! connection is lost, for how long, when the car stops itself, and when the next attempt is.

use std::time::{Duration, Instant};

use p2p_shared::text::Escaped;

use super::{App, ConnectionState, NOTICE, Notice};
use crate::app::fleet::FleetLink;
use crate::drive::ControlHolder;
use crate::screen::layout::BANNER;
use crate::screen::theme::Tone;
use crate::text::{ago, fit, worded};

/// Columns before the second line of a sentence.
const INDENT: usize = 3;

/// Lines of the banner, of the screen's width: what is lost, or a request, and a notice if there is
/// room.
pub(crate) fn lines(app: &App) -> Vec<(Tone, String)> {
    let width = usize::from(app.setup.size.0);
    let mut said = standing(app);
    if said.len() < usize::from(BANNER) {
        said.extend(app.notice.as_ref().map(sentence));
    }
    match said.as_slice() {
        [(tone, only)] => in_two(only, width)
            .into_iter()
            .map(|line| (*tone, line))
            .collect(),
        all => all
            .iter()
            .map(|(tone, text)| (*tone, fit(text, width)))
            .collect(),
    }
}

/// A notice that is new, and for which the banner has no room.
pub(crate) fn left_over(app: &App) -> Option<(Tone, String)> {
    let is_new = |notice: &&Notice| app.now.saturating_duration_since(notice.since) < NOTICE;
    let notice = app.notice.as_ref().filter(is_new)?;
    (standing(app).len() >= usize::from(BANNER)).then(|| sentence(notice))
}

/// Returns the sentences that the banner shows for as long as they are true.
fn standing(app: &App) -> Vec<(Tone, String)> {
    let lost = lost_router(app)
        .or_else(|| lost_car(app))
        .or_else(|| no_answer(app));
    let lost = lost.into_iter().flatten().map(|text| (Tone::Lost, text));
    // What waits for an answer of this operator goes first.
    if let Some(question) = app.question_text() {
        let lost = lost.take(1);
        return [(Tone::Request, question)]
            .into_iter()
            .chain(lost)
            .collect();
    }
    let request = request(app).map(|text| (Tone::Request, text));
    lost.chain(request).take(usize::from(BANNER)).collect()
}

fn sentence(notice: &Notice) -> (Tone, String) {
    match notice.is_bad {
        true => (Tone::Bad, format!(" ! {}", notice.text)),
        false => (Tone::Good, format!(" · {}", notice.text)),
    }
}

/// A sentence in one line or two.
fn in_two(text: &str, width: usize) -> Vec<String> {
    let width = width.saturating_sub(INDENT);
    let mut lines = worded(&Escaped(text).to_string(), width);
    if lines.len() > usize::from(BANNER) {
        lines.truncate(usize::from(BANNER));
        lines[1] = fit(&format!("{} …", lines[1]), width);
    }
    for more in lines.iter_mut().skip(1) {
        more.insert_str(0, &" ".repeat(INDENT));
    }
    lines
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
        format!(" ✖ LINK LOST console → router for {ago}: {why}"),
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
        format!(" ✖ LINK LOST {way} for {}{why}", ago(link.since, app.now)),
        format!(
            "   {}the car dials again by itself, every second or so",
            itself(link, link.since, app.now)
        ),
    ])
}

fn no_answer(app: &App) -> Option<Vec<String>> {
    let silence = app.chosen_contact().silence().or(app.router_silence())?;
    let length = silence.length(app.now);
    let lease_ms = app.link().map_or(0, |link| link.info.lease_ms);
    let whom = match app.holder() {
        ControlHolder::Us { .. } => "the car stops itself {} after it last heard you",
        _ => "a driven car stops itself {} after it last heard its driver",
    };
    Some(vec![
        format!(" ? NO ANSWER {length}: {} is silent", silence.hop),
        match lease_ms {
            // Its router was not heard of yet.
            0 => String::new(),
            ms => format!("   {}", whom.replace("{}", &format!("{ms} ms"))),
        },
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

fn request(app: &App) -> Option<String> {
    let link = app.link()?;
    let holder = app.holder();
    let name = |name: &str| fit(name, 30);
    let left = link.request_until.map(|until| {
        let left = until.saturating_duration_since(app.now);
        format!(" ({:.0} s)", left.as_secs_f64().ceil())
    });
    let left = left.unwrap_or_default();
    match (&link.info.control.request, &holder) {
        (Some((asker, _)), ControlHolder::Us { .. }) => Some(format!(
            " ⚑ {} asks for control{left}: [g] hands it over, [n] keeps it",
            name(asker.name.raw())
        )),
        (Some((asker, _)), ControlHolder::Other(holder)) if Some(asker.session) == app.session => {
            Some(format!(
                " ⚑ you asked {} for control{left}: silence means no",
                name(holder)
            ))
        }
        _ => None,
    }
}
