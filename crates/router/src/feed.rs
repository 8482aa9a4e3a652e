//! Owns the stream of events to consoles and pages, and the last runs. Sending never waits for anyone: a
//! console that falls behind takes a new snapshot.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use p2p_shared::bounded::Text;
use p2p_shared::protocol::{FeedEvent, LinkInfo, RunInfo, RunResult};
use p2p_shared::text::Escaped;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::net::port_range::PortRange;

mod snapshot;

pub(crate) use snapshot::{Snapshot, take_part};

pub(crate) use p2p_shared::protocol::SNAPSHOT_RUNS as RUNS;
/// Most events that a console may be behind: some 0.8 s of 5,000 a second.
const BEHIND: usize = 4096;
/// Most ticks that a console may be behind: only the newest one is of use.
const TICKS_BEHIND: usize = 64;
/// Most characters of a reason.
const REASON: usize = 500;

/// A tick of a car's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tick {
    pub service_port: u16,
    pub clock_ms: u64,
}

/// The number of runs of one car, and of those that failed.
#[derive(Debug, Default)]
pub(crate) struct RunCounts {
    pub runs: AtomicU64,
    pub failures: AtomicU64,
}

/// The stream of events, and the last runs.
#[derive(Debug)]
pub(crate) struct Feed {
    events: broadcast::Sender<Arc<FeedEvent>>,
    ticks: broadcast::Sender<Tick>,
    runs: Mutex<LastRuns>,
}

/// The last runs of all cars, by their service ports: [`RUNS`] together. One too many goes from the
/// port that has most, so that who floods one car with runs hides only that car's older ones.
#[derive(Debug, Default)]
struct LastRuns {
    by_port: HashMap<u16, RunsOfPort>,
    /// Rank of each port: the last one loses its oldest run next.
    ranks: BTreeSet<Rank>,
    count: usize,
    next: u64,
}

/// In the order of their requests, each with its number among all.
type RunsOfPort = VecDeque<(u64, Arc<RunInfo>)>;

/// Rank of a port: by its number of runs, then by how old its oldest run is.
type Rank = (usize, Reverse<u64>, u16);

fn rank(port: u16, runs: &RunsOfPort) -> Option<Rank> {
    let (oldest, _) = runs.front()?;
    Some((runs.len(), Reverse(*oldest), port))
}

impl LastRuns {
    fn add(&mut self, run: Arc<RunInfo>) {
        let number = self.next;
        self.next += 1;
        self.change(run.service_port, |runs| runs.push_back((number, run)));
        if self.count > RUNS
            && let Some((_, _, most)) = self.ranks.last()
        {
            self.change(*most, |runs| {
                runs.pop_front();
            });
        }
    }

    /// Returns the place of a run, if it is still among the last.
    fn place_of(&mut self, run: &Arc<RunInfo>) -> Option<&mut Arc<RunInfo>> {
        let of_port = self.by_port.get_mut(&run.service_port)?;
        // A run that ends is mostly one of the newest.
        let mut newest_first = of_port.iter_mut().rev().map(|(_, held)| held);
        newest_first.find(|held| Arc::ptr_eq(held, run))
    }

    fn forget(&mut self, service_port: u16) {
        self.change(service_port, VecDeque::clear);
    }

    /// Changes which runs of a port there are.
    fn change(&mut self, port: u16, change: impl FnOnce(&mut RunsOfPort)) {
        let runs = self.by_port.entry(port).or_default();
        if let Some(before) = rank(port, runs) {
            self.ranks.remove(&before);
        }
        self.count -= runs.len();
        change(runs);
        self.count += runs.len();
        match rank(port, runs) {
            Some(now) => {
                self.ranks.insert(now);
            }
            None => {
                self.by_port.remove(&port);
            }
        }
    }

    /// The runs at these ports, the oldest first.
    fn at(&self, ports: PortRange) -> Vec<Arc<RunInfo>> {
        let here = self
            .by_port
            .iter()
            .filter(|(port, _)| ports.contains(**port));
        let mut runs: Vec<_> = here.flat_map(|(_, runs)| runs).collect();
        runs.sort_by_key(|(number, _)| *number);
        runs.into_iter().map(|(_, run)| run.clone()).collect()
    }
}

/// A console's view of the feed: a snapshot, and the events from then on.
pub(crate) struct Subscription {
    pub snapshot: Snapshot,
    pub events: broadcast::Receiver<Arc<FeedEvent>>,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self {
            events: broadcast::Sender::new(BEHIND),
            ticks: broadcast::Sender::new(TICKS_BEHIND),
            runs: Mutex::default(),
        }
    }

    /// Returns these links, the last runs of the cars with these service ports, and the events of all cars
    /// from then on, without a gap. The caller keeps the links from changing meanwhile.
    pub(crate) fn subscribe(
        &self,
        links: impl FnOnce() -> Vec<LinkInfo>,
        ports: PortRange,
    ) -> Subscription {
        let runs = self.runs.lock();
        Subscription {
            snapshot: Snapshot::new(links(), runs.at(ports)),
            events: self.events.subscribe(),
        }
    }

    /// The ticks of all cars from now on.
    pub(crate) fn ticks(&self) -> broadcast::Receiver<Tick> {
        self.ticks.subscribe()
    }

    pub(crate) fn tick(&self, tick: Tick) {
        // Without consoles nobody receives.
        let _ = self.ticks.send(tick);
    }

    /// Forgets the runs at this service port, which another holder has from now on.
    pub(crate) fn forget(&self, service_port: u16) {
        self.runs.lock().forget(service_port);
    }

    /// Adds a run that was asked for.
    pub(crate) fn run(&self, run: &Arc<RunInfo>, counts: &RunCounts) {
        let mut runs = self.runs.lock();
        counts.runs.fetch_add(1, Ordering::Relaxed);
        runs.add(run.clone());
        self.publish(|| FeedEvent::Run(Box::new(RunInfo::clone(run))));
    }

    /// Gives a run that has ended its result.
    pub(crate) fn run_over(&self, mut run: Arc<RunInfo>, result: RunResult, counts: &RunCounts) {
        let mut runs = self.runs.lock();
        if result.is_failure() {
            counts.failures.fetch_add(1, Ordering::Relaxed);
        }
        let run = match runs.place_of(&run) {
            Some(place) => {
                // Nobody else has the run now, unless a console is being told of it, so that it is
                // not copied.
                drop(run);
                place
            }
            None => &mut run,
        };
        Arc::make_mut(run).result = Some(result);
        self.publish(|| FeedEvent::Run(Box::new(RunInfo::clone(run))));
    }

    /// Sends an event to the consoles, if there are any.
    pub(crate) fn publish(&self, event: impl FnOnce() -> FeedEvent) {
        if self.events.receiver_count() > 0 {
            let _ = self.events.send(Arc::new(event()));
        }
    }
}

/// A reason, escaped and cut to a length for people.
pub(crate) fn shortened(why: &str) -> Text {
    Text::new(Escaped(why).cut(REASON).to_string())
}

#[cfg(test)]
mod tests;
