//! Decides which of several routers is dialled, and when. Pure: the caller gives the time and random
//! numbers.

use std::time::{Duration, Instant};

use crate::{backoff, timing};

/// Pause before the next router is dialled beside those that have not answered yet; after a failure
/// the next one comes at once (RFC 8305, 5: 250 ms).
const NEXT_ROUTER: Duration = Duration::from_millis(250);
/// Time after the loss of a connection in which only its router is dialled: a short outage moves
/// nobody.
const SAME_ROUTER: Duration = Duration::from_secs(1);

/// Effect of the end of a connection or of an attempt on the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Dial this router not before this time has passed; others sooner.
    NotHere(Duration),
    /// Dial no router before this time has passed.
    Nowhere(Duration),
    /// Dial this router after this time: it will be back.
    Here(Duration),
    /// Dial another router after this time, if there is one: this one ends.
    Elsewhere(Duration),
}

impl Retry {
    /// Returns what a router's `GoAway` asks for. No router is away for longer than
    /// [`timing::DRAIN`], whatever it says.
    #[must_use]
    pub fn go_away(reconnect_after_ms: u64, elsewhere: bool) -> Self {
        let after = Duration::from_millis(reconnect_after_ms).min(timing::DRAIN);
        match elsewhere {
            true => Self::Elsewhere(after),
            false => Self::Here(after),
        }
    }
}

/// Order and times of the attempts to reach one of several routers.
///
/// In a round each router is dialled once, at first in the order of the list; later the router of
/// the last connection comes first and the others by chance, so that those whom a router has lost
/// spread. A router that takes long to fail holds up no other: the next round goes on without it.
/// One that lets us in and not stay lets the others go first, or it would keep us from them.
#[derive(Debug)]
pub(super) struct DialPlan {
    routers: Vec<Slot>,
    order: Vec<usize>,
    /// Beginning of the newest attempt, if none has failed since.
    begun: Option<Instant>,
    /// Beginning of the next round, once a router has failed in this one.
    next_round: Option<Instant>,
    /// Router of the last connection.
    last: Option<usize>,
    /// End of the time in which only the router of the last connection is dialled.
    alone_until: Option<Instant>,
    connection: Connection,
}

#[derive(Debug)]
struct Slot {
    turn: Turn,
    /// The earliest time for the next attempt.
    not_before: Option<Instant>,
    /// End of the time in which the others go first, unless all of them fail sooner.
    yields_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The router is to be dialled in this round.
    Waiting,
    Dialled,
    /// The router has failed in this round.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    No,
    /// A router was reached, and has not said yet that we may stay.
    Reached,
    /// Up since then.
    Up(Instant),
}

/// Next thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Dial(usize),
    /// Wait for an attempt, and no longer than to this time.
    Wait(Option<Instant>),
}

impl DialPlan {
    pub(super) fn new(routers: usize) -> Self {
        let slot = || Slot {
            turn: Turn::Waiting,
            not_before: None,
            yields_until: None,
        };
        Self {
            routers: std::iter::repeat_with(slot).take(routers).collect(),
            order: (0..routers).collect(),
            begun: None,
            next_round: None,
            last: None,
            alone_until: None,
            connection: Connection::No,
        }
    }

    /// Returns what to do now. `random` gives numbers that are uniform in `0.0..1.0`.
    pub(super) fn poll(&mut self, now: Instant, random: impl FnMut() -> f64) -> Step {
        if self.next_round.is_some_and(|at| at <= now) {
            self.begin_round(random);
        }
        let times = self
            .order
            .iter()
            .filter_map(|n| Some((self.earliest(*n)?, *n)));
        let times: Vec<_> = times.collect();
        match times.iter().find(|(at, _)| at.is_none_or(|at| at <= now)) {
            Some((_, n)) => {
                let slot = &mut self.routers[*n];
                (slot.turn, slot.yields_until) = (Turn::Dialled, None);
                self.begun = Some(now);
                Step::Dial(*n)
            }
            None => Step::Wait(times.into_iter().filter_map(|(at, _)| at).min()),
        }
    }

    /// Returns the time until a router may be dialled.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        let times = self.order.iter().filter_map(|n| self.earliest(*n));
        let first = times.min().flatten();
        first.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// Returns the earliest time for the next attempt: `Some(None)` is at once, and `None` not
    /// before the one that goes on has ended.
    fn earliest(&self, n: usize) -> Option<Option<Instant>> {
        let slot = &self.routers[n];
        let turn = match slot.turn {
            Turn::Dialled => return None,
            Turn::Waiting => self.begun.map(|begun| begun + NEXT_ROUTER),
            Turn::Failed => self.next_round,
        };
        let alone = self.alone_until.filter(|_| self.last != Some(n));
        let times = [turn, slot.not_before, slot.yields_until, alone];
        Some(times.into_iter().flatten().max())
    }

