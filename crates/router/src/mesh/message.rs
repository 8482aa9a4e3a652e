//! Messages of members over the bus, and their bytes: MessagePack with fields by name, so that an older
//! member reads what a newer one says. Checked as they are read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_shared::bounded::{List, Text};
use p2p_shared::names::Identity;
use p2p_shared::timing;
use serde::{Deserialize, Serialize};

use crate::mesh::directory::{Change, Entry};
use crate::mesh::id::{Epoch, MemberAddress, MemberId, Start};
use crate::mesh::record::PortRecord;

/// Most records in one message: of at most some 900 bytes each, so that a message has at most 256 KiB.
pub(crate) const PAGE: usize = 256;
/// Most members that a message lists: as many as there are ids.
const MOST_MEMBERS: usize = 1 << MemberId::BITS;

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    All,
    Member(Start),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    Alive(Alive),
    /// The member ends now: it is away from here on.
    Left,
    Delta(Delta),
    /// Asks a member for its whole table.
    AskWhole,
    Page(Page),
    AskClaim(ClaimAsk),
    AnswerClaim(ClaimAnswer),
    /// Tells the holder of a port that its identity has had the port for longer than it knows.
    HeldSince {
        port: u16,
        identity: Identity,
        held_since: u64,
    },
    /// A port was freed then: who had it before has it no more, unless the link is up.
    Freed {
        port: u16,
        at: u64,
    },
}

/// What a member says of itself each second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alive {
    pub id: MemberId,
    pub address: MemberAddress,
    /// When it started, and what its clock shows, in microseconds.
    pub started: u64,
    pub clock: u64,
    pub draining: bool,
    pub links: u32,
    pub consoles: u32,
    /// Revision and digest of its table.
    pub rev: u64,
    pub digest: u64,
    /// What it knows of keys; `None`: it has none (`--open`), or is of a version that does not tell.
    #[serde(default)]
    pub keys: Option<KeyDigests>,
    /// Random number that whoever wants to be known by this member has to repeat: what was recorded
    /// before does not have it.
    pub challenge: u64,
    /// The members that it hears, each with its challenge.
    pub heard: List<Heard, MOST_MEMBERS>,
}

/// Numbers that tell what one member knows of keys from what another knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyDigests {
    /// Of the keys and of those that were revoked.
    pub keys: u64,
    /// Of the session cookies that were signed out.
    #[serde(default)]
    pub signed_out: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heard {
    pub start: Start,
    pub challenge: u64,
}

/// What has changed in the sender's table from one revision to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delta {
    pub base: u64,
    pub rev: u64,
    pub changes: List<(u16, Option<WireEntry>), PAGE>,
}

/// Part of the sender's whole table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub rev: u64,
    pub index: u16,
    /// Number of pages of this table.
    pub pages: u16,
    pub entries: List<WireEntry, PAGE>,
}

/// A record with what the table has beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireEntry {
    pub record: PortRecord,
    pub rev: u64,
    /// For how long the record has had its state.
    pub for_ms: u64,
}

/// Asks all members whether an inner may have a port that nobody is known to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClaimAsk {
    /// Number of the question, for the answer.
    pub ask: u64,
    pub port: u16,
    pub identity: Identity,
    /// When it was asked for, in microseconds of the asker's clock: of two who ask at the same time the
    /// one with the lower (time, start) gets the port.
    pub asked_at: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClaimAnswer {
    pub ask: u64,
    /// Why not.
    #[serde(default)]
    pub refused: Option<Text>,
    /// What is known of the port's last link, if that was of the same identity.
    #[serde(default)]
    pub epoch: Option<Epoch>,
    #[serde(default)]
    pub held_since: Option<u64>,
}

impl KeyDigests {
    /// Text for a header.
    pub(crate) fn to_text(self) -> String {
        format!("{:016x}-{:016x}", self.keys, self.signed_out)
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let (keys, signed_out) = text.split_once('-')?;
        Some(Self {
            keys: u64::from_str_radix(keys, 16).ok()?,
            signed_out: u64::from_str_radix(signed_out, 16).ok()?,
        })
    }
}

impl WireEntry {
    pub(crate) fn new(entry: &Entry, now: Instant) -> Self {
        Self {
            record: PortRecord::clone(&entry.record),
            rev: entry.rev,
            for_ms: timing::millis(now.saturating_duration_since(entry.since)),
        }
    }

    /// Returns the entry of this port. `None` if there is no such port. A number that no member has is taken as
    /// the highest that one may have, so that one record hides no table.
    pub(crate) fn checked(self, now: Instant) -> Option<(u16, Entry)> {
        let mut record = self.record;
        let highest = Epoch::from_number(Epoch::HIGHEST.number() - 1);
        record.held_since = record.held_since.min(highest.number());
        if let Some(link) = &mut record.link {
            link.epoch = link.epoch.min(highest);
        }
        let since = now.checked_sub(Duration::from_millis(self.for_ms));
        let entry = Entry {
            rev: self.rev,
            since: since.unwrap_or(now),
            record: Arc::new(record),
        };
        (entry.record.port != 0).then_some((entry.record.port, entry))
    }
}

impl Delta {
    /// Returns the changes. `None` if one of them is impossible.
    pub(crate) fn checked(self, now: Instant) -> Option<Vec<Change>> {
        let changes = self.changes.into_iter().map(|(port, entry)| match entry {
            None => Some((port, None)),
            Some(entry) => {
                let (of, entry) = entry.checked(now)?;
                (of == port).then_some((port, Some(entry)))
            }
        });
        changes.collect()
    }
}

impl Message {
    /// `None` if it can't be expressed, which no message is known to do.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        rmp_serde::to_vec_named(self).ok()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        rmp_serde::from_slice(bytes).ok()
    }
}
