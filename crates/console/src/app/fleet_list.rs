//! The Fleet screen's list: which cars it shows in which order, and which of them is highlighted. The
//! highlight does not change which car Space stops: that is the pinned one, which Drive shows.

use std::cmp::Reverse;
use std::time::Duration;

use super::App;
use crate::app::contact::Contact;
use crate::app::fleet::FleetLink;

/// Order of the cars among those that are in trouble, and among the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FleetOrder {
    #[default]
    Port,
    Name,
    /// The slowest first.
    RoundTrip,
    /// The busiest first.
    Runs,
}

impl FleetOrder {
    pub fn name(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Name => "name",
            Self::RoundTrip => "round trip",
            Self::Runs => "runs",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Port => Self::Name,
            Self::Name => Self::RoundTrip,
            Self::RoundTrip => Self::Runs,
            Self::Runs => Self::Port,
        }
    }
}

#[derive(Debug, Default)]
pub struct FleetList {
    pub order: FleetOrder,
    /// Words that a car must contain to be shown.
    pub filter: String,
    highlighted: Option<u16>,
}

impl App {
    /// The cars that the Fleet screen shows: those in trouble first.
    pub fn fleet_rows(&self) -> Vec<&FleetLink> {
        let mut rows: Vec<_> = (self.fleet.links.values())
            .filter(|link| self.fleet_shows(link))
            .collect();
        // Links are kept by port.
        match self.fleet_list.order {
            FleetOrder::Port => {}
            FleetOrder::Name => rows.sort_by(|a, b| a.info.name.cmp(&b.info.name)),
            FleetOrder::RoundTrip => {
                let slowest =
                    |link: &&FleetLink| Reverse(link.rtts.quantile(0.95).unwrap_or(Duration::ZERO));
                rows.sort_by_key(slowest);
            }
            FleetOrder::Runs => rows.sort_by_key(|link| Reverse(link.info.runs)),
        }
        rows.sort_by_key(|link| self.trouble(link));
        rows
    }

    /// A low number for what needs somebody's eyes.
    fn trouble(&self, link: &FleetLink) -> u8 {
        match self.contact(link) {
            _ if link.info.stop_failed => 0,
            Contact::Silent(_) => 1,
            Contact::Lost | Contact::NotKnown => 2,
            Contact::Answers => 3,
        }
    }

    fn fleet_shows(&self, link: &FleetLink) -> bool {
        if self.fleet_list.filter.is_empty() {
            return true;
        }
        let info = &link.info;
        let driver = info.control.driver.as_ref();
        let driver = driver.map_or("", |driver| driver.name.raw());
        let router = info.router.as_ref().map_or("", |router| router.raw());
        let (name, port, key) = (&info.name, info.service_port, info.key.raw());
        let text = format!("{name} {port} {key} {driver} {router}").to_lowercase();
        let mut words = self.fleet_list.filter.split_whitespace();
        words.all(|word| text.contains(&word.to_lowercase()))
    }

    /// Position of the highlighted car in these rows.
    pub fn highlighted(&self, rows: &[&FleetLink]) -> usize {
        let wanted = self.fleet_list.highlighted.or(self.chosen);
        let mut ports = rows.iter().map(|link| link.info.service_port);
        ports.position(|port| Some(port) == wanted).unwrap_or(0)
    }

    pub(super) fn highlighted_port(&self) -> Option<u16> {
        let rows = self.fleet_rows();
        rows.get(self.highlighted(&rows))
            .map(|link| link.info.service_port)
    }

    /// Position of the highlight in what is shown now.
    pub(super) fn highlighted_place(&self) -> usize {
        self.highlighted(&self.fleet_rows())
    }

    /// Puts the highlight on the line where it was, if its car is gone.
    pub(super) fn keep_highlight(&mut self, place: usize) {
        let wanted = self.fleet_list.highlighted;
        if wanted.is_some_and(|port| !self.fleet.links.contains_key(&port)) {
            self.highlight(place);
        }
    }

    pub(super) fn highlight(&mut self, place: usize) {
        let rows = self.fleet_rows();
        let place = place.min(rows.len().saturating_sub(1));
        let port = rows.get(place).map(|link| link.info.service_port);
        self.fleet_list.highlighted = port;
    }

    pub(super) fn scroll_fleet(&mut self, by: isize) {
        let rows = self.fleet_rows();
        let place = self.highlighted(&rows).saturating_add_signed(by);
        self.highlight(place);
    }

    pub(super) fn next_order(&mut self) {
        self.fleet_list.order = self.fleet_list.order.next();
    }
}
