//! What a console shows of the car, as it knows it from its router.

use std::sync::Arc;
use std::time::Duration;

use p2p_console::drive::ControlHolder;
use p2p_shared::protocol::{ControlInfo, LinkInfo, SessionId};
use tokio::time::Instant;

use super::super::keys::SimKey;

/// The car's link, control and clock as the router last reported them.
#[derive(Default, Clone)]
pub(in crate::simulation) struct ConsoleView {
    /// The console's router, and its key, if there are keys.
    pub router: usize,
    pub key: Option<Arc<SimKey>>,
    pub session: Option<SessionId>,
    pub port: Option<u16>,
    pub is_up: bool,
    /// The router that the car is at, if that is another.
    pub at: Option<String>,
    pub since: Option<Instant>,
    pub control: ControlInfo,
    pub stop_failed: bool,
    pub tick_ms: Option<u64>,
    pub to_car: Option<Duration>,
    pub to_router: Option<Duration>,
    /// Time of the ping that has no pong yet.
    pub pinged: Option<Instant>,
}

impl ConsoleView {
    /// Takes in the state of a link; returns whether the link has just come up.
    pub(super) fn on_link(&mut self, info: &LinkInfo) -> bool {
        let came = info.is_up && !self.is_up;
        self.port = Some(info.service_port);
        self.is_up = info.is_up;
        self.at = info.router.as_ref().map(|router| router.raw().to_owned());
        self.control = info.control.clone();
        self.stop_failed = info.stop_failed;
        if came {
            self.since = Some(Instant::now());
            self.tick_ms = None;
            self.to_car = None;
        }
        came
    }

    /// The holder of control.
    pub(in crate::simulation) fn holder(&self) -> ControlHolder {
        match &self.control.driver {
            None => ControlHolder::Nobody,
            Some(driver) if Some(driver.session) == self.session => ControlHolder::Us {
                epoch: self.control.epoch,
            },
            Some(driver) => ControlHolder::Other(driver.name.to_string()),
        }
    }

    /// Returns true if the console's key may drive the car.
    pub(super) fn may_drive(&self) -> bool {
        self.key.as_ref().is_none_or(|key| key.may_drive())
    }
}
