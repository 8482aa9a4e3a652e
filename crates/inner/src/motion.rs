//! Owns whether the car moves: presses, leases, time limits and the stop that ends each motion.
//! Pure: it is given the time and what happened, and says what to do. It never starts a process,
//! reads a clock or knows a socket.
//!
//! ```text
//!            press, timed motion                 lease or limit runs out, release, any stop
//!   Still ───────────────────────▶ Active ──────────────────────────────────▶ Stopping
//!     ▲                             │  ▲ renewed, replaced by a newer motion    │    │
//!     │                             └──┘                                        │    │ three times
//!     │                                              the stop command succeeds  │    ▼
//!     └──────────────────────────────────────────────────────────────────────────┘  Failed
//! ```
//!
//! What has failed is tried again now and then, if anything can have moved: a success leads back to
//! Still from there, too.
//!
//! A motion is active from the start of its process until a stop has succeeded, whether or not
//! the process still lives. Times are those of the car's own clock.

use std::time::Duration;

use p2p_shared::names::{Argument, CommandName, RunId};
use p2p_shared::protocol::{MotionRefusal as Refused, PressId, StopCause as Cause};
use p2p_shared::timing;

mod guard_state;
mod role;
mod stop;
mod stop_targets;

pub(crate) use guard_state::{GuardState, MotionOwner};
pub(crate) use role::{
    MOTION_GRACE, MotionRole, ProcessEvent, ProcessEvents, RoleKind, StopResult,
};
pub(crate) use stop::{STOP_AGAIN, STOP_LIMIT, STOP_PAUSE, STOP_TRIES, stop_again_after};
pub(crate) use stop_targets::{StopTarget, StopTargets};

/// Most stop commands at a time: one that runs and one that began after whatever the last asker
/// saw. Asked for in a loop, they would else take every process that the machine has.
const STOPS_AT_A_TIME: usize = 2;
/// By when a motion's process that was told to end must be reaped: its 150 ms twice over, to be told
/// and to be killed, and the time to see it. The guardian needs to know of a later one.
const END_LIMIT: Duration = Duration::from_millis(400);
/// What the car's owner has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MotionRules {
    /// How long a press lasts without being renewed.
    pub lease: Duration,
    /// How long a timed motion lasts; `None`: until somebody stops it.
    pub limit: Option<Duration>,
}

/// Who wants a motion, and how it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MotionOrigin {
    /// A driver, for as long as the lease is renewed.
    Press(PressId),
    /// `/cgi` or `send`: for a time from the start of its process.
    Timed(RunId),
}

impl std::fmt::Display for MotionOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Press(press) => write!(f, "press {press}"),
            Self::Timed(run) => write!(f, "run {run}"),
        }
    }
}

/// What is to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MotionCommand {
    /// The motion command.
    pub command: CommandName,
    /// Its arguments.
    pub arguments: Vec<Argument>,
}

/// A process of a motion or of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ProcessToken(u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MotionInput {
    /// A driver pressed; `tick` is the newest of our clock that it had seen.
    Press {
        id: PressId,
        order: MotionCommand,
        tick: Duration,
    },
    /// A driver still holds it.
    Renew { id: PressId, tick: Duration },
    /// A driver let go.
    Release { id: PressId },
    /// Somebody asks for a motion of this length, or of the limit's.
    Timed {
        run: RunId,
        order: MotionCommand,
        lasts: Option<Duration>,
    },
    /// Who asked for a timed motion has gone away.
    Abandoned {
        /// Its run.
        run: RunId,
    },
    /// Stop, whatever moves.
    Stop(Cause),
    /// A link came up: whoever pressed did so over another.
    Linked,
    /// The process exists.
    Started(ProcessToken),
    /// The process could not be started.
    NotStarted(ProcessToken),
    /// The process is gone, its whole group.
    Reaped(ProcessToken),
    /// A stop command has ended.
    StopEnded { token: ProcessToken, ok: bool },
    /// Nothing but time.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MotionEffect {
    /// Start this motion's process.
    Start {
        token: ProcessToken,
        order: MotionCommand,
        origin: MotionOrigin,
    },
    /// End this process, its whole group.
    End(ProcessToken),
    /// Start the stop command, ahead of everything.
    RunStop { token: ProcessToken, cause: Cause },
    /// This stop command takes too long: kill it.
    KillStop(ProcessToken),
    /// Nothing comes of this.
    Refuse { origin: MotionOrigin, why: Refused },
    /// A timed motion that was asked for again while it lasts: this run is over when that one is.
    Extended { run: RunId, by: RunId },
    /// The motion is over, by this.
    Over { origin: MotionOrigin, cause: Cause },
    /// The car stands, as the stop command said.
    Stands,
    /// The stop command has failed three times, or `again` since, when nobody had asked for it.
    StopFailed { again: bool },
}

