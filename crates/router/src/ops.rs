//! What an operator needs: metrics, health, signals, sockets that are handed over, files of state,
//! and the program that is told of links.

pub(crate) mod health;
pub mod health_command;
pub mod inherited_listeners;
pub(crate) mod metrics;
pub(crate) mod on_link;
pub(crate) mod shutdown;
pub mod signals;
pub mod state_file;
