//! Owns the life of a car: its link comes up, reports and goes down, and its port is given up.
//! Reports of a link that was replaced are ignored.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use p2p_shared::names::LinkName;
use p2p_shared::os::random_u64;
use p2p_shared::protocol::{CameraState, FeedEvent, LinkHello, MotionEvent, PressId, StopCause};
use p2p_shared::timing;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Car, CarServices, State, log};
use crate::car::control::Control;
use crate::car::open_port::OpenPort;
use crate::car::recording::Recording;
use crate::car::saved_ports::{PortState, SavedPort};
use crate::feed::{RunCounts, Tick, shortened};
use crate::link::LinkObserver;
use crate::link::end::LinkEnd;
use crate::link::handle::{LinkHandle, LinkId};
use crate::link::priority_queue::Interest;
use crate::link::work::ToLink;
use crate::net::limits;
use crate::run::RunKind;

/// The number of round trips that consoles see of each car.
const RTTS: usize = 60;

impl Car {
    /// Makes a car that is away, with this name, and this socket.
    pub(super) fn new(
        saved: SavedPort,
        name: LinkName,
        open_port: Arc<OpenPort>,
        services: Arc<CarServices>,
    ) -> Self {
        let records = services.records;
        Self {
            port: saved.service_port,
            owner: saved.owner,
            identity: saved.identity,
            services,
            camera: Arc::default(),
            closed: CancellationToken::new(),
            freed: watch::Sender::new(false),
            counts: Arc::new(RunCounts::default()),
            stops: AtomicU64::new(0),
            state: Mutex::new(State {
                asked_name: saved.name,
                name,
                is_called: None,
                key: String::new(),
                motion: None,
                instance: None,
                dial: 0,
                link: None,
                since: timing::now(),
                takeovers: Vec::new(),
                open_port: Some(open_port),
                told: (saved.held_since, None),
                rtt: None,
                silent_since: None,
                rtts_us: VecDeque::new(),
                control: Control::default(),
                recording: records.then(Recording::default),
                interest: Interest::default(),
                presses: BTreeMap::new(),
                newest: None,
                moving: None,
                stopped_by: None,
                stop_failed: false,
                stop_failure: None,
                past: false,
                over: None,
                untold: None,
            }),
        }
    }

    /// The car's port and names as they are to be known after a restart.
    pub(super) fn saved(&self) -> SavedPort {
        let state = self.state.lock();
        SavedPort {
            service_port: self.port,
            name: state.asked_name.clone(),
            called: Some(state.name.clone()),
            identity: self.identity.clone(),
            owner: self.owner,
            state: PortState::Open,
            held_since: state.told.0,
        }
    }

    /// Gives the car a new link, in place of its old one. Called by the registry, which has allowed
    /// the claim.
    pub(super) fn link_up(
        &self,
        state: &mut State,
        hello: &LinkHello,
        interest: Interest,
    ) -> (LinkHandle, UnboundedReceiver<ToLink>) {
        let (link, work) = LinkHandle::new();
        let now = timing::now();
        state.abort_presses();
        // The presses of the old link are over: only a new press moves the car on the new one.
        state.control.stop();
        if state.instance.replace(hello.instance) != Some(hello.instance) {
            (state.stop_failed, state.stop_failure) = (false, None);
        }
        state.past = hello.past;
        state.dial = hello.dial;
        self.freed.send_replace(false);
        state.motion = Some(hello.motion.clone());
        (state.rtt, state.silent_since, state.untold) = (None, None, None);
        state.interest = interest;
        state.since = now;
        state.link = Some(link.clone());
        state.send_interest();
        self.camera.link_up(&link, hello.camera.then(random_u64));
        if let Some(info) = self.info(state, now) {
            self.publish(state, || FeedEvent::Link(Box::new(info)));
        }
        (link, work)
    }

    /// Takes note of the end of a link. Returns true if the port now waits for its owner, and false if
    /// another link took the place of this one.
    pub(crate) fn link_down(&self, link: LinkId, why: &str) -> bool {
        let mut state = self.state.lock();
        if !state.is_current(link) {
            return false;
        }
        state.link = None;
        state.since = timing::now();
        (state.moving, state.silent_since, state.untold) = (None, None, None);
        state.abort_presses();
        state.control.stop();
        self.camera.link_down();
        self.publish(&state, || FeedEvent::LinkDown {
            service_port: self.port,
            why: shortened(why),
        });
        true
    }

    /// Gives the port up if the car has been away for [`timing::PORT_KEPT`], or `at_once`. Returns the
    /// time for which the car was away; `None`: the car is up, or its port was given up before. Called by
    /// the registry, which then forgets the car.
    pub(super) fn give_up(&self, at_once: bool) -> Option<Duration> {
        let mut state = self.state.lock();
        let now = timing::now();
        let away = now.saturating_duration_since(state.since);
        let is_over = at_once || away >= timing::PORT_KEPT;
        if state.link.is_some() || !is_over || self.closed.is_cancelled() {
            return None;
        }
        self.closed.cancel();
        if let Some(port) = state.open_port.take() {
            port.closed.cancel();
        }
        let events = state.control.close();
        self.on_control(&mut state, &events, now);
        self.publish(&state, || FeedEvent::LinkGone {
            service_port: self.port,
        });
        Some(away)
    }

