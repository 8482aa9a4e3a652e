//! Owns one car: its service port and name, its link, its control, the presses that are under way, its
//! camera, and its part of a snapshot. A car outlives its links: it is up, or away since some moment,
//! until its port is given up. `control` decides which presses count; the car passes them on, in the
//! order in which they were decided.
//!
//! Locks are taken in this order: the registry's, a car's, and then its camera's, its priority queue's
//! or the feed's. Only the registry locks several cars at a time. A borrowed value of the camera's
//! channels is a lock, too.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use p2p_shared::bounded::Text;
use p2p_shared::key::Role;
use p2p_shared::names::{Identity, InstanceId, LinkName};
use p2p_shared::protocol::{
    ActiveMotion, ControlRequest, Driver, FeedEvent, LinkInfo, MotionInfo, PressId, RefusedReason,
    SessionId, StopCause, StopFailure, link_id,
};
use p2p_shared::timing;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::camera::Camera;
use crate::car::control::{Control, Epochs, Event};
use crate::car::open_port::OpenPort;
use crate::car::recording::Recording;
use crate::feed::{Feed, RunCounts};
use crate::link::end::LinkEnd;
use crate::link::handle::{LinkHandle, LinkId};
use crate::link::priority_queue::Interest;
use crate::mesh::record::LinkStamp;
use crate::net::client_net::QuotaOwner;
use crate::ops::metrics::Metrics;
use crate::run::NewRun;
use crate::run::record::RunRecord;

pub(crate) mod control;
pub(crate) mod dispatch;
pub(crate) mod elsewhere;
mod lifecycle;
mod log;
mod messages;
pub(crate) mod open_port;
pub mod port_command;
mod presses;
mod recording;
pub(crate) mod registry;
pub(crate) mod saved_ports;
pub(crate) mod session;

/// The person at a console or a page.
#[derive(Debug, Clone)]
pub(crate) struct DriverSession {
    pub driver: Driver,
    /// The name of the person's key; empty without keys.
    pub key: Text,
    pub from: SocketAddr,
    pub role: Role,
    /// The round trip to the console, once it is known.
    pub rtt: Option<Duration>,
    /// Takes late refusals of presses that were passed on.
    pub refusals: mpsc::Sender<(PressId, Refused)>,
}

/// The refusal of a console's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub reason: RefusedReason,
    /// A sentence that says what to do.
    pub message: String,
}

/// The parts of the router that every car uses.
#[derive(Debug)]
pub(crate) struct CarServices {
    pub feed: Arc<Feed>,
    pub metrics: Arc<Metrics>,
    pub epochs: Epochs,
    /// Notified when a timer of some car's control may be due earlier than before.
    pub changed: Notify,
    /// True if the router makes recordings.
    pub records: bool,
    /// True if the router goes down: nobody takes control any more.
    pub closing: AtomicBool,
}

/// A car, from the first claim of its service port until the port is given up.
#[derive(Debug)]
pub(crate) struct Car {
    pub port: u16,
    owner: QuotaOwner,
    pub identity: Identity,
    services: Arc<CarServices>,
    pub camera: Arc<Camera>,
    /// Cancelled when the port is given up, or another router has the car.
    pub closed: CancellationToken,
    /// True while the port is to be given up at once and kept for nobody. A new link keeps it.
    freed: watch::Sender<bool>,
    counts: Arc<RunCounts>,
    /// The number of stops so far: a motion that was asked for before the last one is old.
    stops: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The name that the inner asks for, and the one that it has.
    asked_name: LinkName,
    name: LinkName,
    /// Cancelled when the car gets another name, and when it is closed; `None`: nobody waits for that.
    is_called: Option<CancellationToken>,
    /// The name of the inner's key; empty without keys.
    key: String,
    /// Motion in the inner's last hello; `None`: no link since the router's start.
    motion: Option<MotionInfo>,
    /// The process that had the last link, and its number among the hellos of that process.
    instance: Option<InstanceId>,
    dial: u64,
    link: Option<LinkHandle>,
    /// The moment at which the link came up or was lost.
    since: Instant,
    takeovers: Vec<Instant>,
    /// `None` once the port is given up.
    open_port: Option<Arc<OpenPort>>,
    /// The time since which this identity has the port by the mesh's news, 0 without a mesh; and its last link.
    told: (u64, Option<LinkStamp>),
    /// The newest round trip of this link, and the last ones of all links, in microseconds.
    rtt: Option<Duration>,
    rtts_us: VecDeque<u32>,
    /// Time since which the car gives no answer, once consoles were told.
    silent_since: Option<Instant>,
    control: Control,
    /// `None`: the router makes no recordings.
    recording: Option<Recording>,
    /// Updates that consoles and pages want, without those for a driver.
    interest: Interest,
    /// Presses that were passed on and are not over.
    presses: BTreeMap<PressId, RunRecord>,
    /// The newest press, and where its late refusal goes.
    newest: Option<(PressId, mpsc::Sender<(PressId, Refused)>)>,
    moving: Option<ActiveMotion>,
    /// Who asked last that the car stops.
    stopped_by: Option<Text>,
    stop_failed: bool,
    /// The newest failure of the stop command, and when it was told, until the car stands.
    stop_failure: Option<(StopFailure, Instant)>,
    /// True if the inner keeps its past.
    past: bool,
    /// Newest press, once the car has said that it is over or refused.
    over: Option<PressId>,
    /// The moment at which consoles are told what moves, if the car has reported changes faster than
    /// they may be shown.
    untold: Option<Instant>,
}

