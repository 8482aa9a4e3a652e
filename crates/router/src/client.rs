//! Consoles and pages: their sessions, what they ask for, and what they are sent.

pub(crate) mod client_socket;
pub(crate) mod page_protocol;
pub(crate) mod page_session;
mod runs;
pub(crate) mod session;
mod task;
