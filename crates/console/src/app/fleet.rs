//! What the console knows of every link, from the router's snapshots and events. Pure; sends
//! nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use p2p_shared::names::{CommandName, RunId};
use p2p_shared::protocol::{
    ActiveMotion, ControlInfo, End, LinkInfo, MotionEvent, RunInfo, RunResult,
};

use crate::app::round_trips::RoundTrips;
use crate::text::end_text;

/// Most events and motions that are kept of a car.
const EVENTS: usize = 64;

#[derive(Debug, Clone)]
pub struct FleetLink {
    pub info: LinkInfo,
    /// Time when the link came up, or was lost.
    pub since: Instant,
    /// Time when anything of this car was received last.
    pub seen: Instant,
    pub why_down: String,
    /// Time when the request for control of this car expires.
    pub request_until: Option<Instant>,
    pub rtts: RoundTrips,
    /// The round trips between the routers, if the car is at another than the console.
    pub hops: RoundTrips,
    /// The newest tick of the car's clock in milliseconds, and when it was received.
    pub tick: Option<(u64, Instant)>,
    /// The motion that the car has acknowledged, and when.
    pub moving: Option<(ActiveMotion, Instant)>,
    /// The motion or stop command that ended last.
    pub ran: Option<EndedCommand>,
    /// The last events of the car's motion, newest last.
    pub events: VecDeque<(Instant, String)>,
    /// Commands of the last motions: an end names only the run.
    motions: VecDeque<(RunId, CommandName)>,
}

impl FleetLink {
    pub fn failed_stop(&self) -> Option<End> {
        let ran = self.ran.as_ref();
        let stop = ran.filter(|ran| ran.command == self.info.stop.as_str());
        stop.map(|ran| ran.end).filter(|end| *end != End::Exit(0))
    }

    /// Applies a motion event of the car.
    pub fn on_motion(&mut self, event: &MotionEvent, now: Instant) {
        self.seen = now;
        let ran = |command, end, exec_us| EndedCommand {
            command,
            end,
            exec: Duration::from_micros(exec_us),
            at: now,
        };
        let text = match event {
            MotionEvent::Started(moving) => {
                push(&mut self.motions, (moving.run, moving.command.clone()));
                self.moving = Some((moving.clone(), now));
                format!("{} started", moving.command)
            }
            MotionEvent::Refused { why, .. } => format!("key press refused: {why}"),
            MotionEvent::Over { cause, .. } => {
                self.moving = None;
                format!("motion ends: {cause}")
            }
            MotionEvent::Ended { run, end, exec_us } => {
                let motion = self.motions.iter().rev().find(|(id, _)| id == run);
                let command = motion
                    .map_or("motion", |(_, name)| name.as_str())
                    .to_owned();
                let text = format!("{command}: {}, {} ms", end_text(*end), exec_us / 1000);
                self.ran = Some(ran(command, *end, *exec_us));
                text
            }
            MotionEvent::Stopped {
                cause,
                end,
                exec_us,
            } => {
                self.ran = Some(ran(self.info.stop.to_string(), *end, *exec_us));
                format!("stop: {}, {} ms ({cause})", end_text(*end), exec_us / 1000)
            }
            MotionEvent::Stands => {
                self.info.stop_failed = false;
                self.moving = None;
                "stands".to_owned()
            }
            MotionEvent::StopFailed => {
                self.info.stop_failed = true;
                match self.failed_stop() {
                    Some(end) => format!("STOP FAILED 3 times: {}", end_text(end)),
                    None => "STOP FAILED 3 times: no exit code".to_owned(),
                }
            }
        };
        push(&mut self.events, (now, text));
    }
}

/// Adds an entry; the oldest one goes if there are too many.
fn push<T>(entries: &mut VecDeque<T>, entry: T) {
    if entries.len() == EVENTS {
        entries.pop_front();
    }
    entries.push_back(entry);
}

#[derive(Debug, Clone)]
pub struct EndedCommand {
    pub command: String,
    pub end: End,
    /// Time from its start to its end.
    pub exec: Duration,
    pub at: Instant,
}

/// All links, by service port.
#[derive(Debug, Default)]
pub struct Fleet {
    pub links: BTreeMap<u16, FleetLink>,
}

impl Fleet {
    /// Finds a link by its name or its service port.
    pub fn find(&self, wanted: &str) -> Option<&FleetLink> {
        let infos = self.links.values().map(|link| &link.info);
        self.links.get(&find_link(infos, wanted)?.service_port)
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
        let old = self.links.remove(&port);
        let old = old.filter(|old| old.info.name == info.name);
        let mut link = FleetLink {
            since,
            seen: if info.is_up { now } else { since },
            why_down: String::new(),
            request_until: until(&info.control, now),
            rtts: RoundTrips::of(&rtts_us),
            hops: RoundTrips::default(),
            tick: None,
            moving: None,
            ran: None,
            events: VecDeque::new(),
            motions: VecDeque::new(),
            info,
        };
        if let Some(old) = old {
            (link.rtts, link.ran) = (old.rtts, old.ran);
            (link.events, link.motions) = (old.events, old.motions);
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

fn until(control: &ControlInfo, now: Instant) -> Option<Instant> {
    let (_, left_ms) = control.request.as_ref()?;
    now.checked_add(Duration::from_millis(*left_ms))
}

#[cfg(test)]
mod tests {
    use p2p_shared::protocol::StopCause;

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
        let stopped = |end| MotionEvent::Stopped {
            cause: StopCause::Asked,
            end,
            exec_us: 1,
        };
        for (end, said) in [(End::Exit(0), "no exit code"), (End::Exit(7), "exit 7")] {
            let link = fleet.links.get_mut(&9000).unwrap();
            link.on_motion(&stopped(end), now);
            link.on_motion(&MotionEvent::StopFailed, now);
            let (_, text) = link.events.back().unwrap();
            assert_eq!(*text, format!("STOP FAILED 3 times: {said}"));
        }
    }
}
