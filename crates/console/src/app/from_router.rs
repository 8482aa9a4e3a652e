//! Applies events of the connection and messages of the router.

use std::time::{Duration, Instant};

use p2p_shared::protocol::{
    ConsoleToRouter, End, FeedEvent, MotionEvent, RouterToConsole, SendEvent, cost,
};
use p2p_shared::text::Escaped;

use super::{App, ConnectionState};
use crate::app::command_list::RunProgress;
use crate::app::fleet::{FleetLink, before};
use crate::connection::ConnectionEvent;
use crate::keymap::Screen;
use crate::text::fit;

/// Most characters shown of a sentence that a peer sent.
const SENTENCE: usize = 300;

impl App {
    pub(super) fn on_connection(&mut self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Connected(router) => {
                self.setup.router = router.to_string();
                self.router = Some(router);
                self.connection = ConnectionState::Up;
                (self.pinged, self.heard) = (None, self.now);
                self.dirty = true;
            }
            ConnectionEvent::Disconnected { why, retry_at } => self.disconnected(why, retry_at),
            ConnectionEvent::Message(message) => {
                self.heard = self.now;
                self.on_router(*message);
            }
            ConnectionEvent::Pinged => {
                self.pinged.get_or_insert(self.now);
            }
            ConnectionEvent::Ponged(rtt) => {
                (self.pinged, self.heard) = (None, self.now);
                self.rtts
                    .push(u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX));
                self.dirty |= self.screen == Screen::Drive;
            }
        }
    }

    fn disconnected(&mut self, why: String, retry_at: Option<Instant>) {
        let since = match self.connection {
            ConnectionState::Down { since, .. } => since,
            _ => Some(self.now),
        };
        self.connection = ConnectionState::Down {
            since,
            why,
            retry_at,
        };
        self.missed.lost(self.heard);
        self.session = None;
        self.watched = None;
        self.pinged = None;
        self.has_snapshot = false;
        self.pending_snapshot = Default::default();
        if let Some(run) = self.commands.run.as_mut().filter(|run| run.is_open()) {
            run.progress = RunProgress::Lost;
        }
        self.dirty = true;
    }

    fn on_router(&mut self, message: RouterToConsole) {
        match message {
            RouterToConsole::Snapshot {
                first,
                last,
                session,
                key,
                role,
                missed,
                links,
                runs,
            } => {
                if first {
                    self.pending_snapshot = (Vec::new(), Vec::new());
                }
                self.session = Some(session);
                self.key = key.to_string();
                self.role = role;
                self.log.missed = self.log.missed.saturating_add(missed);
                self.pending_snapshot.0.extend(links);
                self.pending_snapshot.1.extend(runs);
                if last {
                    let has_restarted = self.apply_snapshot();
                    self.follow_chosen();
                    self.choose_link();
                    // What was asked for on the connection before gets no answer.
                    if self.screen == Screen::Commands {
                        self.list_commands();
                    }
                    // Another router never knew it.
                    let is_same = self.known_router == self.setup.router;
                    self.known_router.clone_from(&self.setup.router);
                    if has_restarted && is_same {
                        self.report_restart();
                    }
                    if let (None, Some(wanted)) = (self.chosen, &self.setup.wanted) {
                        let wanted = fit(wanted, 40);
                        let text = format!("no link is called {wanted}: it opens when it comes");
                        self.notify(text, true);
                    }
                }
                self.dirty = true;
            }
            RouterToConsole::Feed(event) => self.on_feed(event),
            RouterToConsole::Tick {
                service_port,
                clock_ms,
            } => {
                let now = self.now;
                if let Some(link) = self.fleet.links.get_mut(&service_port) {
                    link.ticked(clock_ms, now);
                }
            }
            RouterToConsole::SendEvent { request, event } => self.on_run(request, event),
            RouterToConsole::Commands {
                request,
                commands,
                more,
            } => {
                if request == self.commands.request {
                    // Until now the last known list was shown.
                    if std::mem::take(&mut self.commands.is_old) {
                        self.commands.list.clear();
                    }
                    self.commands.list.extend(commands);
                    self.commands.scroll(0);
                    self.commands.complete = !more;
                    self.dirty = true;
                }
            }
            RouterToConsole::Past {
                request,
                lines,
                more,
                ..
            } => self.on_past(request, &lines, more),
            // Only the command `send` asks for this.
            RouterToConsole::Run { .. } => {}
            RouterToConsole::Refused { press, message, .. } => {
                self.drive.refused(press);
                let text = Escaped(message.raw()).cut(SENTENCE).to_string();
                self.notify(text, true);
            }
            RouterToConsole::GoAway {
                reconnect_after_ms,
                elsewhere,
            } => {
                let what = match elsewhere {
                    true => "ends: next try",
                    false => "restarts: back",
                };
                let pause = Duration::from_millis(reconnect_after_ms).as_secs().max(1);
                self.notify(format!("the router {what} in {pause} s"), true);
            }
        }
    }

    /// Replaces links and runs by the completed snapshot. Until then the old ones stay, so that a
    /// console that lags while it drives goes on driving. Returns true if the router knows nothing of
    /// what was before it was lost.
    fn apply_snapshot(&mut self) -> bool {
        let (links, runs) = std::mem::take(&mut self.pending_snapshot);
        let place = self.highlighted_place();
        self.fleet.keep_only(&links);
        for link in links {
            self.fleet.update(link, self.now);
        }
        self.keep_highlight(place);
        // In a mesh, runs are also missing because another router does not answer.
        let is_alone = (self.fleet.links.values()).all(|link| link.info.router.is_none());
        let was_there = std::mem::replace(&mut self.has_snapshot, true);
        let has_restarted = !was_there && is_alone && self.log.is_unknown_to(&runs);
        self.log.merge(runs, has_restarted);
        has_restarted
    }

    fn on_feed(&mut self, event: FeedEvent) {
        let now = self.now;
        self.dirty = true;
        match event {
            FeedEvent::Link(info) => {
                let port = info.service_port;
                let is_chosen = self.chosen == Some(port);
                let was_up = self
                    .fleet
                    .links
                    .get(&port)
                    .is_some_and(|link| link.info.is_up);
                let is_back = info.is_up && !was_up;
                self.fleet.update(*info, now);
                if is_back {
                    self.tell_of_link(port, "link", "link up", "");
                }
                self.follow_chosen();
                self.choose_link();
                if is_chosen && self.screen == Screen::Commands {
                    self.list_commands();
                }
            }
            FeedEvent::LinkDown { service_port, why } => {
                let why = Escaped(why.raw()).cut(SENTENCE).to_string();
                self.tell_of_link(service_port, "link", "link down", &why);
                if let Some(link) = self
                    .link()
                    .filter(|link| link.info.service_port == service_port)
                {
                    self.missed.since(link.seen);
                }
                self.fleet.link_down(service_port, why, now);
            }
            FeedEvent::LinkGone { service_port } => {
                let place = self.highlighted_place();
                self.fleet.forget(service_port);
                self.keep_highlight(place);
                self.follow_chosen();
                self.choose_link();
            }
            FeedEvent::Rtt {
                service_port,
                rtt_us,
                hop_us,
                silent_ms,
            } => {
                if let Some(link) = self.fleet.links.get_mut(&service_port) {
                    link.silent_since = before(silent_ms, now);
                    if silent_ms.is_some() {
                        return;
                    }
                    link.rtts.push(rtt_us);
                    if let Some(hop_us) = hop_us {
                        link.hops.push(hop_us);
                    }
                    link.seen = now;
                }
            }
            FeedEvent::Run(run) => {
                let is_new = self.log.get(run.run).is_none();
                self.fleet.count_run(&run, is_new, now);
                self.log.put(*run);
            }
            FeedEvent::Control {
                service_port,
                control,
            } => {
                if let Some(link) = self
                    .link()
                    .filter(|link| link.info.service_port == service_port)
                {
                    let old = link.info.control.clone();
                    self.report_recording(&old, &control);
                    self.report_control(&old, &control);
                }
                self.tell_of_control(service_port, &control);
                self.fleet.set_control(service_port, control, now);
            }
            FeedEvent::Motion {
                service_port,
                event,
                clock_ms,
            } => self.on_motion(service_port, &event, clock_ms),
        }
    }

    fn on_motion(&mut self, service_port: u16, event: &MotionEvent, clock_ms: Option<u64>) {
        let now = self.now;
        if let Some(link) = self.fleet.links.get_mut(&service_port) {
            let at = link.on_motion(event, clock_ms, now);
            self.log_motion(service_port, event, at);
            self.follow_stop_all(service_port, event);
        }
        if self.chosen != Some(service_port) {
            return self.note_timelines(true);
        }
        self.look_into(event);
        self.drive_with(|drive, _| drive.motion(event));
        match event {
            MotionEvent::Started(moving) => {
                let ours = self
                    .drive
                    .last_press
                    .filter(|(id, ..)| Some(*id) == moving.press);
                if let Some((_, _, at)) = ours {
                    let took = self.now.saturating_duration_since(at);
                    self.start_delay = Some(took);
                    self.warn_if_slow(moving.command.as_str(), took, "to start");
                }
            }
            // A command that sets a pin and exits moved the car at some time before its end.
            MotionEvent::Ended {
                end: End::Exit(_),
                exec_us,
                run,
            } => {
                let took = Duration::from_micros(*exec_us);
                if let Some(run) = self.log.get(*run) {
                    self.warn_if_slow(run.command.as_str(), took, "from start to end");
                }
            }
            _ => {}
        }
    }

    fn warn_if_slow(&mut self, command: &str, took: Duration, what: &str) {
        let network = self.round_trip().unwrap_or_default();
        if took > self.drive.tap() + network {
            let command = Escaped(command).cut(40).to_string();
            self.notify(
                format!(
                    "{command} took {} ms {what}, longer than a tap lasts ({} ms): let a worker serve it",
                    took.as_millis(),
                    self.drive.tap().as_millis()
                ),
                true,
            );
        }
    }

    fn on_run(&mut self, request: u64, event: SendEvent) {
        let run = self.commands.run.as_mut();
        let Some(run) = run.filter(|run| run.request == request) else {
            return;
        };
        let more = match &event {
            SendEvent::Output(bytes) => Some(cost(bytes)),
            _ => None,
        };
        run.follow(event);
        if let Some(more) = more {
            self.send(ConsoleToRouter::Window { request, more });
        }
        self.dirty = true;
    }

    /// Chooses a link: the one that is waited for, the one of `--link`, or the only one. The first
    /// time, this opens the Drive screen.
    fn choose_link(&mut self) {
        if self.chosen.is_some() {
            return;
        }
        let again = self.chosen_name.is_some();
        let found = match (&self.chosen_name, &self.setup.wanted) {
            // The lost link is waited for; the operator may choose another meanwhile.
            (Some(name), wanted) => (self.fleet.links.values())
                .filter(|link| link.info.name == *name)
                .max_by_key(|link| link.info.is_up)
                .or_else(|| self.fleet.find(wanted.as_ref()?)),
            (None, Some(wanted)) => self.fleet.find(wanted),
            (None, None) if self.fleet.links.len() > 1 => None,
            (None, None) => self.fleet.links.values().next(),
        };
        if let Some(port) = found.map(|link| link.info.service_port) {
            self.set_chosen(Some(port));
            if again && self.screen == Screen::Commands {
                self.list_commands();
            }
            if self.may_choose_screen && self.screen == Screen::Fleet {
                self.go(Screen::Drive);
            }
        } else if !again
            && self.setup.wanted.is_none()
            && self.has_snapshot
            && let Some(first) = self.fleet.links.keys().next()
        {
            // With several links, the first is selected and the operator chooses.
            self.set_chosen(Some(*first));
            self.may_choose_screen = false;
        }
    }

    pub(crate) fn set_chosen(&mut self, port: Option<u16>) {
        if self.chosen != port {
            self.question = None;
            self.missed.of_another(self.now);
        }
        self.chosen = port;
        let link = self.link();
        self.chosen_name = link.map(|link| link.info.name.clone());
    }

    /// Drops the chosen link when its port belongs to another car now. Nothing is sent: the port's
    /// owner is not the car that was driven. The next car moves only after `a`.
    fn follow_chosen(&mut self) {
        let (Some(port), Some(name)) = (self.chosen, &self.chosen_name) else {
            return;
        };
        let is_it = |link: &FleetLink| link.info.name == *name;
        let here = self.fleet.links.get(&port).filter(|link| is_it(link));
        let wanted = self.setup.wanted.as_deref() == Some(name.as_str());
        let is_elsewhere = || {
            let mut links = self.fleet.links.values();
            wanted && links.any(|link| is_it(link) && link.info.is_up)
        };
        if here.is_some_and(|here| here.info.is_up || !is_elsewhere()) {
            return;
        }
        if self.drive.latches {
            // It is no longer so with the next car.
            self.notice = None;
        }
        if here.is_none() {
            let name = Escaped(name.as_str()).cut(SENTENCE).to_string();
            self.notify(format!("{name} is gone from port {port}"), true);
        }
        (self.chosen, self.question) = (None, None);
        self.drive.restart();
        self.healthy_since = None;
        self.start_delay = None;
        // The last known list stays until the car is back.
        self.commands.request = 0;
        (self.commands.is_old, self.commands.complete) = (true, false);
    }
}
