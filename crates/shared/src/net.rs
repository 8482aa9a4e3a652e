//! TCP between the programs: dialling the router, TLS, socket options.

mod dial_plan;
pub mod dialer;
pub mod reconnect;
pub mod socket;
pub mod tls;
pub mod transport;
