//! HTTP of every port: connections, the form of answers, WebSockets, and checks of browsers'
//! requests.

pub(crate) mod connection;
pub(crate) mod csrf;
pub mod domain;
pub(crate) mod flushed;
pub mod host;
pub mod query;
pub mod response;
pub(crate) mod tls_or_plain;
pub(crate) mod websocket;
