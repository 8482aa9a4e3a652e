//! What the console knows of every link, from the router's snapshots and events. Pure; sends
//! nothing.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use p2p_shared::names::{CommandName, RunId};
use p2p_shared::protocol::{
    ActiveMotion, ControlInfo, End, LinkInfo, MotionEvent, PastEntry, PastEvent, PressId, RunInfo,
    RunResult, StopCause, StopFailure,
};
use p2p_shared::timing::micros;

use crate::app::car_moments::CarMoments;
use crate::app::round_trips::RoundTrips;
use crate::app::timeline::{Sign, Timeline, glyph};
use crate::text::fit;

/// Most motions that are kept of a car.
const MOTIONS: usize = 64;
/// Most links that are kept after they are gone.
const GONE: usize = 64;

#[derive(Debug, Clone)]
pub struct FleetLink {
    pub info: LinkInfo,
    /// Time when the link came up, or was lost.
    pub since: Instant,
    /// Time when anything of this car was received last.
    pub seen: Instant,
    pub why_down: String,
    /// Time since which the car gives no answer, as its router says.
    pub silent_since: Option<Instant>,
    /// Time when the request for control of this car expires.
    pub request_until: Option<Instant>,
    pub rtts: RoundTrips,
    /// The round trips between the routers, if the car is at another than the console.
    pub hops: RoundTrips,
    /// The newest tick of the car's clock in milliseconds, and when it was received.
    pub tick: Option<(u64, Instant)>,
    pub(super) moments: CarMoments,
    /// The motion that the car has acknowledged, and when.
    pub moving: Option<(ActiveMotion, Instant)>,
    /// The motion or stop command that ended last.
    pub ran: Option<EndedCommand>,
    /// The end of the last motion.
    pub stopped: Option<LastStop>,
    pub timeline: Timeline,
    /// Time of the next try of a stop command that fails.
    pub next_stop: Option<Instant>,
    /// Commands of the last motions: an end names only the run.
    motions: VecDeque<(RunId, CommandName)>,
    /// What is told of the car at a moment of a replay; `None`: it is live, and the router tells all.
    pub told: Option<Told>,
}

/// What a file has told of a car until the moment that is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// True once the file has told whether the link is up.
    pub link: bool,
    pub motion: MotionTold,
}

/// Who has told whether the car moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MotionTold {
    #[default]
    Nobody,
    /// The router, which knows it as long as it hears the car.
    Router,
    /// The car itself, later.
    Car,
}

impl FleetLink {
    /// The end of the stop command, if it was run last and has failed.
    pub fn failed_stop(&self) -> Option<String> {
        let ran = self.ran.as_ref();
        let stop = ran.filter(|ran| ran.command == self.info.stop.as_str());
        let failed = stop.filter(|ran| ran.end != End::Exit(0));
        failed.map(EndedCommand::end_text)
    }

    /// Applies a motion event of the car, which came now with this time on the car's clock. Returns the moment at
    /// which it was.
    pub fn on_motion(
        &mut self,
        event: &MotionEvent,
        clock_ms: Option<u64>,
        now: Instant,
    ) -> Instant {
        self.seen = now;
        if let Some(clock_ms) = clock_ms {
            self.moments.heard(clock_ms, now);
        }
        let ended_ms = match event {
            MotionEvent::Over { clock_ms, .. } => *clock_ms,
            _ => None,
        };
        let at = self.moments.of(ended_ms.or(clock_ms), now);
        // It moves until a stop has succeeded.
        let moving = self
            .moving
            .as_ref()
            .map(|(moving, _)| moving.command.clone());
        let text = self.record(event, moving, at, at);
        match event {
            MotionEvent::Started(moving) => {
                self.timeline.car_was(at, self.sign_of(moving));
                self.moving = Some((moving.clone(), at));
            }
            MotionEvent::Stands => {
                self.timeline.car_was(at, Sign::Calm);
                (self.info.stop_failed, self.info.stop_failure) = (false, None);
                self.next_stop = None;
                self.moving = None;
            }
            MotionEvent::Stopped { failure, .. } => {
                self.next_stop = next_try(failure.as_ref(), at);
                self.info.stop_failure.clone_from(failure);
            }
            MotionEvent::StopFailed => {
                self.timeline.car_was(at, Sign::Bad);
                self.info.stop_failed = true;
            }
            _ => {}
        }
        self.timeline.tell_of_car(at, text);
        at
    }

