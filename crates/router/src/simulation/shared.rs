//! Owns what the parts of any history share, of one router or of three: its log, the people's input, the machines.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::history::History;
use super::machine::Machine;
use super::operator::ConsoleView;
use super::press_ledger::PressLedger;
use super::rng::Rng;

/// The shared state of one history.
pub(super) struct SharedWorld {
    pub history: History,
    pub presses: PressLedger,
    /// The car's machine, and that of a second inner.
    pub machines: [Machine; 2],
    /// The command directory.
    pub commands: PathBuf,
    is_quiet: AtomicBool,
    has_twin: AtomicBool,
    /// Time for which routers were stopped in all.
    stalled: Mutex<Duration>,
    /// What each console that is connected shows.
    views: Mutex<BTreeMap<u64, ConsoleView>>,
}

impl SharedWorld {
    pub(super) fn new(history: History, rng: &Rng, commands: PathBuf) -> Self {
        let presses = PressLedger::default();
        let machine = || Machine::new(rng.fork(), history.clone(), presses.clone());
        Self {
            machines: [machine(), machine()],
            history,
            presses,
            commands,
            is_quiet: AtomicBool::new(false),
            has_twin: AtomicBool::new(false),
            stalled: Mutex::default(),
            views: Mutex::default(),
        }
    }

    /// Ends all input: from now on nobody makes requests or drives.
    pub(super) fn be_quiet(&self) {
        self.is_quiet.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::Relaxed)
    }

    /// From now on there are two inners with the car's identity.
    pub(super) fn set_twin(&self) {
        self.has_twin.store(true, Ordering::Relaxed);
    }

    /// Returns true if there were ever two inners with the car's identity.
    pub(super) fn has_twin(&self) -> bool {
        self.has_twin.load(Ordering::Relaxed)
    }

    /// Notes that a router is stopped for so long.
    pub(super) fn stalls_for(&self, time: Duration) {
        *self.stalled.lock().unwrap() += time;
    }

    /// Time for which routers were stopped in all: requests may be late by that.
    pub(super) fn stalled(&self) -> Duration {
        *self.stalled.lock().unwrap()
    }

    /// Notes what a console shows; `None`: it is not connected.
    pub(super) fn shows(&self, console: u64, view: Option<ConsoleView>) {
        let mut views = self.views.lock().unwrap();
        match view {
            Some(view) => views.insert(console, view),
            None => views.remove(&console),
        };
    }

    /// What each console that is connected shows.
    pub(super) fn views(&self) -> Vec<ConsoleView> {
        self.views.lock().unwrap().values().cloned().collect()
    }

    /// Waits until the car stands and no process is left, for this time at most.
    pub(super) async fn calm(&self, limit: Duration) {
        let is_calm = |machine: &Machine| !machine.is_moving() && machine.process_count() == 0;
        let began = tokio::time::Instant::now();
        while !self.machines.iter().all(is_calm) && began.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Checks that the car stands, no process is left, and no run was executed twice.
    pub(super) fn check_machines(&self) {
        for machine in &self.machines {
            if machine.is_moving() {
                self.history.violation(3, "the car still moves at the end");
            }
            let processes = machine.process_count();
            if processes > 0 {
                let how = format!("{processes} processes are left");
                self.history.violation(6, how);
            }
            for run in machine.executed_twice() {
                let how = format!("run {run} was executed more than once");
                self.history.violation(1, how);
            }
        }
        let other = self.machines[1].executed_count();
        if other > 0 && !self.has_twin() {
            let how = format!("{other} runs on another's machine");
            self.history.violation(4, how);
        }
    }
}