/// The motion that is wanted.
#[derive(Debug, Clone)]
struct WantedMotion {
    origin: MotionOrigin,
    order: MotionCommand,
    /// When it ends by itself.
    until: Option<Duration>,
    /// How long it lasts from the start of its process, if not for as long as a lease.
    lasts: Option<Duration>,
    started: bool,
    process: Option<ProcessToken>,
}

/// A stop command that runs.
#[derive(Debug, Clone, Copy)]
struct StopRun {
    token: ProcessToken,
    began: Duration,
    /// What had happened to the car when it began.
    seen: u64,
}

/// Whether the car moves.
#[derive(Debug)]
pub(crate) struct Motion {
    rules: MotionRules,
    wanted: Option<WantedMotion>,
    /// A motion's process that was not reaped yet, and since when it has been told to end.
    process: Option<(ProcessToken, Option<Duration>)>,
    /// Whether anything moved the car since the last stop that counts.
    may_move: bool,
    /// Whether there is, or was, anything that can move it: else a stop that fails is nobody's danger.
    can_move: bool,
    /// Counts what may have moved the car: starts and ends of motion processes.
    moved: u64,
    stops: Vec<StopRun>,
    /// A stop that begins as soon as one of the most that there may be has ended.
    due_stop: Option<Cause>,
    tries: u32,
    /// When the stop that was missed is tried again.
    retry: Option<Duration>,
    failed: bool,
    /// The latest press that is over: neither it nor an earlier one comes back.
    over: Option<PressId>,
    next_token: u64,
    effects: Vec<MotionEffect>,
}

impl Motion {
    /// A car of which nobody knows whether it moves: it is stopped first.
    #[must_use]
    pub(crate) fn new(rules: MotionRules) -> Self {
        Self {
            rules,
            wanted: None,
            process: None,
            may_move: true,
            can_move: true,
            moved: 0,
            stops: Vec::new(),
            due_stop: None,
            tries: 0,
            retry: None,
            failed: false,
            over: None,
            next_token: 0,
            effects: Vec::new(),
        }
    }

    /// Nothing has moved it so far, and nothing will without a stop command, of which there is none.
    pub(crate) fn stands_still(&mut self) {
        self.may_move = false;
    }

    /// There is nothing that could have moved it: a stop that has failed is not tried again by itself.
    pub(crate) fn has_no_motions(&mut self) {
        self.can_move = false;
    }

    /// Something happened at this time: what is to be done, in this order.
    pub(crate) fn on(&mut self, now: Duration, event: MotionInput) -> Vec<MotionEffect> {
        self.expire(now);
        match event {
            MotionInput::Press { id, order, tick } => self.press(now, id, order, tick),
            MotionInput::Renew { id, tick } => self.renew(now, id, tick),
            MotionInput::Release { id } => self.release(now, id),
            MotionInput::Timed { run, order, lasts } => self.timed(now, run, order, lasts),
            MotionInput::Abandoned { run } => {
                if self
                    .wanted
                    .as_ref()
                    .is_some_and(|wanted| wanted.origin == MotionOrigin::Timed(run))
                {
                    self.halt(now, Cause::Released);
                }
            }
            MotionInput::Stop(cause) => {
                self.tries = 0;
                self.end_wanted(cause);
                self.begin_stop(now, cause);
            }
            MotionInput::Linked => self.linked(now),
            MotionInput::Started(token) => self.started(now, token),
            MotionInput::NotStarted(token) => self.not_started(now, token),
            MotionInput::Reaped(token) => self.reaped(now, token),
            MotionInput::StopEnded { token, ok } => self.stop_ended(now, token, ok),
            MotionInput::Tick => {}
        }
        self.advance(now);
        std::mem::take(&mut self.effects)
    }

