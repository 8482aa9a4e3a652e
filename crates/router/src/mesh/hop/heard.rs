//! Notes when another member was heard of: one whose requests are answered here, or to which requests are
//! passed on. The first pings while one is; once it is silent its requests end, and with them what runs for
//! them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{PING, SILENT};
use crate::ops::shutdown::Shutdown;

/// Silence after which a member's requests end: that of the member's own limit, and a ping more.
const GONE: Duration = SILENT.saturating_add(PING);

/// Time at which another member was last heard of, and its requests that are open here.
#[derive(Debug)]
pub(crate) struct Heard(Mutex<State>);

#[derive(Debug)]
struct State {
    at: Instant,
    /// When it was heard again after a time in which it, or this router, may have stood still.
    again: Option<Instant>,
    /// Its requests that are not answered yet.
    open: usize,
    is_watched: bool,
    /// Cancelled, and replaced, when it is silent.
    silent: CancellationToken,
}

/// A request of the member that is being answered.
#[derive(Debug)]
pub(crate) struct Answering {
    heard: Arc<Heard>,
    /// True if the request may have waited unread for longer than its caller has.
    pub may_be_old: bool,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.heard.0.lock().open -= 1;
    }
}

impl Default for Heard {
    fn default() -> Self {
        Self(Mutex::new(State {
            at: Instant::now(),
            again: None,
            open: 0,
            is_watched: false,
            silent: CancellationToken::new(),
        }))
    }
}

impl State {
    fn note(&mut self) {
        let now = Instant::now();
        if now - self.at >= SILENT {
            self.again = Some(now);
        }
        self.at = now;
    }
}

/// When something came from a member to which requests are passed on, on any connection.
#[derive(Debug)]
pub(super) struct LastHeard {
    first: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
}

impl LastHeard {
    pub(super) fn new() -> Self {
        Self {
            first: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    pub(super) fn note(&self) {
        let since = self.first.elapsed().as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    pub(super) fn at(&self) -> Instant {
        self.first + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

impl Heard {
    /// Cancelled when the member falls silent.
    pub(crate) fn silent(&self) -> CancellationToken {
        self.0.lock().silent.clone()
    }

    pub(crate) fn ping(&self) {
        self.0.lock().note();
    }

    /// Notes a request of the member, and watches it until that is answered.
    pub(crate) fn asks(self: &Arc<Self>, shutdown: &Shutdown) -> Answering {
        let mut state = self.0.lock();
        state.note();
        let may_be_old = state.again.is_some_and(|again| again.elapsed() < PING);
        state.open += 1;
        if !std::mem::replace(&mut state.is_watched, true) {
            drop(state);
            let heard = self.clone();
            shutdown.spawn(async move { heard.watch().await });
        }
        Answering {
            heard: self.clone(),
            may_be_old,
        }
    }

    async fn watch(&self) {
        loop {
            let next = {
                let mut state = self.0.lock();
                if state.open == 0 {
                    state.is_watched = false;
                    return;
                }
                if state.at.elapsed() >= GONE {
                    std::mem::take(&mut state.silent).cancel();
                    state.at = Instant::now();
                }
                state.at + GONE
            };
            tokio::time::sleep_until(next).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_has_requests_here_and_says_nothing_is_gone_and_who_pings_is_not() {
        let (heard, shutdown) = (Arc::new(Heard::default()), Shutdown::default());
        let seconds = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        let silent = heard.silent();
        drop(heard.asks(&shutdown));
        seconds(60).await;
        let open = heard.asks(&shutdown);
        for _ in 0..60 {
            seconds(3).await;
            heard.ping();
        }
        assert!(!silent.is_cancelled());
        seconds(5).await;
        assert!(silent.is_cancelled() && !heard.silent().is_cancelled());
        drop(open);
        seconds(60).await;
        assert!(!heard.0.lock().is_watched);
        // What came after so long was perhaps sent long before.
        assert!(heard.asks(&shutdown).may_be_old);
        assert!(heard.asks(&shutdown).may_be_old);
        seconds(2).await;
        assert!(!heard.asks(&shutdown).may_be_old);
    }
}
