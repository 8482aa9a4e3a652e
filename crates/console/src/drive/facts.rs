//! Owns what driving has to know of the world: who has control, how the link is. Plain values,
//! gathered by the application each time.

use std::time::{Duration, Instant};

use super::{Blocked, HEALTHY, TOO_SLOW};

/// Who has control of the car.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlHolder {
    /// It is free.
    Nobody,
    /// This console.
    Us {
        /// The number under which its presses count.
        epoch: u64,
    },
    /// Someone else, of this name.
    Other(String),
}

/// How things are now.
#[derive(Debug, Clone)]
pub struct DriveFacts {
    /// The time.
    pub now: Instant,
    /// Whether this console may drive at all.
    pub may_drive: bool,
    /// Whether both hops are up: console to router, router to car.
    pub is_up: bool,
    /// Since when both are healthy.
    pub healthy_since: Option<Instant>,
    /// The round trip from here to the car, or how long we already wait for one.
    pub round_trip: Option<Duration>,
    /// Whether the terminal's input side answered just now.
    pub input_is_alive: bool,
    /// Who drives.
    pub holder: ControlHolder,
    /// The stop command has failed.
    pub stop_failed: bool,
    /// How many motion commands the car has.
    pub directions: usize,
    /// The newest tick of the car's clock, in milliseconds.
    pub tick_ms: Option<u64>,
}

impl DriveFacts {
    /// Why nothing may move now, whoever asks.
    pub(super) fn obstacle(&self) -> Option<Blocked> {
        let settled = self
            .healthy_since
            .is_some_and(|since| self.now.saturating_duration_since(since) >= HEALTHY);
        match self.round_trip {
            _ if !self.may_drive => Some(Blocked::MayNot),
            _ if !self.is_up => Some(Blocked::Offline),
            _ if self.stop_failed => Some(Blocked::StopFailed),
            Some(rtt) if rtt > TOO_SLOW => Some(Blocked::TooSlow(rtt)),
            _ if !settled => Some(Blocked::Unsettled),
            _ if !self.input_is_alive => Some(Blocked::InputDead),
            _ => None,
        }
    }
}
