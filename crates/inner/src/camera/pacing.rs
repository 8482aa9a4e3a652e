//! Limits how many bytes of a picture may be under way, so that the link's messages hardly wait
//! behind them, wherever the bottleneck is. The measure is the time until a piece is acknowledged:
//! the excess over the shortest such time is a queue that the pictures have made, and that queue is
//! kept short. (The idea is that of LEDBAT, RFC 6817, with acknowledgements of our protocol: those
//! of TCP don't show a queue behind a proxy.) Pure: the caller gives the time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use p2p_shared::protocol::MAX_PIECE;

/// Smallest piece: with all headers, one packet.
const PACKET: usize = 1200;
/// Bytes that may be under way at first.
const FIRST: usize = 4 * PACKET;
/// Assumed round trip before one was measured: a phone's.
const GUESS: Duration = Duration::from_millis(100);
/// Most bytes under way: enough for a line of 10 Mbit/s with a round trip of 0.8 s.
const MOST: usize = 1024 * 1024;
/// Number of pieces under way at a time, if they can be small enough.
const PIECES: usize = 8;

/// Longest queue that pictures may make: the round trip divided by this number.
const QUEUE_PART: u32 = 8;
/// Least value of that limit: a busy machine needs this long to answer.
const LEAST_QUEUE: Duration = Duration::from_millis(6);
/// Interval of probes: sending pauses for a round trip, then one piece measures the empty line.
const PROBE: Duration = Duration::from_secs(10);

/// Factor by which pieces are sent faster than acknowledged, to notice when the line has become
/// wider (BBR uses 1.25, but only for a while).
const HASTE: f64 = 1.05;
/// Number of latest pieces that are compared: a queue delays all of them, the radio or a busy
/// machine only some.
const RECENT: usize = 4;
/// Difference that timers can't resolve.
const TICK: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Pacing {
    window: f64,
    sent: VecDeque<(Instant, usize)>,
    in_flight: usize,
    /// True until the first queue: then the window grows as fast as it may.
    is_young: bool,
    /// Shortest times of a piece: between the last two probes, and since the last one.
    shortest: [Option<Duration>; 2],
    probe: Probe,
    reduced: Option<Instant>,
    /// Average time of the latest pieces.
    usual: Duration,
    recent: VecDeque<Duration>,
    /// Earliest time for the next piece, so that pieces don't come in a burst.
    free_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// Starts at this time.
    At(Instant),
    /// Starts when everything under way has arrived.
    WhenEmpty,
    /// The probe is under way, alone.
    Sent,
}

