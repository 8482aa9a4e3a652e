//! The whole system as its user has it: real router, real inner with scripts that write down that
//! they ran, real consoles in real terminals. What keys do to the car, and what stops it when
//! anything on the way dies.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a test"
)]

mod common;
#[path = "../../console/tests/common/pty.rs"]
mod pty;

mod desk {
    mod control;
    mod deaths;
    mod keys;
    mod panics;
    mod screens;
    mod stand;
    mod stops;
}
