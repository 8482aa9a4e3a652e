//! Entries of a car's past: what moved it, what stopped it, and what its link did. The car keeps them as
//! lines of JSON, which routers pass on as they are: so a reader of another version skips what it doesn't
//! know.

use serde::{Deserialize, Serialize};

use super::drive::{MotionEvent, PressId};
use crate::bounded::Text;
use crate::names::RunId;

/// Most bytes of the lines that answer one question.
pub const MAX_PAST: usize = 1024 * 1024;

/// One entry, a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastEntry {
    /// Number of the entry, which grows with each entry of the car, over restarts too.
    pub id: u64,
    /// Start of the machine since which its clock counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Text>,
    /// Time on the car's clock, in milliseconds. A reading that is lower than that of an entry before
    /// is of a later start of the machine.
    pub clock_ms: u64,
    /// The same by the time of day at the car, in milliseconds since 1970.
    pub at_ms: u64,
    pub event: PastEvent,
    /// Driver, or address that asked for the motion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Text>,
    /// Time for which the press would have moved the car without a further renewal, as it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// Age of the car's clock in the newest message of the driver: the round trip from the car to the
    /// driver and back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<u64>,
}

impl PastEntry {
    /// Reads a line; `None`: it is cut off, or of a version that this program doesn't know.
    #[must_use]
    pub fn of_line(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// Reads the lines of an answer. Returns the time at the car as it answered, and the entries, newest first, each
    /// with whether the car's clock has run since. `None`: the car has not answered.
    #[must_use]
    pub fn newest_first(lines: &[u8]) -> Option<(Self, Vec<(Self, bool)>)> {
        let lines = lines.split(|byte| *byte == b'\n');
        let mut entries: Vec<Self> = lines.filter_map(Self::of_line).collect();
        let is_now = |entry: &Self| entry.event == PastEvent::Now;
        let answered = entries.remove(entries.iter().position(is_now)?);
        let (mut clock_ms, mut is_this_start) = (answered.clock_ms, true);
        let newest_first = entries.into_iter().rev().map(|entry| {
            // Of two that name no start of the machine, the order tells.
            is_this_start = entry.boot == answered.boot
                && (entry.boot.is_some() || is_this_start && entry.clock_ms <= clock_ms);
            clock_ms = entry.clock_ms;
            (entry, is_this_start)
        });
        let entries = newest_first.collect();
        Some((answered, entries))
    }
}

/// What an entry tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PastEvent {
    /// The time at the car as it answered: the first line of each answer, and not of the past.
    Now,
    /// The inner was started.
    Start {
        software: Text,
    },
    /// The link came up.
    LinkUp {
        router: Text,
    },
    /// The link was lost or ended.
    LinkLost {
        why: Text,
    },
    Motion(MotionEvent),
    /// The guardian, the second process at the car, acted in place of the inner.
    Guardian {
        /// Why: the inner was silent beyond its deadline, or gone.
        cause: Text,
        /// Press and run that moved the car.
        press: Option<PressId>,
        run: Option<RunId>,
        /// Time on the car's clock at which it acted.
        clock_ms: u64,
        /// Whether its stop command has stopped the car.
        has_stopped: bool,
    },
}
