//! Gathers the facts that driving decides by, and notes since when the way to the car is healthy.

use std::time::{Duration, Instant};

use super::{App, ConnectionState};
use crate::drive::{ControlHolder, DriveFacts, TOO_SLOW};

/// Greatest age of a clock tick that proves that the car hears us. The car drops what is 1 s old.
const TICK_FRESH: Duration = Duration::from_secs(1);
/// Longest pause between two ticks of a driven car (10 a second) on a link that is not slow.
const TICK_DUE: Duration = Duration::from_millis(300);

pub(super) fn gather(app: &App) -> DriveFacts {
    let link = app.link();
    let info = link.map(|link| &link.info);
    let tick = link.and_then(|link| link.tick);
    let age = |at: Instant| app.now.saturating_duration_since(at);
    DriveFacts {
        now: app.now,
        may_drive: app.may_drive(),
        is_up: is_up(app),
        healthy_since: app.healthy_since,
        round_trip: app.round_trip(),
        input_is_alive: app.input_is_alive(),
        holder: holder(app),
        stop_failed: info.is_some_and(|info| info.stop_failed),
        directions: info.map_or(0, |info| info.motion.len()),
        tick_ms: tick.and_then(|(ms, at)| (age(at) < TICK_FRESH).then_some(ms)),
    }
}

fn is_up(app: &App) -> bool {
    let router = matches!(app.connection, ConnectionState::Up { .. });
    router && app.has_snapshot && app.link().is_some_and(|link| link.info.is_up)
}

fn holder(app: &App) -> ControlHolder {
    let Some(link) = app.link() else {
        return ControlHolder::Nobody;
    };
    match &link.info.control.driver {
        None => ControlHolder::Nobody,
        Some(driver) if Some(driver.session) == app.session => ControlHolder::Us {
            epoch: link.info.control.epoch,
        },
        Some(driver) => ControlHolder::Other(driver.name.clone()),
    }
}

impl App {
    /// Round trip to the car over both hops, or the time that we are waiting for one, if that is
    /// longer.
    pub fn round_trip(&self) -> Option<Duration> {
        let age = |at: Instant| self.now.saturating_duration_since(at);
        let waiting = self.pinged.map(age);
        let ours = self.rtts.last().max(waiting)?;
        let link = self.link()?;
        let both = ours + link.rtts.last().unwrap_or_default();
        // Ticks come steadily only while this console drives.
        let silence = link
            .tick
            .map(|(_, at)| age(at))
            .filter(|silence| self.drive.is_armed() && *silence > TICK_DUE);
        Some(both.max(silence.unwrap_or_default()))
    }

    pub(super) fn update_health(&mut self) {
        let slow = self.round_trip().is_some_and(|rtt| rtt > TOO_SLOW);
        if !is_up(self) || slow {
            self.healthy_since = None;
        } else {
            self.healthy_since.get_or_insert(self.now);
        }
    }
}
