//! Hostile and broken peers: on the main port of a router, and as the router of an inner. Each
//! gets a clear answer where it can get one, and nobody else is disturbed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

#[path = "bad_peers/inners.rs"]
mod inners;
#[path = "bad_peers/routers.rs"]
mod routers;
#[path = "bad_peers/stand.rs"]
mod stand;
#[path = "bad_peers/strangers.rs"]
mod strangers;
