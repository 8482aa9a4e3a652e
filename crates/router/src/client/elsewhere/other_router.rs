//! Owns a console's line to another router: when it is made anew, and what is said of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_shared::os::jitter;
use p2p_shared::protocol::SessionId;

use super::line::{Line, LineEnd, Origin};
use crate::mesh::Member;

/// First pause before a line is made again; it doubles with each failure, and no two consoles wait for the same time.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(8);
/// Longest pause after a router has refused the console: a key that was made just now is known within seconds.
const LONGEST_REFUSED: Duration = Duration::from_secs(30);
/// A line that was there for so long is no failure.
const STABLE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct OtherRouter {
    pub member: Member,
    /// `None`: the router is not reached, for the reason `why`.
    pub line: Option<Line>,
    pub why: String,
    /// The router has taken the console.
    pub is_reached: bool,
    retry: Instant,
    pause: Duration,
    begun: Instant,
    /// It was logged that it is not reached.
    is_logged: bool,
}

impl OtherRouter {
    pub(super) fn new(member: Member, now: Instant) -> Self {
        Self {
            member,
            line: None,
            why: "it did not answer yet".to_owned(),
            is_reached: false,
            retry: now,
            pause: FIRST,
            begun: now,
            is_logged: false,
        }
    }

    /// Begins to make a line, if that is due. Returns true then.
    pub(super) fn begin(&mut self, origin: &Arc<Origin>, now: Instant) -> bool {
        let is_due = self.line.is_none() && self.retry <= now;
        if is_due {
            self.line = Some(Line::begin(origin.clone(), self.member.clone()));
            self.begun = now;
        }
        is_due
    }

    /// Notes that the router has taken the console with this session here.
    pub(super) fn is_up(&mut self, console: SessionId) {
        self.is_reached = true;
        if std::mem::take(&mut self.is_logged) {
            let (session, router) = (console.0, &self.member.address);
            tracing::info!(session, %router, "the console's line to another router is back");
        }
    }

    /// Notes that the line has ended, or was not made.
    pub(super) fn ended(&mut self, end: LineEnd, now: Instant, console: SessionId) {
        if self.is_reached && now.saturating_duration_since(self.begun) >= STABLE {
            self.pause = FIRST;
        }
        self.line = None;
        self.is_reached = false;
        self.why = end.why;
        self.retry = now + self.pause.mul_f64(0.5 + jitter() / 2.0);
        let longest = if end.is_refused {
            LONGEST_REFUSED
        } else {
            LONGEST
        };
        self.pause = (self.pause * 2).min(longest);
        let (session, router, why) = (console.0, &self.member.address, &self.why);
        if std::mem::replace(&mut self.is_logged, true) {
            tracing::debug!(session, %router, why, "another router is not reached for a console");
        } else {
            tracing::info!(session, %router, why, "the console's line to another router ended");
        }
    }
}
