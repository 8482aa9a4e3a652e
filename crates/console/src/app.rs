//! The console's state, and what each event makes of it: `update(event, now) -> effects`. Pure: no
//! socket, no clock, no terminal.

mod actions;
pub mod banner;
mod bars;
pub mod camera;
mod car_moments;
pub mod command_list;
pub mod contact;
mod facts;
pub mod fleet;
pub mod fleet_list;
mod from_router;
mod from_terminal;
mod log_lines;
pub mod overlay;
mod palette;
pub mod past;
mod question;
pub mod replay;
pub mod round_trips;
pub mod run_log;
mod said;
pub mod saved_log;
mod stop_all;
pub mod text_field;
pub mod timeline;
mod types;
pub mod wall_clock;
mod watched_timeline;

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use p2p_shared::key::Role;
use p2p_shared::names::LinkName;
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::protocol::{ConsoleToRouter, LinkInfo, RunInfo, SessionId};

use crate::app::camera::CameraPane;
use crate::app::command_list::CommandList;
use crate::app::fleet::{Fleet, FleetLink};
use crate::app::fleet_list::FleetList;
use crate::app::past::MissedPast;
use crate::app::question::Question;
use crate::app::replay::Replay;
use crate::app::round_trips::RoundTrips;
use crate::app::run_log::RunLog;
use crate::app::stop_all::StopAll;
use crate::app::text_field::TextField;
use crate::app::timeline::TimelineView;
use crate::app::wall_clock::WallClock;
use crate::drive::{Blocked, ControlHolder, Drive, DriveState, LATE};
use crate::keymap::{Action, Screen};
use crate::screen::layout::{self, ScreenAreas};
use crate::screen::theme::Theme;

pub use overlay::{Overlay, Page};
pub use types::{AppSetup, ConnectionState, Effect, Event, Notice};

/// The smallest terminal that is drawn on. Below this size the console takes only stop and quit.
pub const LEAST_SIZE: (u16, u16) = (40, 8);
/// Time on the clock of a console that was not told the time.
const NEW_YEAR: Duration = Duration::from_secs(1_767_225_600);
/// Sentence for a car that can't be recorded.
pub(crate) const NO_RECORDINGS: &str = "the router of this car makes no recordings: start it with --record DIR (or it is older than this console)";
/// Sentence about a stop that does not reach the router.
const NO_STOP: &str = "no link to the router: the stop can't be sent; the lease stops the car";
/// Time for which a notice is shown.
const NOTICE: Duration = Duration::from_secs(8);

