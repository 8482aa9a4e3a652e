//! Records the operators' presses and the runs that the router accepted, and checks that each motion of
//! the car was allowed: one driver at a time, nothing old, nothing that came before a stop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use p2p_shared::names::RunId;
use p2p_shared::protocol::{FeedEvent, MotionEvent, PressId, RunSource};
use p2p_shared::timing;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::history::History;
use super::machine::{CommandStart, LIMIT, MARGIN, Machine};

/// All presses of a history.
#[derive(Debug, Default, Clone)]
pub(super) struct PressLedger(Arc<Mutex<LedgerState>>);

#[derive(Debug, Default)]
struct LedgerState {
    sent: BTreeMap<PressId, SentPress>,
    /// Time at which any press was last sent or renewed.
    newest: Option<Instant>,
    /// Time at which a router accepted each run.
    accepted: BTreeMap<RunId, Instant>,
    /// The press of a run, where the car's report of it came through.
    runs: BTreeMap<RunId, PressId>,
    /// The runs that routers have open, each with its router and the name of its key.
    open: BTreeMap<RunId, (u64, String)>,
    /// Number of routers so far.
    routers: u64,
    /// The router that gave control under each epoch.
    epochs: BTreeMap<u64, u64>,
    /// Time for which a press may have waited for a guardian while it was renewed.
    waits: Duration,
}

#[derive(Debug)]
struct SentPress {
    /// Number of the router that got the press.
    router: u64,
    at: Instant,
    /// Time at which the press was last sent or renewed.
    held: Instant,
    /// True if the sender may have had control.
    is_drivers: bool,
    /// Number of the sender.
    by: u64,
}

impl PressLedger {
    /// Notes that the console or page with this number sends this press; `is_drivers`: it may have control.
    pub(super) fn pressed(&self, press: PressId, is_drivers: bool, by: u64) {
        let at = Instant::now();
        let mut state = self.lock();
        let sent = SentPress {
            router: state.routers,
            at,
            held: at,
            is_drivers,
            by,
        };
        state.sent.insert(press, sent);
        state.newest = Some(at);
    }

    /// Notes that the guardian was killed: a press may wait this long for the next one.
    pub(super) fn allow_guardian_wait(&self, time: Duration) {
        self.lock().waits = time;
    }

    /// Notes that a console renews this press.
    pub(super) fn renewed(&self, press: PressId) {
        let mut state = self.lock();
        if let Some(sent) = state.sent.get_mut(&press) {
            sent.held = Instant::now();
        }
        state.newest = Some(Instant::now());
    }

    /// Time at which the press of this run was last sent or renewed; any press, if the run's is not
    /// known.
    pub(super) fn last_wanted(&self, run: RunId) -> Option<Instant> {
        let state = self.lock();
        let press = state.runs.get(&run).and_then(|id| state.sent.get(id));
        press.map(|sent| sent.held).or(state.newest)
    }

    /// Time at which a router accepted this run.
    pub(super) fn accepted_at(&self, run: RunId) -> Option<Instant> {
        self.lock().accepted.get(&run).copied()
    }

    /// Returns true if a router has a run open that was asked for with this key.
    pub(super) fn has_open_run(&self, key: &str) -> bool {
        self.lock().open.values().any(|(_, of)| of == key)
    }

