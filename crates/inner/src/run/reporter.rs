//! Sends the reports of runs to the link, if there is one, and into the history.

use std::convert::Infallible;
use std::sync::Arc;

use p2p_shared::names::{CommandName, RunId};
use p2p_shared::protocol::InnerToRouter;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::history::RunHistory;
use crate::clock;
use crate::ring::Ring;

/// Pieces of output that wait for the link, those of all runs together: few, so that none is old.
const WAITING_OUTPUT: usize = 4;

/// Takes reports. Clones share it: each run has one.
#[derive(Debug, Clone)]
pub(crate) struct RunReporter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    urgent: mpsc::UnboundedSender<InnerToRouter>,
    output: mpsc::Sender<InnerToRouter>,
    history: Mutex<RunHistory>,
    ring: Ring,
}

/// Reports that wait for the link.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Most that may wait: `session::MAX_UNREAD`.
    pub urgent: mpsc::UnboundedReceiver<InnerToRouter>,
    pub output: mpsc::Receiver<InnerToRouter>,
}

impl Outbox {
    /// Throws reports away while there is no link.
    pub(crate) async fn discard(&mut self) -> Infallible {
        loop {
            tokio::select! {
                biased;
                _ = self.urgent.recv() => {}
                _ = self.output.recv() => {}
            }
        }
    }
}

impl RunReporter {
    pub(crate) fn new(ring: Ring) -> (Self, Outbox) {
        let (urgent, urgent_out) = mpsc::unbounded_channel();
        let (output, output_out) = mpsc::channel(WAITING_OUTPUT);
        let reporter = Self(Arc::new(Shared {
            urgent,
            output,
            history: Mutex::default(),
            ring,
        }));
        let outbox = Outbox {
            urgent: urgent_out,
            output: output_out,
        };
        (reporter, outbox)
    }

    /// Where the car's past is kept.
    pub(crate) fn ring(&self) -> &Ring {
        &self.0.ring
    }

    /// Records a run that is asked for. Returns false if its id is known already.
    pub(crate) fn begin(&self, run: RunId, command: &CommandName) -> bool {
        self.0.history.lock().begin(run, command, clock::now())
    }

    /// Reports what became of a run to a caller that lost its answer.
    pub(crate) fn report(&self, run: RunId) {
        let report = self.0.history.lock().report(run, clock::now());
        self.urgent(InnerToRouter::Run { run, report });
    }

    /// Sends a report that must not wait behind output: the start or the refusal of a run, and the
    /// car's motion.
    pub(crate) fn urgent(&self, message: InnerToRouter) {
        self.remember(&message);
        let _ = self.0.urgent.send(message);
    }

    /// Sends output, or the end after it; several messages go into one write.
    pub(crate) async fn output<const N: usize>(&self, messages: [InnerToRouter; N]) {
        messages.iter().for_each(|message| self.remember(message));
        if let Ok(places) = self.0.output.reserve_many(N).await {
            for (place, message) in places.zip(messages) {
                place.send(message);
            }
        }
    }

    /// Records a report without sending it, or before it is sent.
    pub(crate) fn remember(&self, message: &InnerToRouter) {
        self.0.history.lock().record(message);
    }
}
