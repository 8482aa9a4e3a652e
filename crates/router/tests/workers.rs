//! Workers, with real processes: that each request gets its own answer, that whatever becomes of a
//! worker the car stands, and what is made of those that say or do what they shouldn't.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

#[path = "workers/answers.rs"]
mod answers;
#[path = "workers/bad_input.rs"]
mod bad_input;
#[path = "workers/car.rs"]
mod car;
#[path = "workers/ends.rs"]
mod ends;
#[path = "workers/logged.rs"]
mod logged;
#[path = "workers/motion.rs"]
mod motion;
#[path = "workers/sim_car.rs"]
mod sim_car;
#[path = "workers/stops.rs"]
mod stops;
