//! Decides when to ping a peer and when to take it for dead. Pure: the caller gives the time; there
//! is no socket here.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::timing::{BUSY_LINGER, PACE_BUSY, PACE_IDLE, Pace, micros};

/// Action that a [`Keepalive`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Send a ping now.
    Ping,
    /// Close the link: the peer was silent for this long.
    Dead(Duration),
}

/// Rule for when this side pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingMode {
    /// Ping at each interval. The router does, to measure the round trip.
    Always,
    /// Ping only after an interval and a half of silence. The inner does: normally the router's
    /// pings are enough, and the inner's own would only cost data.
    WhenSilent,
}

/// Keepalive of one peer.
#[derive(Debug)]
pub struct Keepalive {
    pings: PingMode,
    pace: Pace,
    busy: bool,
    idle_since: Instant,
    /// Start of the silence: the peer's last message, or the change to a faster pace.
    silent_since: Instant,
    last_ping: Instant,
}

impl Keepalive {
    /// Starts with a peer that was heard just now and is idle.
    #[must_use]
    pub fn new(pings: PingMode, now: Instant) -> Self {
        Self {
            pings,
            pace: PACE_IDLE,
            busy: false,
            idle_since: now,
            silent_since: now,
            last_ping: now,
        }
    }

    /// Reports that something came from the peer.
    pub fn on_traffic(&mut self, now: Instant) {
        self.silent_since = now;
    }

    /// Sets whether a run is open or somebody watches. Becoming busy pings the peer at once.
    /// Returns the new pace if it changed.
    pub fn set_busy(&mut self, busy: bool, now: Instant) -> Option<Pace> {
        if self.busy && !busy {
            self.idle_since = now;
        }
        self.busy = busy;
        if !busy || self.pace == PACE_BUSY {
            return None;
        }
        self.pace = PACE_BUSY;
        self.silent_since = self.silent_since.max(now);
        // A ping that is due at once: the probe.
        self.last_ping = now.checked_sub(self.ping_after()).unwrap_or(now);
        Some(PACE_BUSY)
    }

    /// Returns the time at which [`poll`](Self::poll) has something due.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.next_ping().min(self.silent_since + self.pace.dead)
    }

    /// Returns what is due now, and the pace if it changed. Call again at [`next`](Self::next).
    pub fn poll(&mut self, now: Instant) -> (Option<Due>, Option<Pace>) {
        let mut changed = None;
        if self.pace == PACE_BUSY && !self.busy && now >= self.idle_since + BUSY_LINGER {
            self.pace = PACE_IDLE;
            changed = Some(PACE_IDLE);
        }
        let silence = now.saturating_duration_since(self.silent_since);
        if silence >= self.pace.dead {
            return (Some(Due::Dead(silence)), changed);
        }
        if now >= self.next_ping() {
            self.last_ping = now;
            return (Some(Due::Ping), changed);
        }
        (None, changed)
    }

    fn ping_after(&self) -> Duration {
        match self.pings {
            PingMode::Always => self.pace.ping,
            PingMode::WhenSilent => self.pace.ping * 3 / 2,
        }
    }

    fn next_ping(&self) -> Instant {
        let from = match self.pings {
            PingMode::Always => self.last_ping,
            PingMode::WhenSilent => self.last_ping.max(self.silent_since),
        };
        from + self.ping_after()
    }
}

/// Most pings whose pongs are waited for: a peer that is further behind is dead.
const OPEN_PINGS: u32 = 16;

/// Measures round trips: a ping carries the time of its sending, and its pong brings that back. Pongs
/// that answer no ping count for nothing, so that nobody can report thousands of round trips.
#[derive(Debug)]
pub struct PingClock {
    start: Instant,
    /// Pings that were sent and not answered.
    open: u32,
}

