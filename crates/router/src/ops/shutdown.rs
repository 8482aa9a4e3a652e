//! Phases of the router's shutdown, and the tasks that it waits for.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The phases of a router's end, each a token that is cancelled once, and its tasks by kind. Clones share
/// them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown {
    /// No new runs.
    pub draining: CancellationToken,
    /// No new connections: they wait at the sockets for the router after this one.
    pub handing_over: CancellationToken,
    /// Nothing new at all.
    pub closed: CancellationToken,
    pub open_runs: TaskTracker,
    /// Connections to service ports.
    pub callers: TaskTracker,
    /// All other tasks but those of links, consoles and pages.
    pub connections: TaskTracker,
    pub links: TaskTracker,
}

impl Shutdown {
    /// Runs a task until the router closes.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.clone();
        self.connections
            .spawn(closed.run_until_cancelled_owned(task));
    }
}
