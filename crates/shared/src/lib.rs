//! Code that router, inner and console share: the protocol and how it travels, names, keys,
//! timings, logs and settings.

#![warn(missing_docs)]

pub mod backoff;
pub mod bounded;
pub mod car_clock;
pub mod codec;
pub mod incident;
pub mod invitation;
pub mod keepalive;
pub mod key;
pub mod logging;
pub mod names;
pub mod net;
pub mod os;
pub mod protocol;
pub mod settings;
pub mod setup;
pub mod text;
pub mod timing;
pub mod websocket;
