//! The tests of the whole system: the real router, inner and console, in this process or as
//! programs of their own. One binary, since each is linked with all of the product.
//!
//! `cargo nextest run -E 'test(/^links::/)'` runs what is in `links`.
#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests may panic, and print their figures"
)]

mod common;

mod admin;
mod bad_commands;
mod bad_peers;
mod bad_requests;
mod balancers;
mod behind_proxy;
mod camera;
mod chaos;
mod chromium;
mod console;
mod console_driving;
mod doc_links;
mod domains;
mod drive_page;
mod driving;
mod first_press;
mod front;
mod golden_bytes;
mod guardian;
mod held_up;
mod incident;
mod invitations;
mod keys;
mod limits;
mod links;
mod mesh_join;
mod module_circles;
mod on_link;
mod processes;
mod properties;
mod recording;
mod relay;
mod restarts;
mod setup;
mod setup_service;
mod several_routers;
mod sign_in;
mod supervised;
mod tls;
mod traversal;
mod workers;
