//! Lines of the log that are no runs: what became of links, who has control, what stopped a car. They
//! are kept as runs of status 0, so that they are held, filtered and saved with those.

use std::time::Instant;

use p2p_shared::bounded::{Piece, Text};
use p2p_shared::names::{CommandName, LinkName, RunId};
use p2p_shared::protocol::{
    ControlEnd, ControlInfo, Driver, MotionEvent, RunInfo, RunResult, RunSource,
};

use super::App;
use crate::text::fit;

/// Most columns of a name.
const NAME: usize = 30;
/// First id of such a line; a router's ids are random numbers.
const FIRST_ID: u64 = u64::MAX / 2;

/// Says why a driver has control no more.
pub(super) fn left_control(name: &str, why: Option<ControlEnd>) -> String {
    match why {
        Some(ControlEnd::Given) => format!("{name} gave control back"),
        Some(ControlEnd::Idle) => {
            format!("{name} pressed nothing for a minute: the router took control back")
        }
        Some(ControlEnd::Silence) => {
            format!("{name} was silent with a key held: the router took control back")
        }
        Some(ControlEnd::Gone) => format!("{name} is gone: the router took control back"),
        Some(ControlEnd::Closing) => "the router goes down: nobody has control".to_owned(),
        // An older router does not say why.
        None => format!("{name} has control no more"),
    }
}

impl App {
    /// Adds a line about a car, or about the router (port 0): `kind` is a word for its source.
    pub(super) fn log_line(&mut self, service_port: u16, kind: &str, what: &str, why: &str) {
        self.log_line_of(self.now, service_port, kind, what, why);
    }

    fn log_line_of(&mut self, at: Instant, service_port: u16, kind: &str, what: &str, why: &str) {
        let link = self.fleet.links.get(&service_port);
        let name: Option<LinkName> = match link {
            Some(link) => Some(link.info.name.clone()),
            None => "router".parse().ok(),
        };
        let (Some(link), Ok(command)) = (name, what.parse::<CommandName>()) else {
            return;
        };
        self.lines_logged += 1;
        self.log.put(RunInfo {
            run: RunId::from_number(FIRST_ID + self.lines_logged),
            service_port,
            link,
            command,
            arguments: Default::default(),
            source: RunSource::Http,
            from: kind.into(),
            key: Text::default(),
            at_ms: self.clock.unix_ms(at),
            result: Some(RunResult {
                status: 0,
                end: None,
                why: Text::new(why.to_owned()),
                link_us: 0,
                exec_us: None,
                bytes: 0,
                output: Piece::default(),
                stderr: Piece::default(),
            }),
        });
    }

    /// Adds a line to the log and an event to the car's timeline.
    pub(super) fn tell_of_link(&mut self, service_port: u16, kind: &str, what: &str, why: &str) {
        let now = self.now;
        if let Some(link) = self.fleet.links.get_mut(&service_port) {
            let colon = if why.is_empty() { "" } else { ": " };
            let text = format!("{what}{colon}{why}");
            match kind {
                // The car knows of its link, and not of control.
                "link" => link.timeline.tell_of_car(now, text),
                _ => link.timeline.tell(now, text),
            }
        }
        self.log_line(service_port, kind, what, why);
    }

    /// Tells of control of any car that has changed hands, or that somebody asks for.
    pub(super) fn tell_of_control(&mut self, service_port: u16, new: &ControlInfo) {
        let Some(link) = self.fleet.links.get(&service_port) else {
            return;
        };
        if let Some(why) = control_change(&link.info.control, new) {
            self.tell_of_link(service_port, "drive", "control", &why);
        }
    }

    /// Adds a line about what stopped a car, or kept it from moving, as its timeline has it.
    pub(super) fn log_motion(&mut self, service_port: u16, event: &MotionEvent, at: Instant) {
        let what = match event {
            MotionEvent::Over { .. } | MotionEvent::Stopped { .. } | MotionEvent::StopFailed => {
                "stop"
            }
            MotionEvent::Refused { .. } => "press",
            // The run itself is in the log.
            MotionEvent::Started(_) | MotionEvent::Ended { .. } | MotionEvent::Stands => return,
        };
        let link = self.fleet.links.get(&service_port);
        let said = link.and_then(|link| link.timeline.events().find(|(then, _)| *then == at));
        let why = said.map(|(_, what)| what.clone()).unwrap_or_default();
        let why = (why.strip_prefix("stop: ").or(why.strip_prefix("stops: ")))
            .unwrap_or(&why)
            .to_owned();
        self.log_line_of(at, service_port, "car", what, &why);
    }
}

/// Says who took control, gave it back or asks for it, if anybody did.
pub(super) fn control_change(old: &ControlInfo, new: &ControlInfo) -> Option<String> {
    let name = |driver: &Driver| fit(driver.name.raw(), NAME);
    let session = |driver: &Option<Driver>| driver.as_ref().map(|driver| driver.session);
    let asker = |control: &ControlInfo| control.request.as_ref().map(|(asker, _)| asker.clone());
    match (&old.driver, &new.driver) {
        (_, Some(taker)) if session(&old.driver) != session(&new.driver) => {
            Some(format!("{} took it", name(taker)))
        }
        (Some(giver), None) => Some(left_control(&name(giver), new.ended)),
        _ => {
            let by = asker(new).filter(|by| session(&asker(old)) != Some(by.session))?;
            Some(format!("{} asks for it", name(&by)))
        }
    }
}
