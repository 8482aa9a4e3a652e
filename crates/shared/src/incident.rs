//! What the car, the router and whoever asks know of the last minutes of a car, on one clock: as lines for
//! programs and as a page that somebody reads who was not there. Pure. The console asks for it at a desk, and the
//! router makes it for its drive page.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::bounded::Text;
use crate::protocol::{MotionEvent, PastEntry, PastEvent, StopCause};
use crate::text::Escaped;
use crate::timing::millis;

/// The sentence for a car that stands.
const STOOD: &str = "The car stood.";
/// Most characters of a text of somebody else.
const TEXT: usize = 160;
/// Most characters of a name.
const NAME: usize = 40;

/// What the car or the router told, and how its clock stands to that of whoever asks.
#[derive(Debug, Default)]
pub struct Told {
    /// Lines of JSON.
    pub lines: Vec<u8>,
    /// Time of day of whoever asks when it answered, in milliseconds since 1970, and how far that may be wrong.
    pub answered: Option<(u64, Duration)>,
    /// Reason why it told nothing, if it did not: the rest of a sentence.
    pub missing: String,
}

/// What was noted where somebody asks.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// Whose notes these are: `desk` or `page`.
    pub name: &'static str,
    /// Lines as a log has them, with the time of that machine.
    pub lines: &'a [u8],
}

/// What a report is about.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Name of the car.
    pub car: &'a str,
    /// Its service port.
    pub service_port: u16,
    /// Address of the router, as whoever asks has it.
    pub router: &'a str,
    /// Length of the time of which was asked.
    pub last: Duration,
    /// Date and time of its end.
    pub until: String,
}

/// One line of the merged story, by the clock of whoever asks.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    at_ms: u64,
    source: &'static str,
    text: String,
    raw: Value,
}

/// A sentence of the summary, with its time in milliseconds since 1970, if it has one.
type Sentence = (Option<u64>, String);

/// How the clock of another stands to that of whoever asks.
#[derive(Debug)]
struct ClockOffset {
    source: &'static str,
    ahead_ms: i64,
    uncertain: Duration,
}

/// The merged story.
#[derive(Debug)]
pub struct Incident {
    /// Whose notes are in it, beside what car and router told.
    own: &'static str,
    lines: Vec<Line>,
    clocks: Vec<ClockOffset>,
    /// What the page begins with: sentences, with their times.
    short: Vec<Sentence>,
    /// What is not known, in sentences.
    missing: Vec<String>,
}

impl Incident {
    /// Merges what was told since then. The lines of whoever asks need no other clock.
    #[must_use]
    pub fn of(car: &Told, router: &Told, own: Own<'_>, since_ms: u64) -> Self {
        let mut all = Self {
            own: own.name,
            lines: Vec::new(),
            clocks: Vec::new(),
            short: Vec::new(),
            missing: Vec::new(),
        };
        let has_car = all.add_car(car);
        all.add_log("router", &router.lines, router.answered, has_car);
        all.add_log(own.name, own.lines, None, false);
        all.lines.retain(|line| line.at_ms >= since_ms);
        all.lines.sort_by_key(|line| line.at_ms);
        all.short = Story::of(&all, has_car);
        let told = [
            ("The car did not tell its past", car),
            ("The router did not tell its log", router),
        ];
        let missing = told.into_iter().filter(|(_, told)| told.lines.is_empty());
        let sentences = missing.map(|(what, told)| match cut(&told.missing) {
            why if why.is_empty() => format!("{what}."),
            why => format!("{what}: {why}."),
        });
        all.missing = sentences.collect();
        all
    }

    fn clock(
        &mut self,
        source: &'static str,
        its_ms: u64,
        answered: Option<(u64, Duration)>,
    ) -> i64 {
        let Some((own_ms, uncertain)) = answered else {
            return 0;
        };
        let ahead_ms = its_ms.cast_signed().wrapping_sub(own_ms.cast_signed());
        self.clocks.push(ClockOffset {
            source,
            ahead_ms,
            uncertain,
        });
        ahead_ms
    }

