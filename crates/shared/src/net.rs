//! TCP between our programs: dialing the router, TLS, socket options.

pub mod dialer;
pub mod socket;
pub mod tls;
pub mod transport;
