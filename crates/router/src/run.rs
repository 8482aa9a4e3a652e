//! One execution of a command: the two ends of it inside the router, and what is recorded of it.

pub(crate) mod handle;
pub(crate) mod record;
