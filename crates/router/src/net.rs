//! What stands between a socket and its first request: who is let in, how fast, and how much of
//! everything one owner may have.

pub(crate) mod accept;
pub(crate) mod accept_rate;
mod auth_backoff;
pub(crate) mod client_net;
pub(crate) mod hello;
mod leaky_bucket;
pub mod limits;
pub(crate) mod quota;
pub(crate) mod unauthenticated;
pub(crate) mod write_timeout;
