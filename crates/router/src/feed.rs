//! Owns what consoles are told: how every link and the last runs are now, and the stream of what
//! happens. Telling never waits for anyone: a console that falls behind takes a new picture.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use p2p_shared::names::{LinkName, RunId};
use p2p_shared::protocol::{
    ActiveMotion, ControlInfo, FeedEvent, LinkInfo, MotionEvent, MotionInfo, RunInfo, RunResult,
};
use p2p_shared::text::Escaped;
use p2p_shared::timing;
use tokio::sync::broadcast;

mod snapshot;

pub(crate) use snapshot::{Addressee, Snapshot};

/// How many of the last runs a picture has.
const RUNS: usize = 1000;
/// How many round trips a picture has of each link.
const RTTS: usize = 60;
/// How many events a console may be behind: some 0.8 s of 5,000 a second.
const BEHIND: usize = 4096;
/// The same for ticks, of which only the newest is worth anything.
const TICKS_BEHIND: usize = 64;
/// Most characters of a reason.
const REASON: usize = 500;

/// A car's clock said this.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tick {
    pub service_port: u16,
    pub clock_ms: u64,
}

/// The feed.
#[derive(Debug)]
pub(crate) struct Feed {
    events: broadcast::Sender<Arc<FeedEvent>>,
    ticks: broadcast::Sender<Tick>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    links: BTreeMap<u16, LinkView>,
    /// In the order in which they were asked for, for so run ids grow.
    runs: BTreeMap<RunId, Arc<RunInfo>>,
}

#[derive(Debug)]
struct LinkView {
    name: LinkName,
    is_up: bool,
    since: Instant,
    rtts_us: VecDeque<u32>,
    runs: u64,
    failures: u64,
    motion: MotionInfo,
    control: ControlInfo,
    request_until: Option<Instant>,
    moving: Option<ActiveMotion>,
    stop_failed: bool,
}

impl LinkView {
    fn info(&self, service_port: u16, now: Instant) -> LinkInfo {
        LinkInfo {
            service_port,
            name: self.name.clone(),
            is_up: self.is_up,
            since_ms: millis(now.saturating_duration_since(self.since)),
            rtts_us: self.rtts_us.iter().copied().collect(),
            runs: self.runs,
            failures: self.failures,
            motion: self.motion.commands.clone(),
            stop: self.motion.stop.clone(),
            lease_ms: self.motion.lease_ms,
            motion_limit_ms: self.motion.limit_ms,
            control: self.control_now(now),
            moving: self.moving.clone(),
            stop_failed: self.stop_failed,
        }
    }