    /// Takes a tick of the car's clock.
    pub(super) fn ticked(&mut self, clock_ms: u64, now: Instant) {
        self.moments.heard(clock_ms, now);
        (self.tick, self.silent_since) = (Some((clock_ms, now)), None);
        self.seen = now;
    }

    /// The sign of this motion on the timeline.
    pub(super) fn sign_of(&self, moving: &ActiveMotion) -> Sign {
        let mut motion = self.info.motion.iter();
        Sign::Active(glyph(motion.position(|name| *name == moving.command)))
    }

    /// Puts what the car remembers in place of what was received of it since then.
    pub fn add_past(&mut self, entries: &[(Instant, PastEntry)], now: Instant) {
        let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
            return;
        };
        self.timeline.forget_events(*first, *last);
        let mut moving = None;
        for (at, entry) in entries {
            let of_clock = |clock_ms: u64| {
                let ms = Duration::from_millis;
                let at = *at + ms(clock_ms.saturating_sub(entry.clock_ms));
                at.checked_sub(ms(entry.clock_ms.saturating_sub(clock_ms)))
                    .map_or(now, |at| at.min(now))
            };
            let text = match &entry.event {
                PastEvent::Now => continue,
                PastEvent::Start { .. } => "p2p-inner started".to_owned(),
                PastEvent::LinkUp { .. } => "link up".to_owned(),
                PastEvent::LinkLost { why } => format!("link lost: {}", fit(why.raw(), 80)),
                PastEvent::Motion(event) => {
                    let ended = match event {
                        MotionEvent::Over {
                            clock_ms: Some(clock_ms),
                            ..
                        } => of_clock(*clock_ms),
                        _ => *at,
                    };
                    let text = self.record(event, moving.clone(), ended, *at);
                    match event {
                        MotionEvent::Started(begun) => moving = Some(begun.command.clone()),
                        MotionEvent::Stands => moving = None,
                        _ => {}
                    }
                    text
                }
                PastEvent::Guardian {
                    cause,
                    press,
                    clock_ms,
                    has_stopped,
                    ..
                } => {
                    let by_guardian = ByGuardian {
                        cause: fit(cause.raw(), 40),
                        has_stopped: *has_stopped,
                    };
                    let text = format!("stops: {by_guardian}");
                    self.guardian_acted(by_guardian, *press, of_clock(*clock_ms), moving.clone());
                    text
                }
            };
            self.timeline.tell_of_car(*at, text);
        }
    }

    /// Applies what the guardian did about this press. Returns it in words.
    pub fn on_guardian(
        &mut self,
        guardian: ByGuardian,
        press: Option<PressId>,
        at: Instant,
    ) -> String {
        let moving = self.moving.as_ref();
        let moving = moving.map(|(moving, _)| moving.command.clone());
        if guardian.has_stopped {
            self.moving = None;
        }
        let text = format!("stops: {guardian}");
        self.guardian_acted(guardian, press, at, moving);
        text
    }

    /// Notes that the guardian acted on this press.
    fn guardian_acted(
        &mut self,
        guardian: ByGuardian,
        press: Option<PressId>,
        at: Instant,
        moving: Option<CommandName>,
    ) {
        match &mut self.stopped {
            Some(stop) if press.is_some() && stop.press == press => stop.guardian = Some(guardian),
            _ => {
                self.stopped = Some(LastStop {
                    at,
                    press,
                    cause: StopCause::Watchdog,
                    by: None,
                    ran: moving,
                    guardian: Some(guardian),
                });
            }
        }
    }

    /// Notes what an event tells of motions and stops that ended then. Returns it in words.
    fn record(
        &mut self,
        event: &MotionEvent,
        moving: Option<CommandName>,
        ended: Instant,
        now: Instant,
    ) -> String {
        let ran = |command, end, exec_us| EndedCommand {
            command,
            end,
            exec: Duration::from_micros(exec_us),
            at: now,
        };
        match event {
            MotionEvent::Started(moving) => {
                push(&mut self.motions, (moving.run, moving.command.clone()));
                format!("{} started", moving.command)
            }
            MotionEvent::Refused { why, .. } => format!("key press refused: {why}"),
            MotionEvent::Over {
                press, cause, by, ..
            } => {
                // The guardian may have acted before the inner could.
                let before = self
                    .stopped
                    .take()
                    .filter(|stop| press.is_some() && stop.press == *press);
                let stop = LastStop {
                    // What was told at once, by the ticks, is more exact.
                    at: before.as_ref().map_or(ended, |stop| stop.at.min(ended)),
                    press: *press,
                    cause: *cause,
                    by: by.as_ref().map(|by| fit(by.raw(), 40)),
                    // What is told of the past may begin after the motion did.
                    ran: moving.or_else(|| before.as_ref()?.ran.clone()),
                    guardian: before.and_then(|stop| stop.guardian),
                };
                let text = format!("stops: {}", stop.why(self.info.lease_ms));
                self.stopped = Some(stop);
                text
            }
            MotionEvent::Ended { run, end, exec_us } => {
                let motion = self.motions.iter().rev().find(|(id, _)| id == run);
                let command = motion
                    .map_or("motion", |(_, name)| name.as_str())
                    .to_owned();
                let text = format!("{command}: {}, {} ms", end.text(), exec_us / 1000);
                self.ran = Some(ran(command, *end, *exec_us));
                text
            }
            MotionEvent::Stopped {
                cause,
                end,
                exec_us,
                failure,
            } => {
                self.ran = Some(ran(self.info.stop.to_string(), *end, *exec_us));
                let (end, ms) = (end.stop_text(*exec_us), exec_us / 1000);
                match failure.as_ref().map(|failure| fit(failure.said.raw(), 80)) {
                    Some(said) if !said.is_empty() => {
                        format!("stop: {end}, {ms} ms ({cause}): {said}")
                    }
                    _ => format!("stop: {end}, {ms} ms ({cause})"),
                }
            }
            MotionEvent::Stands => "stands".to_owned(),
            MotionEvent::StopFailed => match self.failed_stop() {
                Some(end) => format!("STOP FAILED 3 times: {end}"),
                None => "STOP FAILED 3 times: no exit code".to_owned(),
            },
        }
    }
}