    /// Returns true if the car told its past.
    fn add_car(&mut self, told: &Told) -> bool {
        let Some((now, entries)) = PastEntry::newest_first(&told.lines) else {
            return false;
        };
        let ahead = self.clock("car", now.at_ms, told.answered);
        let own_now = told.answered.map_or(now.at_ms, |(own_ms, _)| own_ms);
        for (entry, is_this_start) in entries {
            // By its clock, which nobody sets; by its time of day what was before its last start.
            let of_clock = |its_ms: u64| match is_this_start {
                true => own_now.saturating_sub(now.clock_ms.saturating_sub(its_ms)),
                false => entry.at_ms.saturating_add_signed(ahead.saturating_neg()),
            };
            let at_ms = match &entry.event {
                PastEvent::Motion(MotionEvent::Over {
                    clock_ms: Some(over_ms),
                    ..
                }) => of_clock(*over_ms),
                PastEvent::Guardian { clock_ms, .. } => of_clock(*clock_ms),
                _ => of_clock(entry.clock_ms),
            };
            self.lines.push(Line {
                at_ms,
                source: "car",
                text: of_entry(&entry),
                raw: json!(entry),
            });
        }
        // What happened in one millisecond keeps its order.
        self.lines.reverse();
        true
    }

    fn add_log(
        &mut self,
        source: &'static str,
        lines: &[u8],
        answered: Option<(u64, Duration)>,
        has_car: bool,
    ) {
        let is_own = source == self.own;
        let mut ahead = 0;
        for line in lines.split(|byte| *byte == b'\n') {
            let Ok(Value::Object(fields)) = serde_json::from_slice(line) else {
                continue;
            };
            if let Some(now_ms) = fields.get("now_ms").and_then(Value::as_u64) {
                ahead = self.clock(source, now_ms, answered);
                continue;
            }
            let at = fields.get("timestamp").and_then(Value::as_str);
            let at = at.and_then(|at| humantime::parse_rfc3339(at).ok());
            let at = at.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            let text = match is_own {
                true => of_own_log(source, &fields),
                false => of_log(&fields, has_car),
            };
            if let (Some(at), Some(text)) = (at, text) {
                self.lines.push(Line {
                    at_ms: millis(at).saturating_add_signed(ahead.saturating_neg()),
                    source,
                    text,
                    raw: Value::Object(fields),
                });
            }
        }
    }

    /// Lines of JSON, each with its time by the clock of whoever asks, who told it, what it says and what it was.
    #[must_use]
    pub fn json(&self) -> String {
        let lines = self.lines.iter().map(|line| {
            let (at_ms, from) = (line.at_ms, line.source);
            json!({ "at_ms": at_ms, "from": from, "text": line.text, "told": line.raw }).to_string()
        });
        lines.map(|line| line + "\n").collect()
    }

    /// The page. `time` shows a time of day in milliseconds since 1970.
    #[must_use]
    pub fn page(&self, subject: &Subject<'_>, time: &dyn Fn(u64) -> String) -> String {
        let mut page = format!(
            "Incident report: {} (port {}) at {}, the last {} to {}\n",
            subject.car,
            subject.service_port,
            cut(subject.router),
            humantime::format_duration(subject.last),
            subject.until
        );
        for sentence in &self.missing {
            page += &format!("{sentence}\n");
        }
        page += "\nIn short\n";
        for (at_ms, sentence) in &self.short {
            let at = at_ms.map_or(String::new(), |at_ms| time(at_ms) + "  ");
            page += &format!("  {at}{sentence}\n");
        }
        page += &format!("\nClocks: all times are this {}'s", self.own);
        for clock in &self.clocks {
            let ahead = Duration::from_millis(clock.ahead_ms.unsigned_abs()).as_secs_f64();
            let way = if clock.ahead_ms < 0 {
                "behind"
            } else {
                "ahead"
            };
            let uncertain = clock.uncertain.as_millis().max(1);
            page += &format!(
                "; the {}'s is {ahead:.3} s {way} (±{uncertain} ms)",
                clock.source
            );
        }
        page += "\n\n";
        let is_same = |a: &Line, b: &Line| (a.source, &a.text) == (b.source, &b.text);
        for same in self.lines.chunk_by(is_same) {
            if let [first, more @ ..] = same {
                page += &format!("{}  {:6}  {}", time(first.at_ms), first.source, first.text);
                page += &more.last().map_or(String::new(), |last| {
                    format!(" ({} times, until {})", same.len(), time(last.at_ms))
                });
                page.push('\n');
            }
        }
        page
    }
}

