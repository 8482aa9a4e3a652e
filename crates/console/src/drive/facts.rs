//! Facts by which driving is decided: who has control, and how the links are. Plain values that the
//! application gathers anew for each decision.

use std::time::{Duration, Instant};

use super::{Blocked, HEALTHY, TOO_SLOW};

/// The session that controls the car.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlHolder {
    Nobody,
    Us {
        /// Part of the id of each press under this control.
        epoch: u64,
    },
    /// Another session, of this name.
    Other(String),
}

/// Facts that driving is decided by.
#[derive(Debug, Clone)]
pub struct DriveFacts {
    pub now: Instant,
    /// True if this console may drive.
    pub may_drive: bool,
    /// True if console and router, and router and car, are connected.
    pub is_up: bool,
    /// True if a sign of life is overdue on one of them.
    pub is_silent: bool,
    /// Time since which both connections are healthy.
    pub healthy_since: Option<Instant>,
    /// Round trip to the car, or the time that we are waiting for one, if that is longer.
    pub round_trip: Option<Duration>,
    /// True if the input thread ran in the last moments.
    pub input_is_alive: bool,
    pub holder: ControlHolder,
    pub stop_failed: bool,
    /// Number of motion commands of the car.
    pub directions: usize,
    /// The newest tick of the car's clock in milliseconds, unless it is too old.
    pub tick_ms: Option<u64>,
}

impl DriveFacts {
    /// The reason why nothing may move now, whoever has control.
    pub(super) fn obstacle(&self) -> Option<Blocked> {
        let settled = self
            .healthy_since
            .is_some_and(|since| self.now.saturating_duration_since(since) >= HEALTHY);
        match self.round_trip {
            _ if !self.may_drive => Some(Blocked::MayNot),
            _ if !self.is_up => Some(Blocked::Offline),
            _ if self.is_silent => Some(Blocked::Silent),
            _ if self.stop_failed => Some(Blocked::StopFailed),
            Some(rtt) if rtt > TOO_SLOW => Some(Blocked::TooSlow(rtt)),
            _ if !settled => Some(Blocked::Unsettled),
            _ if !self.input_is_alive => Some(Blocked::InputDead),
            _ => None,
        }
    }
}
