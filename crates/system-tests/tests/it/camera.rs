//! The camera: pictures from a program at the car to whoever watches, by each way that there is;
//! when that program runs, what is made of one that does what it shouldn't, and of viewers and cars
//! that do.

mod bad_cars;
mod bad_programs;
mod bad_viewers;
mod ends;
pub(crate) mod fixture;
mod shows;
mod terminal;
