//! Links: how they come up, are lost, found dead, taken over and refused; what becomes of their
//! port and of the runs on them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

#[path = "links/deadlines.rs"]
mod deadlines;
#[path = "links/lost.rs"]
mod lost;
#[path = "links/ports.rs"]
mod ports;
#[path = "links/restarts.rs"]
mod restarts;
#[path = "links/stand.rs"]
mod stand;
#[path = "links/stories.rs"]
mod stories;
