//! Draws the Fleet screen: a line for each link. Without links, it shows how to start one.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table, Wrap};

use super::round_trips::sparkline;
use crate::app::fleet::FleetLink;
use crate::app::{App, ConnectionState};
use crate::text::{ago, fit, short};

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    if app.fleet.links.is_empty() {
        return empty(frame, area, app);
    }
    let theme = app.theme();
    let mut links = app.fleet.links.values();
    let has_keys = links.any(|link| !link.info.key.raw().is_empty());
    let mut links = app.fleet.links.values();
    let has_routers = links.any(|link| link.info.router.is_some());
    let columns = columns(area.width, has_keys, has_routers);
    let rows_shown = usize::from(area.height.saturating_sub(3)).max(1);
    let chosen =
        (app.fleet.links.values()).position(|link| Some(link.info.service_port) == app.chosen);
    let first = chosen
        .unwrap_or(0)
        .saturating_sub(rows_shown.saturating_sub(1));
    let rows = app
        .fleet
        .links
        .values()
        .skip(first)
        .take(rows_shown)
        .map(|link| {
            let style = match link.info.is_up {
                _ if Some(link.info.service_port) == app.chosen => theme.selected(),
                true => Style::new(),
                false => theme.quiet(),
            };
            let cells = columns.iter().map(|(_, width, cell)| {
                let width = usize::from(*width);
                Span::raw(fit(&cell(link, app), width))
            });
            Row::new(cells.map(Line::from)).style(style)
        });
    let header = Row::new(columns.iter().map(|(name, ..)| *name)).style(theme.quiet());
    let widths = columns
        .iter()
        .map(|(_, width, _)| Constraint::Length(*width));
    let up = app
        .fleet
        .links
        .values()
        .filter(|link| link.info.is_up)
        .count();
    let title = match app.fleet.links.len() {
        1 => format!(" 1 link, {up} up "),
        links => format!(" {links} links, {up} up "),
    };
    let table = Table::new(rows, widths)
        .header(header)
        .block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

/// A column: title, width and value.
type Column = (&'static str, u16, fn(&FleetLink, &App) -> String);

/// Width of the column of keys, which a router without keys has not.
const KEY: u16 = 10;
/// Width of the column of routers, for cars that are not all at the console's.
const ROUTER: u16 = 20;

fn columns(width: u16, has_keys: bool, has_routers: bool) -> Vec<Column> {
    let width = match has_keys {
        true => width.saturating_sub(KEY + 1),
        false => width,
    };
    let has_routers = has_routers && width >= 70;
    let width = match has_routers {
        true => width.saturating_sub(ROUTER + 1),
        false => width,
    };
    let name = match width {
        110.. => 22,
        76.. => 16,
        _ => 13,
    };
    let key = if has_keys { 0 } else { u16::MAX };
    let router = if has_routers { 0 } else { u16::MAX };
    let all: [(Column, u16); 11] = [
        (("name", name, |link, _| link.info.name.to_string()), 0),
        (("state", 9, |link, _| state(link)), 0),
        (("port", 5, |link, _| link.info.service_port.to_string()), 0),
        (("key", KEY, |link, _| link.info.key.raw().to_owned()), key),
        (("router", ROUTER, |link, _| router_of(link)), router),
        (("driver", 10, |link, app| driver(link, app)), 60),
        (("RTT p50/p95", 13, |link, _| percentiles(link)), 50),
        (("last RTTs", 16, |link, _| sparkline(&link.rtts, 16)), 110),
        (("runs", 6, |link, _| link.info.runs.to_string()), 0),
        (("failed", 6, |link, _| link.info.failures.to_string()), 70),
        (
            ("seen", 9, |link, app| {
                format!("{} ago", ago(link.seen, app.now))
            }),
            90,
        ),
    ];
    let up: (Column, u16) = (
        ("up for", 10, |link, app| match link.info.is_up {
            true => ago(link.since, app.now),
            false => "–".to_owned(),
        }),
        100,
    );
    let all = all.into_iter().chain([up]);
    all.filter(|(_, from)| width >= *from)
        .map(|(column, _)| column)
        .collect()
}

fn state(link: &FleetLink) -> String {
    match link {
        link if link.info.stop_failed => "‼ STOP!".to_owned(),
        link if !link.info.is_up => "✖ down".to_owned(),
        link if link.moving.is_some() => "▶ moves".to_owned(),
        _ => "● up".to_owned(),
    }
}

fn router_of(link: &FleetLink) -> String {
    let router = link.info.router.as_ref();
    router.map_or("here", |router| router.raw()).to_owned()
}

fn driver(link: &FleetLink, app: &App) -> String {
    match &link.info.control.driver {
        None => "–".to_owned(),
        Some(driver) if Some(driver.session) == app.session => "you".to_owned(),
        Some(driver) => driver.name.to_string(),
    }
}

fn percentiles(link: &FleetLink) -> String {
    match (link.rtts.quantile(0.5), link.rtts.quantile(0.95)) {
        (Some(p50), Some(p95)) => {
            let (p50, p95) = (short(p50), short(p95));
            match (p50.strip_suffix(" ms"), p95.strip_suffix(" ms")) {
                (Some(p50), Some(p95)) => format!("{p50}/{p95} ms"),
                _ => format!("{p50}/{p95}"),
            }
        }
        _ => "–".to_owned(),
    }
}

fn empty(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme();
    let (host, port) = app
        .setup
        .router
        .rsplit_once(':')
        .unwrap_or((&app.setup.router, "8888"));
    let waiting = Line::from(format!("Waiting for {} …", fit(&app.setup.router, 60)));
    let lines = match &app.connection {
        ConnectionState::Up if app.session.is_some() => vec![
            Line::from("No machine is linked to this router yet. On the machine behind NAT:"),
            Line::default(),
            Line::styled(
                format!("  p2p-inner {} {port} 9000", host.trim_matches(['[', ']'])),
                theme.strong(),
            ),
            Line::default(),
            Line::styled(
                "with the files to run in ./command, and a link key: README.md",
                theme.quiet(),
            ),
        ],
        // The whole sentence: the banner may have no room for the advice in it.
        ConnectionState::Down { why, .. } => {
            vec![waiting, Line::default(), Line::from(fit(why, 400))]
        }
        _ => vec![waiting],
    };
    let page = Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .block(Block::bordered().title(" 0 links "));
    frame.render_widget(page, area);
}
