//! Owns one car as its drivers see it: who has control, the presses that are under way, and the
//! way to its link. What counts is decided by `control`; here it is passed on, in the order in
//! which it was decided, and told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use p2p_shared::key::Role;
use p2p_shared::names::{CommandName, InstanceId, LinkName, RunId};
use p2p_shared::protocol::{
    CameraState, ControlRequest, Driver, LinkHello, MotionEvent, MotionInfo, PressId,
    RefusedReason, SessionId, StopCause,
};
use p2p_shared::timing;
use tokio::sync::{Notify, mpsc};

use crate::camera::Camera;
use crate::car::control::{Control, Epochs, Event};
use crate::feed::{Feed, Tick};
use crate::link::LinkObserver;
use crate::link::handle::{LinkHandle, LinkId};
use crate::link::priority_queue::Interest;
use crate::ops::metrics::Metrics;
use crate::run::RunKind;
use crate::run::record::RunRecord;

mod admission;
pub(crate) mod cars;
pub(crate) mod control;
mod log;
mod messages;
mod presses;
pub(crate) mod registry;
pub(crate) mod saved_ports;

pub(crate) use admission::AdmissionError;

/// Someone at a console.
#[derive(Debug, Clone)]
pub(crate) struct DriverSession {
    pub driver: Driver,
    /// The name of its key; empty without keys.
    pub key: String,
    pub from: SocketAddr,
    pub role: Role,
    /// The round trip to its console, once it is known.
    pub rtt: Option<Duration>,
    /// The way to tell it that a press was refused after it had been taken.
    pub refusals: mpsc::Sender<(PressId, Refused)>,
}

/// What a driver presses.
#[derive(Debug)]
pub(crate) struct Press {
    pub id: PressId,
    pub command: CommandName,
    pub tick_ms: u64,
}

/// Why a console's wish comes to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub reason: RefusedReason,
    /// A sentence that says what to do.
    pub message: String,
}

/// What all cars share.
#[derive(Debug)]
pub(crate) struct CarServices {
    pub feed: Arc<Feed>,
    pub metrics: Arc<Metrics>,
    pub epochs: Epochs,
    /// Something may run out earlier than it did.
    pub changed: Notify,
}

/// A car.
#[derive(Debug)]
pub(crate) struct Car {
    port: u16,
    shared: Arc<CarServices>,
    /// How many stops there were: a motion that was asked for before the last one is old.
    stops: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    name: LinkName,
    motion: MotionInfo,
    instance: InstanceId,
    link: Option<LinkHandle>,
    rtt: Option<Duration>,
    control: Control,
    /// Which consoles there are for it; not who drives.
    watch: Interest,
    /// Those that were passed on and are not over.
    presses: BTreeMap<PressId, RunRecord>,
    /// The newest of them, and whom to tell if it is refused.
    newest: Option<(PressId, mpsc::Sender<(PressId, Refused)>)>,
    /// The router goes down: nobody takes control any more.
    closed: bool,
}

impl Car {
    pub(crate) fn new(port: u16, shared: Arc<CarServices>, hello: &LinkHello) -> Self {
        Self {
            port,
            shared,
            stops: AtomicU64::new(0),
            state: Mutex::new(State {
                name: hello.name.clone(),
                motion: hello.motion.clone(),
                instance: hello.instance,
                link: None,
                rtt: None,
                control: Control::default(),
                watch: Interest::default(),
                presses: BTreeMap::new(),
                newest: None,
                closed: false,
            }),
        }
    }

    /// A link came up, unless a newer one has.
    pub(crate) fn link_up(&self, link: &LinkHandle, hello: &LinkHello, watch: Interest) {
        let mut state = self.lock();
        if (state.link.as_ref()).is_some_and(|held| held.id() > link.id()) {
            return;
        }
        state.abort_presses();
        // What was pressed on the old link is over: only a new press moves on the new one.
        state.control.stop();
        let is_new = state.instance != hello.instance;
        state.name = link.name().clone();
        state.motion = hello.motion.clone();
        state.instance = hello.instance;
        state.rtt = None;
        state.watch = watch;
        state.link = Some(link.clone());
        state.send_interest();
        let (name, motion) = (state.name.clone(), state.motion.clone());
        self.shared.feed.link_up(self.port, name, motion, is_new);
    }

    /// The link has ended, unless another took its place.
    pub(crate) fn link_down(&self, link: LinkId, why: &str) {
        let mut state = self.lock();
        if state.link.take_if(|held| held.id() == link).is_some() {
            state.abort_presses();
            state.control.stop();
            self.shared.feed.link_down(self.port, why);
        }
    }

    pub(crate) fn is_linked(&self) -> bool {
        self.lock().link.is_some()
    }

    /// Which consoles there are for it: any, and one that looks at it to drive it.
    pub(crate) fn set_interest(&self, watch: Interest) {
        let mut state = self.lock();
        state.watch = watch;
        state.send_interest();
    }

    /// Whether this session has control of it.
    pub(crate) fn is_driven_by(&self, session: SessionId) -> bool {
        let state = self.lock();
        (state.control.driver()).is_some_and(|driver| driver.session == session)
    }

