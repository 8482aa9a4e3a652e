//! Workers, with real processes: that each request gets its own answer, that whatever becomes of a
//! worker the car stands, and what is made of those that say or do what they shouldn't.

mod answers;
mod bad_input;
mod car;
mod ends;
mod logged;
mod motion;
mod sim_car;
mod stops;
