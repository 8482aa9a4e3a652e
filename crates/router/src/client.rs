//! Consoles and pages: their sessions, what they ask for, and what they are sent.

mod client_socket;
mod elsewhere;
pub(crate) mod page_protocol;
mod runs;
pub(crate) mod session;
mod task;
pub(crate) mod via;
