//! Knows from which members to fetch, and when again: a member that can't be asked costs next to nothing. Given
//! the time; has no clock and no socket.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::mesh::id::Start;
use crate::mesh::message::KeyDigests;

/// Pause after the first failure, and the longest: each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// What was fetched from each member last, or is being fetched.
#[derive(Debug, Default)]
pub(super) struct Fetches(HashMap<Start, Fetch>);

#[derive(Debug)]
struct Fetch {
    /// What the member told, by which it was asked; `None`: it is to be asked whatever it tells.
    told: Option<KeyDigests>,
    is_running: bool,
    /// Pause after the last failure and its end; `None`: the last fetch succeeded.
    failed: Option<(Duration, Instant)>,
}

impl Fetches {
    /// Begins a fetch from a member that tells this. Returns false if that was fetched before, or it is too early.
    pub(super) fn begin(&mut self, from: Start, told: KeyDigests, now: Instant) -> bool {
        let fetch = self.0.entry(from).or_insert(Fetch {
            told: None,
            is_running: false,
            failed: None,
        });
        let is_early = fetch.failed.is_some_and(|(_, until)| now < until);
        if fetch.is_running || is_early || fetch.told == Some(told) {
            return false;
        }
        fetch.told = Some(told);
        fetch.is_running = true;
        true
    }

    /// Notes that a fetch has succeeded.
    pub(super) fn done(&mut self, from: Start) {
        if let Some(fetch) = self.0.get_mut(&from) {
            (fetch.is_running, fetch.failed) = (false, None);
        }
    }

    /// Notes that a fetch has failed. Returns true for the first one since one has succeeded.
    pub(super) fn failed(&mut self, from: Start, now: Instant) -> bool {
        let Some(fetch) = self.0.get_mut(&from) else {
            return false;
        };
        let before = fetch.failed.map(|(pause, _)| pause);
        let pause = before.map_or(FIRST_PAUSE, |pause| (2 * pause).min(LONGEST_PAUSE));
        fetch.told = None;
        fetch.is_running = false;
        fetch.failed = Some((pause, now + pause));
        before.is_none()
    }

    /// Forgets those that are no members any more.
    pub(super) fn retain(&mut self, is_member: impl Fn(Start) -> bool) {
        self.0.retain(|start, _| is_member(*start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: KeyDigests = KeyDigests {
        keys: 7,
        signed_out: 0,
    };

    #[test]
    fn a_member_that_can_not_be_asked_is_asked_a_few_times_and_logged_once() {
        let members = [Start(1), Start(2)];
        let (mut fetches, begun) = (Fetches::default(), Instant::now());
        let (mut asked, mut logged) = (0, 0);
        for millisecond in 0..10_000 {
            let now = begun + Duration::from_millis(millisecond);
            for member in members {
                if fetches.begin(member, TOLD, now) {
                    asked += 1;
                    logged += usize::from(fetches.failed(member, now));
                }
            }
        }
        // At 0, 1, 3 and 7 s.
        assert_eq!((asked, logged), (8, 2));
        let later = begun + Duration::from_secs(20);
        assert!(fetches.begin(members[0], TOLD, later));
        fetches.done(members[0]);
        assert!(!fetches.begin(members[0], TOLD, later));
    }
}
