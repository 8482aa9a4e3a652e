//! The console's state, and what each event makes of it: `update(event, now) -> effects`. Pure: no
//! socket, no clock, no terminal.

mod actions;
pub mod banner;
pub mod command_list;
mod facts;
pub mod fleet;
mod from_router;
mod from_terminal;
pub mod overlay;
pub mod round_trips;
pub mod run_log;
pub mod saved_log;
pub mod text_field;
mod types;

use std::time::{Duration, Instant};

use p2p_shared::key::Role;
use p2p_shared::names::LinkName;
use p2p_shared::protocol::{ConsoleToRouter, LinkInfo, RunInfo, SessionId};

use crate::app::command_list::CommandList;
use crate::app::fleet::{Fleet, FleetLink};
use crate::app::round_trips::RoundTrips;
use crate::app::run_log::RunLog;
use crate::app::text_field::TextField;
use crate::drive::{Blocked, ControlHolder, Drive, DriveState, LATE};
use crate::keymap::Screen;
use crate::screen::layout::{self, ScreenAreas};
use crate::screen::theme::Theme;

pub use overlay::{Overlay, Page};
pub use types::{AppSetup, ConnectionState, Effect, Event, Notice};

/// The smallest terminal that is drawn on. Below this size the console takes only stop and quit.
pub const LEAST_SIZE: (u16, u16) = (40, 8);
/// Time for which a notice is shown.
const NOTICE: Duration = Duration::from_secs(8);

#[derive(Debug)]
pub struct App {
    pub setup: AppSetup,
    /// Time of the last event.
    pub now: Instant,
    pub screen: Screen,
    /// The page that covers the screen.
    pub overlay: Option<Overlay>,
    pub field: Option<TextField>,
    pub notice: Option<Notice>,
    pub connection: ConnectionState,
    /// Round trips between this console and the router.
    pub rtts: RoundTrips,
    /// This console's session at the router.
    pub session: Option<SessionId>,
    pub key: String,
    pub role: Role,
    pub fleet: Fleet,
    /// Service port of the link that the Drive and Commands screens show.
    pub chosen: Option<u16>,
    /// Name of the chosen link. Kept when the link is lost: another car may be given its port
    /// meanwhile.
    chosen_name: Option<LinkName>,
    pub log: RunLog,
    pub commands: CommandList,
    pub drive: Drive,
    pub start_delay: Option<Duration>,
    /// True if the screen must be drawn again.
    pub dirty: bool,
    pinged: Option<Instant>,
    input_seen: Instant,
    healthy_since: Option<Instant>,
    /// True if a complete snapshot was received on this connection.
    has_snapshot: bool,
    /// Links and runs of a snapshot that is not complete yet.
    pending_snapshot: (Vec<LinkInfo>, Vec<RunInfo>),
    may_choose_screen: bool,
    next_request: u64,
    all_keys: bool,
    mouse: bool,
    ping_every: Option<Duration>,
    /// Service port of the car whose clock ticks the router was asked to send.
    watched: Option<u16>,
    /// Time when the ages and countdowns on the screen were renewed last.
    aged: Instant,
    effects: Vec<Effect>,
}

impl App {
    /// Creates a console that has received nothing yet.
    pub fn new(setup: AppSetup, now: Instant) -> Self {
        Self {
            drive: Drive::new(setup.releases),
            now,
            screen: Screen::Fleet,
            overlay: None,
            field: None,
            notice: None,
            connection: ConnectionState::Down {
                since: None,
                why: String::new(),
                retry_at: None,
            },
            rtts: RoundTrips::default(),
            session: None,
            key: String::new(),
            role: Role::View,
            fleet: Fleet::default(),
            chosen: None,
            chosen_name: None,
            log: RunLog::default(),
            commands: CommandList::default(),
            start_delay: None,
            dirty: true,
            pinged: None,
            input_seen: now,
            healthy_since: None,
            has_snapshot: false,
            pending_snapshot: Default::default(),
            may_choose_screen: true,
            next_request: 0,
            all_keys: false,
            mouse: false,
            ping_every: None,
            watched: None,
            aged: now,
            effects: Vec::new(),
            setup,
        }
    }

    /// Applies an event; returns what the caller must do.
    pub fn update(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        self.now = now;
        match event {
            Event::Terminal(event) => self.on_terminal(event),
            Event::Connection(event) => self.on_connection(event),
            Event::Tick { input_seen } => {
                self.input_seen = input_seen;
                self.pass_time();
            }
            Event::Late(late) if late > LATE => {
                self.drive_with(|drive, facts| drive.fail(Blocked::Late(late), facts));
                self.dirty = true;
            }
            Event::Late(_) => {}
            Event::Stale(event) => self.on_stale(&event),
            Event::Saved(Ok(name)) => self.notify(format!("saved as {name}"), false),
            Event::Saved(Err(why)) => self.notify(why, true),
            Event::Terminate => self.quit(),
        }
        self.update_health();
        self.drive_with(|drive, facts| drive.tick(facts));
        self.sync_watched();
        self.sync_terminal();
        std::mem::take(&mut self.effects)
    }

