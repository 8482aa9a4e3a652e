//! Decides whether the car moves: presses, leases, time limits and the stop that ends each motion.
//! Pure: the caller gives the time and what happened, and gets back what to do. No process, clock
//! or socket here.
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
//! A stop that has failed is tried again now and then, if the car can have moved: a success leads
//! from Failed to Still, too.
//!
//! A motion is active from the start of its process until a stop has succeeded, whether or not
//! the process still lives. Times are those of the car's own clock.

use std::time::Duration;

use p2p_shared::names::RunId;
use p2p_shared::protocol::{MotionRefusal as Refused, PressId, StopCause as Cause};
use p2p_shared::timing;

mod guard_state;
mod role;
mod stop;
mod stop_targets;
mod types;

pub(crate) use guard_state::{GuardState, MotionOwner};
pub(crate) use role::{
    MOTION_GRACE, MotionRole, ProcessEvent, ProcessEvents, RoleKind, StopResult,
};
pub(crate) use stop::{STOP_AGAIN, STOP_LIMIT, STOP_TRIES, StopRetries, stop_again_after};
pub(crate) use stop_targets::{StopTarget, StopTargets};
pub(crate) use types::{
    MotionCommand, MotionEffect, MotionInput, MotionOrigin, MotionRules, ProcessToken,
};

/// Most stop commands at a time: one that runs, and one that began after the last request. Without
/// a bound, requests in a loop would take every process that the machine has.
const STOPS_AT_A_TIME: usize = 2;
/// Longest time until a motion's process that was told to end is reaped: twice 150 ms, after
/// SIGTERM and SIGKILL, and the time to notice. After that the guardian has to act.
const END_LIMIT: Duration = Duration::from_millis(400);

#[derive(Debug, Clone)]
struct WantedMotion {
    origin: MotionOrigin,
    order: MotionCommand,
    /// Time at which the motion ends by itself.
    until: Option<Duration>,
    /// Duration from the start of the process; `None`: as long as the lease.
    lasts: Option<Duration>,
    started: bool,
    process: Option<ProcessToken>,
}

#[derive(Debug, Clone, Copy)]
struct StopRun {
    token: ProcessToken,
    began: Duration,
    /// Value of `moved` when the stop began.
    seen: u64,
}

#[derive(Debug)]
pub(crate) struct Motion {
    rules: MotionRules,
    wanted: Option<WantedMotion>,
    /// Process of a motion that was not reaped yet, and the time at which it was told to end.
    process: Option<(ProcessToken, Option<Duration>)>,
    /// True if anything moved the car since the last stop that counts.
    may_move: bool,
    /// True if there is, or was, anything that can move the car: otherwise a stop that fails is no
    /// danger.
    can_move: bool,
    /// Count of what may have moved the car: starts and ends of motion processes.
    moved: u64,
    stops: Vec<StopRun>,
    /// Stop that begins as soon as a running one has ended.
    due_stop: Option<Cause>,
    retries: StopRetries,
    /// Failures of the stop command since its last success, whoever asked for it.
    failures: u32,
    /// Time of the next try after a failed stop.
    retry: Option<Duration>,
    failed: bool,
    /// Latest press that is over: neither it nor an earlier one comes back.
    over: Option<PressId>,
    /// Time for which the last motion would have gone on, and the age of the tick in the newest message of
    /// its driver.
    heard: (Option<Duration>, Option<Duration>),
    next_token: u64,
    effects: Vec<MotionEffect>,
}

