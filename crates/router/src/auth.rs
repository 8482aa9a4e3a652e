//! Keys, sessions and certificates: who a caller is, what a caller may do, and what the router shows
//! of itself.

pub(crate) mod access;
pub mod bootstrap_keys;
pub mod certificate;
pub mod key_command;
pub mod key_store;
pub(crate) mod session_cookie;
