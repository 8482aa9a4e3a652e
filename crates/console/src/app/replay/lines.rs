//! Reads a past from JSON lines: a router's log, or what `p2p-console incident` wrote. Pure.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, UNIX_EPOCH};

use p2p_shared::bounded::Text;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{
    ActiveMotion, ControlInfo, Driver, FeedEvent, LinkInfo, MotionEvent, PastEntry, PastEvent,
    PressId, SessionId, StopCause, StopFailure,
};
use p2p_shared::timing::micros;
use serde_json::{Map, Value};

use super::recording::{Change, Recording};
use crate::app::fleet::ByGuardian;
use crate::app::saved_log;
use crate::text::fit;

type Fields = Map<String, Value>;

/// Reads a file. Lines that are no JSON, such as a last one that is incomplete, are left out.
pub(super) fn read(file: &[u8], recording: &mut Recording) -> Result<(), String> {
    let mut reader = Reader {
        recording,
        heard: HashSet::new(),
        links: HashMap::new(),
        since_start: HashSet::new(),
        last: None,
        incident: None,
        ours: 0,
    };
    let mut lines = 0;
    for line in file.split(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            continue;
        }
        lines += 1;
        if let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(line) {
            reader.line(fields, lines, file);
        }
    }
    let (ours, is_incident) = (reader.ours, reader.incident.is_some());
    recording.is_log = !is_incident;
    let is_empty = recording.cars.values().all(|car| car.events.is_empty());
    match (lines, ours) {
        (0, _) => Err("the file is empty: nothing was logged".to_owned()),
        (_, 0) => Err(format!(
            "this is no recording: none of its {lines} lines is of a router's log or of an incident. Give \
             logs/p2p-router.DAY.jsonl, what `p2p-console incident` or s in the Log screen saved, or an MCAP \
             file of p2p-router --record"
        )),
        _ if is_empty => Err(format!(
            "no run and no link is in this log, in {lines} lines"
        )),
        _ => Ok(()),
    }
}

struct Reader<'a> {
    recording: &'a mut Recording,
    /// Cars that the router hears, as the file says.
    heard: HashSet<String>,
    /// The ids of the cars' newest links.
    links: HashMap<String, String>,
    /// Cars that were told of since the router's start.
    since_start: HashSet<String>,
    /// Time of the line before.
    last: Option<Duration>,
    /// The car of an incident, and whether it told its past itself.
    incident: Option<(String, bool)>,
    /// Number of lines that are ours.
    ours: u64,
}

