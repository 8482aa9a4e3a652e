//! From a socket to its first request: which callers are accepted, how fast, and the quotas of each
//! owner.

pub(crate) mod accept;
pub(crate) mod accept_rate;
pub(crate) mod address_text;
mod auth_backoff;
pub(crate) mod client_net;
pub(crate) mod hello;
mod known_nets;
pub(crate) mod leaky_bucket;
pub mod limits;
pub mod places;
pub mod port_range;
pub mod proxy_protocol;
pub(crate) mod quota;
pub(crate) mod unauthenticated;
pub(crate) mod write_timeout;
