//! The camera: pictures from a program at the car to whoever watches, by each way that there is;
//! when that program runs, what is made of one that does what it shouldn't, and of viewers and cars
//! that do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

#[path = "camera/bad_cars.rs"]
mod bad_cars;
#[path = "camera/bad_programs.rs"]
mod bad_programs;
#[path = "camera/bad_viewers.rs"]
mod bad_viewers;
#[path = "camera/ends.rs"]
mod ends;
#[path = "camera/shows.rs"]
mod shows;
#[path = "camera/stand.rs"]
mod stand;