impl Car {
    /// The name by which people know the car.
    pub(crate) fn name(&self) -> LinkName {
        self.state.lock().name.clone()
    }

    /// Returns what is cancelled when the car is not called so any more, or is closed; `None` if it is called
    /// otherwise. Without a name it is meant whatever it is called.
    pub(crate) fn while_called(&self, name: Option<&LinkName>) -> Option<CancellationToken> {
        let Some(name) = name else {
            return Some(self.closed.clone());
        };
        let mut state = self.state.lock();
        (state.name.folded() == *name).then(|| {
            let is_called = (state.is_called).get_or_insert_with(|| self.closed.child_token());
            is_called.clone()
        })
    }

    /// The name of the car's key; empty without keys.
    pub(crate) fn key(&self) -> String {
        self.state.lock().key.clone()
    }

    /// The link, if it is up to a car that keeps its past.
    pub(crate) fn link_with_past(&self) -> Option<LinkHandle> {
        let state = self.state.lock();
        state.link.clone().filter(|_| state.past)
    }

    /// The link, if it is up.
    pub(crate) fn link(&self) -> Option<LinkHandle> {
        self.state.lock().link.clone()
    }

    /// For how long the car has been up, or away.
    pub(crate) fn elapsed(&self) -> Duration {
        timing::now().saturating_duration_since(self.state.lock().since)
    }

    /// The service port's socket, until the port is given up.
    pub(crate) fn open_port(&self) -> Option<Arc<OpenPort>> {
        self.state.lock().open_port.clone()
    }

    /// Ends the connections of callers, as the router goes down.
    pub(crate) fn close(&self) {
        self.closed.cancel();
        if let Some(port) = self.open_port() {
            port.closed.cancel();
        }
    }

    pub(crate) fn end_link(&self, end: LinkEnd) {
        if let Some(link) = self.link() {
            link.end(end);
        }
    }

    #[cfg(test)]
    pub(crate) fn driver(&self) -> Option<Driver> {
        self.state.lock().control.driver().cloned()
    }

    pub(crate) fn is_driven_by(&self, session: SessionId) -> bool {
        let state = self.state.lock();
        (state.control.driver()).is_some_and(|driver| driver.session == session)
    }

    /// Starts the record of a run of this car.
    pub(crate) fn record(&self, new: &NewRun) -> RunRecord {
        self.record_as(self.name(), new)
    }

    fn record_as(&self, name: LinkName, new: &NewRun) -> RunRecord {
        let (feed, metrics) = (self.services.feed.clone(), self.services.metrics.clone());
        RunRecord::new(feed, metrics, self.counts.clone(), (self.port, name), new)
    }

