//! Chaos: each fault strikes real programs under a load of commands and a driver, is healed, and
//! what is promised of every history is checked by what callers, commands and the car wrote down.
//!
//! In the suite each fault strikes once. By hand, for the figures:
//!
//! ```text
//! P2P_CHAOS_ROUNDS=50 cargo nextest run --profile by-hand -E 'binary(chaos)' --no-capture
//! ```

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may panic, and says its figures"
)]

mod common;
#[path = "../../console/tests/common/pty.rs"]
#[allow(dead_code, unreachable_pub, reason = "a terminal for all tests")]
mod pty;

#[path = "chaos/cable.rs"]
mod cable;
#[path = "chaos/check.rs"]
mod check;
#[path = "chaos/check_tests.rs"]
mod check_tests;
#[path = "chaos/clocks.rs"]
mod clocks;
#[path = "chaos/consoles.rs"]
mod consoles;
#[path = "chaos/driver.rs"]
mod driver;
#[path = "chaos/figures.rs"]
mod figures;
#[path = "chaos/history.rs"]
mod history;
#[path = "chaos/load.rs"]
mod load;
#[path = "chaos/names.rs"]
mod names;
#[path = "chaos/network.rs"]
mod network;
#[path = "chaos/processes.rs"]
mod processes;
#[path = "chaos/resources.rs"]
mod resources;
#[path = "chaos/round.rs"]
mod round;
#[path = "chaos/samples.rs"]
mod samples;
#[path = "chaos/setting.rs"]
mod setting;
#[path = "chaos/soak.rs"]
mod soak;
#[path = "chaos/stand.rs"]
mod stand;
