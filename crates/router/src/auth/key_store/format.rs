//! Format of `keys.toml`: from text to a set of keys and back, without any file.

use std::collections::{BTreeMap, HashSet};

use p2p_shared::key::KeyId;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::key_set::{KeySet, MAX_KEYS, MAX_REVOKED};
use super::record::{KeyRecord, KeyTime};

/// Version of a file that a router alone has, and of one of a mesh: it has revoked keys, too, and two keys
/// may have the same name. Programs that know no mesh refuse it: by them a revoked key would come back.
const ALONE: u64 = 1;
const OF_A_MESH: u64 = 2;

const HEADER: &str = "\
# The keys of this p2p-router: only their hashes, so no key can be got out of here.
# `p2p-router key add`, `key list` and `key revoke` look after it; a running router follows it.
";

/// Content of the file. `count`, of the keys and the revoked ones, shows that a file was cut off between
/// two of them, which would otherwise revoke the missing keys, or bring revoked ones back. A file
/// written by hand may leave `count` out.
#[derive(Serialize)]
struct Document<'a> {
    count: usize,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten: Option<KeyTime>,
    key: &'a [KeyRecord],
    /// Ids of revoked keys, each with the time at which the key was made.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    revoked: &'a BTreeMap<KeyId, KeyTime>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadDocument {
    count: Option<usize>,
    version: u64,
    forgotten: Option<KeyTime>,
    #[serde(default)]
    key: Vec<Spanned<KeyRecord>>,
    #[serde(default)]
    revoked: BTreeMap<KeyId, KeyTime>,
}

/// Version alone, which is read first: a newer version may have any other content.
#[derive(Deserialize)]
struct ReadVersion {
    version: Spanned<u64>,
}

pub(super) fn to_text(keys: &KeySet) -> Result<String, toml::ser::Error> {
    let document = Document {
        count: keys.records.len() + keys.revoked.len(),
        version: if keys.is_shared { OF_A_MESH } else { ALONE },
        forgotten: keys.forgotten,
        key: &keys.records,
        revoked: &keys.revoked,
    };
    Ok(format!("{HEADER}{}", toml::to_string(&document)?))
}

/// Reads the keys. The error goes on after the file's path: a newer p2p-router wrote the file,
/// or it was cut off, or is not a key file any more after a change by hand.
pub(super) fn from_text(text: &str) -> Result<KeySet, String> {
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
        ALONE | OF_A_MESH => {}
        0 => return Err(garbled(line_at(text, at), "there is no version 0")),
        newer => {
            return Err(format!(
                " has version {newer}, and this p2p-router knows version {OF_A_MESH}: use the newer p2p-router that wrote it"
            ));
        }
    }

    let document = toml::from_str::<ReadDocument>(text).map_err(unreadable)?;
    let (found, revoked) = (document.key.len(), document.revoked.len());
    if let Some(said) = (document.count).filter(|count| *count != found + revoked) {
        let of_revoked = match revoked {
            0 => String::new(),
            revoked => format!(" and {revoked} revoked ones"),
        };
        let reason = format!(
            "the file says `count = {said}` but has {found} keys{of_revoked}: was it cut off? (if it was changed by hand, leave `count` out)"
        );
        return Err(garbled(last_line(text), &reason));
    }
    for (found, most, what) in [
        (found, MAX_KEYS, "keys"),
        (revoked, MAX_REVOKED, "revoked keys"),
    ] {
        if found > most {
            let reason = format!("the file has {found} {what}, and {most} are allowed");
            return Err(garbled(1, &reason));
        }
    }

    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    for spanned in &document.key {
        let record = spanned.get_ref();
        let reason = if !ids.insert(record.id) {
            format!("a second key has the id {}", record.id)
        } else if !names.insert(&record.name) && document.version == ALONE {
            format!("a second key is named `{}`", record.name)
        } else {
            continue;
        };
        return Err(garbled(line_at(text, spanned.span().start), &reason));
    }
    let records = document.key.into_iter().map(Spanned::into_inner);
    Ok(KeySet {
        records: records
            .filter(|record| !document.revoked.contains_key(&record.id))
            .collect(),
        revoked: document.revoked,
        forgotten: document.forgotten,
        is_shared: document.version == OF_A_MESH,
    })
}

/// Returns the line of a byte of the text, counted from 1.
fn line_at(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn last_line(text: &str) -> usize {
    text.lines().count().max(1)
}

#[cfg(test)]
mod tests;
