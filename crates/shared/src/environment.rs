//! Owns what of our own environment is handed on to the programs that others wrote and we run:
//! where things are and whose they are, and nothing that may hold a key.

use std::ffi::OsString;

const NAMES: [&str; 5] = ["PATH", "HOME", "LANG", "USER", "TMPDIR"];

/// The variables, as far as they are set.
pub fn handed_on() -> impl Iterator<Item = (&'static str, OsString)> {
    NAMES
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
}
