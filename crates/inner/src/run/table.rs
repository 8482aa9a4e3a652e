//! Owns the runs that are open: each can be reached until it ends.

use std::sync::Arc;

use p2p_shared::names::{RunId, RunMap};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{Run, Window};

/// The open runs. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunTable(Arc<Mutex<RunMap<RunEntry>>>);

#[derive(Debug)]
struct RunEntry {
    window: Window,
    caller: CancellationToken,
    counts: bool,
}

/// Keeps a run in the table, and the inner from ending, until it is dropped.
#[derive(Debug)]
pub(crate) struct EntryGuard {
    table: RunTable,
    run: RunId,
    _waited_for: TaskTrackerToken,
}

impl Drop for EntryGuard {
    fn drop(&mut self) {
        self.table.0.lock().remove(&self.run);
    }
}

impl RunTable {
    /// Adds a run until the guard is dropped. `counts`: whether `--max-runs` bounds it.
    pub(crate) fn add(&self, run: &Run, counts: bool) -> EntryGuard {
        let entry = RunEntry {
            window: run.window.clone(),
            caller: run.caller.clone(),
            counts,
        };
        self.0.lock().insert(run.id(), entry);
        EntryGuard {
            table: self.clone(),
            run: run.id(),
            _waited_for: run.tracker.token(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    pub(crate) fn counted(&self) -> usize {
        self.0.lock().values().filter(|entry| entry.counts).count()
    }

    /// Lets a run send this many more units of output.
    pub(crate) fn grant(&self, run: RunId, units: u32) {
        if let Some(entry) = self.0.lock().get(&run) {
            entry.window.grant(units);
        }
    }

    pub(crate) fn cancel(&self, run: RunId) {
        if let Some(entry) = self.0.lock().get(&run) {
            entry.caller.cancel();
        }
    }

    pub(crate) fn cancel_all(&self) {
        self.0.lock().values().for_each(|run| run.caller.cancel());
    }

    /// Throws away what the runs write from now on.
    pub(crate) fn detach_output(&self) {
        self.0.lock().values().for_each(|run| run.window.close());
    }
}