#[derive(Debug)]
pub struct App {
    pub setup: AppSetup,
    /// Time of the last event.
    pub now: Instant,
    pub clock: WallClock,
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
    pub fleet_list: FleetList,
    /// A question that waits for Enter.
    pub question: Option<(Question, Instant)>,
    /// The cars that were all asked to stop, until they have answered.
    stop_all: Option<StopAll>,
    /// The first time that the operator wanted to quit while the chosen car may still move.
    wants_to_quit: Option<Instant>,
    /// The last time that a key was pressed that switches something.
    switched: Option<(Action, Instant)>,
    /// The selected action of the palette.
    pub palette_selected: usize,
    /// Service port of the pinned link, which Drive and Commands show and Space stops.
    pub chosen: Option<u16>,
    /// Name of the chosen link. Kept when the link is lost: another car may be given its port
    /// meanwhile.
    chosen_name: Option<LinkName>,
    pub log: RunLog,
    pub commands: CommandList,
    pub drive: Drive,
    pub camera: CameraPane,
    pub timeline_view: TimelineView,
    /// The past that is played, if a file is shown and no router.
    pub replay: Option<Box<Replay>>,
    pub start_delay: Option<Duration>,
    /// What is not known of the chosen car.
    missed: MissedPast,
    /// True if the screen must be drawn again.
    pub dirty: bool,
    /// The router that is connected.
    router: Option<RouterAddress>,
    pinged: Option<Instant>,
    /// Time when anything was received from the router last.
    heard: Instant,
    was_silent: bool,
    /// True if we hand control over to the one who asked.
    granted: bool,
    input_seen: Instant,
    healthy_since: Option<Instant>,
    /// Address of the router that sent the last snapshot.
    known_router: String,
    /// True if a complete snapshot was received on this connection.
    has_snapshot: bool,
    /// Links and runs of a snapshot that is not complete yet.
    pending_snapshot: (Vec<LinkInfo>, Vec<RunInfo>),
    may_choose_screen: bool,
    next_request: u64,
    /// Lines of the log that are no runs, so far.
    lines_logged: u64,
    /// Words that were looked for last in a page.
    pub search: String,
    all_keys: bool,
    mouse: bool,
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
            clock: WallClock::new(now, NEW_YEAR, TimeZone::UTC),
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
            fleet_list: FleetList::default(),
            question: None,
            stop_all: None,
            wants_to_quit: None,
            switched: None,
            palette_selected: 0,
            chosen: None,
            chosen_name: None,
            log: RunLog::default(),
            commands: CommandList::default(),
            camera: CameraPane::default(),
            timeline_view: TimelineView::default(),
            replay: None,
            router: None,
            start_delay: None,
            missed: MissedPast::default(),
            dirty: true,
            pinged: None,
            heard: now,
            was_silent: false,
            granted: false,
            input_seen: now,
            healthy_since: None,
            known_router: String::new(),
            has_snapshot: false,
            pending_snapshot: Default::default(),
            may_choose_screen: true,
            next_request: 0,
            lines_logged: 0,
            search: String::new(),
            all_keys: false,
            mouse: false,
            watched: None,
            aged: now,
            effects: Vec::new(),
            setup,
        }
    }

    /// Applies an event; returns what the caller must do.
    pub fn update(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        if self.is_replay() {
            return self.update_replay(event, now);
        }
        self.now = now;
        match event {
            Event::Terminal(event) => self.on_terminal(event),
            Event::Connection(event) => self.on_connection(event),
            Event::Camera(event) => self.on_camera(event),
            Event::Tick { input_seen } => {
                self.input_seen = input_seen;
                self.pass_time();
            }
            Event::Late(late) if late > LATE => {
                self.drive_with(|drive, facts| drive.fail(Blocked::Late(late), facts));
                self.doubt_since(self.now.checked_sub(late).unwrap_or(self.now));
                self.dirty = true;
            }
            Event::Late(_) => {}
            Event::Stale(event) => self.on_stale(&event),
            Event::Saved(saved) => self.on_saved(saved),
            Event::Terminate => self.quit(),
        }
        self.show_silence();
        self.update_health();
        self.drive_with(|drive, facts| drive.tick(facts));
        self.note_timelines(self.aged == self.now);
        self.sync_watched();
        self.ask_for_past();
        self.sync_terminal();
        self.sync_camera();
        std::mem::take(&mut self.effects)
    }

    fn on_saved(&mut self, saved: Result<String, String>) {
        match saved {
            Ok(name) => self.notify(format!("saved as {name}"), false),
            Err(why) => self.notify(why, true),
        }
    }

    /// Longest time until the next [`Event::Tick`].
    pub fn next_tick(&self) -> Duration {
        let idle = Duration::from_millis(250);
        let drive = self.drive.next();
        let drive = drive.map(|at| at.saturating_duration_since(self.now));
        let next = [drive, self.next_of_silence(), self.next_of_replay()];
        next.into_iter()
            .flatten()
            .chain([idle])
            .min()
            .unwrap_or(idle)
    }

    pub fn link(&self) -> Option<&FleetLink> {
        self.fleet.links.get(&self.chosen?)
    }

    /// The driving state that is shown.
    pub fn state(&self) -> DriveState {
        match self.drive.state(&self.facts()) {
            // The stop is past: somebody else moves the car by now.
            DriveState::Stopped | DriveState::Failsafe if self.motion_elsewhere().is_some() => {
                DriveState::View
            }
            state => state,
        }
    }

    /// The session that controls the chosen car.
    pub fn holder(&self) -> ControlHolder {
        self.drive.holder(&self.facts()).clone()
    }

    /// Returns true if this console may drive and run commands.
    pub fn may_drive(&self) -> bool {
        self.role.may_run() && !self.setup.readonly && !self.is_replay()
    }

    /// Returns true if the terminal is too small for anything but stop and quit.
    pub fn is_too_small(&self) -> bool {
        let (width, height) = self.setup.size;
        width < LEAST_SIZE.0 || height < LEAST_SIZE.1
    }

    /// Areas of the screen at its present size.
    pub fn areas(&self) -> ScreenAreas {
        layout::areas(self.setup.size, || banner::lines(self).len())
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
            about: None,
        });
        self.dirty = true;
    }

    fn pass_time(&mut self) {
        self.end_stop_all();
        let old = |since: Instant, after| self.now.saturating_duration_since(since) >= after;
        let facts = self.facts();
        let is_over = |notice: &Notice| match &notice.about {
            Some(why) if !self.drive.holds(why, &facts) => true,
            // As long as the state is shown, so is its reason.
            Some(why) if why.is_reason_of_a_state() => false,
            _ => old(notice.since, NOTICE),
        };
        if self.notice.as_ref().is_some_and(is_over) {
            self.notice = None;
            self.dirty = true;
        }
        // An Enter that comes late was meant for something else.
        if (self.question.as_ref()).is_some_and(|(_, since)| old(*since, NOTICE)) {
            self.question = None;
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
        if !std::mem::replace(&mut self.mouse, true) {
            self.effects.push(Effect::Mouse(true));
        }
    }
}

#[cfg(test)]
mod tests;
