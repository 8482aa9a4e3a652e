//! HTTP as every port speaks it: connections, the form of answers, WebSockets, and what browsers say
//! of a request.

pub(crate) mod connection;
pub(crate) mod csrf;
pub(crate) mod flushed;
pub mod host;
pub mod query;
pub mod response;
pub(crate) mod tls_or_plain;
pub(crate) mod websocket;
