//! Plays the past that a file tells of in the screens of the console, on a clock of its own: when it goes on, and
//! where it is. Pure; sends nothing.

mod lines;
mod mcap;
mod playhead;
mod recording;

use std::time::{Duration, Instant};

use bytes::Bytes;
use crossterm::event::{Event as Input, KeyEventKind};

use super::{App, ConnectionState, Effect, Event};
use crate::app::fleet::Fleet;
use crate::app::timeline::Timeline;
use crate::camera::PastPicture;
use crate::keymap::Screen;
use crate::screen::layout::{self, PictureSize};

use playhead::Playhead;
use recording::PastCar;
pub use recording::Recording;

/// Speeds in halves of the time's own, and their names.
const SPEEDS: [(u32, &str); 4] = [(1, "½ ×"), (2, "1 ×"), (4, "2 ×"), (8, "4 ×")];
const FIRST_SPEED: usize = 1;
/// Time between two moments that are shown.
const STEP: Duration = Duration::from_millis(50);
/// Longest time that is played at once: a machine that slept plays on from where it was.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// Reads a file: a router's log, an incident, or an MCAP file of `p2p-router --record`.
///
/// # Errors
/// A sentence, if it is none of these or tells nothing.
pub fn read(file: &Bytes) -> Result<Recording, String> {
    let mut recording = Recording::default();
    match file.starts_with(mcap::MAGIC) {
        true => mcap::read(file, &mut recording)?,
        false => lines::read(file, &mut recording)?,
    }
    recording.finish();
    Ok(recording)
}

/// A past that is played.
#[derive(Debug)]
pub struct Replay {
    recording: Recording,
    /// Name of the car that is shown.
    car: String,
    /// Its whole timeline.
    timeline: Timeline,
    /// Moments of its first event and its last.
    span: (Instant, Instant),
    /// The moment that is shown. What is known of the car then is in the fleet.
    at: Instant,
    /// Number of the next event.
    next: usize,
    key: Option<char>,
    pub plays: bool,
    /// True if it has just come to its end: who pauses it then does not want it from the beginning.
    has_ended: bool,
    speed: usize,
    /// Time when the moment was set last.
    set: Instant,
    /// Number and size of the picture that was asked for last.
    picture: Option<(usize, (u16, u16))>,
}

impl Replay {
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    pub fn end(&self) -> Instant {
        self.span.1
    }

    /// The key that the driver held.
    pub fn key(&self) -> Option<char> {
        self.key
    }

    pub fn speed(&self) -> &'static str {
        SPEEDS.get(self.speed).map_or("", |(_, name)| name)
    }

    /// How long the past is, and how much of it lies behind.
    pub fn progress(&self) -> (Duration, Duration) {
        let (first, last) = self.span;
        (self.at.duration_since(first), last.duration_since(first))
    }

    fn car(&self) -> Option<&PastCar> {
        self.recording.cars.get(&self.car)
    }
}

impl App {
    /// Shows the past that a file tells of, and nothing else.
    pub fn replay(&mut self, file: String, mut recording: Recording) {
        let unix = std::time::UNIX_EPOCH + recording.began;
        self.clock.count_from(recording.base, unix);
        self.connection = ConnectionState::Replay { file };
        self.may_choose_screen = false;
        self.screen = Screen::Drive;
        self.log = std::mem::take(&mut recording.log);
        let has_pictures = (recording.cars.values()).any(|car| !car.pictures.is_empty());
        if has_pictures && self.setup.colours.shows_pictures() {
            self.camera.size = PictureSize::Small;
        }
        let problem = recording.problem.take();
        let name = recording.cars.keys().next().cloned().unwrap_or_default();
        let base = recording.base;
        self.replay = Some(Box::new(Replay {
            recording,
            car: String::new(),
            timeline: Timeline::default(),
            span: (base, base),
            at: base,
            next: 0,
            key: None,
            plays: true,
            has_ended: false,
            speed: FIRST_SPEED,
            set: self.now,
            picture: None,
        }));
        self.show_past_of(name);
        self.seek(None);
        if let Some(problem) = problem {
            self.notify(problem, true);
        }
    }

