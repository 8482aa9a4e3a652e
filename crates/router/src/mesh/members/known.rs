//! Owns what is known of one other member.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_shared::timing;

use crate::mesh::id::{MemberAddress, MemberId, Start};
use crate::mesh::message::{Alive, KeyDigests};
use crate::mesh::seal::{ReplayWindow, StartKey};

/// Another member, as it was heard of last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub id: MemberId,
    pub start: Start,
    pub address: Arc<MemberAddress>,
    pub state: MemberState,
    pub links: u32,
    pub consoles: u32,
    /// What it knows of keys, if it has told.
    pub keys: Option<KeyDigests>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberState {
    Present,
    /// It ends, or starts anew: it takes no new cars.
    Draining,
    /// The bus has brought nothing from it for 3 s. Its links are orphans, and their ports are kept for
    /// 60 s.
    Away {
        since: Instant,
    },
}

impl Member {
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.state, MemberState::Away { .. })
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.id)
    }
}

/// What has changed among the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberEvent {
    Joined(Member),
    Back(Member),
    Away(Member),
    /// Its records are to be forgotten.
    Gone(Member),
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) member: Member,
    pub(super) key: Arc<StartKey>,
    pub(super) window: ReplayWindow,
    pub(super) heard_at: Instant,
    /// When it told something last.
    pub(super) told_at: Instant,
    /// Its clock less ours when it was heard, by which its clock is known later.
    pub(super) clock: (u64, Instant),
    pub(super) started: u64,
    pub(super) challenge: u64,
    pub(super) rev: u64,
    pub(super) digest: u64,
    pub(super) met_at: Instant,
    /// It has said that it ends: nothing after that counts.
    pub(super) has_left: bool,
    /// Another start of its router has taken its place, unless it says something yet.
    pub(super) is_replaced: bool,
    /// What it told when all that it knew of keys was learned last.
    pub(super) merged_keys: Option<KeyDigests>,
}

impl Known {
    /// A start that has just repeated the challenge, with the message of this number.
    pub(super) fn new(
        start: Start,
        number: u64,
        key: Arc<StartKey>,
        alive: &Alive,
        now: Instant,
    ) -> Self {
        let member = Member {
            id: alive.id,
            start,
            address: Arc::new(alive.address.clone()),
            state: MemberState::Present,
            links: alive.links,
            consoles: alive.consoles,
            keys: alive.keys,
        };
        let mut known = Self {
            member,
            key,
            window: ReplayWindow::from(number),
            heard_at: now,
            told_at: now,
            clock: (alive.clock, now),
            started: alive.started,
            challenge: alive.challenge,
            rev: alive.rev,
            digest: alive.digest,
            met_at: now,
            has_left: false,
            is_replaced: false,
            merged_keys: None,
        };
        known.hear(alive, now);
        known
    }

    /// Takes what the member says of itself.
    pub(super) fn hear(&mut self, alive: &Alive, now: Instant) {
        self.heard_at = now;
        self.told_at = now;
        // What was overtaken on the way is older.
        if alive.clock >= self.clock.0 {
            self.member.keys = alive.keys;
        }
        self.is_replaced = false;
        self.member.id = alive.id;
        self.member.state = match alive.draining {
            true => MemberState::Draining,
            false => MemberState::Present,
        };
        if *self.member.address != alive.address {
            self.member.address = Arc::new(alive.address.clone());
        }
        self.member.links = alive.links;
        self.member.consoles = alive.consoles;
        self.started = alive.started;
        self.clock = (alive.clock, now);
        self.challenge = alive.challenge;
        if alive.rev >= self.rev {
            (self.rev, self.digest) = (alive.rev, alive.digest);
        }
    }

    /// Notes that the member is away since this moment. `None` if it was so already.
    pub(super) fn go_away(&mut self, since: Instant) -> Option<MemberEvent> {
        if self.member.is_away() {
            return None;
        }
        self.member.state = MemberState::Away { since };
        Some(MemberEvent::Away(self.member.clone()))
    }

    /// For how long nothing has come from it.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard_at)
    }

    /// What its clock shows now, in microseconds.
    pub(super) fn clock(&self, now: Instant) -> u64 {
        let (clock, at) = self.clock;
        clock.saturating_add(timing::micros(now.saturating_duration_since(at)))
    }
}
