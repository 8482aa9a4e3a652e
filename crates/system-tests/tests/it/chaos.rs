//! Chaos: each fault strikes real programs under a load of commands and a driver, is healed, and
//! what is promised of every history is checked by what callers, commands and the car wrote down.
//!
//! In the suite each fault strikes once. By hand, for the figures:
//!
//! ```text
//! P2P_CHAOS_ROUNDS=50 cargo nextest run --profile by-hand -E 'test(/^chaos::/)' --no-capture
//! ```

mod cable;
mod check;
mod check_tests;
mod clocks;
mod consoles;
mod driver;
mod figures;
mod fixture;
mod fixture_config;
mod history;
mod load;
mod mesh;
mod mesh_consoles;
mod mesh_fixture;
mod mesh_network;
mod mesh_round;
mod names;
mod network;
mod processes;
mod resources;
mod round;
mod samples;
mod soak;
