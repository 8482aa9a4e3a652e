//! Tells systemd, if it wants to know (sd_notify(3)), that this program is ready, is ending, or is
//! alive.

use std::time::Duration;

use sd_notify::NotifyState;

/// Reports that the program is ready.
pub fn ready() {
    say(&[NotifyState::Ready]);
}

/// Reports how the program is doing, in a line that `systemctl status` shows.
pub fn status(line: &str) {
    say(&[NotifyState::Status(line)]);
}

/// Reports that the program is ending.
pub fn stopping() {
    say(&[NotifyState::Stopping]);
}

/// Reports that the program is about to replace itself; [`ready`] follows.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        say(&[NotifyState::Reloading, now]);
    }
}

/// Reports that the program has just proved that it works.
pub fn alive() {
    say(&[NotifyState::Watchdog]);
}

/// Returns the interval of [`alive`] reports: half of the time after which systemd kills a silent
/// program, as sd_watchdog_enabled(3) advises. `None`: systemd doesn't ask for them.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd can't be told");
    }
}
