//! The real console against a router by hand.

mod fake_router;
mod headless;
mod hostile;
mod load;
mod terminal;