    /// Ends what is here of a car that another router has, and returns the socket of its port. Called by the
    /// registry, which then forgets the car.
    pub(super) fn moved(&self, end: LinkEnd) -> Option<Arc<OpenPort>> {
        let mut state = self.state.lock();
        if let Some(link) = state.link.take() {
            (state.moving, state.untold) = (None, None);
            state.abort_presses();
            state.control.stop();
            self.camera.link_down();
            link.end(end);
        }
        self.closed.cancel();
        let events = state.control.close();
        self.on_control(&mut state, &events, timing::now());
        self.publish(&state, || FeedEvent::LinkGone {
            service_port: self.port,
        });
        state.open_port.take()
    }

    /// Tells consoles what moves: no screen may go on saying what is no longer so.
    pub(super) fn tell_what_moves(&self, state: &State) {
        if state.moving.is_none() || !state.stop_failed {
            self.publish_motion(state, MotionEvent::Stands, None);
        }
        if let Some(moving) = state.moving.clone() {
            self.publish_motion(state, MotionEvent::Started(moving), None);
        }
        if state.stop_failed {
            self.publish_motion(state, MotionEvent::StopFailed, None);
        }
    }

    fn publish_motion(&self, state: &State, event: MotionEvent, clock_ms: Option<u64>) {
        self.publish(state, || FeedEvent::Motion {
            service_port: self.port,
            event,
            clock_ms,
        });
    }

    pub(super) fn set_interest(&self, interest: Interest) {
        let mut state = self.state.lock();
        state.interest = interest;
        state.send_interest();
    }
}

impl LinkObserver for Arc<Car> {
    fn on_tick(&self, clock_ms: u64) {
        let service_port = self.port;
        self.services.feed.tick(Tick {
            service_port,
            clock_ms,
        });
    }

    fn on_round_trip(&self, rtt: Duration) {
        let mut state = self.state.lock();
        tracing::debug!(link = %state.name, rtt_ms = timing::millis_f64(rtt), "round trip");
        (state.rtt, state.silent_since) = (Some(rtt), None);
        let rtt_us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        if state.rtts_us.len() == RTTS {
            state.rtts_us.pop_front();
        }
        state.rtts_us.push_back(rtt_us);
        self.publish(&state, || FeedEvent::Rtt {
            service_port: self.port,
            rtt_us,
            hop_us: None,
            silent_ms: None,
        });
    }

    fn on_silence(&self, link: LinkId, silence: Duration) {
        let mut state = self.state.lock();
        if !state.is_current(link) {
            return;
        }
        state.silent_since = timing::now().checked_sub(silence);
        let silent_ms = timing::millis(silence);
        tracing::info!(link = %state.name, link_id = state.link_id(), silent_ms, "no answer");
        self.publish(&state, || FeedEvent::Rtt {
            service_port: self.port,
            rtt_us: u32::try_from(silence.as_micros()).unwrap_or(u32::MAX),
            hop_us: None,
            silent_ms: Some(silent_ms),
        });
    }

    fn on_answer(&self, link: LinkId) {
        let state = self.state.lock();
        let (true, Some(since)) = (state.is_current(link), state.silent_since) else {
            return;
        };
        let silent_ms = timing::millis(timing::now().saturating_duration_since(since));
        tracing::info!(link = %state.name, link_id = state.link_id(), silent_ms, "answers again");
    }

    fn on_motion(
        &self,
        link: LinkId,
        mut event: MotionEvent,
        clock_ms: Option<u64>,
        is_shown: bool,
    ) {
        let mut state = self.state.lock();
        if !state.is_current(link) {
            return;
        }
        if let MotionEvent::Over { cause, by, .. } = &mut event {
            let is_asked = matches!(cause, StopCause::Asked | StopCause::Beginning);
            *by = state.stopped_by.take().filter(|_| is_asked);
        }
        // Who asked for a stop of a car that stood has not stopped a later motion.
        if event == MotionEvent::Stands {
            state.stopped_by = None;
        }
        if is_shown {
            log::motion(&state.name, &state.key, state.moving.as_ref(), &event);
        }
        let before = state.seen();
        state.follow(&event);
        if before.0 != state.moving {
            state.send_interest();
        }
        // A press is the newest only once, so that what became of it is shown at once.
        if is_shown || before.2 != state.over {
            self.publish_motion(&state, event, clock_ms);
        } else if before != state.seen() && state.untold.is_none() {
            state.untold = Some(timing::now() + limits::MOTION_TOLD);
            self.services.changed.notify_one();
        }
    }

    fn on_camera(&self, link: LinkId, camera: CameraState) {
        let state = self.state.lock();
        if state.is_current(link) {
            self.camera.set_state(camera);
        }
    }

    fn on_late_press(&self, press: PressId) {
        self.too_late(press);
    }

    fn is_overtaken(&self, kind: RunKind) -> bool {
        Car::is_overtaken(self, kind)
    }
}