impl PingClock {
    /// Starts a clock, for one connection.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            open: 0,
        }
    }

    /// Returns the payload of a ping that is sent now.
    #[must_use]
    pub fn payload(&mut self, now: Instant) -> Bytes {
        self.open = OPEN_PINGS.min(self.open + 1);
        let sent_us = micros(now.saturating_duration_since(self.start));
        Bytes::copy_from_slice(&sent_us.to_be_bytes())
    }

    /// Returns the round trip of the ping whose pong arrives now; `None` if the pong answers no ping
    /// with a payload of this clock.
    #[must_use]
    pub fn round_trip(&mut self, pong: &[u8], now: Instant) -> Option<Duration> {
        let sent_us = u64::from_be_bytes(pong.try_into().ok()?);
        self.open = self.open.checked_sub(1)?;
        let elapsed = now.saturating_duration_since(self.start);
        elapsed.checked_sub(Duration::from_micros(sent_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn an_idle_peer_is_pinged_every_20_s_and_dead_after_60() {
        let t = Instant::now();
        let mut peer = Keepalive::new(PingMode::Always, t);
        assert_eq!(peer.next(), t + secs(20));
        assert_eq!(peer.poll(t + secs(20)), (Some(Due::Ping), None));
        peer.on_traffic(t + secs(21));
        assert_eq!(peer.poll(t + secs(40)), (Some(Due::Ping), None));
        assert_eq!(peer.poll(t + secs(81)), (Some(Due::Dead(secs(60))), None));
    }

    #[test]
    fn becoming_busy_probes_at_once_and_counts_silence_from_then() {
        let t = Instant::now();
        let mut peer = Keepalive::new(PingMode::Always, t);
        let busy = t + secs(19);
        assert_eq!(peer.set_busy(true, busy), Some(PACE_BUSY));
        assert_eq!(peer.poll(busy), (Some(Due::Ping), None));
        assert_eq!(peer.poll(busy + secs(5)).0, Some(Due::Ping));
        assert_eq!(peer.poll(busy + secs(6)).0, Some(Due::Dead(secs(6))));
    }

    #[test]
    fn the_busy_pace_lingers_after_the_last_run() {
        let t = Instant::now();
        let mut peer = Keepalive::new(PingMode::Always, t);
        peer.set_busy(true, t);
        assert_eq!(peer.set_busy(false, t + secs(1)), None);
        assert_eq!(peer.set_busy(true, t + secs(2)), None);
        peer.set_busy(false, t + secs(3));
        peer.on_traffic(t + secs(13));
        assert_eq!(peer.poll(t + secs(13)).1, Some(PACE_IDLE));
    }

    #[test]
    fn a_pong_tells_the_round_trip_and_what_is_no_pong_of_ours_tells_none() {
        let t = Instant::now();
        let mut clock = PingClock::new(t);
        let ping = clock.payload(t + secs(2));
        assert_eq!(clock.round_trip(&ping, t + secs(5)), Some(secs(3)));
        let ping = clock.payload(t + secs(2));
        assert_eq!(clock.round_trip(&ping[1..], t + secs(5)), None);
        assert_eq!(clock.round_trip(&ping, t + secs(1)), None);
    }

    #[test]
    fn a_ping_has_one_pong() {
        let t = Instant::now();
        let mut clock = PingClock::new(t);
        let ping = clock.payload(t);
        assert!(clock.round_trip(&ping, t).is_some());
        assert_eq!(clock.round_trip(&ping, t), None);
        // Those that nobody answered add up to a few.
        for _ in 0..1000 {
            let _ = clock.payload(t);
        }
        let answers = (0..1000).filter(|_| clock.round_trip(&ping, t).is_some());
        assert_eq!(answers.count(), 16);
    }

    #[test]
    fn the_quiet_side_pings_only_when_the_other_is_silent() {
        let t = Instant::now();
        let mut peer = Keepalive::new(PingMode::WhenSilent, t);
        for n in 1..10 {
            peer.on_traffic(t + secs(20 * n));
            assert_eq!(peer.poll(t + secs(20 * n)), (None, None));
        }
        assert_eq!(peer.next(), t + secs(180 + 30));
        assert_eq!(peer.poll(t + secs(210)).0, Some(Due::Ping));
        assert_eq!(peer.poll(t + secs(240)).0, Some(Due::Dead(secs(60))));
    }
}
