//! Signals that end a program: the first one lets what runs end, the second one ends it at once.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// Time after the first request in which a SIGTERM is the same request: `pkill -f` and
/// `kill $(pidof …)` reach the front as well as the program, and the front passes its signal on.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// Receiver of SIGINT and SIGTERM.
#[derive(Debug)]
pub struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
    requests: Requests,
}

/// Requests to end that have come so far.
#[derive(Debug, Default)]
struct Requests {
    first: Option<Instant>,
}

impl EndSignals {
    /// Receives the signals from now on. Until then they end the process without a word.
    ///
    /// # Errors
    /// If the system gives no handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            requests: Requests::default(),
        })
    }

    /// Waits for the next request to end.
    pub async fn next(&mut self) {
        loop {
            let is_interrupt = tokio::select! {
                biased;
                _ = self.interrupt.recv() => true,
                _ = self.terminate.recv() => false,
            };
            if self.requests.is_new(is_interrupt, Instant::now()) {
                return;
            }
        }
    }

    /// Waits for `work`; returns `None` if a request to end comes before.
    pub async fn before<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.next() => None,
            done = work => Some(done),
        }
    }
}

impl Requests {
    /// Returns true if a signal that comes at this time is a request of its own.
    fn is_new(&mut self, is_interrupt: bool, now: Instant) -> bool {
        let Some(first) = self.first else {
            self.first = Some(now);
            return true;
        };
        is_interrupt || now.duration_since(first) >= SAME_REQUEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sigterms_at_once_are_one_request_and_two_ctrl_c_are_two() {
        let began = Instant::now();
        let are_new = |signals: &[(bool, u64)]| -> Vec<bool> {
            let mut requests = Requests::default();
            let signals = signals.iter();
            signals
                .map(|(is_interrupt, ms)| {
                    requests.is_new(*is_interrupt, began + Duration::from_millis(*ms))
                })
                .collect()
        };
        let (int, term) = (true, false);
        assert_eq!(
            are_new(&[(term, 0), (term, 1), (term, 999), (term, 1000)]),
            [true, false, false, true]
        );
        assert_eq!(are_new(&[(int, 0), (int, 1)]), [true, true]);
        assert_eq!(are_new(&[(term, 0), (int, 1)]), [true, true]);
        assert_eq!(are_new(&[(int, 0), (term, 1)]), [true, false]);
    }
}
