//! The whole system as its user has it: real router, real inner with scripts that write down that
//! they ran, real consoles in real terminals. What keys do to the car, and what stops it when
//! anything on the way dies.

mod control;
mod deaths;
mod fixture;
mod goodbyes;
mod incident;
mod keys;
mod panics;
mod reasons;
mod replay;
mod screens;
mod silence;
mod stops;
