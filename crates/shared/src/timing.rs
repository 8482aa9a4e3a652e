//! Owns every duration that two programs must agree on, each with its reason.

use std::time::{Duration, Instant};

/// From TCP connect to the end of the hello: resolving, connecting, upgrading and being welcomed.
/// rathole waits 5 s, bore 3 s, NATS 2 s.
pub const HELLO: Duration = Duration::from_secs(5);

/// How often a link is pinged, and after how much silence it is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time between pings.
    pub ping: Duration,
    /// Silence after which the peer is taken for dead; also `TCP_USER_TIMEOUT`.
    pub dead: Duration,
}

/// The pace while a run is open: a dead link is noticed within 6 s.
pub const PACE_BUSY: Pace = Pace {
    ping: Duration::from_secs(2),
    dead: Duration::from_secs(6),
};

/// The pace of an idle link: a 2 s ping would cost a SIM card some 370 MB a month.
pub const PACE_IDLE: Pace = Pace {
    ping: Duration::from_secs(20),
    dead: Duration::from_secs(60),
};

/// How long a link stays at the busy pace after its last run, so that a burst of runs doesn't
/// switch back and forth.
pub const BUSY_LINGER: Duration = Duration::from_secs(10);

/// Motion that goes by an older tick of the car's clock, or has waited longer, is dropped: above
/// this round trip nobody drives.
pub const MOTION_AGE: Duration = Duration::from_secs(1);

/// A run that reaches the car later than this after it was asked for, all of it, is not begun. What
/// its input takes on its way to the car is not counted, but for a motion. Below [`PACE_BUSY`]'s
/// dead time, so that hardly a run begins after its caller was told "link lost",
/// which says that nobody knows.
pub const RUN_DEADLINE: Duration = Duration::from_secs(5);

/// Between SIGTERM and SIGKILL to a run's process group (websocketd's pause is of this order).
pub const KILL_GRACE: Duration = Duration::from_secs(2);

/// How long what a command leaves behind may live on: its process group, or a pipe that a
/// grandchild holds.
pub const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// How long a service port stays open, answering 503, after its link was lost.
pub const PORT_KEPT: Duration = Duration::from_secs(60);

/// How long running commands get to end when a program is told to stop (NATS' lame duck mode,
/// cloudflared's grace period).
pub const DRAIN: Duration = Duration::from_secs(30);

/// Inners that a router sends away come back spread over this time.
pub const COME_BACK_SPREAD: Duration = Duration::from_secs(1);

/// An HTTP request's headers must be complete within this time.
pub const HTTP_HEADERS: Duration = Duration::from_secs(10);

/// An HTTP request's body must be complete within this time.
pub const HTTP_BODY: Duration = Duration::from_secs(10);

/// The time by the clock of the runtime's timers, which a test can pause.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Milliseconds with three decimals at most, as every log line and every line of JSON has them.
#[must_use]
pub fn millis_f64(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Whole milliseconds, as messages and log fields carry them; `u64::MAX` where there are more.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whole microseconds, as messages carry them; `u64::MAX` where there are more.
#[must_use]
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
