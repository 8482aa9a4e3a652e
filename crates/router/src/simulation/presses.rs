//! Owns what drivers pressed and what the router took up, and whether what moved the car was
//! theirs to ask for: one driver at a time, nothing that is old, nothing that a stop was to end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use p2p_shared::names::RunId;
use p2p_shared::protocol::{FeedEvent, MotionEvent, PressId, RunSource};
use p2p_shared::timing;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::history::History;
use super::machine::{LIMIT, MARGIN, Machine};

/// All presses of a history.
#[derive(Debug, Default, Clone)]
pub(super) struct Presses(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    sent: BTreeMap<PressId, Sent>,
    /// The last time that any was sent or renewed.
    newest: Option<Instant>,
    /// When a router took a run up.
    taken: BTreeMap<RunId, Instant>,
    /// Which press a run is, where the car's word of it came through.
    runs: BTreeMap<RunId, PressId>,
    /// How many routers there were.
    routers: u64,
    /// How long a press may have waited for a guardian, being renewed meanwhile.
    waits: Duration,
}

#[derive(Debug)]
struct Sent {
    /// To which of the routers, one after another.
    router: u64,
    at: Instant,
    /// When it was sent or renewed last.
    held: Instant,
    /// Whether who sent it may have had control.
    is_drivers: bool,
}

impl Presses {
    /// A console sends this press, which nobody may who has no control.
    pub(super) fn pressed(&self, press: PressId, is_drivers: bool) {
        let at = Instant::now();
        let mut book = self.lock();
        let sent = Sent {
            router: book.routers,
            at,
            held: at,
            is_drivers,
        };
        book.sent.insert(press, sent);
        book.newest = Some(at);
    }

    /// The guardian is killed: what is pressed waits for the next.
    pub(super) fn wait(&self, time: Duration) {
        self.lock().waits = time;
    }

    /// A console renews it.
    pub(super) fn renewed(&self, press: PressId) {
        let mut book = self.lock();
        if let Some(sent) = book.sent.get_mut(&press) {
            sent.held = Instant::now();
        }
        book.newest = Some(Instant::now());
    }

    /// The last time that a driver wanted the motion that this run is, if it is a press; of any
    /// press, if nobody knows which it is.
    pub(super) fn held(&self, run: RunId) -> Option<Instant> {
        let book = self.lock();
        let press = book.runs.get(&run).and_then(|id| book.sent.get(id));
        press.map(|sent| sent.held).or(book.newest)
    }

    /// When a router took the run up.
    pub(super) fn taken(&self, run: RunId) -> Option<Instant> {
        self.lock().taken.get(&run).copied()
    }

    /// Hears all that this router tells.
    pub(super) async fn listen(
        self,
        mut feed: broadcast::Receiver<Arc<FeedEvent>>,
        machines: [Machine; 2],
    ) {
        self.lock().routers += 1;
        loop {
            let event = match feed.recv().await {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return,
            };
            match &*event {
                FeedEvent::Run(info) if info.result.is_none() => {
                    self.lock().taken.insert(info.run, Instant::now());
                    if info.source == RunSource::Send {
                        machines.iter().for_each(|car| car.expect(info.run, LIMIT));
                    }
                }
                FeedEvent::Motion {
                    event: MotionEvent::Started(moving),
                    ..
                } => {
                    if let Some(press) = moving.press {
                        self.lock().runs.insert(moving.run, press);
                    }
                }
                _ => {}
            }
        }
    }

    /// Promises 3 and 4, by what moved and stopped this car, in this order.
    pub(super) fn check(&self, machine: &Machine, history: &History) {
        let book = self.lock();
        let mut before: Option<(u64, PressId)> = None;
        let mut has_stopped = true;
        for begun in machine.begun() {
            if begun.is_stop {
                has_stopped = true;
                continue;
            }
            let was_stopped = std::mem::take(&mut has_stopped);
            let Some(press) = book.runs.get(&begun.run).copied() else {
                continue;
            };
            let run = begun.run;
            let Some(sent) = book.sent.get(&press).filter(|sent| sent.is_drivers) else {
                let how = format!("run {run} is {press:?} of one who had no control");
                history.broken(4, how);
                continue;
            };
            let age = begun.at - sent.at;
            if age > timing::MOTION_AGE + book.waits + MARGIN {
                history.broken(3, format!("run {run} began {age:?} after {press:?}"));
            }
            if let Some((_, old)) = before.filter(|(at, _)| *at == sent.router) {
                if press <= old {
                    history.broken(4, format!("run {run}: {press:?} came after {old:?}"));
                }
                if press.epoch != old.epoch && !was_stopped {
                    let how = format!("run {run}: no stop between {old:?} and {press:?}");
                    history.broken(4, how);
                }
            }
            before = Some((sent.router, press));
        }
    }

    /// Promise 3: what was taken up before a stop was, which had begun by then, does not begin.
    pub(super) fn check_stop(
        &self,
        stop: RunId,
        by_then: Instant,
        machine: &Machine,
        history: &History,
    ) {
        let Some(asked) = self.taken(stop) else {
            return;
        };
        for begun in machine.begun().iter().filter(|begun| !begun.is_stop) {
            let is_older = self.taken(begun.run).is_some_and(|taken| taken < asked);
            if is_older && begun.at > by_then + Duration::from_millis(1) {
                let how = format!(
                    "run {} began after the stop {stop}, which came later",
                    begun.run
                );
                history.broken(3, how);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }
}