    /// Returns true for a picture of the moment that is shown, or of one before: some come late, also after one has gone
    /// back.
    pub(super) fn is_picture_wanted(&self, taken_ms: u64) -> bool {
        let Some(replay) = &self.replay else {
            return true;
        };
        let number = replay.picture.map(|(number, _)| number);
        let wanted = number.and_then(|number| replay.car()?.pictures.get(number));
        wanted.is_some_and(|(at, _)| p2p_shared::timing::millis(*at) >= taken_ms)
    }

    pub fn is_replay(&self) -> bool {
        self.replay.is_some()
    }

    /// Applies an event to a replay.
    pub(super) fn update_replay(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        self.play(now);
        // It stands until it was read: the clock of a past may stand, too.
        if matches!(&event, Event::Terminal(Input::Key(key)) if key.kind == KeyEventKind::Press) {
            self.notice = None;
        }
        match event {
            // There is nothing that a late key could move.
            Event::Terminal(event) | Event::Stale(event) => self.on_terminal(event),
            Event::Camera(event) => self.on_camera(event),
            Event::Saved(saved) => self.on_saved(saved),
            Event::Terminate => self.quit(),
            Event::Connection(_) | Event::Tick { .. } | Event::Late(_) => {}
        }
        self.sync_terminal();
        self.sync_past_picture();
        std::mem::take(&mut self.effects)
    }

    /// Longest time until the next moment is shown.
    pub(super) fn next_of_replay(&self) -> Option<Duration> {
        self.replay.as_ref()?.plays.then_some(STEP)
    }

    /// Lets the past go on by the time that has passed since.
    fn play(&mut self, now: Instant) {
        let Some(replay) = &mut self.replay else {
            return;
        };
        let passed = now.saturating_duration_since(replay.set).min(LONGEST_STEP);
        replay.set = now;
        let halves = SPEEDS.get(replay.speed).map_or(2, |(halves, _)| *halves);
        let there = replay.at.checked_add(passed * halves / 2);
        replay.has_ended = false;
        if replay.plays && !passed.is_zero() {
            replay.has_ended = there.is_none_or(|there| there >= replay.end());
            replay.plays = there.is_some_and(|there| there < replay.end());
            self.seek(there);
        }
    }

    /// Shows the car at this moment, or at the first one.
    fn seek(&mut self, there: Option<Instant>) {
        let Some(mut replay) = self.replay.take() else {
            return;
        };
        let (first, last) = replay.span;
        let there = there.unwrap_or(first).clamp(first, last);
        if let Some(car) = replay.recording.cars.get(&replay.car) {
            let is_ahead = there >= replay.at && self.chosen.is_some();
            let mut head = match is_ahead {
                true => Playhead {
                    fleet: std::mem::take(&mut self.fleet),
                    key: replay.key,
                    next: replay.next,
                },
                false => Playhead::new(car, first),
            };
            while let Some(event) = car.events.get(head.next) {
                let at = replay.recording.moment(event.at);
                if at > there {
                    break;
                }
                head.apply(event, at);
                head.next += 1;
            }
            (self.fleet, replay.key, replay.next) = (head.fleet, head.key, head.next);
            self.chosen = self.fleet.links.keys().next().copied();
        }
        replay.at = there;
        self.now = there;
        self.timeline_view.cursor = Some(there);
        self.replay = Some(replay);
        self.dirty = true;
    }

    /// Shows the past of the car with this name, if the file tells of one.
    fn show_past_of(&mut self, name: String) {
        let Some(replay) = &mut self.replay else {
            return;
        };
        let Some(car) = replay.recording.cars.get(&name) else {
            return;
        };
        let moment = |at| replay.recording.moment(at);
        let (first, last) = car.span();
        replay.span = (moment(first), moment(last));
        replay.timeline = Playhead::timeline(car, |event| moment(event.at));
        replay.car = name;
        (self.fleet, self.chosen) = (Fleet::default(), None);
        self.camera.shown = None;
        self.camera.why.clear();
    }

