//! Commands that don't end, don't listen, say too much or leave something behind: the caller
//! gets a true answer, and nothing of them stays.

mod car;
mod ends;
mod leftovers;
mod output;
mod start;
