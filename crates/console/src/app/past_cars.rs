//! The timelines of the cars in a past log, made of the router's lines about control, motion and
//! links. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use p2p_shared::text::Escaped;
use serde_json::{Map, Value};

use crate::app::timeline::{Sign, Timeline};
use crate::app::watched_timeline::glyph;

/// Usual names of the motion commands, in the order of the pad. A log doesn't say which a car has.
const MOTION: [&str; 4] = ["forward", "back", "left", "right"];
/// Most cars of a log.
const MOST: usize = 1_000;
/// Most characters of an event.
const EVENT: usize = 300;

/// Cars of a past log, by name. The moments of their timelines are counted from the first line.
#[derive(Debug, Default)]
pub struct PastCars {
    pub cars: BTreeMap<String, Timeline>,
    /// Time of the first line, and the moment that stands for it.
    pub began: Option<(SystemTime, Instant)>,
    /// Time of the last line.
    last: Option<SystemTime>,
}

impl PastCars {
    /// Notes a line of the log that was written at this time.
    pub fn note(&mut self, time: SystemTime, line: &Map<String, Value>) {
        let field = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
        let message = field("message");
        let before = self.last.replace(time);
        if message.starts_with("listening on") {
            return self.router_started(before.unwrap_or(time), time);
        }
        let name = match field("link") {
            "" => field("name"),
            name => name,
        };
        if name.is_empty() || (self.cars.len() >= MOST && !self.cars.contains_key(name)) {
            return;
        }
        let by = match field("by") {
            "" => String::new(),
            by => format!(" by {by}"),
        };
        let exec_ms = line
            .get("exec_ms")
            .and_then(Value::as_f64)
            .unwrap_or_default();
        let exit = match field("exit") {
            code if code.parse::<i32>().is_ok() => format!("exit {code}"),
            end => end.to_owned(),
        };
        let motion = || {
            let place = MOTION.iter().position(|name| *name == field("command"));
            Sign::Active(glyph(place))
        };
        let (keys, car, link, event) = match message {
            "press" => (
                Some(motion()),
                None,
                None,
                format!("{} pressed {}", field("driver"), field("command")),
            ),
            "motion started" => (
                None,
                Some(motion()),
                None,
                format!("{} started", field("command")),
            ),
            "motion refused" => (
                Some(Sign::Blank),
                None,
                None,
                format!("key press refused: {}", field("why")),
            ),
            "motion over" => (
                Some(Sign::Blank),
                None,
                None,
                format!("stops: {}{by}", field("cause")),
            ),
            "motion process ended" => {
                (None, None, None, format!("motion: {exit}, {exec_ms:.0} ms"))
            }
            "stop ended" => (
                None,
                None,
                None,
                format!("stop: {exit}, {exec_ms:.0} ms ({})", field("cause")),
            ),
            "stop" => (None, None, None, format!("a stop was asked for{by}")),
            "car stands" => (
                Some(Sign::Blank),
                Some(Sign::Calm),
                None,
                "stands".to_owned(),
            ),
            "no answer" => (
                None,
                Some(Sign::Doubt),
                Some(Sign::Doubt),
                "no answer".to_owned(),
            ),
            "control taken" => (
                None,
                None,
                None,
                format!("{} took control ({})", field("driver"), field("how")),
            ),
            "control released" => (
                Some(Sign::Blank),
                None,
                None,
                format!("{} gave control back ({})", field("driver"), field("why")),
            ),
            up if up.starts_with("link up") => (
                None,
                Some(Sign::Calm),
                Some(Sign::Calm),
                "link up".to_owned(),
            ),
            down if down.starts_with("link down") => (
                Some(Sign::Blank),
                Some(Sign::Doubt),
                Some(Sign::Bad),
                format!("link down: {}", field("why")),
            ),
            failed if failed.starts_with("STOP FAILED") => {
                (None, Some(Sign::Bad), None, failed.to_owned())
            }
            _ => return,
        };
        let Some(at) = self.moment(time) else {
            return;
        };
        let timeline = self.cars.entry(name.to_owned()).or_default();
        let mut signs = timeline.last();
        // Whoever tells of itself is heard.
        if signs[2] == Sign::Doubt && link.is_none() {
            signs[2] = Sign::Calm;
        }
        for (sign, new) in signs.iter_mut().zip([keys, car, link]) {
            *sign = new.unwrap_or(*sign);
        }
        timeline.note(at, signs);
        timeline.tell(at, Escaped(&event).cut(EVENT).to_string());
    }

    /// Nothing is known of a car from the last line of a router that ended, or was killed, to its link.
    fn router_started(&mut self, ended: SystemTime, started: SystemTime) {
        let (Some(ended), Some(started)) = (self.moment(ended), self.moment(started)) else {
            return;
        };
        for timeline in self.cars.values_mut() {
            timeline.note(ended, [Sign::Blank, Sign::Doubt, Sign::Bad]);
            timeline.tell(started, "the router started".to_owned());
        }
    }

    /// The moment that stands for a time.
    fn moment(&mut self, time: SystemTime) -> Option<Instant> {
        let (began, base) = *self.began.get_or_insert_with(|| (time, Instant::now()));
        base.checked_add(time.duration_since(began).unwrap_or(Duration::ZERO))
    }
}