    /// Goes to the run that is selected in the log, when the Drive screen is opened from there.
    pub(super) fn show_selected_run(&mut self) {
        let run = self.log.selected_run().filter(|_| !self.log.follows());
        let (Some(run), Some(replay)) = (run, &mut self.replay) else {
            return;
        };
        let there = replay.recording.moment(Duration::from_millis(run.at_ms));
        replay.plays = false;
        if replay.car != run.link.as_str() {
            self.show_past_of(run.link.to_string());
        }
        self.seek(Some(there));
    }

    pub(super) fn pause(&mut self) {
        let Some(replay) = &mut self.replay else {
            return;
        };
        if replay.has_ended {
            return;
        }
        replay.plays = !replay.plays;
        if replay.plays && replay.at >= replay.end() {
            self.seek(None);
        }
    }

    pub(super) fn change_speed(&mut self, faster: bool) {
        if let Some(replay) = &mut self.replay {
            let by = if faster { 1 } else { -1 };
            let speed = replay.speed.saturating_add_signed(by);
            replay.speed = speed.min(SPEEDS.len() - 1);
        }
    }

    /// Goes on, or back if it is negative, by so many times this.
    pub(super) fn seek_by(&mut self, times: i8, step: Duration) {
        let by = step * u32::from(times.unsigned_abs());
        let there = match times {
            ..0 => self.now.checked_sub(by),
            _ => self.now.checked_add(by),
        };
        self.seek(there);
    }

    pub(super) fn seek_first(&mut self) {
        self.seek(None);
    }

    pub(super) fn seek_last(&mut self) {
        let end = self.replay.as_ref().map(|replay| replay.end());
        self.seek(end);
    }

    /// Goes to the next event, or to the one before, and pauses there.
    pub(super) fn seek_event(&mut self, older: bool) {
        let Some(replay) = &mut self.replay else {
            return;
        };
        let here = replay.at;
        let there = {
            let mut moments = replay.timeline.events().map(|(at, _)| *at);
            match older {
                true => moments.find(|at| *at < here),
                false => moments.take_while(|at| *at > here).last(),
            }
        };
        if there.is_some() {
            replay.plays = false;
            self.seek(there);
        }
    }

    /// Asks for the picture of the moment as cells, when that is another one.
    fn sync_past_picture(&mut self) {
        let area = self.past_picture_area();
        let Some(replay) = &mut self.replay else {
            return;
        };
        let (Some(car), Some(size)) = (replay.recording.cars.get(&replay.car), area) else {
            replay.picture = None;
            return;
        };
        let taken = |(at, _): &(Duration, _)| replay.recording.moment(*at) <= replay.at;
        let number = car.pictures.partition_point(taken).checked_sub(1);
        let Some((number, (at, jpeg))) = number.and_then(|it| Some((it, car.pictures.get(it)?)))
        else {
            replay.picture = None;
            self.camera.shown = None;
            self.camera.why.clear();
            return;
        };
        if replay.picture.replace((number, size)) != Some((number, size)) {
            self.effects.push(Effect::PastPicture(PastPicture {
                jpeg: jpeg.clone(),
                service_port: car.info.service_port,
                taken_ms: p2p_shared::timing::millis(*at),
                size,
            }));
        }
    }

    /// Columns and rows that there are for a picture; `None`: none is shown.
    fn past_picture_area(&self) -> Option<(u16, u16)> {
        let is_seen = self.screen == Screen::Drive && self.overlay.is_none();
        let car = self.replay.as_ref()?.car()?;
        if !is_seen || self.is_too_small() || car.pictures.is_empty() {
            return None;
        }
        let area = layout::past(self.areas().body, self.camera.size).picture?;
        Some((area.width.saturating_sub(2), area.height.saturating_sub(2)))
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