impl Motion {
    /// Starts with a car that may be moving: it is stopped first.
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
            retries: StopRetries::default(),
            failures: 0,
            retry: None,
            failed: false,
            over: None,
            heard: (None, None),
            next_token: 0,
            effects: Vec::new(),
        }
    }

    /// Reports that the car stands: there is no stop command, so nothing has moved it.
    pub(crate) fn stands_still(&mut self) {
        self.may_move = false;
    }

    /// Reports that nothing can move the car: a failed stop is not tried again without a request.
    pub(crate) fn has_no_motions(&mut self) {
        self.can_move = false;
    }

    /// Takes an event at this time. Returns the actions, in order.
    pub(crate) fn on(&mut self, now: Duration, event: MotionInput) -> Vec<MotionEffect> {
        self.expire(now);
        match event {
            MotionInput::Press { id, order, tick } => self.press(now, id, order, tick),
            MotionInput::Renew { id, tick } => self.renew(now, id, tick),
            MotionInput::Release { id } => self.release(now, id),
            MotionInput::Timed { run, order, lasts } => self.timed(now, run, order, lasts),
            MotionInput::Abandoned { run } => {
                if self.origin() == Some(MotionOrigin::Timed(run)) {
                    self.halt(now, Cause::Released);
                }
            }
            MotionInput::Stop(cause) => {
                self.retries = StopRetries::default();
                self.end_wanted(now, cause);
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

    /// Returns the next time at which time alone changes something.
    pub(crate) fn next(&self) -> Option<Duration> {
        let wanted = self.wanted.as_ref().and_then(|wanted| wanted.until);
        wanted.into_iter().chain(self.next_of_stop()).min()
    }

    /// Returns the time by which the guardian must have stopped the car if it hears nothing more;
    /// `None`: the car stands. While the car is being stopped this is the time of the next step.
    /// `Duration::MAX` for a motion without a limit, or one that can't be stopped: then the
    /// guardian acts only if this process dies.
    pub(crate) fn guard(&self) -> Option<Duration> {
        let until = match &self.wanted {
            Some(wanted) => wanted.until,
            None => self.next_step(),
        };
        self.may_move.then(|| until.unwrap_or(Duration::MAX))
    }

    /// Returns the time of the next step of a stop, with a margin for a retry: a guardian that
    /// acted at that very moment would be in the way.
    fn next_step(&self) -> Option<Duration> {
        let ending = self.process.and_then(|(_, told)| told);
        let ending = ending.map(|told| told + END_LIMIT);
        let next = ending.into_iter().chain(self.next_of_stop()).min();
        let late = if self.failed {
            END_LIMIT
        } else {
            Duration::ZERO
        };
        next.map(|next| next + late)
    }

    /// Returns the time at which a stop command has taken too long, or is tried again.
    fn next_of_stop(&self) -> Option<Duration> {
        let limits = self.stops.iter().map(|stop| stop.began + STOP_LIMIT);
        limits.chain(self.retry).min()
    }

    /// Returns what the motion would have had left when it ended, and the age of the tick in the newest
    /// message of its driver.
    pub(crate) fn heard(&self) -> (Option<Duration>, Option<Duration>) {
        self.heard
    }

    /// Returns the number of failures of the stop command in a row, and the time of the next try.
    pub(crate) fn failures(&self) -> (u32, Option<Duration>) {
        (self.failures, self.retry)
    }

    /// Returns true if the stop command has failed three times, and none has succeeded since.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Returns true if the failure was reported, and nobody has asked for a stop since.
    pub(crate) fn tries_by_itself(&self) -> bool {
        self.failed && self.retries.have_failed()
    }

    fn origin(&self) -> Option<MotionOrigin> {
        self.wanted.as_ref().map(|wanted| wanted.origin)
    }

    fn press(&mut self, now: Duration, id: PressId, order: MotionCommand, tick: Duration) {
        let origin = MotionOrigin::Press(id);
        let until = (now + self.rules.lease).min(tick + timing::MOTION_AGE);
        if self.over.is_some_and(|over| id <= over) {
            return self.refuse(origin, Refused::Over);
        }
        match self.origin() {
            Some(MotionOrigin::Press(held)) if held == id => return self.renew(now, id, tick),
            Some(MotionOrigin::Press(held)) if held > id => {
                return self.refuse(origin, Refused::Over);
            }
            _ => {}
        }
        if until <= now {
            return self.refuse(origin, Refused::Old);
        }
        self.want(origin, order, until, None);
        self.heard = (None, Some(now.saturating_sub(tick)));
    }

    fn renew(&mut self, now: Duration, id: PressId, tick: Duration) {
        let until = (now + self.rules.lease).min(tick + timing::MOTION_AGE);
        if let Some(wanted) = &mut self.wanted
            && wanted.origin == MotionOrigin::Press(id)
        {
            wanted.until = wanted.until.max(Some(until));
            self.heard.1 = Some(now.saturating_sub(tick));
        }
    }

    fn release(&mut self, now: Duration, id: PressId) {
        self.over = self.over.max(Some(id));
        if let Some(MotionOrigin::Press(held)) = self.origin()
            && held <= id
        {
            self.halt(now, Cause::Released);
        }
    }

    /// Forgets earlier presses: a router's epochs begin at its wall clock, which may have been set
    /// back when it was restarted. Nothing of an older link comes over a new one.
    fn linked(&mut self, now: Duration) {
        if let Some(MotionOrigin::Press(_)) = self.origin() {
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
            // The same motion again while its process runs: only its end moves, and only to a later
            // time.
            wanted.lasts = wanted.lasts.zip(lasts).map(|(had, has)| had.max(has));
            if wanted.started {
                wanted.until = wanted
                    .until
                    .zip(lasts)
                    .map(|(until, lasts)| until.max(now + lasts));
            }
            return self.effects.push(MotionEffect::Extended { run, by });
        }
        self.heard = (None, None);
        // Until its process runs, the motion lasts as long as a press: its wait might never end.
        let until = now + self.rules.lease;
        self.want(MotionOrigin::Timed(run), order, until, lasts);
    }

    /// Makes this the wanted motion, in place of any other.
    fn want(
        &mut self,
        origin: MotionOrigin,
        order: MotionCommand,
        until: Duration,
        lasts: Option<Duration>,
    ) {
        if self.failed {
            return self.refuse(origin, Refused::StopFailed);
        }
        let wanted = WantedMotion {
            origin,
            order,
            until: Some(until),
            lasts,
            started: false,
            process: None,
        };
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

    /// Notes that a press is over, and doesn't come back.
    fn give_up(&mut self, origin: MotionOrigin) {
        if let MotionOrigin::Press(id) = origin {
            self.over = self.over.max(Some(id));
        }
    }

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
            self.stop_missed(now, true);
        }
        if self.retry.is_some_and(|at| at <= now) {
            self.begin_stop(now, Cause::Again);
        }
    }

    /// Ends the motion, if there is one, and stops the car if it may move.
    fn halt(&mut self, now: Duration, cause: Cause) {
        if self.end_wanted(now, cause) && self.may_move {
            self.begin_stop(now, cause);
        }
    }

    /// Ends the motion. Returns true if there was one.
    fn end_wanted(&mut self, now: Duration, cause: Cause) -> bool {
        let Some(wanted) = self.wanted.take() else {
            return false;
        };
        self.give_up(wanted.origin);
        self.heard.0 = wanted.until.map(|until| until.saturating_sub(now));
        if wanted.process.is_none() {
            self.refuse(wanted.origin, Refused::Over);
        }
        // A process that was frozen notices late that its time had run out.
        let at = match cause {
            Cause::Lease | Cause::Limit => wanted.until.unwrap_or(now).min(now),
            _ => now,
        };
        self.effects.push(MotionEffect::Over {
            origin: wanted.origin,
            cause,
            at,
        });
        true
    }

    fn begin_stop(&mut self, now: Duration, cause: Cause) {
        self.retry = None;
        if self.stops.len() >= STOPS_AT_A_TIME {
            self.due_stop = Some(cause);
            return;
        }
        // This stop also serves the one that was due.
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
            return self.stop_missed(now, false);
        }
        self.retries = StopRetries::default();
        (self.failed, self.failures) = (false, 0);
        if stop.seen == self.moved && self.process.is_none() {
            self.may_move = false;
            self.effects.push(MotionEffect::Stands);
        } else if self.process.is_none() && self.stops.is_empty() && self.due_stop.is_none() {
            self.begin_stop(now, Cause::Again);
        }
        // Otherwise the end of the process begins another stop.
    }

    /// Notes that a stop command has failed, or hung for too long.
    fn stop_missed(&mut self, now: Duration, hung: bool) {
        self.failures += 1;
        if !self.stops.is_empty() || self.retry.is_some() || self.due_stop.is_some() {
            return;
        }
        let pause = self.retries.failed(hung);
        if !self.retries.have_failed() && pause.is_zero() {
            self.begin_stop(now, Cause::Again);
        } else if !self.retries.have_failed() {
            self.retry = Some(now + pause);
        } else {
            let again = self.retries.is_old_news();
            self.failed = true;
            self.retry = self.can_move.then_some(now + pause);
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
            // The car may still be moving.
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
        // The process may have moved the car since the last stop began; a stop that is to be tried
        // again begins after this anyway.
        if self.wanted.is_none() && self.may_move && !self.failed && self.retry.is_none() {
            self.begin_stop(now, Cause::Again);
        }
    }

    /// Begins the wanted motion when the one before is over.
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
