//! The log of one history, and the promises that were broken in it.

use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// The log so far.
#[derive(Debug, Clone)]
pub(super) struct History(Arc<Mutex<HistoryState>>);

#[derive(Debug)]
struct HistoryState {
    began: Instant,
    is_kept: bool,
    lines: Vec<String>,
    violations: Vec<String>,
    /// Hash of the events: two histories that differ have different fingerprints.
    fingerprint: u64,
    counts: HistoryCounts,
}

/// Counts of the events of a history.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HistoryCounts {
    pub faults: u64,
    pub motions: u64,
    pub executions: u64,
    pub answers: u64,
    pub unknown: u64,
    /// From the end of all faults to the first answer, where it was measured.
    pub back: Option<Duration>,
}

/// The result of a history.
#[derive(Debug)]
pub(super) struct HistoryOutcome {
    pub lines: Vec<String>,
    pub violations: Vec<String>,
    pub fingerprint: u64,
    pub counts: HistoryCounts,
}

impl History {
    /// A history that begins now. Without `is_kept` only broken promises are logged.
    pub(super) fn new(is_kept: bool) -> Self {
        Self(Arc::new(Mutex::new(HistoryState {
            began: Instant::now(),
            is_kept,
            lines: Vec::new(),
            violations: Vec::new(),
            fingerprint: 0,
            counts: HistoryCounts::default(),
        })))
    }

    /// Logs an event.
    pub(super) fn log(&self, what: impl FnOnce() -> String) {
        let mut state = self.0.lock().unwrap();
        let at = state.began.elapsed();
        if state.is_kept {
            let line = format!("{:>10.4} {}", at.as_secs_f64(), what());
            state.lines.push(line);
        }
    }

    /// Adds an event to the fingerprint: later events depend on it.
    pub(super) fn mark(&self, number: u64) {
        let mut state = self.0.lock().unwrap();
        let at = u64::try_from(state.began.elapsed().as_micros()).unwrap();
        // Summed, since the order of events at one moment, as when a link is lost, is not fixed.
        let mixed = (at.rotate_left(32) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
        state.fingerprint = state.fingerprint.wrapping_add(mixed ^ (mixed >> 29));
    }

    /// Records a broken promise.
    pub(super) fn violation(&self, promise: u32, how: impl Display) {
        let mut state = self.0.lock().unwrap();
        let at = state.began.elapsed().as_secs_f64();
        let line = format!("{at:>10.4} PROMISE {promise} BROKEN: {how}");
        state.lines.push(line.clone());
        state.violations.push(line);
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut HistoryCounts)) {
        count(&mut self.0.lock().unwrap().counts);
    }

    pub(super) fn end(&self) -> HistoryOutcome {
        let mut state = self.0.lock().unwrap();
        HistoryOutcome {
            lines: std::mem::take(&mut state.lines),
            violations: std::mem::take(&mut state.violations),
            fingerprint: state.fingerprint,
            counts: state.counts,
        }
    }
}

/// Runs a history of this seed on paused time: all of it within this limit.
pub(super) fn in_history(
    seed: u64,
    is_verbose: bool,
    limit: Duration,
    live: impl AsyncFnOnce(&History),
) -> HistoryOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        p2p_inner::simulation::simulate_the_clock();
        p2p_shared::os::seed_randomness(seed);
        let history = History::new(is_verbose);
        if timeout(limit, live(&history)).await.is_err() {
            history.violation(2, "the history does not end");
        }
        history.end()
    })
}
