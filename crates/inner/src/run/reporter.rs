//! Sends the reports of runs to the link, if there is one, and into the history.

use std::sync::Arc;

use p2p_shared::names::{CommandName, RunId};
use p2p_shared::protocol::{InnerToRouter, RunReport};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::history::RunHistory;
use crate::clock;

#[derive(Debug, Clone)]
pub(crate) struct RunReporter {
    urgent: mpsc::UnboundedSender<InnerToRouter>,
    output: mpsc::Sender<InnerToRouter>,
    history: Arc<Mutex<RunHistory>>,
}

impl RunReporter {
    /// Makes one with these queues. Most reports that may wait in `urgent`: `session::MAX_UNREAD`.
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

    /// Records a run that is asked for. Returns false if its id is known already.
    pub(crate) fn begin(&self, run: RunId, command: &CommandName) -> bool {
        self.history.lock().begin(run, command, clock::now())
    }

    /// Returns what became of a run, if it is one of the last.
    pub(crate) fn report(&self, run: RunId) -> Option<RunReport> {
        self.history.lock().report(run, clock::now())
    }

    /// Sends a report that must not wait behind output: the start or the refusal of a run, and the
    /// car's motion.
    pub(crate) fn urgent(&self, message: InnerToRouter) {
        self.history.lock().record(&message);
        let _ = self.urgent.send(message);
    }

    /// Sends output, or the end behind it; several messages go into one write.
    pub(crate) async fn output<const N: usize>(&self, messages: [InnerToRouter; N]) {
        for message in &messages {
            self.history.lock().record(message);
        }
        if let Ok(places) = self.output.reserve_many(N).await {
            for (place, message) in places.zip(messages) {
                place.send(message);
            }
        }
    }

    /// Records a report without sending it, or before it is sent.
    pub(crate) fn remember(&self, message: &InnerToRouter) {
        self.history.lock().record(message);
    }
}
