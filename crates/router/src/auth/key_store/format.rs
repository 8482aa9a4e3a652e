//! Format of `keys.toml`: from text to records and back, without any file.

use std::collections::HashSet;
use std::time::SystemTime;

use p2p_shared::key::{KeyHash, KeyId, Role};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::KeyName;
use crate::net::port_range::PortRange;

/// Most keys of a router: the whole file is read at each change, and stays under 4 MB.
pub(super) const MAX_KEYS: usize = 10_000;

const VERSION: u64 = 1;

const HEADER: &str = "\
# The keys of this p2p-router: only their hashes, so no key can be got out of here.
# `p2p-router key add`, `key list` and `key revoke` look after it; a running router follows it.
";

/// Record of one key.
///
/// The order of the fields is the file's order. Fields that narrow a key's rights stand before
/// those that every key needs, so that a record that was cut off never has more rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    pub id: KeyId,
    /// Name of the key, unique at this router.
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

/// Content of the file. `count` shows that a file was cut off between two keys, which would
/// otherwise revoke the missing keys. A file written by hand may leave `count` out.
#[derive(Serialize)]
struct Document<'a> {
    count: usize,
    version: u64,
    key: &'a [KeyRecord],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadDocument {
    count: Option<usize>,
    #[serde(rename = "version")]
    _version: u64,
    #[serde(default)]
    key: Vec<Spanned<KeyRecord>>,
}

/// Version alone, which is read first: a newer version may have any other content.
#[derive(Deserialize)]
struct ReadVersion {
    version: Spanned<u64>,
}

pub(super) fn to_text(records: &[KeyRecord]) -> Result<String, toml::ser::Error> {
    let document = Document {
        count: records.len(),
        version: VERSION,
        key: records,
    };
    Ok(format!("{HEADER}{}", toml::to_string(&document)?))
}

/// Reads the records. The error goes on after the file's path: a newer p2p-router wrote the file,
/// or it was cut off, or is not a key file any more after a change by hand.
pub(super) fn from_text(text: &str) -> Result<Vec<KeyRecord>, String> {
    let garbled = |line: usize, reason: &str| {
        format!(
            ", line {line}: {reason}; mend it or put back a copy (p2p-router changes nothing in it until then)"
        )
    };
    let unreadable = |error: toml::de::Error| {
        let line = error
            .span()
            .map_or_else(|| last_line(text), |span| line_at(text, span.start));
        // The message stays one line, whatever the file has in it.
        garbled(line, &error.message().replace(char::is_control, " "))
    };

    let version = toml::from_str::<ReadVersion>(text).map_err(unreadable)?;
    let at = version.version.span().start;
    match version.version.into_inner() {
        VERSION => {}
        0 => return Err(garbled(line_at(text, at), "there is no version 0")),
        newer => {
            return Err(format!(
                " has version {newer}, and this p2p-router knows version 1: use the newer p2p-router that wrote it"
            ));
        }
    }

    let document = toml::from_str::<ReadDocument>(text).map_err(unreadable)?;
    let found = document.key.len();
    if let Some(said) = document.count.filter(|count| *count != found) {
        let reason = format!(
            "the file says `count = {said}` but has {found} keys: was it cut off? (if it was changed by hand, leave `count` out)"
        );
        return Err(garbled(last_line(text), &reason));
    }
    if found > MAX_KEYS {
        let reason = format!("the file has {found} keys, and {MAX_KEYS} are allowed");
        return Err(garbled(1, &reason));
    }

    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    for spanned in &document.key {
        let record = spanned.get_ref();
        let reason = if !ids.insert(record.id) {
            format!("a second key has the id {}", record.id)
        } else if !names.insert(&record.name) {
            format!("a second key is named `{}`", record.name)
        } else {
            continue;
        };
        return Err(garbled(line_at(text, spanned.span().start), &reason));
    }
    Ok(document.key.into_iter().map(Spanned::into_inner).collect())
}

/// Returns the line of a byte of the text, counted from 1.
fn line_at(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn last_line(text: &str) -> usize {
    text.lines().count().max(1)
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
            .map_err(|_| D::Error::custom("a time is written as 2026-01-31T12:00:00Z"))
    }
}

#[cfg(test)]
mod tests;