    /// The link, if it is up.
    pub(crate) fn link(&self) -> Option<LinkHandle> {
        self.lock().link.clone()
    }

    /// What people call it.
    pub(crate) fn name(&self) -> LinkName {
        self.lock().name.clone()
    }

    /// Someone wants something of its control.
    pub(crate) fn request_control(
        &self,
        who: &DriverSession,
        wish: ControlRequest,
    ) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(messages::closing());
        }
        let now = timing::now();
        let may_seize = who.role.may_administer();
        let epochs = &self.shared.epochs;
        let events = (state.control).request(&who.driver, wish, may_seize, epochs, now)?;
        self.happened(&mut state, &events, now);
        Ok(())
    }

    /// The session is gone.
    pub(crate) fn session_left(&self, session: SessionId) {
        let mut state = self.lock();
        let now = timing::now();
        let events = state
            .control
            .session_left(session, &self.shared.epochs, now);
        self.happened(&mut state, &events, now);
    }

    /// What has run out; when the next thing does.
    pub(crate) fn poll(&self, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        let events = state.control.poll(&self.shared.epochs, now);
        self.happened(&mut state, &events, now);
        state.control.next()
    }

    /// Nobody drives any more: who does is stopped. `for_good` while the router goes down.
    pub(crate) fn close(&self, for_good: bool) {
        let mut state = self.lock();
        state.closed |= for_good;
        let events = state.control.close();
        self.happened(&mut state, &events, timing::now());
    }

    /// Anyone stops it.
    pub(crate) fn stop(&self, by: &str, from: SocketAddr) -> Result<(), Refused> {
        let mut state = self.lock();
        tracing::info!(link = %state.name, by, %from, linked = state.link.is_some(), "stop");
        if self.halt(&mut state, by, StopCause::Asked) {
            Ok(())
        } else {
            Err(messages::offline(&state.name))
        }
    }

    /// Somebody runs its stop command: what moves by an older wish is not to begin any more.
    pub(crate) fn stop_by_run(&self, by: &str, from: SocketAddr, run: RunId) {
        let mut state = self.lock();
        tracing::info!(link = %state.name, by, %from, %run, "stop");
        self.stops.fetch_add(1, Ordering::SeqCst);
        state.control.stop();
        let dropped = state
            .link
            .as_ref()
            .and_then(|l| l.drive().drop_driver_messages());
        state.press_dropped(dropped, "a stop came before it was sent");
    }

    /// The car's clock said this.
    pub(crate) fn tick(&self, clock_ms: u64) {
        let service_port = self.port;
        self.shared.feed.tick(Tick {
            service_port,
            clock_ms,
        });
    }

    /// A round trip to it took so long.
    pub(crate) fn round_trip(&self, rtt: Duration) {
        self.lock().rtt = Some(rtt);
        self.shared.feed.rtt(self.port, rtt);
    }

    /// The car says what it does.
    pub(crate) fn moves(&self, link: LinkId, event: MotionEvent) {
        let mut state = self.lock();
        if state.link.as_ref().is_none_or(|held| held.id() != link) {
            return;
        }
        log::motion(&state.name, &event);
        state.follow(&event);
        self.shared.feed.motion(self.port, event);
    }

    fn happened(&self, state: &mut State, events: &[Event], now: Instant) {
        for event in events {
            log::control(&state.name, event);
            if let Some((by, cause)) = messages::stop_before(event) {
                self.halt(state, &by, cause);
            }
        }
        if !events.is_empty() {
            let (control, until) = (state.control.info(now), state.control.request_until());
            self.shared.feed.control(self.port, control, until);
            self.shared.changed.notify_one();
            state.send_interest();
        }
    }

    /// Stops it, whatever moves; whether there is a link to say so on.
    fn halt(&self, state: &mut State, by: &str, cause: StopCause) -> bool {
        self.stops.fetch_add(1, Ordering::SeqCst);
        state.control.stop();
        let Some(link) = state.link.clone() else {
            return false;
        };
        let dropped = link.drive().stop(by, state.control.latest(), cause);
        state.press_dropped(dropped, "a stop came before it was sent");
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ticks only for one who drives, or is about to: they cost a SIM card megabytes.
    fn send_interest(&self) {
        if let Some(link) = &self.link {
            let is_driven = self.control.driver().is_some();
            link.drive().set_interest(Interest {
                ticks: self.watch.ticks || is_driven,
                ..self.watch
            });
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.abort_presses();
    }
}

impl LinkObserver for (Arc<Car>, Arc<Camera>) {
    fn on_tick(&self, clock_ms: u64) {
        self.0.tick(clock_ms);
    }

    fn on_round_trip(&self, rtt: Duration) {
        self.0.round_trip(rtt);
    }

    fn on_motion(&self, link: LinkId, event: MotionEvent) {
        self.0.moves(link, event);
    }

    fn on_camera(&self, link: LinkId, state: CameraState) {
        self.1.says(link, state);
    }

    fn on_late_press(&self, press: PressId) {
        self.0.too_late(press);
    }

    fn is_overtaken(&self, kind: RunKind) -> bool {
        Car::is_overtaken(&self.0, kind)
    }
}
