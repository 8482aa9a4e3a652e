//! Links: how they come up, are lost, found dead, taken over and refused; what becomes of their
//! port and of the runs on them.

mod deadlines;
mod lost;
mod ports;
mod restarts;
mod stand;
mod stories;
