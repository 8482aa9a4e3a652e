//! Errors of `keys.toml`. Each names the file and says what to do; none repeats anything that may
//! be a secret.

use std::path::PathBuf;

use p2p_shared::key::{NoRandomness, SecretFileError};

use super::KeyName;
use crate::ops::state_file::StateFileError;

/// Most names that an error lists.
const NAMES_LISTED: usize = 20;

/// Reason why the key file was not read or not changed. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The path is not a file, is readable by others, or can't be read.
    #[error(transparent)]
    Unreadable(#[from] SecretFileError),
    /// The file, its lock or its directory can't be written.
    #[error(transparent)]
    Unwritable(#[from] StateFileError),
    /// A newer p2p-router wrote the file.
    #[error("{path} has version {version}, and this p2p-router knows version 1: use the newer p2p-router that wrote it", path = path.display())]
    Newer {
        /// Path of the file.
        path: PathBuf,
        /// Version in the file.
        version: u64,
    },
    /// The file was cut off, or is not a key file any more after a change by hand.
    #[error("{path}, line {line}: {reason}; mend it or put back a copy (p2p-router changes nothing in it until then)", path = path.display())]
    Garbled {
        /// Path of the file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Reason, as a sentence.
        reason: String,
    },
    /// A key with that name exists.
    #[error(
        "there is a key named `{name}` already: revoke it first (p2p-router key revoke NAME), or choose another name"
    )]
    NameTaken {
        /// The name.
        name: KeyName,
    },
    /// No key has that name.
    #[error("there is no key named `{name}`; {there}", there = list_names(names))]
    NoSuchName {
        /// Name that was asked for.
        name: KeyName,
        /// Names that exist.
        names: Vec<KeyName>,
    },
    /// Ports were given for a role other than link.
    #[error("only a key with the role link has ports: leave --ports out, or use --role link")]
    PortsWithoutLink,
    /// The file has as many keys as it may.
    #[error("there are {limit} keys, which is as many as there may be: revoke some", limit = super::format::MAX_KEYS)]
    TooMany,
    /// A key could not be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

fn list_names(names: &[KeyName]) -> String {
    if names.is_empty() {
        return "there are no keys yet (p2p-router key add NAME --role ROLE makes one)".to_owned();
    }
    let listed: Vec<&str> = names
        .iter()
        .take(NAMES_LISTED)
        .map(KeyName::as_str)
        .collect();
    let more = match names.len() - listed.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("there are: {}{more}", listed.join(", "))
}