/// The time of the next try of a stop that failed.
fn next_try(failure: Option<&StopFailure>, now: Instant) -> Option<Instant> {
    now.checked_add(Duration::from_millis(failure?.again_ms?))
}

/// Adds an entry; the oldest one goes if there are too many.
fn push<T>(entries: &mut VecDeque<T>, entry: T) {
    if entries.len() == MOTIONS {
        entries.pop_front();
    }
    entries.push_back(entry);
}

/// The end of a motion.
#[derive(Debug, Clone)]
pub struct LastStop {
    pub at: Instant,
    /// The press that had started the motion, if a driver had.
    pub press: Option<PressId>,
    pub cause: StopCause,
    /// Name of the one who asked for the stop.
    pub by: Option<String>,
    /// The motion's command.
    pub ran: Option<CommandName>,
    /// Action of the guardian, if it had to act.
    pub guardian: Option<ByGuardian>,
}

/// A stop by the second process at the car.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByGuardian {
    /// `the inner is gone`, or silent.
    pub cause: String,
    pub has_stopped: bool,
}

impl fmt::Display for ByGuardian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = &self.cause;
        match self.has_stopped {
            true => write!(f, "by its guardian ({cause})"),
            false => write!(f, "its guardian could not stop it ({cause})"),
        }
    }
}

