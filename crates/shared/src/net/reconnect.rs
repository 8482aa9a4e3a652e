//! Reconnects to the router: the part that inner, console and the camera's connection have in common.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;

use super::dialer::{self, DialError, RouterAddress};
use super::transport::Transport;
use crate::backoff::Backoff;
use crate::key::Key;
use crate::os::jitter;
use crate::timing;

/// Dials again and again, and remembers earlier attempts.
///
/// Loop of the caller: [`dial`](Self::dial), [`connected`](Self::connected) once the router has
/// welcomed it, and after the connection's end or a failed attempt [`pause`](Self::pause) and
/// [`wait`](Self::wait).
#[derive(Debug, Default)]
pub struct Reconnect {
    /// Address at which the router was reached last.
    reached: Option<SocketAddr>,
    backoff: Backoff,
    reconnect_now: Arc<Notify>,
}

impl Reconnect {
    /// Makes a schedule whose pauses end early each time that `reconnect_now` is notified.
    #[must_use]
    pub fn new(reconnect_now: Arc<Notify>) -> Self {
        Self {
            reconnect_now,
            ..Self::default()
        }
    }

    /// Opens a WebSocket to this path of the router's main port, within [`timing::HELLO`]. If the
    /// router's name is not found, or not soon, the last address is tried.
    ///
    /// A key is sent over TLS only. Without a key there is nothing to know the router by: then only a
    /// router on this machine is spoken to. `open` (`--open`) takes the risk: without a key any router
    /// will do, and a key without a fingerprint goes in the clear to a router on this machine.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn dial(
        &mut self,
        router: &RouterAddress,
        path: &str,
        key: Option<&Key>,
        open: bool,
    ) -> Result<WebSocketStream<Transport>, DialError> {
        dialer::dial(&mut self.reached, router, path, key, open).await
    }

    /// Notes that the connection is up. If it lasts, the next outage begins with short pauses.
    pub fn connected(&mut self) {
        self.backoff.connected(timing::now());
    }

    /// Returns the pause before the next attempt: that of [`Backoff`] with jitter, at least `least`.
    #[must_use]
    pub fn pause(&mut self, least: Duration) -> Duration {
        self.backoff.pause(timing::now(), jitter()).max(least)
    }

    /// Waits for this pause, or until someone asks for an attempt at once: then the pauses are
    /// short again.
    pub async fn wait(&mut self, pause: Duration) {
        tokio::select! {
            biased;
            () = sleep(pause) => {}
            () = self.reconnect_now.notified() => self.backoff.restart(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_an_attempt_at_once_ends_the_pause_and_the_long_pauses() {
        let reconnect_now = Arc::new(Notify::new());
        let mut reconnect = Reconnect::new(Arc::clone(&reconnect_now));
        for _ in 0..10 {
            let pause = reconnect.pause(Duration::ZERO);
            reconnect.wait(pause).await;
        }
        let asked = timing::now();
        reconnect_now.notify_one();
        reconnect.wait(Duration::from_secs(60)).await;
        assert_eq!(timing::now(), asked);
        assert!(reconnect.pause(Duration::ZERO) <= Duration::from_millis(200));
    }

    #[test]
    fn a_pause_is_never_below_the_least() {
        let minute = Duration::from_secs(60);
        assert_eq!(Reconnect::default().pause(minute), minute);
    }
}