    /// Longest time until the next [`Event::Tick`].
    pub fn next_tick(&self) -> Duration {
        let idle = Duration::from_millis(250);
        let next = self.drive.next();
        next.map_or(idle, |at| at.saturating_duration_since(self.now).min(idle))
    }

    pub fn link(&self) -> Option<&FleetLink> {
        self.fleet.links.get(&self.chosen?)
    }

    /// The driving state that is shown.
    pub fn state(&self) -> DriveState {
        self.drive.state(&self.facts())
    }

    /// The session that controls the chosen car.
    pub fn holder(&self) -> ControlHolder {
        self.drive.holder(&self.facts()).clone()
    }

    /// Returns true if this console may drive and run commands.
    pub fn may_drive(&self) -> bool {
        self.role.may_run() && !self.setup.readonly && !self.is_replay()
    }

    pub fn is_replay(&self) -> bool {
        matches!(self.connection, ConnectionState::Replay { .. })
    }

    /// Returns true if the terminal is too small for anything but stop and quit.
    pub fn is_too_small(&self) -> bool {
        let (width, height) = self.setup.size;
        width < LEAST_SIZE.0 || height < LEAST_SIZE.1
    }

    /// Areas of the screen at its present size.
    pub fn areas(&self) -> ScreenAreas {
        let banner = u16::try_from(banner::lines(self).len()).unwrap_or(2);
        let line = u16::from(self.notice.is_some() || self.field.is_some());
        layout::areas(self.setup.size, banner, line)
    }

    pub fn theme(&self) -> Theme {
        Theme::new(self.setup.colour)
    }

    /// Returns true if the stop command of the chosen car fails.
    pub fn stop_failed(&self) -> bool {
        self.link().is_some_and(|link| link.info.stop_failed)
    }

    pub fn notify(&mut self, text: impl Into<String>, is_bad: bool) {
        self.notice = Some(Notice {
            text: text.into(),
            is_bad,
            since: self.now,
        });
        self.dirty = true;
    }

    /// Shows a past log and nothing else.
    pub fn replay(&mut self, file: String, log: RunLog) {
        self.connection = ConnectionState::Replay { file };
        self.screen = Screen::Log;
        self.may_choose_screen = false;
        self.log = log;
    }

    fn pass_time(&mut self) {
        let old = |since: Instant, after| self.now.saturating_duration_since(since) >= after;
        if self.notice.as_ref().is_some_and(|n| old(n.since, NOTICE)) {
            self.notice = None;
            self.dirty = true;
        }
        // Ages and countdowns are shown in seconds.
        if old(self.aged, Duration::from_secs(1)) {
            self.aged = self.now;
            self.dirty = true;
        }
    }

    /// Tells the router which car's clock ticks are wanted, when that changes.
    fn sync_watched(&mut self) {
        let is_up = matches!(self.connection, ConnectionState::Up) && self.has_snapshot;
        let looks = is_up && self.may_drive() && self.screen == Screen::Drive;
        let watched = self.chosen.filter(|_| looks);
        if std::mem::replace(&mut self.watched, watched) == watched || !is_up {
            return;
        }
        // An old tick would look like a slow link.
        if let Some(link) = watched.and_then(|port| self.fleet.links.get_mut(&port)) {
            link.tick = None;
        }
        self.send(ConsoleToRouter::Watch {
            service_port: watched,
        });
    }

    /// Tells the terminal and the connection what the screen needs, when that changes.
    fn sync_terminal(&mut self) {
        let all_keys = self.drive.is_armed() && self.screen == Screen::Drive;
        if std::mem::replace(&mut self.all_keys, all_keys) != all_keys {
            self.effects.push(Effect::AllKeys(all_keys));
        }
        let mouse = self.screen == Screen::Drive && self.may_drive();
        if std::mem::replace(&mut self.mouse, mouse) != mouse {
            self.effects.push(Effect::Mouse(mouse));
        }
        let every = if self.screen == Screen::Drive {
            Duration::from_millis(250)
        } else {
            Duration::from_secs(2)
        };
        if self.ping_every.replace(every) != Some(every) {
            self.effects.push(Effect::PingEvery(every));
        }
    }
}

#[cfg(test)]
mod tests;