impl LastStop {
    /// The reason of the stop at a car with this lease.
    pub fn why(&self, lease_ms: u64) -> String {
        match (self.cause, &self.by) {
            (StopCause::Asked | StopCause::Beginning, Some(by)) => format!("by {by}"),
            // A log does not say how long it was.
            (StopCause::Lease, _) if lease_ms > 0 => format!("it heard nothing for {lease_ms} ms"),
            (cause, _) => cause.to_string(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct EndedCommand {
    pub command: String,
    pub end: End,
    /// Time from its start to its end.
    pub exec: Duration,
    pub at: Instant,
}

impl EndedCommand {
    /// The end in words.
    pub fn end_text(&self) -> String {
        self.end.stop_text(micros(self.exec))
    }
}

/// All links, by service port.
#[derive(Debug, Default)]
pub struct Fleet {
    pub links: BTreeMap<u16, FleetLink>,
    /// Links that are gone, so that a car that comes back has its past.
    gone: BTreeMap<u16, FleetLink>,
}

impl Fleet {
    /// Finds a link by its name or its service port.
    pub fn find(&self, wanted: &str) -> Option<&FleetLink> {
        let infos = self.links.values().map(|link| &link.info);
        self.links.get(&find_link(infos, wanted)?.service_port)
    }

    /// Forgets the links that are not among these.
    pub fn keep_only(&mut self, links: &[LinkInfo]) {
        let there: HashSet<u16> = links.iter().map(|link| link.service_port).collect();
        let gone = self.links.extract_if(.., |port, _| !there.contains(port));
        self.gone.extend(gone);
        self.bound();
    }

    /// Forgets a link whose port was given up.
    pub fn forget(&mut self, service_port: u16) {
        self.gone.extend(self.links.remove_entry(&service_port));
        self.bound();
    }

    fn bound(&mut self) {
        while self.gone.len() > GONE {
            self.gone.pop_first();
        }
    }

    /// Updates a link as the router describes it.
    pub fn update(&mut self, mut info: LinkInfo, now: Instant) {
        let since = now
            .checked_sub(Duration::from_millis(info.since_ms))
            .unwrap_or(now);
        let rtts_us = std::mem::take(&mut info.rtts_us);
        let moving = info.moving.take();
        let port = info.service_port;
        // The port may have been another car's.
        let gone = self.gone.remove(&port);
        let old = self.links.remove(&port).or(gone);
        let old = old.filter(|old| old.info.name == info.name);
        let mut link = FleetLink {
            since,
            seen: if info.is_up { now } else { since },
            why_down: String::new(),
            silent_since: before(info.silent_ms, now),
            request_until: until(&info.control, now),
            rtts: RoundTrips::of(&rtts_us),
            hops: RoundTrips::default(),
            tick: None,
            moments: CarMoments::new(now),
            moving: None,
            ran: None,
            stopped: None,
            timeline: Timeline::default(),
            next_stop: next_try(info.stop_failure.as_ref(), now),
            motions: VecDeque::new(),
            told: None,
            info,
        };
        if let Some(old) = old {
            link.told = old.told;
            (link.rtts, link.ran, link.stopped) = (old.rtts, old.ran, old.stopped);
            (link.timeline, link.motions) = (old.timeline, old.motions);
            // The machine may have started anew before another link, and its clock with it.
            if link.info.is_up && old.info.is_up && since <= old.seen {
                link.moments = old.moments;
            }
            if link.info.router == old.info.router {
                link.hops = old.hops;
            }
            if link.info.is_up {
                link.tick = old.tick;
                link.moving = old.moving;
            } else {
                link.why_down = old.why_down;
                link.seen = old.seen;
            }
        }
        let same = |known: &(ActiveMotion, Instant)| moving.as_ref() == Some(&known.0);
        if !link.moving.as_ref().is_some_and(same) {
            link.moving = moving.map(|moving| (moving, now));
        }
        self.links.insert(port, link);
    }

    pub fn link_down(&mut self, service_port: u16, why: String, now: Instant) {
        if let Some(link) = self.links.get_mut(&service_port) {
            link.info.is_up = false;
            link.since = now;
            link.why_down = why;
            link.tick = None;
            link.moving = None;
        }
    }

    /// Counts a run that was requested (`is_new`) or has ended.
    pub fn count_run(&mut self, run: &RunInfo, is_new: bool, now: Instant) {
        let Some(link) = self.links.get_mut(&run.service_port) else {
            return;
        };
        link.seen = now;
        link.info.runs = link.info.runs.saturating_add(is_new.into());
        let has_failed = run.result.as_ref().is_some_and(RunResult::is_failure);
        link.info.failures = link.info.failures.saturating_add(has_failed.into());
    }

    /// Updates who controls a car and who asks for control.
    pub fn set_control(&mut self, service_port: u16, control: ControlInfo, now: Instant) {
        if let Some(link) = self.links.get_mut(&service_port) {
            link.request_until = until(&control, now);
            link.info.control = control;
        }
    }
}

/// Finds a link by its service port, if a number is wanted, or else by its name (first one that is
/// up). No name is a number.
pub fn find_link<'a>(
    mut links: impl Iterator<Item = &'a LinkInfo> + Clone,
    wanted: &str,
) -> Option<&'a LinkInfo> {
    if wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        let port: u16 = wanted.parse().ok()?;
        return links.find(|link| link.service_port == port);
    }
    let mut named = links.filter(|link| link.name.as_str() == wanted);
    let first = named.clone().next();
    named.find(|link| link.is_up).or(first)
}

/// The time that was this many milliseconds ago.
pub(super) fn before(ms: Option<u64>, now: Instant) -> Option<Instant> {
    let ago = ms.map(Duration::from_millis)?;
    Some(now.checked_sub(ago).unwrap_or(now))
}

fn until(control: &ControlInfo, now: Instant) -> Option<Instant> {
    let (_, left_ms) = control.request.as_ref()?;
    now.checked_add(Duration::from_millis(*left_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_run_that_was_given_up_by_its_caller_is_no_failure() {
        let now = Instant::now();
        let mut fleet = Fleet::default();
        fleet.update(testing::link(9000, "car"), now);
        let before = fleet.links[&9000].info.failures;
        for (status, failures) in [(200, 0), (499, 0), (500, 1), (404, 2)] {
            let mut run = testing::run(u64::from(status), "forward");
            run.result.as_mut().unwrap().status = status;
            fleet.count_run(&run, true, now);
            let counted = fleet.links[&9000].info.failures - before;
            assert_eq!(counted, failures, "{status}");
        }
    }

    #[test]
    fn a_number_means_the_port_and_anything_else_the_name() {
        let links = [
            testing::link(9000, "car"),
            testing::link(9001, "+9000"),
            testing::link(9002, "9000x"),
        ];
        for (wanted, found) in [
            ("9000", Some(9000)),
            ("+9000", Some(9001)),
            ("9000x", Some(9002)),
            ("car", Some(9000)),
            ("9003", None),
            ("99999", None),
            ("", None),
        ] {
            let link = find_link(links.iter(), wanted);
            assert_eq!(link.map(|link| link.service_port), found, "{wanted}");
        }
    }

    #[test]
    fn a_stop_that_failed_says_how() {
        let now = Instant::now();
        let mut fleet = Fleet::default();
        fleet.update(testing::link(9000, "car"), now);
        let stopped = |(end, exec_us)| MotionEvent::Stopped {
            cause: StopCause::Asked,
            end,
            exec_us,
            failure: None,
        };
        for (end, said) in [
            ((End::Exit(0), 1), "no exit code"),
            ((End::Exit(7), 1), "exit 7"),
            ((End::Exit(127), 1), "exit 127"),
            // The file is missing.
            ((End::Exit(127), 0), "nothing was run"),
        ] {
            let link = fleet.links.get_mut(&9000).unwrap();
            link.on_motion(&stopped(end), None, now);
            link.on_motion(&MotionEvent::StopFailed, None, now);
            let (_, text) = link.timeline.events().next().unwrap();
            assert_eq!(*text, format!("STOP FAILED 3 times: {said}"));
        }
    }
}
