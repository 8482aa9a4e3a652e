//! The page that covers a screen (the help, or one run): its lines, and how far it is scrolled.

use p2p_shared::names::RunId;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::{App, Effect};
use crate::app::saved_log;
use crate::keymap::Screen;
use crate::screen::{help, run_page};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlay {
    pub page: Page,
    /// Lines that are scrolled out at the top.
    pub top: usize,
    /// True while the end is shown, whatever comes.
    pub follows: bool,
}

impl Overlay {
    pub fn new(page: Page) -> Self {
        Self {
            page,
            top: 0,
            follows: page == Page::Output,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    Help,
    Run(RunId),
    /// The output of the run that was started on Commands.
    Output,
}

impl App {
    /// Lines of a page, wrapped to the width of this area's frame.
    pub fn page_lines(&self, page: Page, area: Rect) -> Vec<Line<'_>> {
        let columns = usize::from(area.width.saturating_sub(2));
        match page {
            Page::Help => {
                let drives = self.may_drive();
                help::lines(self.screen, drives, self.is_replay(), columns, self.theme())
            }
            Page::Run(id) => match self.log.get(id) {
                Some(run) => {
                    let asked_at = self.clock.time_of_day(run.at_ms);
                    run_page::lines(&run, &asked_at, self.outcome(&run), columns, self.theme())
                }
                None => vec![Line::from("this run is no longer kept")],
            },
            Page::Output => {
                let run = self.commands.run.as_ref();
                run.map_or_else(Vec::new, |run| run.lines(columns, self.theme()))
            }
        }
    }

    /// Lines of a page that don't fit on the screen.
    pub(super) fn page_overflow(&self, page: Page) -> usize {
        let area = self.areas().body;
        hidden_lines(&self.page_lines(page, area), area)
    }
}

impl App {
    /// Moves a page to the next line with the words that are looked for; from its end to its beginning.
    pub(super) fn search_page(&mut self, words: String) {
        self.search = words;
        let Some(overlay) = self.overlay else { return };
        let lines = self.page_lines(overlay.page, self.areas().body);
        let found = |line: &Line<'_>| is_found(line, &self.search);
        let hidden = hidden_lines(&lines, self.areas().body);
        let here = if overlay.follows { hidden } else { overlay.top };
        let later = lines.iter().skip(here + 1).position(found);
        let place = later.map(|place| here + 1 + place);
        let Some(place) = place.or_else(|| lines.iter().position(found)) else {
            return self.notify("nothing there has these words", false);
        };
        let (top, follows) = (place.min(hidden), false);
        self.overlay = Some(Overlay {
            top,
            follows,
            ..overlay
        });
    }

    /// Copies a page, or what is selected, to the terminal's clipboard.
    pub(super) fn copy(&mut self) {
        let page = |page| {
            let area = Rect::new(0, 0, u16::MAX, u16::MAX);
            let lines = self.page_lines(page, area);
            lines.iter().map(|line| format!("{line}\n")).collect()
        };
        let text: String = match (self.overlay, self.screen) {
            (Some(overlay), _) => page(overlay.page),
            (None, Screen::Log) => match self.log.selected_run() {
                Some(run) => saved_log::text(std::iter::once(run.as_ref())),
                None => return,
            },
            (None, Screen::Fleet) => match self
                .highlighted_port()
                .and_then(|port| self.fleet.links.get(&port))
            {
                Some(link) => format!("{} :{}", link.info.name, link.info.service_port),
                None => return,
            },
            (None, Screen::Commands | Screen::Drive) if self.commands.run.is_none() => return,
            (None, Screen::Commands | Screen::Drive) => page(Page::Output),
        };
        let lines = text.lines().count();
        self.effects.push(Effect::Copy(text));
        self.notify(
            format!("copied {lines} lines, if this terminal lets programs copy (OSC 52)"),
            false,
        );
    }
}

/// Returns true if a line has these words, in small letters or capitals.
pub fn is_found(line: &Line<'_>, words: &str) -> bool {
    !words.is_empty()
        && line
            .to_string()
            .to_lowercase()
            .contains(&words.to_lowercase())
}

/// Lines that don't fit into the frame of this area.
pub fn hidden_lines(lines: &[Line<'_>], area: Rect) -> usize {
    let rows = usize::from(area.height.saturating_sub(2));
    lines.len().saturating_sub(rows)
}
