//! What can go wrong with `keys.toml`: each error names the file and what to do. None repeats
//! anything that may be a secret.

use std::path::PathBuf;

use p2p_shared::key::{NoRandomness, SecretFileError};

use super::KeyName;
use crate::ops::state_file::StateFileError;

/// How many names an error lists before it says how many more there are.
const NAMES_LISTED: usize = 20;

/// Why the key file was not read or not changed. Whichever it is, the file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is not a file, or not open to its owner alone, or can't be read.
    #[error(transparent)]
    Unreadable(#[from] SecretFileError),
    /// It, its lock or its folder can't be written.
    #[error(transparent)]
    Unwritable(#[from] StateFileError),
    /// A newer p2p-router wrote it.
    #[error("{path} has version {version}, and this p2p-router knows version 1: use the newer p2p-router that wrote it", path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version it says.
        version: u64,
    },
    /// It was cut off, or changed by hand into something that is no key file.
    #[error("{path}, line {line}: {reason}; mend it or put back a copy (p2p-router changes nothing in it until then)", path = path.display())]
    Garbled {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// There is a key of that name.
    #[error(
        "there is a key named `{name}` already: revoke it first (p2p-router key revoke NAME), or choose another name"
    )]
    NameTaken {
        /// The name.
        name: KeyName,
    },
    /// There is no key of that name.
    #[error("there is no key named `{name}`; {there}", there = list_names(names))]
    NoSuchName {
        /// The name that was asked for.
        name: KeyName,
        /// The names there are.
        names: Vec<KeyName>,
    },
    /// Ports are for links.
    #[error("only a key with the role link has ports: leave --ports out, or use --role link")]
    PortsWithoutLink,
    /// The file is full.
    #[error("there are {limit} keys, which is as many as there may be: revoke some", limit = super::format::MAX_KEYS)]
    TooMany,
    /// No key can be made.
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
