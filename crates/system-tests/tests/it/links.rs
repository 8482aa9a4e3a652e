//! Links: how they come up, are lost, found dead, taken over and refused; what becomes of their
//! port and of the runs on them.

mod deadlines;
mod fixture;
mod lost;
mod ports;
mod restarts;
mod run_results;
