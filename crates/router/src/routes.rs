//! What each path of the two kinds of ports answers.

mod camera_ingest;
pub(crate) mod cgi;
pub(crate) mod link;
pub(crate) mod main_port;
pub(crate) mod request;
mod run_result;
pub(crate) mod service_port;
mod sign_in;
mod video;
