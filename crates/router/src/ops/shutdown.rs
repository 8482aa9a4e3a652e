//! Phases of the router's shutdown, and the tasks that it waits for.

use futures_util::FutureExt;
use tokio::task::JoinHandle;
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
            .spawn(own(closed.run_until_cancelled_owned(task).map(drop)));
    }
}

/// A task of this router: in the simulation all tasks of one stand still and die together.
pub(crate) fn own<F: Future<Output = ()> + Send + 'static>(
    task: F,
) -> impl Future<Output = ()> + Send + 'static {
    #[cfg(test)]
    let task = crate::simulation::process::of_current(task);
    task
}

/// Runs what blocks on the disk on a thread for that; in the simulation at once.
pub(crate) fn spawn_blocking<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    #[cfg(test)]
    if crate::simulation::process::is_simulated() {
        let done = act();
        return tokio::spawn(async { done });
    }
    tokio::task::spawn_blocking(act)
}