    /// Takes, seizes, grants, denies or releases control for a driver.
    pub(crate) fn request_control(
        &self,
        who: &DriverSession,
        request: ControlRequest,
    ) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if self.services.closing.load(Ordering::Relaxed) {
            return Err(Refused::router_restarts());
        }
        let now = timing::now();
        let may_seize = who.role.may_administer();
        let epochs = &self.services.epochs;
        let events = (state.control).request(&who.driver, request, may_seize, epochs, now)?;
        self.on_control(&mut state, &events, now);
        Ok(())
    }

    /// Releases the control that this session has, or asks for.
    pub(crate) fn session_left(&self, session: SessionId) {
        let mut state = self.state.lock();
        let now = timing::now();
        let events = state
            .control
            .session_left(session, &self.services.epochs, now);
        self.on_control(&mut state, &events, now);
    }

    /// Ends requests and control that have run out by now. Returns the moment of the next timer.
    pub(crate) fn poll(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        let events = state.control.poll(&self.services.epochs, now);
        self.on_control(&mut state, &events, now);
        if state.untold.take_if(|at| *at <= now).is_some() {
            self.tell_what_moves(&state);
        }
        state.control.next().into_iter().chain(state.untold).min()
    }

    /// Ends control, whoever has it, and so stops the car.
    pub(crate) fn end_control(&self) {
        let mut state = self.state.lock();
        let events = state.control.close();
        self.on_control(&mut state, &events, timing::now());
    }

    /// Stops the car, for anyone.
    pub(crate) fn stop(&self, by: Text, from: SocketAddr) -> Result<(), Refused> {
        let mut state = self.state.lock();
        tracing::info!(link = %state.name, %by, %from, linked = state.link.is_some(), "stop");
        if self.halt(&mut state, by, StopCause::Asked) {
            Ok(())
        } else {
            Err(Refused::offline(&state.name))
        }
    }

    /// Notes that a run of the stop command was asked for: no motion that was asked for before may begin.
    fn stop_by_run(&self, new: &NewRun) {
        let mut state = self.state.lock();
        state.stopped_by = Some(new.by.clone());
        let NewRun { by, from, run, .. } = new;
        tracing::info!(link = %state.name, %by, %from, %run, "stop");
        self.stops.fetch_add(1, Ordering::SeqCst);
        state.control.stop();
        let dropped = state
            .link
            .as_ref()
            .and_then(|l| l.drive().drop_driver_messages());
        state.press_dropped(dropped, "a stop came before it was sent");
    }

    fn on_control(&self, state: &mut State, events: &[Event], now: Instant) {
        for event in events {
            log::control(&state.name, event);
            if let Some((by, cause)) = messages::stop_before(event) {
                self.halt(state, Text::new(by), cause);
            }
        }
        if !events.is_empty() {
            self.publish(state, || FeedEvent::Control {
                service_port: self.port,
                control: state.control_info(now),
            });
            self.services.changed.notify_one();
            state.send_interest();
        }
    }

    /// Stops whatever moves. Returns whether there is a link to send the stop on.
    fn halt(&self, state: &mut State, by: Text, cause: StopCause) -> bool {
        self.stops.fetch_add(1, Ordering::SeqCst);
        state.stopped_by = Some(by.clone());
        state.control.stop();
        let Some(link) = state.link.clone() else {
            return false;
        };
        let dropped = link.drive().stop(by, state.control.latest(), cause);
        state.press_dropped(dropped, "a stop came before it was sent");
        true
    }

    /// Publishes an event, if consoles see the car. Called with the state locked, so that events have
    /// the order in which things happened.
    fn publish(&self, state: &State, event: impl FnOnce() -> FeedEvent) {
        if state.motion.is_some() {
            self.services.feed.publish(event);
        }
    }

    /// The car as consoles see it; `None` before its first link since the router's start.
    fn info(&self, state: &State, now: Instant) -> Option<LinkInfo> {
        let motion = state.motion.as_ref()?;
        Some(LinkInfo {
            service_port: self.port,
            name: state.name.clone(),
            key: Text::new(state.key.as_str()),
            is_up: state.link.is_some(),
            since_ms: timing::millis(now.saturating_duration_since(state.since)),
            rtts_us: state.rtts_us.iter().copied().collect(),
            runs: self.counts.runs.load(Ordering::Relaxed),
            failures: self.counts.failures.load(Ordering::Relaxed),
            motion: motion.commands.clone(),
            stop: motion.stop.clone(),
            lease_ms: motion.lease_ms,
            motion_limit_ms: motion.limit_ms,
            control: state.control_info(now),
            moving: state.moving.clone(),
            stop_failed: state.stop_failed,
            router: None,
            epoch: state.told.1.map(|link| link.epoch.number()),
            silent_ms: state
                .silent_since
                .map(|since| timing::millis(now.saturating_duration_since(since))),
            stop_failure: state.stop_failure_of(now),
            past: state.past,
        })
    }
}

impl State {
    /// Returns true if this link is the car's present one, and not one that another has replaced.
    fn is_current(&self, link: LinkId) -> bool {
        self.link.as_ref().is_some_and(|held| held.id() == link)
    }

    /// The id of the last link in logs.
    fn link_id(&self) -> Option<String> {
        Some(link_id(self.instance?, self.dial))
    }

    /// Tells the car which updates consoles, pages and the driver want. Ticks are for drivers, for
    /// those about to drive, for those who see a motion, and for a recording, which has the car's times: they cost a SIM card megabytes.
    fn send_interest(&self) {
        if let Some(link) = &self.link {
            let is_driven = self.control.driver().is_some();
            let is_recorded = self.recording.as_ref().is_some_and(Recording::is_on);
            let shows_motion = self.interest.seen && self.moving.is_some();
            link.drive().set_interest(Interest {
                ticks: self.interest.ticks || is_driven || shows_motion || is_recorded,
                ..self.interest
            });
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.abort_presses();
    }
}

#[cfg(test)]
mod tests;