fn cut(text: &str) -> String {
    Escaped(text).cut(TEXT).to_string()
}

fn name(text: &Text) -> String {
    Escaped(text.raw()).cut(NAME).to_string()
}

/// A field of a line of a log, in words.
fn field(fields: &Map<String, Value>, name: &str) -> String {
    match fields.get(name) {
        Some(Value::String(text)) => cut(text),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

/// A sentence, and the reason in a line of a log, if it has one.
fn but_why(fields: &Map<String, Value>, text: &str) -> String {
    match field(fields, "why") {
        why if why.is_empty() => text.to_owned(),
        why => format!("{text}: {why}"),
    }
}

fn of_entry(entry: &PastEntry) -> String {
    let who = |none: &str| entry.who.as_ref().map_or_else(|| none.to_owned(), name);
    match &entry.event {
        PastEvent::Now => String::new(),
        PastEvent::Start { software } => format!("{} started at the car", cut(software.raw())),
        PastEvent::LinkUp { router } => format!("its link to {} is up", cut(router.raw())),
        PastEvent::LinkLost { why } => format!("its link is lost: {}", cut(why.raw())),
        PastEvent::Guardian {
            cause, has_stopped, ..
        } => {
            let what = match has_stopped {
                true => "ran the stop command, which succeeded",
                false => "ran the stop command, which failed",
            };
            format!("its guardian {what}, because {}", cut(cause.raw()))
        }
        PastEvent::Motion(event) => match event {
            MotionEvent::Started(moving) => match moving.press {
                Some(press) => {
                    let who = who("a driver");
                    format!("{} moves the car: press {press} of {who}", moving.command)
                }
                None => format!(
                    "{} moves the car, asked for by {}",
                    moving.command,
                    who("somebody")
                ),
            },
            MotionEvent::Refused { press, why } => format!("press {press} is refused: {why}"),
            MotionEvent::Over {
                press, cause, by, ..
            } => {
                let by = by.as_ref().map(|by| format!(" by {}", name(by)));
                let press = press.map(|press| format!(" (press {press})"));
                let left = match (cause, entry.left_ms) {
                    (StopCause::Lease | StopCause::Limit, _) | (_, None) => String::new(),
                    (_, Some(ms)) => format!("; {ms} ms of its time were left"),
                };
                format!(
                    "the motion ends{}: {cause}{}{left}",
                    press.unwrap_or_default(),
                    by.unwrap_or_default(),
                )
            }
            MotionEvent::Ended { end, exec_us, .. } => {
                format!("its command ended: {}, {} ms", end.text(), exec_us / 1000)
            }
            MotionEvent::Stopped {
                cause,
                end,
                exec_us,
                failure,
            } => {
                let said = failure.as_ref().map(|failure| {
                    let again = failure.again_ms.map(|ms| format!(", next try in {ms} ms"));
                    let (said, tries) = (cut(failure.said.raw()), failure.tries);
                    format!(
                        "; it said: {said}; failures in a row: {tries}{}",
                        again.unwrap_or_default()
                    )
                });
                format!(
                    "the stop command ran ({cause}): {}, {} ms{}",
                    end.stop_text(*exec_us),
                    exec_us / 1000,
                    said.unwrap_or_default()
                )
            }
            MotionEvent::Stands => "the car stands".to_owned(),
            MotionEvent::StopFailed => "STOP FAILED: the car may still move".to_owned(),
        },
    }
}

/// Says a line of the router's log in words; `None`: the car has told it better, or it is of no use here.
fn of_log(fields: &Map<String, Value>, has_car: bool) -> Option<String> {
    let field = |name: &str| field(fields, name);
    let but_why = |text: &str| but_why(fields, text);
    let message = field("message");
    Some(match message.as_str() {
        "motion started" | "motion over" | "motion process ended" | "stop ended" | "car stands"
            if has_car =>
        {
            return None;
        }
        "press" => format!(
            "{} presses {} (press {}) from {}",
            field("driver"),
            field("command"),
            field("press"),
            field("from")
        ),
        "stop" => format!("a stop for {} is passed on", field("by")),
        "control taken" => format!("{} takes control ({})", field("driver"), field("how")),
        "control released" => format!("{} has control no more ({})", field("driver"), field("why")),
        "control requested" => format!("{} asks for control", field("by")),
        "recording asked for" => match field("on").as_str() {
            "true" => format!("{} asks for a recording", field("by")),
            _ => format!("{} ends the recording", field("by")),
        },
        "link up" => "the car's link is up".to_owned(),
        "link down" => but_why("the car's link is lost"),
        "no answer" => format!("no answer from the car for {} ms", field("silent_ms")),
        "answers again" => format!(
            "the car answers again, after {} ms of silence",
            field("silent_ms")
        ),
        "run" => {
            let (command, source) = (field("command"), field("source"));
            let why = match field("why") {
                why if why.is_empty() => String::new(),
                why => format!(": {why}"),
            };
            // What did not begin was refused; the link may be as good as ever.
            let result = match field("executed").as_str() {
                "no" => "refused, status",
                _ => "status",
            };
            format!(
                "{command} by {source} of {}: {result} {}{why}",
                field("from"),
                field("status")
            )
        }
        own if own.starts_with("listening on") => "the router has started".to_owned(),
        own if own.starts_with("ending") || own.starts_with("restarting") => {
            format!("the router is {}", own.split(':').next().unwrap_or(own))
        }
        _ => but_why(&message),
    })
}

/// Says a line of whoever asks in words; `None`: it is of no use here. A page knows no numbers of presses.
fn of_own_log(own: &str, fields: &Map<String, Value>) -> Option<String> {
    let field = |name: &str| field(fields, name);
    let message = field("message");
    let press = field("press");
    let is_known = !press.is_empty();
    Some(match message.as_str() {
        "press" if is_known => {
            format!("the key for {} is pressed: press {press}", field("command"))
        }
        "press" => format!("the key for {} is pressed", field("command")),
        // Where a terminal does not tell of releases, the key may still be held.
        "release" if is_known => format!("this {own} ends press {press}"),
        "release" => format!("this {own} ends the press"),
        "record" => match field("on").as_str() {
            "true" => "a recording is asked for".to_owned(),
            _ => "the recording is to end".to_owned(),
        },
        "send" => format!("{} is sent: run {}", field("command"), field("run")),
        "send ended" => format!(
            "{} ended{}: run {}",
            field("command"),
            match field("exit") {
                code if code.bytes().all(|byte| byte.is_ascii_digit()) =>
                    format!(" with exit {code}"),
                how if how == "ended" => String::new(),
                how => format!(" ({how})"),
            },
            field("run")
        ),
        "send refused" => format!("{} is refused: {}", field("command"), field("why")),
        "send lost" => format!(
            "nobody knows whether {} was executed: {}",
            field("command"),
            field("why")
        ),
        "stop" => format!("this {own} asks for a stop"),
        "no answer" => format!("NO ANSWER: {} is silent", field("hop")),
        "no router" => but_why(fields, "no connection to the router"),
        "router" => "the router is connected".to_owned(),
        "shown" => format!("the screen says: {}", field("text")),
        // One of each command at this desk tells nothing.
        "started" | "camera" | "round trip" => return None,
        _ => but_why(fields, &message),
    })
}

/// The story in a few sentences: who drove, what was pressed, what the link did, what stopped the car.
struct Story {
    own: &'static str,
    told: Vec<Sentence>,
    /// The command that moves the car.
    moving: Option<String>,
    /// The time without a router where somebody asks: the place of its sentence, its beginning, and the number of
    /// tries.
    outage: Option<(usize, u64, u32)>,
}

impl Story {
    fn of(incident: &Incident, has_car: bool) -> Vec<Sentence> {
        let mut story = Self {
            own: incident.own,
            told: Vec::new(),
            moving: None,
            outage: None,
        };
        for line in &incident.lines {
            match line.raw.get("message").and_then(Value::as_str) {
                Some(message) => story.tell_of_log(line, message, has_car),
                None => story.tell_of_car(line),
            }
        }
        let mut told = story.told;
        if !has_car {
            let not_known = "The car did not tell what moved it, and what stopped it, by itself.";
            told.insert(0, (None, not_known.to_owned()));
        } else if told.is_empty() {
            let nothing = "Nothing moved the car, and nothing befell its link.";
            told.push((None, nothing.to_owned()));
        }
        told
    }

    fn tell(&mut self, line: &Line, sentence: impl Into<String>) {
        self.told.push((Some(line.at_ms), sentence.into()));
    }

    fn tell_of_log(&mut self, line: &Line, message: &str, has_car: bool) {
        match (line.source == self.own, message) {
            (
                false,
                "control taken" | "control released" | "link down" | "no answer" | "answers again"
                | "link up",
            ) => self.tell(line, format!("{}.", line.text)),
            (false, own) if own.starts_with("listening on") => {
                self.tell(line, "The router started (anew).");
            }
            (false, "motion started" | "motion over" | "car stands") if !has_car => {
                self.tell(line, format!("{}.", line.text));
            }
            (true, "no answer") => {
                self.tell(line, format!("At this {}: {}.", self.own, line.text));
            }
            (true, "no router") => self.tell_of_outage(line),
            (true, "router") => {
                if let Some((place, began_ms, _)) = self.outage.take()
                    && let Some((_, sentence)) = self.told.get_mut(place)
                {
                    let lasted = Duration::from_millis(line.at_ms.saturating_sub(began_ms));
                    *sentence += &format!(" It was back after {:.1} s.", lasted.as_secs_f64());
                }
            }
            _ => {}
        }
    }

    /// Tells of a time without a router once, however often it was tried to reach it.
    fn tell_of_outage(&mut self, line: &Line) {
        let (place, began_ms, tries) = match self.outage {
            Some((place, began_ms, tries)) => (place, began_ms, tries + 1),
            None => (self.told.len(), line.at_ms, 1),
        };
        self.outage = Some((place, began_ms, tries));
        let often = match tries {
            1 => String::new(),
            tries => format!(" (told {tries} times)"),
        };
        let sentence = format!("At this {}: {}{often}.", self.own, line.text);
        match self.told.get_mut(place) {
            Some((_, told)) => *told = sentence,
            None => self.tell(line, sentence),
        }
    }

    fn tell_of_car(&mut self, line: &Line) {
        let Ok(entry) = serde_json::from_value::<PastEntry>(line.raw.clone()) else {
            return;
        };
        match entry.event {
            PastEvent::Motion(MotionEvent::Started(begun)) => {
                let who = entry.who.as_ref().map_or("somebody".to_owned(), name);
                self.tell(line, format!("{who} drove {}.", begun.command));
                self.moving = Some(begun.command.to_string());
            }
            PastEvent::Motion(MotionEvent::Over { cause, by, .. }) => {
                let what = self.moving.take();
                let what = what.unwrap_or_else(|| "the motion".to_owned());
                let by = by.map_or(String::new(), |by| format!(" by {}", name(&by)));
                self.tell(line, match cause {
                    StopCause::Lease => format!(
                        "The car's own lease ended {what}: it had heard nothing of its driver for that long."
                    ),
                    _ => format!("{what} ended: {cause}{by}."),
                });
            }
            PastEvent::Guardian {
                cause, has_stopped, ..
            } => self.tell(
                line,
                match has_stopped {
                    true => format!("The guardian stopped the car, because {cause}."),
                    false => format!("The guardian could not stop the car ({cause})."),
                },
            ),
            PastEvent::Motion(MotionEvent::StopFailed) => {
                self.tell(line, "STOP FAILED: the car may still have moved.");
            }
            PastEvent::Motion(MotionEvent::Stands)
                if self.moving.is_none()
                    && self.told.last().is_some_and(|(_, last)| last != STOOD) =>
            {
                self.tell(line, STOOD);
            }
            PastEvent::LinkLost { .. } | PastEvent::Start { .. } => {
                self.tell(line, format!("At the car: {}.", line.text));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
