//! What application and view share of the screen: the areas, the looks, and the pages that scroll.

pub mod help;
pub mod layout;
pub mod run_page;
pub mod theme;