impl Reader<'_> {
    fn line(&mut self, mut fields: Fields, number: u64, file: &[u8]) {
        let told = fields.remove("told");
        if let (Some(Value::Object(told)), Some(at_ms)) = (told, number_of(&fields, "at_ms")) {
            self.ours += 1;
            let (name, has_car) = self.incident.get_or_insert_with(|| about(file)).clone();
            let at = Duration::from_millis(at_ms);
            return self.told(&name, has_car, at, &fields, told, number);
        }
        let Some(at) = time_of(&fields).filter(|_| fields.contains_key("message")) else {
            return;
        };
        self.ours += 1;
        let before = self.last.replace(at).unwrap_or(at);
        let message = text(&fields, "message");
        // A router that is older does not log the first of these.
        if message == "started" || message.starts_with("listening on") {
            return self.router_started(before, at);
        }
        let name = car_of(&fields).to_owned();
        if name.is_empty() {
            return;
        }
        if let Some((change, said)) = self.change(&name, &fields) {
            self.since_start.insert(name.clone());
            self.heard(&name, at, &change);
            self.recording.add(&name, at, change, said);
        }
        self.run(&name, at, fields, number);
    }

    /// Takes a line of an incident, which has its own words.
    fn told(
        &mut self,
        name: &str,
        has_car: bool,
        at: Duration,
        fields: &Fields,
        told: Fields,
        number: u64,
    ) {
        let (from, says) = (text(fields, "from"), text(fields, "text"));
        if from == "car" {
            let entry = serde_json::from_value::<PastEntry>(Value::Object(told));
            let change = entry.map_or(Change::None, |entry| self.remembered(name, entry));
            return self.recording.add(name, at, change, Some(says.to_owned()));
        }
        let said = Some(format!("{from}: {says}"));
        let change = match (from, text(&told, "message")) {
            ("desk" | "page", "press") => Change::Key(text(&told, "command").parse().ok()),
            ("desk" | "page", "release") => Change::Key(None),
            ("desk" | "page", "no answer") if text(&told, "hop").ends_with("car") => {
                self.silence(name)
            }
            ("desk" | "page", "answers again") => Change::Answers,
            ("desk" | "page", "no connection to the car") => Change::SilenceOver,
            ("desk" | "page", _) => Change::None,
            _ => {
                let change = self.change(name, &told);
                let change = change.map_or(Change::None, |(change, _)| change);
                self.heard(name, at, &change);
                match change {
                    // The car itself has told what was so, whether or not the router heard it.
                    Change::Feed(FeedEvent::Motion { .. }) if has_car => Change::None,
                    change => change,
                }
            }
        };
        self.recording.add(name, at, change, said);
        self.run(name, at, told, number);
    }

    fn silence(&mut self, name: &str) -> Change {
        let car = self.recording.car(name);
        car.map_or(Change::None, |car| no_answer(&car.info, 0))
    }

    /// Returns the change that an entry of the car's own memory tells of.
    fn remembered(&mut self, name: &str, entry: PastEntry) -> Change {
        match entry.event {
            PastEvent::Motion(event) => Change::Remembered(event),
            PastEvent::LinkUp { .. } => Change::LinkUp,
            PastEvent::LinkLost { why } => {
                let service_port = self.recording.car(name).map(|car| car.info.service_port);
                let service_port = service_port.unwrap_or_default();
                Change::Feed(FeedEvent::LinkDown { service_port, why })
            }
            PastEvent::Guardian {
                cause,
                press,
                has_stopped,
                ..
            } => {
                let cause = fit(cause.raw(), 40);
                Change::Guardian(ByGuardian { cause, has_stopped }, press)
            }
            PastEvent::Start { .. } => Change::Started,
            PastEvent::Now => Change::None,
        }
    }

    /// Notes what a change that the router tells of says of the way to the car.
    fn heard(&mut self, name: &str, at: Duration, change: &Change) {
        match change {
            Change::LinkUp | Change::Answers => {
                self.heard.insert(name.to_owned());
            }
            Change::Feed(FeedEvent::LinkDown { .. } | FeedEvent::Rtt { .. }) => {
                self.heard.remove(name);
            }
            Change::Feed(FeedEvent::Motion { .. }) => self.is_heard(name, at),
            _ => {}
        }
    }

    /// Notes that the router hears a car, before what the car tells.
    fn is_heard(&mut self, name: &str, at: Duration) {
        if self.heard.insert(name.to_owned()) {
            self.recording.add(name, at, Change::Answers, None);
        }
    }

    /// Adds the run that a line tells of.
    fn run(&mut self, name: &str, at: Duration, fields: Fields, number: u64) {
        let Some(run) = saved_log::parse(Value::Object(fields), number) else {
            return;
        };
        let result = run.result.as_ref();
        if result.is_some_and(|result| result.executed() == "yes") {
            self.is_heard(name, at);
        }
        self.since_start.insert(name.to_owned());
        if !crate::text::is_of_link(&run) {
            let event = FeedEvent::Run(Box::new(run.clone()));
            self.recording.add(name, at, Change::Feed(event), None);
        }
        self.recording.add_run(run);
    }

    /// Notes that nothing is known of any car from the last line of a router that ended, or was killed, to its link.
    fn router_started(&mut self, ended: Duration, started: Duration) {
        self.heard.clear();
        self.links.clear();
        // Of the others nothing was known before.
        for name in std::mem::take(&mut self.since_start) {
            let said = Some("nothing is known from here to the router's start".to_owned());
            self.recording.add(&name, ended, Change::NotKnown, said);
            let said = Some("the router started".to_owned());
            self.recording.add(&name, started, Change::None, said);
        }
    }

    /// Returns the change that a line of the router's log tells of, and words for it.
    fn change(&mut self, name: &str, line: &Fields) -> Option<(Change, Option<String>)> {
        let car = self.recording.car(name)?;
        let port = number_of(line, "service_port").or(number_of(line, "port"));
        if let Some(port) = port.and_then(|port| u16::try_from(port).ok()) {
            car.info.service_port = port;
        }
        let told = change(&car.info, line)?;
        let id = text(line, "link_id");
        match &told.0 {
            Change::LinkUp => {
                self.links.insert(name.to_owned(), id.to_owned());
            }
            // The end of an old link may come after the beginning of the one that has replaced it.
            Change::Feed(FeedEvent::LinkDown { why, .. })
                if self.links.get(name).is_some_and(|newest| newest != id) =>
            {
                let said = format!("an older link has ended: {}", why.raw());
                return Some((Change::None, Some(said)));
            }
            _ => {}
        }
        Some(told)
    }
}

