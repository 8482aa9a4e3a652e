//! Commands that don't end, don't listen, say too much or leave something behind: the caller
//! gets a true answer, and nothing of them stays.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

#[path = "bad_commands/car.rs"]
mod car;
#[path = "bad_commands/ends.rs"]
mod ends;
#[path = "bad_commands/leftovers.rs"]
mod leftovers;
#[path = "bad_commands/output.rs"]
mod output;
#[path = "bad_commands/start.rs"]
mod start;
