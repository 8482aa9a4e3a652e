//! What this router has logged of a car, for whoever asks what became of it: of the lines only what every
//! key for the car may see as it happens, whatever else the operator's log has.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use p2p_shared::logging::recent_lines;
use p2p_shared::names::LinkName;
use p2p_shared::protocol::MAX_PAST;
use p2p_shared::timing::{self, millis};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

/// Beginnings of the lines about the router's own life, which concern each of its cars. No more of them is told.
const OWN: [&str; 3] = ["listening on", "ending", "restarting"];

/// Lines about a car that are told, and which of their fields.
const OF_CAR: [(&str, &[&str]); 20] = [
    ("link up", &["link_id"]),
    ("link down", &["link_id", "why"]),
    ("no answer", &["silent_ms"]),
    ("answers again", &["silent_ms"]),
    ("control taken", &["driver", "how"]),
    ("control requested", &["by"]),
    ("control not granted", &["by", "why"]),
    ("control released", &["driver", "why"]),
    ("press", &["driver", "command", "press", "from"]),
    ("press dropped: too old", &["press"]),
    ("recording asked for", &["by", "on"]),
    ("stop", &["by"]),
    (
        "run",
        &[
            "run", "command", "source", "from", "status", "executed", "why",
        ],
    ),
    ("motion started", &["command", "press"]),
    ("motion refused", &["press", "why"]),
    ("motion over", &["press", "cause", "by"]),
    ("motion process ended", &["exit", "exec_ms"]),
    ("stop ended", &["cause", "exit", "exec_ms"]),
    ("car stands", &[]),
    ("STOP FAILED: nothing moves until a stop has succeeded", &[]),
];

/// Longest time for which a question waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// The router's log, which is read for one question after another.
#[derive(Debug, Clone)]
pub(crate) struct OwnLog {
    /// `None`: there is none.
    folder: Option<PathBuf>,
    turn: Arc<Semaphore>,
}

impl OwnLog {
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        Self { folder, turn }
    }

    /// Returns the time now as a line, and then the lines about this car of this last time; nothing if too many
    /// others ask.
    pub(crate) async fn of_car(self, name: LinkName, last: Duration) -> Bytes {
        let lines = self.with_lines(name, last, |lines, _| lines).await;
        lines.unwrap_or_default().into()
    }

    /// Makes something of these lines and of the moment that the first of them has, on a thread that may take its
    /// time, and for one caller after another; `None` if too many others ask. Without a log there are no lines.
    pub(crate) async fn with_lines<T: Send + 'static>(
        self,
        name: LinkName,
        last: Duration,
        make: impl FnOnce(Vec<u8>, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        let turn = tokio::time::timeout(TURN, self.turn.acquire_owned()).await;
        let turn = turn.ok()?.ok()?;
        let folder = self.folder;
        let making = move || {
            // The next one's turn comes when this is made, even if its caller has left.
            let _turn = turn;
            let begun = timing::now();
            let lines = folder.map(|folder| read(&folder, &name, last));
            make(lines.unwrap_or_default(), begun)
        };
        tokio::task::spawn_blocking(making).await.ok()
    }
}

