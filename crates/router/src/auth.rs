//! Keys, session cookies and the router's certificate: identity and rights of callers.

pub(crate) mod access;
pub(crate) mod bootstrap_keys;
pub mod certificate;
pub mod certificate_command;
pub(crate) mod invites;
pub mod key_command;
pub mod key_store;
pub(crate) mod public_address;
pub(crate) mod session_cookie;
pub(crate) mod signed_out;

use ring::digest;

/// Returns the first 64 bits of a text's SHA-256.
fn digest_of(text: &str) -> u64 {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let first = hash.as_ref().first_chunk().copied();
    first.map_or(0, u64::from_be_bytes)
}
