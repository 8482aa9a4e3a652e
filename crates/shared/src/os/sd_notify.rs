//! Owns what systemd is told of us, where it is there and wants to know (sd_notify(3)): that we
//! are ready, that we end, and that we live. To anyone else this says nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// We do our work.
pub fn ready() {
    say(&[NotifyState::Ready]);
}

/// We are about to end.
pub fn stopping() {
    say(&[NotifyState::Stopping]);
}

/// We are about to be the program in our file; [`ready`] follows.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        say(&[NotifyState::Reloading, now]);
    }
}

/// We have just proved that we do our work.
pub fn alive() {
    say(&[NotifyState::Watchdog]);
}

/// How often to prove it: half of the time after which we are killed for silence, as
/// sd_watchdog_enabled(3) advises. `None`: nobody waits for it.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd can't be told");
    }
}