    /// When time alone changes something.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Duration> {
        let wanted = self.wanted.as_ref().and_then(|wanted| wanted.until);
        let stop = self.stops.iter().map(|stop| stop.began + STOP_LIMIT).min();
        wanted.into_iter().chain(stop).chain(self.retry).min()
    }

    /// By when the car must have been stopped if nothing more is heard of this process; `None`
    /// where it stands. While it is being stopped, that is when the next step of it is due. What
    /// has no limit, or can't be stopped, has `Duration::MAX`: then only a death is a reason.
    #[must_use]
    pub(crate) fn guard(&self) -> Option<Duration> {
        let until = match &self.wanted {
            Some(wanted) => wanted.until,
            None => self.next_step(),
        };
        self.may_move.then(|| until.unwrap_or(Duration::MAX))
    }

    /// By when something more is to be done about stopping. What has failed is tried again, but not to
    /// the millisecond: a guardian that acted just then would be in the way of it.
    fn next_step(&self) -> Option<Duration> {
        let ending = self.process.and_then(|(_, told)| told);
        let ending = ending.map(|told| told + END_LIMIT);
        let stop = self.stops.iter().map(|stop| stop.began + STOP_LIMIT).min();
        let next = ending.into_iter().chain(stop).chain(self.retry).min();
        let late = if self.failed {
            END_LIMIT
        } else {
            Duration::ZERO
        };
        next.map(|next| next + late)
    }

    /// Whether the stop command has failed three times, and none has succeeded since.
    #[must_use]
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether that was told, and nobody has asked for a stop since.
    #[must_use]
    pub(crate) fn tries_by_itself(&self) -> bool {
        self.failed && self.tries >= STOP_TRIES
    }

    fn press(&mut self, now: Duration, id: PressId, order: MotionCommand, tick: Duration) {
        let origin = MotionOrigin::Press(id);
        let until = (now + self.rules.lease).min(tick + timing::MOTION_AGE);
        if self.over.is_some_and(|over| id <= over) {
            return self.refuse(origin, Refused::Over);
        }
        match self.wanted.as_ref().map(|wanted| wanted.origin) {
            Some(MotionOrigin::Press(held)) if held == id => return self.renew(now, id, tick),
            Some(MotionOrigin::Press(held)) if held > id => {
                return self.refuse(origin, Refused::Over);
            }
            _ => {}
        }
        if until <= now {
            return self.refuse(origin, Refused::Old);
        }
        self.want(WantedMotion {
            origin,
            order,
            until: Some(until),
            lasts: None,
            started: false,
            process: None,
        });
    }

    fn renew(&mut self, now: Duration, id: PressId, tick: Duration) {
        let until = (now + self.rules.lease).min(tick + timing::MOTION_AGE);
        if let Some(wanted) = &mut self.wanted
            && wanted.origin == MotionOrigin::Press(id)
        {
            wanted.until = wanted.until.max(Some(until));
        }
    }

    fn release(&mut self, now: Duration, id: PressId) {
        self.over = self.over.max(Some(id));
        let held = self.wanted.as_ref().map(|wanted| wanted.origin);
        if let Some(MotionOrigin::Press(held)) = held
            && held <= id
        {
            self.halt(now, Cause::Released);
        }
    }

    /// A new link's presses are not to be compared with those before: its router's epochs begin
    /// at its wall clock, which may have been set back when it was restarted. Nothing of an older
    /// link comes over it.
    fn linked(&mut self, now: Duration) {
        let origin = self.wanted.as_ref().map(|wanted| wanted.origin);
        if let Some(MotionOrigin::Press(_)) = origin {
            self.halt(now, Cause::Released);
        }
        self.over = None;
    }

    fn timed(&mut self, now: Duration, run: RunId, order: MotionCommand, lasts: Option<Duration>) {
        let lasts = lasts.or(self.rules.limit);
        if let Some(wanted) = &mut self.wanted
            && let MotionOrigin::Timed(by) = wanted.origin
            && wanted.order == order
            && wanted.process.is_some()
            && wanted.process == self.process.map(|(token, _)| token)
        {
            // The same again while its process runs: only its end moves, and only away.
            wanted.lasts = wanted.lasts.zip(lasts).map(|(had, has)| had.max(has));
            if wanted.started {
                wanted.until = wanted
                    .until
                    .zip(lasts)
                    .map(|(until, lasts)| until.max(now + lasts));
            }
            return self.effects.push(MotionEffect::Extended { run, by });
        }
        // Until its process runs it has as long as a press: what it waits for might never end.
        let until = Some(now + self.rules.lease);
        let origin = MotionOrigin::Timed(run);
        self.want(WantedMotion {
            origin,
            order,
            until,
            lasts,
            started: false,
            process: None,
        });
    }

    /// The newest wanted counts, and takes the place of any other.
    fn want(&mut self, wanted: WantedMotion) {
        if self.failed {
            return self.refuse(wanted.origin, Refused::StopFailed);
        }
        if let Some(old) = self.wanted.replace(wanted) {
            self.give_up(old.origin);
            if old.process.is_none() {
                self.refuse(old.origin, Refused::Replaced);
            }
        }
    }

    fn refuse(&mut self, origin: MotionOrigin, why: Refused) {
        self.effects.push(MotionEffect::Refuse { origin, why });
    }

    /// It does not come back.
    fn give_up(&mut self, origin: MotionOrigin) {
        if let MotionOrigin::Press(id) = origin {
            self.over = self.over.max(Some(id));
        }
    }

    /// What has run out of time.
    fn expire(&mut self, now: Duration) {
        if let Some(wanted) = &self.wanted
            && wanted.until.is_some_and(|until| until <= now)
        {
            let cause = match (wanted.process, wanted.origin) {
                (None, _) => Cause::NotStarted,
                (_, MotionOrigin::Press(_)) => Cause::Lease,
                (_, MotionOrigin::Timed(_)) => Cause::Limit,
            };
            self.halt(now, cause);
        }
        let (late, stops) = self
            .stops
            .iter()
            .partition::<Vec<_>, _>(|stop| stop.began + STOP_LIMIT <= now);
        self.stops = stops;
        for stop in late {
            self.effects.push(MotionEffect::KillStop(stop.token));
            self.stop_missed(now, now);
        }
        if self.retry.is_some_and(|at| at <= now) {
            self.begin_stop(now, Cause::Again);
        }
    }

    /// Ends the motion that there is, if there is one, and stops the car if it may move.
    fn halt(&mut self, now: Duration, cause: Cause) {
        if self.end_wanted(cause) && self.may_move {
            self.begin_stop(now, cause);
        }
    }

    /// Ends the motion that there is; whether there was one.
    fn end_wanted(&mut self, cause: Cause) -> bool {
        let Some(wanted) = self.wanted.take() else {
            return false;
        };
        self.give_up(wanted.origin);
        if wanted.process.is_none() {
            self.refuse(wanted.origin, Refused::Over);
        }
        self.effects.push(MotionEffect::Over {
            origin: wanted.origin,
            cause,
        });
        true
    }

    fn begin_stop(&mut self, now: Duration, cause: Cause) {
        self.retry = None;
        if self.stops.len() >= STOPS_AT_A_TIME {
            self.due_stop = Some(cause);
            return;
        }
        // This one begins after whatever the one that was due was asked for.
        self.due_stop = None;
        let token = self.token();
        self.stops.push(StopRun {
            token,
            began: now,
            seen: self.moved,
        });
        self.effects.push(MotionEffect::RunStop { token, cause });
    }

    fn stop_ended(&mut self, now: Duration, token: ProcessToken, ok: bool) {
        let Some(at) = self.stops.iter().position(|stop| stop.token == token) else {
            return;
        };
        let stop = self.stops.swap_remove(at);
        if !ok {
            return self.stop_missed(now, now + STOP_PAUSE);
        }
        self.tries = 0;
        self.failed = false;
        if stop.seen == self.moved && self.process.is_none() {
            self.may_move = false;
            self.effects.push(MotionEffect::Stands);
        } else if self.process.is_none() && self.stops.is_empty() && self.due_stop.is_none() {
            self.begin_stop(now, Cause::Again);
        }
        // Else the process's end will ask for another.
    }

    /// A stop command has failed or took too long; it may be tried `again` at that time.
    fn stop_missed(&mut self, now: Duration, again: Duration) {
        if !self.stops.is_empty() || self.retry.is_some() || self.due_stop.is_some() {
            return;
        }
        self.tries += 1;
        if self.tries < STOP_TRIES && again <= now {
            self.begin_stop(now, Cause::Again);
        } else if self.tries < STOP_TRIES {
            self.retry = Some(again);
        } else {
            let again = self.tries > STOP_TRIES;
            self.failed = true;
            let later = now + stop_again_after(self.tries - STOP_TRIES);
            self.retry = self.can_move.then_some(later);
            self.effects.push(MotionEffect::StopFailed { again });
            if let Some(wanted) = self.wanted.take() {
                self.give_up(wanted.origin);
                self.refuse(wanted.origin, Refused::StopFailed);
            }
        }
    }

    fn started(&mut self, now: Duration, token: ProcessToken) {
        if let Some(wanted) = &mut self.wanted
            && wanted.process == Some(token)
            && let MotionOrigin::Timed(_) = wanted.origin
        {
            wanted.started = true;
            wanted.until = wanted.lasts.map(|lasts| now + lasts);
        }
    }

    fn not_started(&mut self, now: Duration, token: ProcessToken) {
        if self
            .wanted
            .as_ref()
            .is_some_and(|wanted| wanted.process == Some(token))
        {
            self.process = None;
            // What moved before it may be moving still.
            return self.halt(now, Cause::NotStarted);
        }
        self.reaped(now, token);
    }

    fn reaped(&mut self, now: Duration, token: ProcessToken) {
        if self.process.is_none_or(|(process, _)| process != token) {
            return;
        }
        self.process = None;
        self.moved += 1;
        // It may have done something since the last stop began; one that is to be tried again
        // begins after this.
        if self.wanted.is_none() && self.may_move && !self.failed && self.retry.is_none() {
            self.begin_stop(now, Cause::Again);
        }
    }

    /// Begins what is wished for, when what was before it is over.
    fn advance(&mut self, now: Duration) {
        if let Some(cause) = self.due_stop
            && self.stops.len() < STOPS_AT_A_TIME
        {
            self.begin_stop(now, cause);
        }
        let waits = self
            .wanted
            .as_ref()
            .is_none_or(|wanted| wanted.process.is_none());
        if waits && let Some((token, None)) = self.process {
            self.process = Some((token, Some(now)));
            self.effects.push(MotionEffect::End(token));
        }
        if self.process.is_some() || !self.stops.is_empty() || self.retry.is_some() {
            return;
        }
        let token = ProcessToken(self.next_token);
        let Some(wanted) = self
            .wanted
            .as_mut()
            .filter(|wanted| wanted.process.is_none())
        else {
            return;
        };
        wanted.process = Some(token);
        let (order, origin) = (wanted.order.clone(), wanted.origin);
        self.next_token += 1;
        self.process = Some((token, None));
        self.may_move = true;
        self.can_move = true;
        self.moved += 1;
        self.effects.push(MotionEffect::Start {
            token,
            order,
            origin,
        });
    }

    fn token(&mut self) -> ProcessToken {
        self.next_token += 1;
        ProcessToken(self.next_token - 1)
    }
}

#[cfg(test)]
mod tests;
