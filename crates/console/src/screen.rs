//! Owns what the application and its drawing both know of the screen: where each pane is, how things
//! look, and the lines of the pages that scroll.

pub mod help;
pub mod layout;
pub mod run_page;
pub mod theme;
