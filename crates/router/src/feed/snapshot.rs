//! Owns the snapshot that a console begins with, and cuts it into messages that are small enough, one
//! by one as there is room for them.

use std::sync::Arc;

use p2p_shared::bounded::{List, Text};
use p2p_shared::codec;
use p2p_shared::key::Role;
use p2p_shared::protocol::{LinkInfo, MAX_ENTRIES, RouterToConsole, RunInfo, SessionId};
use serde::Serialize;

/// A message is full at this size, half of the limit: one more entry is far smaller than the other
/// half.
const FULL: usize = 32 * 1024;

/// The state at one moment: its parts that are still to be sent.
#[derive(Debug)]
pub(crate) struct Snapshot {
    links: std::vec::IntoIter<LinkInfo>,
    runs: std::vec::IntoIter<Arc<RunInfo>>,
    begun: bool,
}

impl Snapshot {
    pub(crate) fn new(links: Vec<LinkInfo>, runs: Vec<Arc<RunInfo>>) -> Self {
        Self {
            links: links.into_iter(),
            runs: runs.into_iter(),
            begun: false,
        }
    }

    /// Takes all that it still has: nothing of it is to be sent.
    pub(crate) fn take(&mut self) -> (Vec<LinkInfo>, Vec<Arc<RunInfo>>) {
        self.begun = true;
        let (links, runs) = (self.links.by_ref(), self.runs.by_ref());
        (links.collect(), runs.collect())
    }

    /// Says only that a console with this session, key and role has `missed` this many events.
    pub(crate) fn missed(
        session: SessionId,
        key: &Text,
        role: Role,
        missed: u64,
    ) -> RouterToConsole {
        RouterToConsole::Snapshot {
            first: false,
            last: false,
            session,
            key: key.clone(),
            role,
            missed,
            links: List::default(),
            runs: List::default(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.begun && self.links.len() == 0 && self.runs.len() == 0
    }

    /// Takes the next part, for a console with this session, key and role, which has `missed` this
    /// many events. There is at least one part.
    pub(crate) fn part(
        &mut self,
        session: SessionId,
        key: &Text,
        role: Role,
        missed: u64,
    ) -> RouterToConsole {
        let first = !std::mem::replace(&mut self.begun, true);
        let mut size = 0;
        let links = take_part(&mut self.links, &mut size);
        let runs = take_part(&mut self.runs.by_ref().map(Arc::unwrap_or_clone), &mut size);
        RouterToConsole::Snapshot {
            first,
            last: self.is_over(),
            session,
            key: key.clone(),
            role,
            missed,
            links,
            runs,
        }
    }
}

/// Takes entries until a message that has `size` bytes so far is full.
pub(crate) fn take_part<T: Serialize>(
    entries: &mut impl Iterator<Item = T>,
    size: &mut usize,
) -> List<T, MAX_ENTRIES> {
    let mut part = Vec::new();
    while *size < FULL
        && part.len() < MAX_ENTRIES
        && let Some(entry) = entries.next()
    {
        match codec::encode(&entry) {
            Ok(bytes) => {
                *size += bytes.len();
                part.push(entry);
            }
            // The others are shown all the same.
            Err(error) => tracing::warn!(%error, "an entry can't be shown to consoles"),
        }
    }
    part.into_iter().collect()
}