fn read(folder: &Path, name: &LinkName, last: Duration) -> Vec<u8> {
    let now = SystemTime::now();
    let now_ms = millis(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let since = now.checked_sub(last).unwrap_or(UNIX_EPOCH);
    let is_wanted = |fields: &Map<String, Value>| fields_told(name, fields).is_some();
    let mut all = json!({ "now_ms": now_ms }).to_string().into_bytes();
    all.push(b'\n');
    let most = MAX_PAST - all.len();
    let found = recent_lines(folder, "p2p-router", since, most, is_wanted);
    let lines = found.split(|byte| *byte == b'\n');
    let lines: Vec<_> = lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    for fields in of_owner(&lines) {
        all.extend(told(name, fields));
    }
    all
}

/// Returns the lines since the key that has the car now had it first: an earlier holder of the name may have
/// been of another trust domain.
fn of_owner(lines: &[Map<String, Value>]) -> &[Map<String, Value>] {
    let key_of = |fields: &Map<String, Value>| match text(fields, "message") {
        "link up" | "link down" => Some(text(fields, "key").to_owned()),
        _ => None,
    };
    let Some(owner) = lines.iter().rev().find_map(key_of) else {
        return lines;
    };
    let is_of_other = |fields: &Map<String, Value>| key_of(fields).is_some_and(|key| key != owner);
    let Some(other) = lines.iter().rposition(is_of_other) else {
        return lines;
    };
    let later = &lines[other + 1..];
    let first = later.iter().position(|fields| key_of(fields).is_some());
    &later[first.unwrap_or(later.len())..]
}

/// Makes the line that is told of one of the log.
fn told(name: &LinkName, fields: &Map<String, Value>) -> Vec<u8> {
    let Some((message, names)) = fields_told(name, fields) else {
        return Vec::new();
    };
    let mut line = Map::new();
    line.insert("message".to_owned(), message.into());
    for name in names.iter().chain(&["timestamp", "link"]) {
        if let Some(value) = fields.get(*name) {
            line.insert((*name).to_owned(), value.clone());
        }
    }
    let mut line = Value::Object(line).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Returns the message and the names of the fields that are told of a line; `None`: nothing is.
fn fields_told(
    name: &LinkName,
    fields: &Map<String, Value>,
) -> Option<(&'static str, &'static [&'static str])> {
    let message = text(fields, "message");
    match fields.get("link") {
        Some(link) if link.as_str() == Some(name.as_str()) => {
            OF_CAR.into_iter().find(|(told, _)| *told == message)
        }
        Some(_) => None,
        None => {
            let own = OWN.into_iter().find(|own| message.starts_with(own));
            own.map(|own| (own, &[][..]))
        }
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Returns what is told of these lines without the first, which has the time.
    async fn told_of(lines: &[Value]) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let lines = lines.iter().cloned().map(|mut line| {
            line["timestamp"] = now.clone().into();
            format!("{line}\n")
        });
        let text: String = lines.collect();
        std::fs::write(folder.path().join("p2p-router.2026-11-30.jsonl"), text).unwrap();
        let log = OwnLog::new(Some(folder.path().to_owned()));
        let all = log.of_car("car".parse().unwrap(), HOUR).await;
        let mut told: Vec<Value> = serde_json::Deserializer::from_slice(&all)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert!(told.remove(0)["now_ms"].is_u64());
        for line in &mut told {
            assert_eq!(
                line.as_object_mut().unwrap().remove("timestamp"),
                Some(json!(now))
            );
        }
        told
    }

    #[tokio::test]
    async fn only_what_every_key_for_the_car_may_see_is_told() {
        let told = told_of(&[
            json!({"message": "listening on 10.0.0.1:8080", "dir": "/srv"}),
            json!({"message": "a member is gone", "router": "10.0.0.2"}),
            json!({"message": "link up", "link": "car", "key": "a", "from": "10.0.0.3"}),
            json!({"message": "link up", "link": "other", "key": "b"}),
            json!({"message": "--on-link: told", "link": "car", "output": "a password"}),
            json!({"message": "recording", "link": "car", "file": "/srv/car.mcap"}),
            json!({"message": "press", "link": "car", "driver": "ann", "press": "7", "dir": "/"}),
            json!({"message": "link down", "link": "car", "key": "a", "why": "silent"}),
        ])
        .await;
        let expected = [
            json!({"message": "listening on"}),
            json!({"message": "link up", "link": "car"}),
            json!({"message": "press", "link": "car", "driver": "ann", "press": "7"}),
            json!({"message": "link down", "link": "car", "why": "silent"}),
        ];
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn lines_of_an_earlier_owner_of_the_name_are_not_told() {
        let stop = |by: &str| json!({"message": "stop", "link": "car", "by": by});
        let link =
            |what: &str, key: &str| json!({"message": what, "link": "car", "key": key, "why": ""});
        let told = told_of(&[
            link("link up", "ours"),
            stop("before"),
            link("link up", "theirs"),
            stop("theirs"),
            link("link down", "theirs"),
            stop("late"),
            link("link up", "ours"),
            link("link down", "ours"),
            stop("ours"),
        ])
        .await;
        let by: Vec<_> = told.iter().filter_map(|line| line.get("by")).collect();
        assert_eq!((told.len(), by), (3, vec![&json!("ours")]));
    }

    #[tokio::test(start_paused = true)]
    async fn one_reads_at_a_time_and_others_wait_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let log = OwnLog::new(Some(folder.path().to_owned()));
        let turn = log.turn.clone().acquire_owned().await.unwrap();
        let ask = || log.clone().of_car("car".parse().unwrap(), HOUR);
        assert!(ask().await.is_empty());
        drop(turn);
        assert!(!ask().await.is_empty());
    }
}
