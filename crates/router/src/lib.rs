//! The public relay: takes links of inners on its main port, opens a service port for each, and
//! runs commands there for callers over HTTP.

pub mod auth;
mod camera;
pub mod car;
mod client;
pub mod config;
mod context;
mod feed;
pub mod http;
mod link;
pub mod mesh;
#[cfg(test)]
mod mesh_tests;
pub mod net;
pub mod ops;
mod page;
pub mod process;
mod record;
mod routes;
mod run;
mod server;
pub mod setup;
#[cfg(test)]
mod simulation;

pub use config::Config;
pub use http::connection::Patience;
pub use server::Router;
