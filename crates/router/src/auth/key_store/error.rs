//! Errors of `keys.toml`. Each names the file and says what to do; none repeats anything that may
//! be a secret.

use std::path::PathBuf;

use p2p_shared::key::{NoRandomness, SecretFileError};

use super::{FormatError, KeyName};
use crate::ops::state_file::StateFileError;

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
    /// The file's text is none that this p2p-router knows.
    #[error("{path}{error}", path = path.display())]
    Format { path: PathBuf, error: FormatError },
    #[error(
        "there is a key named `{name}` already: revoke it first (p2p-router key revoke NAME), or choose another name"
    )]
    NameTaken { name: KeyName },
    #[error("there is no key named `{name}`; {there}", there = list_names(names))]
    NoSuchName { name: KeyName, names: Vec<KeyName> },
    /// Ports were given for a role other than link.
    #[error("only a key with the role link has ports: leave --ports out, or use --role link")]
    PortsWithoutLink,
    /// The file has as many keys as it may.
    #[error("there are {limit} keys, which is as many as there may be: revoke some", limit = super::format::MAX_KEYS)]
    TooMany,
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
