//! Sentences about what befell the car or its control: who or what, when, and what ran.

use p2p_shared::protocol::{ControlInfo, Driver, PressId, RunInfo, SessionId, StopCause};

use super::log_lines::left_control;
use super::{App, Notice};
use crate::app::fleet::{FleetLink, LastStop};
use crate::drive::{Blocked, ControlHolder};
use crate::screen::theme::MOVES;
use crate::text::{fit, source_word, who};

/// Most columns of a name.
const NAME: usize = 30;
/// Most columns of a recording's file, or of why there is none.
const RECORDING: usize = 80;

impl App {
    /// Tells why nothing moves, until that is no longer so.
    pub(super) fn report(&mut self, why: Blocked) {
        let stop = self
            .link()
            .and_then(|link| Some((link, link.stopped.as_ref()?)));
        let text = match (&why, stop) {
            (Blocked::Lease, Some((link, stop))) => self.stop_sentence(link, stop),
            (Blocked::StoppedByAnother, Some((link, stop))) => {
                format!("{}: press again to drive", self.stop_sentence(link, stop))
            }
            (Blocked::ControlGone, _) => match (self.holder(), self.granted) {
                (ControlHolder::Other(name), true) => {
                    format!("you gave control to {}", fit(&name, NAME))
                }
                (ControlHolder::Other(name), false) => {
                    format!("{} took control: [a] asks for it", fit(&name, NAME))
                }
                _ => why.to_string(),
            },
            _ => why.to_string(),
        };
        self.granted = false;
        self.notice = Some(Notice {
            text,
            is_bad: true,
            since: self.now,
            about: Some(why),
        });
        self.dirty = true;
    }

    /// The sentence about the end of a motion, with when it was and what ran.
    fn stop_sentence(&self, link: &FleetLink, stop: &LastStop) -> String {
        let at = self.clock.moment(stop.at);
        let ran = stop
            .ran
            .as_ref()
            .map_or(String::new(), |ran| format!(" ({ran})"));
        let guardian = stop.guardian.as_ref();
        let guardian = guardian.map_or(String::new(), |guardian| format!("; {guardian}"));
        match (&stop.by, stop.cause) {
            (None, StopCause::Watchdog) if !guardian.is_empty() => {
                format!("the car stopped itself at {at}{ran}{guardian}")
            }
            (Some(by), _) => format!("the car was stopped at {at} by {by}{ran}"),
            (None, StopCause::Asked) => format!("the car was stopped at {at}{ran}"),
            _ => format!(
                "the car stopped itself at {at}: {}{ran}{guardian}",
                stop.why(link.info.lease_ms)
            ),
        }
    }

    /// Tells of control of the chosen car that has changed hands, unless it is ours now or was.
    pub(super) fn report_control(&mut self, old: &ControlInfo, new: &ControlInfo) {
        let session = |driver: &Option<Driver>| driver.as_ref().map(|driver| driver.session);
        let is_us = |it: Option<SessionId>| it.is_some() && it == self.session;
        let (was, is) = (session(&old.driver), session(&new.driver));
        let name = |driver: &Driver| fit(driver.name.raw(), NAME);
        let text = match (&old.driver, &new.driver) {
            _ if was == is || is_us(was) => return,
            (Some(before), Some(_)) if is_us(is) => match &old.request {
                Some((asker, _)) if is_us(Some(asker.session)) => {
                    format!("{} gave you control", name(before))
                }
                _ => format!("you took control from {}", name(before)),
            },
            (_, Some(_)) if is_us(is) => return,
            (_, Some(taker)) => format!("{} took control", name(taker)),
            (Some(giver), None) => left_control(&name(giver), new.ended),
            (None, None) => return,
        };
        self.notify(text, false);
    }

    /// Tells what became of the chosen car's recording.
    pub(super) fn report_recording(&mut self, old: &ControlInfo, new: &ControlInfo) {
        let (Some(old), Some(new)) = (&old.recording, &new.recording) else {
            return;
        };
        let is_asked = new.asked.is_some();
        let (text, is_bad) = match (&old.file, &new.file) {
            _ if new.failure.is_some() && new.failure != old.failure => {
                let why = new.failure.as_ref().map_or("", |why| why.raw());
                (format!("NOT RECORDED: {}", fit(why, RECORDING)), true)
            }
            (_, Some(file)) if is_asked && (old.asked.is_none() || old.file.is_none()) => {
                let file = fit(file.raw(), RECORDING);
                let key = if self.may_drive() {
                    ", [R] ends it"
                } else {
                    ""
                };
                let text = format!("recording, 15 min at most{key}: {file} at the router");
                (text, false)
            }
            (Some(_), Some(_)) if old.asked.is_some() && !is_asked => {
                ("recorded until this drive ends".to_owned(), false)
            }
            (Some(file), None) => {
                let file = fit(file.raw(), RECORDING);
                (format!("recorded: {file} at the router"), false)
            }
            _ => return,
        };
        self.notify(text, is_bad);
    }

    /// Tells that the router knows nothing of what was before, here and as a line of the log.
    pub(super) fn report_restart(&mut self) {
        self.log_line(0, "link", "restarted", "");
        let at = self.clock.moment(self.now);
        self.notify(
            format!("router restarted {at}: what is older is remembered here"),
            false,
        );
    }

    /// Returns what moves the chosen car, unless we do: `» MOVES back, by http, at most 1.6 s left`.
    pub fn motion_elsewhere(&self) -> Option<String> {
        let link = self.link()?;
        let (moving, since) = link.moving.as_ref()?;
        let ours = self.drive.last_press.map(|(id, ..)| id);
        // A motion of an earlier press of ours goes on until the car has heard of the newest.
        let is_ours = |press: PressId| {
            ours.is_some_and(|ours| press.epoch == ours.epoch && press.number <= ours.number)
        };
        if moving.press.is_some_and(is_ours) {
            return None;
        }
        let run = self.log.get(moving.run);
        let control = &link.info.control;
        let by = match (&moving.press, &control.driver) {
            (Some(press), Some(driver)) if press.epoch == control.epoch => {
                fit(driver.name.raw(), NAME)
            }
            (Some(_), _) => "another driver".to_owned(),
            _ => run.map_or("http or send".to_owned(), |run: std::sync::Arc<RunInfo>| {
                format!("{} of {}", source_word(run.source), fit(&who(&run), NAME))
            }),
        };
        let limit = std::time::Duration::from_millis(link.info.motion_limit_ms);
        let left = limit.saturating_sub(self.now.saturating_duration_since(*since));
        let left = match moving.press {
            // One that was asked for again goes on.
            None if !left.is_zero() => format!(", at most {:.1} s left", left.as_secs_f64()),
            _ => String::new(),
        };
        Some(format!(
            "{MOVES} MOVES {}, by {by}{left}",
            fit(moving.command.as_str(), NAME)
        ))
    }
}
