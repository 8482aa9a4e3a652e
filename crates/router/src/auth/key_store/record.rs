//! Record of one key, as the file of keys has it, and times to the second.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_shared::key::{KeyHash, KeyId, Role};
use serde::{Deserialize, Serialize};

use super::KeyName;
use crate::net::port_range::PortRange;

/// Record of one key.
///
/// The order of the fields is the file's order. Fields that narrow a key's rights stand before
/// those that every key needs, so that a record that was cut off never has more rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    pub id: KeyId,
    /// Name of the key: unique, unless two routers of a mesh gave it at the same time.
    pub name: KeyName,
    pub role: Role,
    /// Service ports of the only cars that its holder may be, see and drive; `None`: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
    pub hash: KeyHash,
    /// Time at which the key was made, to the second.
    #[serde(with = "rfc3339")]
    pub created: SystemTime,
}

/// Time in the file, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct KeyTime(#[serde(with = "rfc3339")] pub SystemTime);

impl fmt::Display for KeyTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(f)
    }
}

/// Leaves out what is less than a second.
pub(super) fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

mod rfc3339 {
    //! Time as `2026-01-31T12:00:00Z`.

    use std::time::SystemTime;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_rfc3339_seconds(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text)
            .map(super::whole_seconds)
            .map_err(|_| D::Error::custom("a time is written as 2026-01-31T12:00:00Z"))
    }
}
