//! Parts of the screen that application and view share: areas, looks, and pages that scroll.

pub mod help;
pub mod layout;
pub mod output;
pub mod run_page;
pub mod theme;
