//! Owns where a run's reporter go: to the link that there is, if there is one, and into the history
//! of what became of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use p2p_shared::names::{CommandName, RunId};
use p2p_shared::protocol::{InnerToRouter, RunReport};
use tokio::sync::mpsc;

use super::history::RunHistory;
use crate::clock;

/// Where a run's reporter go.
#[derive(Debug, Clone)]
pub(crate) struct RunReporter {
    urgent: mpsc::UnboundedSender<InnerToRouter>,
    output: mpsc::Sender<InnerToRouter>,
    history: Arc<Mutex<RunHistory>>,
}

impl RunReporter {
    /// To these queues. Most that may wait in `urgent`: `session::MAX_UNREAD`.
    pub(crate) fn new(
        urgent: mpsc::UnboundedSender<InnerToRouter>,
        output: mpsc::Sender<InnerToRouter>,
    ) -> Self {
        let history = Arc::default();
        Self {
            urgent,
            output,
            history,
        }
    }

    /// A run is asked for; whether it is the first time.
    pub(crate) fn begin(&self, run: RunId, command: &CommandName) -> bool {
        self.history().begin(run, command, clock::now())
    }

    /// What became of a run, if it is one of the last.
    pub(crate) fn story(&self, run: RunId) -> Option<RunReport> {
        self.history().story(run, clock::now())
    }

    /// Says what must not wait behind output: of each run that is asked for its start or why there
    /// is none, and what becomes of the car's motion.
    pub(crate) fn urgent(&self, message: InnerToRouter) {
        self.history().record(&message);
        let _ = self.urgent.send(message);
    }

    /// Says output, or the end behind it; several go in one write.
    pub(crate) async fn output<const N: usize>(&self, messages: [InnerToRouter; N]) {
        for message in &messages {
            self.history().record(message);
        }
        if let Ok(places) = self.output.reserve_many(N).await {
            for (place, message) in places.zip(messages) {
                place.send(message);
            }
        }
    }

    /// What is so, and not said, or not yet.
    pub(crate) fn remember(&self, message: &InnerToRouter) {
        self.history().record(message);
    }

    /// It is whole whenever nobody holds it, even after a panic.
    fn history(&self) -> MutexGuard<'_, RunHistory> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