    /// The countdown of a request goes on by itself.
    fn control_now(&self, now: Instant) -> ControlInfo {
        let mut control = self.control.clone();
        if let (Some((_, left_ms)), Some(until)) = (&mut control.request, self.request_until) {
            *left_ms = millis(until.saturating_duration_since(now));
        }
        control
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What a console holds of the feed: how it was, and what happens from then on.
pub(crate) struct Subscription {
    pub snapshot: Snapshot,
    pub events: broadcast::Receiver<Arc<FeedEvent>>,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self {
            events: broadcast::Sender::new(BEHIND),
            ticks: broadcast::Sender::new(TICKS_BEHIND),
            known: Mutex::default(),
        }
    }

    /// How everything is, and what happens from then on, without a gap between the two; of `only`
    /// one car, without the runs that are over.
    pub(crate) fn subscribe(&self, only: Option<u16>) -> Subscription {
        let known = self.lock();
        let now = timing::now();
        let info = |(port, link): (&u16, &LinkView)| link.info(*port, now);
        let snapshot = match only {
            Some(port) => {
                let link = known.links.get_key_value(&port);
                Snapshot::new(link.map(info).into_iter().collect(), Vec::new())
            }
            None => Snapshot::new(
                known.links.iter().map(info).collect(),
                known.runs.values().cloned().collect(),
            ),
        };
        Subscription {
            snapshot,
            events: self.events.subscribe(),
        }
    }

    /// The ticks of all cars from now on.
    pub(crate) fn ticks(&self) -> broadcast::Receiver<Tick> {
        self.ticks.subscribe()
    }

    pub(crate) fn tick(&self, tick: Tick) {
        // Without a console there is nobody to tell.
        let _ = self.ticks.send(tick);
    }

    /// A link came up, with what a new inner (`is_new`) has forgotten.
    pub(crate) fn link_up(&self, port: u16, name: LinkName, motion: MotionInfo, is_new: bool) {
        let mut known = self.lock();
        let now = timing::now();
        let link = known.links.entry(port).or_insert_with(|| LinkView {
            name: name.clone(),
            is_up: false,
            since: now,
            rtts_us: VecDeque::new(),
            runs: 0,
            failures: 0,
            motion: motion.clone(),
            control: ControlInfo::default(),
            request_until: None,
            moving: None,
            stop_failed: false,
        });
        link.name = name;
        link.motion = motion;
        link.is_up = true;
        link.since = now;
        if is_new {
            link.stop_failed = false;
        }
        self.publish(|| FeedEvent::Link(Box::new(link.info(port, now))));
    }

    pub(crate) fn link_down(&self, port: u16, why: &str) {
        let mut known = self.lock();
        if let Some(link) = known.links.get_mut(&port) {
            link.is_up = false;
            link.since = timing::now();
            link.moving = None;
            self.publish(|| FeedEvent::LinkDown {
                service_port: port,
                why: shortened(why),
            });
        }
    }

    /// The port was given up.
    pub(crate) fn link_gone(&self, service_port: u16) {
        if self.lock().links.remove(&service_port).is_some() {
            self.publish(|| FeedEvent::LinkGone { service_port });
        }
    }

    pub(crate) fn rtt(&self, service_port: u16, rtt: Duration) {
        let rtt_us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        let mut known = self.lock();
        if let Some(link) = known.links.get_mut(&service_port) {
            if link.rtts_us.len() == RTTS {
                link.rtts_us.pop_front();
            }
            link.rtts_us.push_back(rtt_us);
            self.publish(|| FeedEvent::Rtt {
                service_port,
                rtt_us,
            });
        }
    }

    /// A run was asked for.
    pub(crate) fn run(&self, run: &Arc<RunInfo>) {
        let mut known = self.lock();
        if let Some(link) = known.links.get_mut(&run.service_port) {
            link.runs += 1;
        }
        known.runs.insert(run.run, run.clone());
        if known.runs.len() > RUNS {
            known.runs.pop_first();
        }
        self.publish(|| FeedEvent::Run(Box::new(RunInfo::clone(run))));
    }

    /// A run is over, or won't be.
    pub(crate) fn run_over(&self, run: Arc<RunInfo>) {
        let mut known = self.lock();
        if run.result.as_ref().is_some_and(RunResult::is_failure)
            && let Some(link) = known.links.get_mut(&run.service_port)
        {
            link.failures += 1;
        }
        self.publish(|| FeedEvent::Run(Box::new(RunInfo::clone(&run))));
        // One that was asked for long ago is not among the last any more.
        if let Some(held) = known.runs.get_mut(&run.run) {
            *held = run;
        }
    }

    /// Who drives, or wants to, and until when the latter waits.
    pub(crate) fn control(&self, port: u16, control: ControlInfo, until: Option<Instant>) {
        let mut known = self.lock();
        if let Some(link) = known.links.get_mut(&port) {
            link.control = control.clone();
            link.request_until = until;
            self.publish(|| FeedEvent::Control {
                service_port: port,
                control,
            });
        }
    }

    /// What a car does.
    pub(crate) fn motion(&self, service_port: u16, event: MotionEvent) {
        let mut known = self.lock();
        if let Some(link) = known.links.get_mut(&service_port) {
            match &event {
                MotionEvent::Started(moving) => link.moving = Some(moving.clone()),
                MotionEvent::Stands => {
                    link.moving = None;
                    link.stop_failed = false;
                }
                MotionEvent::StopFailed => link.stop_failed = true,
                MotionEvent::Refused { .. }
                | MotionEvent::Over { .. }
                | MotionEvent::Ended { .. }
                | MotionEvent::Stopped { .. } => {}
            }
            self.publish(|| FeedEvent::Motion {
                service_port,
                event,
            });
        }
    }

    /// Tells the consoles, if there are any. Called with `known` locked, so that what they are
    /// told comes in the order in which it happened.
    fn publish(&self, event: impl FnOnce() -> FeedEvent) {
        if self.events.receiver_count() > 0 {
            let _ = self.events.send(Arc::new(event()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reason as people are told it.
pub(crate) fn shortened(why: &str) -> String {
    Escaped(why).cut(REASON).to_string()
}

#[cfg(test)]
mod tests;
