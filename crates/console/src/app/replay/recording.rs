//! What a file tells of the past, whatever its format: of each car the events with their times, and the pictures. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::names::{CommandName, LinkName};
use p2p_shared::protocol::{FeedEvent, LinkInfo, MotionEvent, PressId, RunInfo};
use p2p_shared::text::Escaped;

use crate::app::fleet::ByGuardian;
use crate::app::run_log::{KEPT as RUNS_KEPT, RunLog};

/// Usual names of the motion commands, in the order of the pad. A log doesn't say which a car has.
const MOTION: [&str; 4] = ["forward", "back", "left", "right"];
/// Usual name of the stop command.
const STOP: &str = "stop";
/// Most cars of a file.
const MOST_CARS: usize = 1_000;
/// Most events, and most pictures, that are kept of a file: hours of driving, and little enough to go through at once.
const MOST: usize = 200_000;
/// Most characters of a sentence.
const SENTENCE: usize = 300;

/// Past of the cars that a file tells of.
#[derive(Debug)]
pub struct Recording {
    pub cars: BTreeMap<String, PastCar>,
    /// The runs of all cars, and what became of their links.
    pub log: RunLog,
    /// Sentence about what is missing.
    pub problem: Option<String>,
    /// True if the file has no more than the router's log has: its runs tell all that is printed of it.
    pub is_log: bool,
    /// Moment that stands for the first time in the file.
    pub base: Instant,
    /// The first time, since 1970.
    pub began: Duration,
    count: usize,
    /// Number of runs that were put into the log.
    runs: usize,
}

/// Past of one car.
#[derive(Debug)]
pub struct PastCar {
    /// The car as it was before the first event, as far as one can tell.
    pub info: LinkInfo,
    /// The events, oldest first.
    pub events: VecDeque<PastEvent>,
    /// The pictures as JPEG and when they were taken, oldest first.
    pub pictures: Vec<(Duration, Bytes)>,
}

/// Event of a car's past.
#[derive(Debug)]
pub struct PastEvent {
    /// Time since 1970.
    pub at: Duration,
    pub change: Change,
    /// Words of the file for it; without them it has those of the live screens.
    pub said: Option<String>,
}

/// Change that an event makes to what is known of a car.
#[derive(Debug)]
pub enum Change {
    /// What the router tells consoles.
    Feed(FeedEvent),
    /// What the car itself remembers of its motion, whether or not its router heard of it.
    Remembered(MotionEvent),
    /// A link of the car has come up. What moves the car then is told later.
    LinkUp,
    /// A driver holds the key of this command, or none any more.
    Key(Option<CommandName>),
    /// The car is heard at its router: its link is up, and it answers.
    Answers,
    /// A silence is over: the car answers, or its link is lost.
    SilenceOver,
    /// The car's process has begun anew: what moves the car is not known until it tells.
    Started,
    /// Nothing is known of the car until the file tells of it again.
    NotKnown,
    /// The guardian acted on this press.
    Guardian(ByGuardian, Option<PressId>),
    /// None: it only has words.
    None,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            cars: BTreeMap::new(),
            log: RunLog::default(),
            problem: None,
            is_log: false,
            base: Instant::now(),
            began: Duration::ZERO,
            count: 0,
            runs: 0,
        }
    }
}

impl Recording {
    /// Orders the events and finds the first one, once all are there.
    pub(super) fn finish(&mut self) {
        // Of some cars a log has only lines that tell nothing of the past.
        (self.cars).retain(|_, car| !(car.events.is_empty() && car.pictures.is_empty()));
        for car in self.cars.values_mut() {
            // What the car dates itself is older than what was written before it.
            car.events.make_contiguous().sort_by_key(|event| event.at);
            car.pictures.sort_by_key(|(at, _)| *at);
        }
        let begins = self.cars.values().map(|car| car.span().0);
        self.began = begins.min().unwrap_or_default();
    }

    /// The car with this name, which is new if the file has not told of it before; `None`: the file tells of too many.
    pub(super) fn car(&mut self, name: &str) -> Option<&mut PastCar> {
        if !self.cars.contains_key(name) {
            let full = self.cars.len() >= MOST_CARS;
            let link: LinkName = name.parse().ok().filter(|_| !full)?;
            self.cars.insert(name.to_owned(), PastCar::new(link)?);
        }
        self.cars.get_mut(name)
    }

    /// Adds an event of a car. Of too many the oldest ones go.
    pub(super) fn add(&mut self, name: &str, at: Duration, change: Change, said: Option<String>) {
        let is_full = self.count >= MOST;
        if is_full {
            self.lacks(format!(
                "the file has more than {MOST} events: the oldest are not shown"
            ));
        }
        let Some(car) = self.car(name) else { return };
        if is_full && car.events.pop_front().is_none() {
            return;
        }
        let said = said.map(|said| Escaped(&said).cut(SENTENCE).to_string());
        car.events.push_back(PastEvent { at, change, said });
        self.count += usize::from(!is_full);
    }

    /// Adds a run to the log.
    pub(super) fn add_run(&mut self, run: RunInfo) {
        self.runs += usize::from(self.log.put(run));
        if self.runs > RUNS_KEPT {
            self.lacks(format!(
                "the file has more than {RUNS_KEPT} runs: the oldest are not in the Log"
            ));
        }
    }

    /// Notes what is not shown of the file.
    pub(super) fn lacks(&mut self, what: String) {
        match &mut self.problem {
            Some(problem) if problem.contains(&what) => {}
            Some(problem) => *problem += &format!("; {what}"),
            None => self.problem = Some(what),
        }
    }

    /// Adds a picture of a car.
    pub(super) fn add_picture(&mut self, name: &str, at: Duration, jpeg: Bytes) {
        let Some(car) = self.car(name) else { return };
        if car.pictures.len() < MOST {
            car.pictures.push((at, jpeg));
        } else {
            self.lacks(format!(
                "the file has more than {MOST} pictures: the last are not shown"
            ));
        }
    }

    /// The moment that stands for a time.
    pub fn moment(&self, at: Duration) -> Instant {
        let since = at.saturating_sub(self.began);
        self.base.checked_add(since).unwrap_or(self.base)
    }
}

impl PastCar {
    fn new(name: LinkName) -> Option<Self> {
        let info = LinkInfo {
            motion: MOTION.iter().filter_map(|name| name.parse().ok()).collect(),
            ..LinkInfo::new(0, name, STOP.parse().ok()?)
        };
        Some(Self {
            info,
            events: VecDeque::new(),
            pictures: Vec::new(),
        })
    }

    /// The times of the first event or picture, and of the last.
    pub fn span(&self) -> (Duration, Duration) {
        let events = [self.events.front(), self.events.back()];
        let events = events.into_iter().flatten().map(|event| event.at);
        let pictures = [self.pictures.first(), self.pictures.last()];
        let times = events.chain(pictures.into_iter().flatten().map(|(at, _)| *at));
        let times: Vec<_> = times.collect();
        let first = times.iter().min().copied().unwrap_or_default();
        (first, times.iter().max().copied().unwrap_or(first))
    }
}