    fn begin_round(&mut self, random: impl FnMut() -> f64) {
        self.next_round = None;
        for slot in &mut self.routers {
            if slot.turn == Turn::Failed {
                slot.turn = Turn::Waiting;
            }
        }
        self.shuffle(random);
    }

    /// Puts the router of the last connection first, if there was one, and the others in any order.
    fn shuffle(&mut self, mut random: impl FnMut() -> f64) {
        let Some(last) = self.last else {
            return;
        };
        let mut others: Vec<_> = (0..self.routers.len()).filter(|n| *n != last).collect();
        self.order = vec![last];
        while !others.is_empty() {
            let share = random() * others.len() as f64;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an index"
            )]
            let n = (share as usize).min(others.len() - 1);
            self.order.push(others.swap_remove(n));
        }
    }

    /// Notes that this router was reached, and that all other attempts are given up.
    pub(super) fn reached(&mut self, n: usize) {
        for slot in &mut self.routers {
            if slot.turn == Turn::Dialled {
                slot.turn = Turn::Waiting;
            }
        }
        self.routers[n].turn = Turn::Dialled;
        self.begun = None;
        self.connection = Connection::Reached;
    }

    /// Notes that the connection to this router is up.
    pub(super) fn connected(&mut self, n: usize, now: Instant, random: impl FnMut() -> f64) {
        for slot in &mut self.routers {
            (slot.turn, slot.yields_until) = (Turn::Waiting, None);
        }
        self.routers[n].turn = Turn::Dialled;
        (self.last, self.alone_until, self.next_round) = (Some(n), None, None);
        self.connection = Connection::Up(now);
        self.shuffle(random);
    }

    /// Notes that an attempt at this router failed or that the connection to it ended, and what the
    /// router wants. `pause` is the one before the next round.
    pub(super) fn failed(
        &mut self,
        n: usize,
        now: Instant,
        retry: Retry,
        pause: impl FnOnce() -> Duration,
    ) {
        use Retry::{Elsewhere, Here, NotHere, Nowhere};
        let was = std::mem::replace(&mut self.connection, Connection::No);
        self.begun = None;
        let next_round = self.next_round.filter(|at| *at > now);
        self.next_round = next_round.or_else(|| Some(now + pause()));
        let (NotHere(least) | Nowhere(least) | Here(least) | Elsewhere(least)) = retry;
        let back = now + least;
        let others = match retry {
            Nowhere(_) => back,
            // None of ours asks for more, and the others are not this router's.
            Elsewhere(_) => back.min(now + timing::COME_BACK_SPREAD),
            NotHere(_) | Here(_) => now,
        };
        self.hold_all(others);
        let yields = match (was, retry) {
            (_, Elsewhere(_)) | (Connection::Reached, _) => true,
            (Connection::No, _) | (Connection::Up(_), Here(_)) => false,
            (Connection::Up(since), _) => now.saturating_duration_since(since) < backoff::STABLE,
        };
        if let Connection::Up(_) = was {
            let from = if let Here(_) = retry { back } else { now };
            self.alone_until = Some(from + SAME_ROUTER);
        }
        // Nobody waits for a router that may not be dialled.
        self.alone_until = self.alone_until.filter(|alone| !yields && back < *alone);
        // By then each of the others that lives has answered.
        let until = others + timing::HELLO;
        self.routers[n] = Slot {
            turn: Turn::Failed,
            not_before: Some(back),
            yields_until: yields.then_some(until),
        };
        let had_its_turn = |slot: &Slot| {
            slot.turn == Turn::Failed
                || slot.yields_until.is_some()
                || slot.not_before > Some(until)
        };
        if self.routers.iter().all(had_its_turn) {
            for slot in &mut self.routers {
                slot.yields_until = None;
            }
        }
    }

    /// Returns true if the connection is up.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.connection, Connection::Up(_))
    }

    fn hold_all(&mut self, until: Instant) {
        for slot in &mut self.routers {
            slot.not_before = slot.not_before.max(Some(until));
        }
    }

    /// Lets all routers be dialled now, because somebody asked for that.
    pub(super) fn restart(&mut self, now: Instant) {
        for slot in &mut self.routers {
            (slot.not_before, slot.yields_until) = (None, None);
        }
        (self.alone_until, self.next_round) = (None, Some(now));
    }
}

#[cfg(test)]
mod tests;