impl Pacing {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            window: as_f64(FIRST),
            sent: VecDeque::new(),
            in_flight: 0,
            is_young: true,
            shortest: [None; 2],
            probe: Probe::At(now + PROBE),
            reduced: None,
            usual: GUESS,
            recent: VecDeque::new(),
            free_at: now,
        }
    }

    /// Returns the size that the next piece may have; 0 if none may be sent until a piece is
    /// [taken](Self::taken) or the time is [`next`](Self::next).
    pub(super) fn room(&mut self, now: Instant) -> usize {
        if self.free_at > now + TICK {
            return 0;
        }
        if matches!(self.probe, Probe::At(at) if at <= now) {
            self.probe = Probe::WhenEmpty;
        }
        if self.in_flight == 0 {
            return match self.probe {
                Probe::At(_) => self.piece(),
                Probe::WhenEmpty | Probe::Sent => PACKET,
            };
        }
        let piece = self.piece();
        let has_room = as_f64(self.in_flight + piece) <= self.window;
        if has_room && matches!(self.probe, Probe::At(_)) {
            piece
        } else {
            0
        }
    }

    /// Returns the time at which there may be room, if nothing is taken before.
    pub(super) fn next(&self) -> Instant {
        self.free_at
    }

    /// Reports that a piece of this many bytes was sent.
    pub(super) fn sent(&mut self, bytes: usize, now: Instant) {
        if self.probe == Probe::WhenEmpty && self.in_flight == 0 {
            self.probe = Probe::Sent;
        }
        self.in_flight += bytes;
        self.sent.push_back((now, bytes));
        // The window is not sent in one burst on an empty line, but spread over a round trip.
        let haste = if self.is_young { 1.5 } else { HASTE };
        let share = as_f64(bytes) / (self.window * haste);
        self.free_at = self.free_at.max(now) + self.usual.mul_f64(share);
    }

    /// Reports that this many more bytes have arrived, in the order of sending.
    pub(super) fn taken(&mut self, mut bytes: usize, now: Instant) {
        while let Some((at, length)) = self.sent.front_mut() {
            if *length > bytes {
                *length -= bytes;
                self.in_flight -= bytes;
                return;
            }
            let (at, length) = (*at, *length);
            // A window that was not used up doesn't grow.
            let was_full = as_f64(self.in_flight + self.piece()) > self.window;
            self.sent.pop_front();
            self.in_flight -= length;
            bytes -= length;
            self.learn(now.saturating_duration_since(at), length, was_full, now);
        }
    }

    /// Returns the time at which the oldest piece under way was sent.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.sent.front().map(|(at, _)| *at)
    }

    fn piece(&self) -> usize {
        // The window is at most MOST, which fits.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let window = self.window as usize;
        (window / PIECES).clamp(PACKET, MAX_PIECE)
    }

    fn learn(&mut self, took: Duration, length: usize, was_full: bool, now: Instant) {
        if self.probe == Probe::Sent {
            self.shortest = [self.shortest[1], None];
            self.probe = Probe::At(now + PROBE);
        }
        self.usual = if self.shortest == [None; 2] {
            took
        } else {
            (self.usual * 7 + took) / 8
        };
        let newest = self.shortest[1].map_or(took, |shortest| shortest.min(took));
        self.shortest[1] = Some(newest);
        let shortest = self.shortest[0].map_or(newest, |shortest| shortest.min(newest));
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(took);
        let recent = self.recent.iter().min().copied().unwrap_or(took);
        let queue = recent.saturating_sub(shortest).as_secs_f64();
        let wanted = (shortest / QUEUE_PART).max(LEAST_QUEUE).as_secs_f64();
        if self.is_young {
            // The first sign of a queue counts: by then twice as much is already under way.
            if took.saturating_sub(shortest).as_secs_f64() > wanted / 2.0 {
                self.is_young = false;
                self.window *= 0.7;
            } else if was_full {
                self.window += as_f64(length) / 2.0;
            }
        } else {
            let off = ((wanted - queue) / wanted).max(-1.0);
            if off < 0.0 && queue > 2.0 * wanted {
                self.reduce(shortest, now);
            } else if off < 0.0 || was_full {
                // The steps are small, because the effect of each shows one round trip later.
                let step = (as_f64(PACKET) / 2.0).max(self.window / 32.0);
                self.window += off * as_f64(length) * step / self.window;
            }
        }
        self.window = self.window.clamp(as_f64(2 * PACKET), as_f64(MOST));
    }

    /// Shrinks the window: at most once in two round trips, after which the last change shows.
    fn reduce(&mut self, shortest: Duration, now: Instant) {
        let shows = |at: Instant| at + shortest * 2 <= now;
        if self.reduced.is_none_or(shows) {
            self.window *= 0.7;
            self.reduced = Some(now);
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "these are far below what a double holds"
)]
fn as_f64(bytes: usize) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulated line: bytes a second, and the time from the end of sending to the answer.
    struct Line {
        rate: f64,
        round_trip: Duration,
        free_at: Instant,
        on_way: VecDeque<(Instant, usize)>,
    }

    /// Sends for a minute whatever may be sent. Returns bytes a second, and the longest queue of
    /// each second but the first, in milliseconds.
    fn minute(rate: f64, round_trip: Duration) -> (f64, Vec<u128>) {
        let start = Instant::now();
        let mut now = start;
        let mut line = Line {
            rate,
            round_trip,
            free_at: now,
            on_way: VecDeque::new(),
        };
        let mut pacing = Pacing::new(now);
        let (mut bytes, mut queues) = (0, vec![0; 60]);
        while now < start + Duration::from_secs(60) {
            loop {
                let room = pacing.room(now);
                if room == 0 {
                    break;
                }
                pacing.sent(room, now);
                let took = Duration::from_secs_f64(as_f64(room + 60) / line.rate);
                line.free_at = line.free_at.max(now) + took;
                line.on_way
                    .push_back((line.free_at + line.round_trip, room));
                bytes += room;
                let second = usize::try_from((now - start).as_secs()).unwrap();
                queues[second] = (line.free_at - now).as_millis().max(queues[second]);
            }
            let next = line.on_way.front().map(|(at, _)| *at);
            if next.is_none_or(|at| at > pacing.next()) && pacing.next() > now + TICK {
                now = pacing.next();
            } else {
                let (at, length) = line.on_way.pop_front().unwrap();
                now = now.max(at);
                pacing.taken(length, now);
            }
        }
        (as_f64(bytes) / 60.0, queues[1..].to_vec())
    }

    #[test]
    fn a_narrow_line_is_used_and_has_no_queue() {
        for round_trip in [20, 50, 100, 300] {
            let (rate, queues) = minute(125_000.0, Duration::from_millis(round_trip));
            assert!(rate > 80_000.0, "{round_trip} ms: {rate} B/s");
            let most = u128::from(round_trip) / 8 + 32;
            assert!(
                queues[2..].iter().all(|queue| *queue < most),
                "{round_trip} ms: {queues:?}"
            );
        }
    }

    #[test]
    fn a_wide_line_carries_whatever_a_camera_writes() {
        let (rate, _) = minute(50e6, Duration::from_millis(20));
        assert!(rate > 10e6, "{rate} B/s");
        let (rate, _) = minute(1e9, Duration::from_micros(200));
        assert!(rate > 10e6, "{rate} B/s");
    }

    #[test]
    fn a_line_that_hardly_carries_anything_has_two_packets_on_it() {
        let (rate, _) = minute(5_000.0, Duration::from_millis(100));
        assert!(rate > 4_000.0, "{rate} B/s");
        let now = Instant::now();
        let mut pacing = Pacing::new(now);
        pacing.window = as_f64(2 * PACKET);
        assert_eq!(pacing.room(now), PACKET);
        pacing.sent(PACKET, now);
        assert_eq!(pacing.waits_since(), Some(now));
        pacing.taken(PACKET, now + Duration::from_secs(1));
        assert_eq!(pacing.waits_since(), None);
    }
}