fn change(car: &LinkInfo, line: &Fields) -> Option<(Change, Option<String>)> {
    let field = |name: &str| text(line, name);
    let service_port = car.service_port;
    let by = match field("by") {
        "" => String::new(),
        by => format!(" by {by}"),
    };
    let control = |driver| {
        let control = ControlInfo {
            driver,
            ..ControlInfo::default()
        };
        Change::Feed(FeedEvent::Control {
            service_port,
            control,
        })
    };
    let driver = field("driver");
    let message = field("message");
    let said = match message {
        "press" => format!("{driver} pressed {}", field("command")),
        "motion refused" => format!("key press refused: {}", field("why")),
        "stop" => format!("a stop was asked for{by}"),
        "control taken" => format!("{driver} took control ({})", field("how")),
        "control released" => format!("{driver} has control no more ({})", field("why")),
        "control requested" => format!("{} asks for control", field("by")),
        "answers again" => "answers again".to_owned(),
        up if up.starts_with("link up") => "link up".to_owned(),
        // Its words are those of the live screens.
        _ => String::new(),
    };
    let change = match message {
        "press" => Change::Key(field("command").parse().ok()),
        "motion refused" | "press dropped: too old" => Change::Key(None),
        "stop" | "control requested" => Change::None,
        "control taken" => control(Some(Driver {
            session: SessionId(number_of(line, "session").unwrap_or_default()),
            name: Text::new(driver.to_owned()),
        })),
        "control released" => control(None),
        "no answer" => no_answer(car, number_of(line, "silent_ms").unwrap_or_default()),
        "answers again" => Change::Answers,
        up if up.starts_with("link up") => Change::LinkUp,
        down if down.starts_with("link down") => {
            let why = Text::new(field("why").to_owned());
            Change::Feed(FeedEvent::LinkDown { service_port, why })
        }
        _ => Change::Feed(FeedEvent::Motion {
            service_port,
            event: motion(line)?,
            clock_ms: None,
        }),
    };
    Some((change, Some(said).filter(|said| !said.is_empty())))
}

fn no_answer(car: &LinkInfo, silent_ms: u64) -> Change {
    Change::Feed(FeedEvent::Rtt {
        service_port: car.service_port,
        rtt_us: 0,
        hop_us: None,
        silent_ms: Some(silent_ms),
    })
}

/// Returns what a car reported of its motion.
fn motion(line: &Fields) -> Option<MotionEvent> {
    let field = |name: &str| text(line, name);
    let press = || press_of(field("press"));
    let run = || {
        let run = field("run").parse();
        run.unwrap_or_else(|_| RunId::from_number(0))
    };
    let cause = || {
        let cause = field("cause");
        (StopCause::ALL.into_iter()).find(|it| it.to_string() == cause)
    };
    let end = || saved_log::parse_end(field("exit"));
    let exec_us = || {
        let ms = line.get("exec_ms").and_then(Value::as_f64).unwrap_or(0.0);
        micros(Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default())
    };
    let optional =
        |name: &str| Some(Text::new(field(name).to_owned())).filter(|it| *it != "".into());
    Some(match field("message") {
        "motion started" => MotionEvent::Started(ActiveMotion {
            run: run(),
            command: field("command").parse().ok()?,
            press: press(),
        }),
        "motion over" => MotionEvent::Over {
            press: press(),
            cause: cause()?,
            clock_ms: None,
            by: optional("by"),
        },
        "motion process ended" => MotionEvent::Ended {
            run: run(),
            end: end()?,
            exec_us: exec_us(),
        },
        "stop ended" => MotionEvent::Stopped {
            cause: cause()?,
            end: end()?,
            exec_us: exec_us(),
            failure: number_of(line, "tries").map(|tries| StopFailure {
                said: optional("said").unwrap_or_default(),
                tries: u32::try_from(tries).unwrap_or(u32::MAX),
                again_ms: None,
            }),
        },
        "car stands" => MotionEvent::Stands,
        failed if failed.starts_with("STOP FAILED") => MotionEvent::StopFailed,
        _ => return None,
    })
}

/// Returns the name of the car that an incident is about, and whether that told its past.
fn about(file: &[u8]) -> (String, bool) {
    let (mut name, mut has_car) = (String::new(), false);
    for line in file.split(|byte| *byte == b'\n') {
        let Ok(Value::Object(fields)) = serde_json::from_slice(line) else {
            continue;
        };
        has_car |= text(&fields, "from") == "car";
        if let Some(Value::Object(told)) = fields.get("told").filter(|_| name.is_empty()) {
            car_of(told).clone_into(&mut name);
        }
    }
    if name.is_empty() {
        // Only the car itself told anything.
        name.push_str("car");
    }
    (name, has_car)
}

/// Returns the name of the link that a line is about.
fn car_of(line: &Fields) -> &str {
    match text(line, "link") {
        "" => text(line, "name"),
        name => name,
    }
}

fn text<'a>(line: &'a Fields, name: &str) -> &'a str {
    line.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number_of(line: &Fields, name: &str) -> Option<u64> {
    line.get(name).and_then(Value::as_u64)
}

fn time_of(line: &Fields) -> Option<Duration> {
    let time = humantime::parse_rfc3339(text(line, "timestamp")).ok()?;
    time.duration_since(UNIX_EPOCH).ok()
}

fn press_of(text: &str) -> Option<PressId> {
    let (epoch, number) = text.split_once('.')?;
    Some(PressId {
        epoch: epoch.parse().ok()?,
        number: number.parse().ok()?,
    })
}