    /// Follows the feed of a new router.
    pub(super) async fn follow_feed(
        self,
        mut feed: broadcast::Receiver<Arc<FeedEvent>>,
        machines: [Machine; 2],
    ) {
        let router = {
            let mut state = self.lock();
            state.routers += 1;
            state.routers
        };
        loop {
            let event = match feed.recv().await {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => {
                    return self.lock().open.retain(|_, (at, _)| *at != router);
                }
            };
            if let FeedEvent::Run(info) = &*event {
                let open = &mut self.lock().open;
                match info.result {
                    None => open.insert(info.run, (router, info.key.raw().to_owned())),
                    Some(_) => open.remove(&info.run),
                };
            }
            match &*event {
                FeedEvent::Run(info) if info.result.is_none() => {
                    self.lock().accepted.insert(info.run, Instant::now());
                    if info.source != RunSource::Drive {
                        machines
                            .iter()
                            .for_each(|car| car.expect_motion(info.run, LIMIT));
                    }
                }
                FeedEvent::Control { control, .. } => {
                    self.lock().epochs.insert(control.epoch, router);
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

    /// Checks promises 3 and 4 by the order of motions and stops of this car.
    pub(super) fn check(&self, machine: &Machine, history: &History) {
        let state = self.lock();
        let mut before: Option<(u64, PressId)> = None;
        for (begun, was_stopped) in motions(machine) {
            let Some(press) = state.runs.get(&begun.run).copied() else {
                continue;
            };
            let run = begun.run;
            let Some(sent) = state.sent.get(&press).filter(|sent| sent.is_drivers) else {
                let how = format!("run {run} is {press:?} of a console that had no control");
                history.violation(4, how);
                continue;
            };
            let age = begun.at - sent.at;
            if age > timing::MOTION_AGE + state.waits + MARGIN {
                history.violation(3, format!("run {run} began {age:?} after {press:?}"));
            }
            if let Some((_, old)) = before.filter(|(at, _)| *at == sent.router) {
                if press <= old {
                    history.violation(4, format!("run {run}: {press:?} came after {old:?}"));
                }
                if press.epoch != old.epoch && !was_stopped {
                    let how = format!("run {run}: no stop between {old:?} and {press:?}");
                    history.violation(4, how);
                }
            }
            before = Some((sent.router, press));
        }
    }

    /// Checks that no two drivers move this car, whichever routers they press at.
    pub(super) fn check_drivers(&self, machine: &Machine, history: &History) {
        let state = self.lock();
        let mut before: Option<(u64, PressId)> = None;
        for (begun, was_stopped) in motions(machine) {
            let run = begun.run;
            let press = state.runs.get(&run).copied();
            let Some((press, sent)) = press.and_then(|id| Some((id, state.sent.get(&id)?))) else {
                continue;
            };
            if !sent.is_drivers {
                let how = format!("run {run} is {press:?} of one who has no control");
                history.violation(8, how);
            }
            let age = begun.at - sent.at;
            if age > timing::MOTION_AGE + MARGIN {
                history.violation(3, format!("run {run} began {age:?} after {press:?}"));
            }
            if let Some((by, old)) = before {
                if by != sent.by && !was_stopped {
                    let how =
                        format!("run {run}: no stop between {old:?} and {press:?} of another");
                    history.violation(8, how);
                }
                let router = |press: PressId| state.epochs.get(&press.epoch);
                if press <= old && router(press) == router(old) {
                    history.violation(8, format!("run {run}: {press:?} came after {old:?}"));
                }
            }
            before = Some((sent.by, press));
        }
    }

    /// Checks promise 3: a motion that was accepted before a stop does not start after that stop.
    pub(super) fn check_stop(
        &self,
        stop: RunId,
        by_then: Instant,
        machine: &Machine,
        history: &History,
    ) {
        let Some(asked) = self.accepted_at(stop) else {
            return;
        };
        for begun in machine.starts().iter().filter(|begun| !begun.is_stop) {
            let is_older = self.accepted_at(begun.run).is_some_and(|at| at < asked);
            if is_older && begun.at > by_then + Duration::from_millis(1) {
                let how = format!(
                    "run {} began after the stop {stop}, which came later",
                    begun.run
                );
                history.violation(3, how);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, LedgerState> {
        self.0.lock().unwrap()
    }
}

/// Returns the motions in the order of their start, each with whether it is the first one or comes after a stop.
fn motions(machine: &Machine) -> Vec<(CommandStart, bool)> {
    let mut has_stopped = true;
    let mut motions = Vec::new();
    for begun in machine.starts() {
        let was_stopped = std::mem::replace(&mut has_stopped, begun.is_stop);
        if begun.is_stop {
            continue;
        }
        motions.push((begun, was_stopped));
    }
    motions
}
