//! Owns the runs that are open: each can be reached until it ends.

use std::collections::HashMap;
use std::sync::Arc;

use p2p_shared::names::RunId;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::output::Window;

/// The open runs. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunTable(Arc<Mutex<HashMap<RunId, RunEntry>>>);

#[derive(Debug)]
struct RunEntry {
    window: Window,
    caller: CancellationToken,
    counts: bool,
}

/// Takes a run out of the table when dropped.
#[derive(Debug)]
pub(crate) struct EntryGuard(RunTable, RunId);

impl Drop for EntryGuard {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}

impl RunTable {
    /// Adds a run until the guard is dropped. `caller` is cancelled when the run's caller has gone
    /// away; `counts`: whether `--max-runs` bounds it.
    pub(crate) fn add(
        &self,
        run: RunId,
        window: &Window,
        caller: &CancellationToken,
        counts: bool,
    ) -> EntryGuard {
        let entry = RunEntry {
            window: window.clone(),
            caller: caller.clone(),
            counts,
        };
        self.0.lock().insert(run, entry);
        EntryGuard(self.clone(), run)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    pub(crate) fn counted(&self) -> usize {
        self.0.lock().values().filter(|entry| entry.counts).count()
    }

    /// Lets a run send so much more output.
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
