//! Says what a member holds: one record a port. Decides which of several records counts.

use std::cmp::Reverse;

use p2p_shared::names::{Identity, InstanceId, LinkName};
use serde::{Deserialize, Serialize};

use crate::mesh::id::Epoch;
use crate::net::client_net::QuotaOwner;

/// A service port and whom a member holds it for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PortRecord {
    pub port: u16,
    /// The name that the car has.
    pub name: LinkName,
    /// The name that the inner asked for.
    pub asked: LinkName,
    pub identity: Identity,
    pub owner: QuotaOwner,
    /// The last link; `None`: there was none since the member's start.
    #[serde(default)]
    pub link: Option<LinkStamp>,
    /// The moment from which this identity has had the port, at whichever member, in microseconds of
    /// a clock. Of two identities that have a port after a split, the one that had it first keeps it.
    pub held_since: u64,
    pub state: HeldState,
}

/// Order among the links of one identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LinkStamp {
    pub instance: InstanceId,
    /// How many times this process had dialled; 0 of an inner that does not count.
    #[serde(default)]
    pub dial: u64,
    pub epoch: Epoch,
}

/// What a port's holder has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HeldState {
    /// The link is up.
    Up,
    /// The link was lost; the port is open, and answers that the car is away.
    Away,
    /// The port is closed, and kept for the key that had it last; or it has a state that this program does
    /// not know.
    #[serde(other)]
    Kept,
}

impl PortRecord {
    pub(crate) fn epoch(&self) -> Epoch {
        self.link.map_or_else(Epoch::default, |link| link.epoch)
    }
}

/// Returns the record that counts, of all that members have of a port. This is a total order, so that however
/// few of them somebody has seen, the holder of the one that counts never gives way; `K` is the holder's key,
/// and settles what would be equal.
///
/// Between identities the one that had the port first keeps it, whatever the epochs: else a stranger could
/// take it in a split. Of one identity the last link counts, and what is there of it.
pub(crate) fn winner<'a, K: Copy + Ord>(
    records: impl IntoIterator<Item = (K, &'a PortRecord)>,
) -> Option<(K, &'a PortRecord)> {
    records.into_iter().max_by_key(|(key, record)| {
        let first = Reverse((record.held_since, record.identity.as_str()));
        (first, record.epoch(), Reverse(record.state), Reverse(*key))
    })
}
