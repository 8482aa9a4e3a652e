//! Asks a car for what happened while it was not heard, and puts that into what is known of it: so a stop
//! has its reason whenever one may read it.

use std::time::{Duration, Instant};

use p2p_shared::protocol::{ConsoleToRouter, MAX_PAST, MotionEvent, PastEntry, StopCause};
use p2p_shared::timing::millis;

use super::App;
use crate::drive::Blocked;

/// Longest past that is asked for.
const MOST: Duration = Duration::from_secs(600);
/// Length of the past that is asked for of a car when it is first looked at.
const FIRST: Duration = Duration::from_secs(60);
/// Time before a silence that is asked for as well: something may have been lost on the way.
const MARGIN: Duration = Duration::from_secs(2);

/// Questions that follow one that was not answered, or whose answer does not say what the guardian did, and the pause
/// before each: it may not have written it down yet, and a car that is asked by many answers nothing.
const AGAIN: (u8, Duration) = (3, Duration::from_secs(1));

/// Part of the chosen car's past that this console has missed, and the question about it.
#[derive(Debug, Default)]
pub struct MissedPast {
    /// Time since which events of it were missed.
    since: Option<Instant>,
    open: Option<PastQuestion>,
    /// The number of questions about the same stop, and when the next may be asked.
    again: (u8, Option<Instant>),
}

/// A question that was asked.
#[derive(Debug)]
struct PastQuestion {
    request: u64,
    asked: Instant,
    since: Instant,
    /// Lines of the answer that have come so far.
    lines: Vec<u8>,
}

impl MissedPast {
    /// Notes that events may have been missed since.
    pub(super) fn since(&mut self, since: Instant) {
        self.since = Some(self.since.map_or(since, |before| before.min(since)));
    }

    /// Notes that another car is looked at.
    pub(super) fn of_another(&mut self, now: Instant) {
        *self = Self {
            since: now.checked_sub(FIRST),
            ..Self::default()
        };
    }

    /// Notes that the connection is lost, and with it the answer to an open question, which is asked again.
    pub(super) fn lost(&mut self, heard: Instant) {
        let asked = self.open.take().map(|open| open.since);
        self.again = Default::default();
        self.since(asked.map_or(heard, |since| since.min(heard)));
    }
}

impl App {
    /// Asks for what was missed, once the car can tell.
    pub(super) fn ask_for_past(&mut self) {
        let may_ask =
            self.missed.open.is_none() && self.missed.again.1.is_none_or(|then| self.now >= then);
        let Some(since) = self.missed.since.filter(|_| may_ask) else {
            return;
        };
        let can_tell = |link: &&crate::app::fleet::FleetLink| link.info.is_up && link.info.past;
        let is_connected = self.session.is_some() && self.has_snapshot;
        let Some(link) = self.link().filter(|_| is_connected).filter(can_tell) else {
            return;
        };
        let service_port = link.info.service_port;
        let missed = self.now.saturating_duration_since(since) + MARGIN;
        self.next_request += 1;
        self.missed.since = None;
        self.missed.open = Some(PastQuestion {
            request: self.next_request,
            asked: self.now,
            since,
            lines: Vec::new(),
        });
        self.send(ConsoleToRouter::AskPast {
            request: self.next_request,
            service_port,
            last_ms: millis(missed.min(MOST)),
            log: false,
        });
    }

    /// Takes a part of the answer.
    pub(super) fn on_past(&mut self, request: u64, lines: &[u8], more: bool) {
        let open = self.missed.open.as_mut();
        let Some(open) = open.filter(|open| open.request == request) else {
            return;
        };
        open.lines.extend_from_slice(lines);
        if more && open.lines.len() <= MAX_PAST {
            return;
        }
        let Some(PastQuestion {
            asked,
            since,
            lines,
            ..
        }) = self.missed.open.take()
        else {
            return;
        };
        let now = self.now;
        let Some(link) = self.chosen.and_then(|port| self.fleet.links.get_mut(&port)) else {
            return;
        };
        // On a slow link the answer comes long after the car has made it.
        let answered = |clock_ms| link.moments.of(Some(clock_ms), now).max(asked);
        let entries = dated(&lines, answered);
        let is_answered = entries.is_some();
        link.add_past(&entries.unwrap_or_default(), now);
        let stopped = link.stopped.as_ref();
        let ours = self.drive.failed_press();
        let stopped = stopped.filter(|stop| ours.is_some() && stop.press == ours);
        let is_whole = match ours {
            Some(_) => stopped.is_some_and(|stop| stop.guardian.is_some()),
            None => is_answered,
        };
        if stopped.is_some() {
            self.report(Blocked::Lease);
        }
        self.missed.again = match self.missed.again.0 {
            asked if !is_whole && asked < AGAIN.0 => {
                self.missed.since(since);
                (asked + 1, Some(now + AGAIN.1))
            }
            _ => (0, None),
        };
        self.dirty = true;
    }

    /// Notes a stop of which the guardian may know more.
    pub(super) fn look_into(&mut self, event: &MotionEvent) {
        if let MotionEvent::Over {
            cause: StopCause::Lease | StopCause::Limit | StopCause::Watchdog,
            ..
        } = event
        {
            let at = self.link().and_then(|link| link.stopped.as_ref());
            self.missed.since(at.map_or(self.now, |stop| stop.at));
        }
    }
}

/// Reads the lines, and dates them by the moment at which the car answered, of which its clock is given: by that
/// clock, or by its time of day what was before its last start. `None`: the car has not answered.
pub fn dated(lines: &[u8], moment: impl Fn(u64) -> Instant) -> Option<Vec<(Instant, PastEntry)>> {
    let (answered, entries) = PastEntry::newest_first(lines)?;
    let now = moment(answered.clock_ms);
    let mut dated = Vec::new();
    for (entry, is_this_start) in entries {
        let ago = match is_this_start {
            true => Some(answered.clock_ms.saturating_sub(entry.clock_ms)),
            false => answered.at_ms.checked_sub(entry.at_ms),
        };
        let at = ago.and_then(|ago| now.checked_sub(Duration::from_millis(ago)));
        dated.extend(at.map(|at| (at, entry)));
    }
    dated.reverse();
    Some(dated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_of_an_earlier_start_of_the_machine_is_not_of_now() {
        let line = |boot: &str, clock_ms: u64, at_ms: u64, event: &str| {
            format!(
                r#"{{"id":{at_ms},"boot":"{boot}","clock_ms":{clock_ms},"at_ms":{at_ms},"event":{event}}}"#
            ) + "\n"
        };
        let stands = r#"{"motion":"stands"}"#;
        let lines = [
            line("b", 99_000, 500_000, r#""now""#),
            line("a", 98_000, 200_000, stands),
            // Before the time of day was set, by the clock a second ago.
            line("b", 98_000, 400_000, stands),
            line("a", 98_000, 500_001, stands),
        ];
        let now = Instant::now();
        let dated = dated(lines.concat().as_bytes(), |_| now).expect("an answer");
        let ago: Vec<u64> = dated.iter().map(|(at, _)| millis(now - *at)).collect();
        assert_eq!(ago, [300_000, 1000]);
    }
}
