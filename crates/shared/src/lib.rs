//! What router, inner and console share: the protocol and how it travels, names, keys, the
//! timings, logs and settings.

pub mod backoff;
pub mod clock;
pub mod codec;
pub mod dial;
pub mod environment;
pub mod exit;
pub mod key;
pub mod liveness;
pub mod logging;
pub mod names;
pub mod ports;
pub mod private_memory;
pub mod protocol;
pub mod random;
pub mod settings;
pub mod signals;
pub mod socket;
pub mod state_dir;
pub mod supervisor;
pub mod text;
pub mod timing;
pub mod tls;
pub mod transport;
pub mod wire;
