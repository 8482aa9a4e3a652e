//! The page that covers a screen (the help, or one run): its lines, and how far it is scrolled.

use p2p_shared::names::RunId;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::App;
use crate::screen::{help, run_page};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlay {
    pub page: Page,
    /// Lines that are scrolled out at the top.
    pub top: usize,
}

impl Overlay {
    pub fn new(page: Page) -> Self {
        Self { page, top: 0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    Help,
    Run(RunId),
}

impl App {
    /// Lines of a page, wrapped to the width of this area's frame.
    pub fn page_lines(&self, page: Page, area: Rect) -> Vec<Line<'_>> {
        let columns = usize::from(area.width.saturating_sub(2));
        match page {
            Page::Help => help::lines(self.screen, self.may_drive(), columns, self.theme()),
            Page::Run(id) => match self.log.get(id) {
                Some(run) => run_page::lines(&run, columns, self.theme()),
                None => vec![Line::from("this run is no longer kept")],
            },
        }
    }

    /// Lines of a page that don't fit on the screen.
    pub(super) fn page_overflow(&self, page: Page) -> usize {
        let area = self.areas().body;
        hidden_lines(&self.page_lines(page, area), area)
    }
}

/// Lines that don't fit into the frame of this area.
pub fn hidden_lines(lines: &[Line<'_>], area: Rect) -> usize {
    let rows = usize::from(area.height.saturating_sub(2));
    lines.len().saturating_sub(rows)
}
