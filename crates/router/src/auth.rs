//! Keys, session cookies and the router's certificate: identity and rights of callers.

pub(crate) mod access;
pub mod bootstrap_keys;
pub mod certificate;
pub mod certificate_command;
pub mod key_command;
pub mod key_store;
pub(crate) mod session_cookie;
pub(crate) mod signed_out;
