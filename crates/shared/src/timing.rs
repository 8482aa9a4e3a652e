//! Durations that two programs must agree on, each with its reason.

use std::time::{Duration, Instant};

/// Longest time to connect: resolve, connect, upgrade, hello and welcome. rathole waits 5 s, bore 3
/// s, NATS 2 s.
pub const HELLO: Duration = Duration::from_secs(5);

/// Interval of pings, and the silence after which a link is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time between pings.
    pub ping: Duration,
    /// Silence after which the peer counts as dead; also `TCP_USER_TIMEOUT`.
    pub dead: Duration,
}

/// Pace while a run is open or somebody watches: a dead link is noticed within 6 s.
pub const PACE_BUSY: Pace = Pace {
    ping: Duration::from_secs(2),
    dead: Duration::from_secs(6),
};

/// Pace of an idle link: a ping every 2 s would cost a SIM card some 370 MB a month.
pub const PACE_IDLE: Pace = Pace {
    ping: Duration::from_secs(20),
    dead: Duration::from_secs(60),
};

/// Time for which a link stays at the busy pace after its last run, so that a burst of runs doesn't
/// switch back and forth.
pub const BUSY_LINGER: Duration = Duration::from_secs(10);

/// Silence after which a peer that owes a sign of life counts as giving no answer: nothing that it told before
/// is shown any more as if it were so. A link that only gives no answer is not dead.
pub const NO_ANSWER: Duration = Duration::from_millis(500);

/// Greatest age of a press or a renewal, by its tick of the car's clock or by the time that it
/// waited; older ones are dropped. So nobody drives above this round trip.
pub const MOTION_AGE: Duration = Duration::from_secs(1);

/// Greatest age of a run at its beginning; an older one is not begun. The time that its input takes
/// on its way to the car doesn't count, except for a motion. The value is below the dead time of
/// [`PACE_BUSY`], so that hardly any run begins after its caller was told that the link was lost.
pub const RUN_DEADLINE: Duration = Duration::from_secs(5);

/// Pause between SIGTERM and SIGKILL to a run's process group (websocketd's is about as long).
pub const KILL_GRACE: Duration = Duration::from_secs(2);

/// Time for which processes that a command leaves behind may live on, or hold its output pipe.
pub const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// Time for which a service port stays open and answers 503 after its link was lost.
pub const PORT_KEPT: Duration = Duration::from_secs(60);

/// Time for which running commands may go on when a program is told to end (NATS' lame duck mode,
/// cloudflared's grace period).
pub const DRAIN: Duration = Duration::from_secs(30);

/// Time over which inners that a router sends away are told to come back.
pub const COME_BACK_SPREAD: Duration = Duration::from_secs(1);

/// Longest time for an HTTP request's headers to arrive.
pub const HTTP_HEADERS: Duration = Duration::from_secs(10);

/// Longest time for an HTTP request's body to arrive.
pub const HTTP_BODY: Duration = Duration::from_secs(10);

/// Returns the time by the clock of the runtime's timers, which a test can pause.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Converts to milliseconds with at most three decimals, as log lines and JSON have them.
#[must_use]
pub fn millis_f64(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Converts to whole milliseconds, as messages and log fields have them; `u64::MAX` if there are
/// more.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Converts to whole microseconds, as messages have them; `u64::MAX` if there are more.
#[must_use]
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
