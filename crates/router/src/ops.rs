//! Operation: metrics, health, signals, sockets that are handed over, state files, and `--on-link`.

pub(crate) mod health;
pub mod health_command;
pub mod inherited_listeners;
pub(crate) mod metrics;
pub(crate) mod on_link;
pub(crate) mod open_files;
pub(crate) mod own_log;
pub(crate) mod shutdown;
pub mod signals;
pub mod state_file;
