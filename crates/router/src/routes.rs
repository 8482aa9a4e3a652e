//! Answers of each path, on the main port and on service ports.

mod balancer;
mod by_name;
mod camera_elsewhere;
mod camera_ingest;
pub(crate) mod cgi;
pub(crate) mod elsewhere;
mod first_bytes;
mod fleet;
pub(crate) mod follow_keys;
pub(crate) mod follow_mesh;
mod incident;
mod invited;
pub(crate) mod link;
pub(crate) mod main_port;
mod peer;
pub(crate) mod qr;
mod request;
mod run_result;
pub(crate) mod service_port;
mod sign_in;
mod video;
