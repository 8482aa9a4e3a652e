//! The record of a round: by the commands (the witness), the car, the callers, the driver, and an
//! observer of the links.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// Time since 1970, by the clock that commands read too.
pub(crate) fn now() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
}

/// One request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct CallRecord {
    pub(crate) command: &'static str,
    /// An argument that no other request has.
    pub(crate) argument: String,
    pub(crate) asked: Duration,
    pub(crate) answered: Duration,
    /// Whether there was a connection at all.
    pub(crate) connected: bool,
    pub(crate) answer: Option<AnswerRecord>,
}

/// An answer with a status.
#[derive(Debug, Clone)]
pub(crate) struct AnswerRecord {
    pub(crate) status: u16,
    pub(crate) run: String,
    pub(crate) executed: String,
    pub(crate) exit: String,
    pub(crate) body: String,
}

/// What the car did.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CarAct {
    /// By this motion command.
    Moves(String),
    Stops,
}

/// What `GET /run/ID` reports of a run whose answer was `unknown`.
#[derive(Debug, Clone)]
pub(crate) enum ReportedOutcome {
    /// The value of `P2P-Executed`.
    Executed(String),
    /// The car doesn't know the run.
    NotBegun,
}

/// The record of one round.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) calls: Vec<CallRecord>,
    /// When the driver had sent a heartbeat.
    pub(crate) proofs: Vec<Duration>,
    /// When a driver was about to press, and which motion.
    pub(crate) presses: Vec<(Duration, &'static str)>,
    /// The number of links, at each look.
    pub(crate) links: Vec<i64>,
    /// Run ids, and when each of them ran: at most once.
    pub(crate) witness: BTreeMap<String, Vec<Duration>>,
    pub(crate) acts: Vec<(Duration, CarAct)>,
    pub(crate) reported: BTreeMap<String, ReportedOutcome>,
    pub(crate) struck: Duration,
    /// When the fault was over, once it is.
    pub(crate) healed: Option<Duration>,
    /// The inner was started again, and has forgotten what it did before.
    pub(crate) inner_is_new: bool,
    /// What was left over at the end, in words.
    pub(crate) left_over: Vec<String>,
}

/// A history that several tasks write to.
pub(crate) type SharedHistory = Arc<Mutex<History>>;

impl History {
    /// Adds what commands wrote into this folder.
    pub(crate) fn read_notes(&mut self, folder: &Path) {
        let lines = |note: &str| {
            let text = std::fs::read_to_string(folder.join(note)).unwrap_or_default();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        for line in lines("witness") {
            let (run, at) = line.split_once(' ').unwrap_or((&line, "0"));
            let at = Duration::from_nanos(at.parse().unwrap_or_default());
            self.witness.entry(run.to_owned()).or_default().push(at);
        }
        self.acts = acts(folder);
    }
}

/// What the car did, in order.
pub(crate) fn acts(folder: &Path) -> Vec<(Duration, CarAct)> {
    let text = std::fs::read_to_string(folder.join("motion")).unwrap_or_default();
    let mut acts: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let (act, at) = line.split_once(' ')?;
            let act = match act {
                "stop" => CarAct::Stops,
                motion => CarAct::Moves(motion.to_owned()),
            };
            Some((Duration::from_nanos(at.parse().ok()?), act))
        })
        .collect();
    acts.sort();
    acts
}
