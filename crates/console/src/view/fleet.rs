//! Draws the Fleet screen: a line for each link. Without links, it shows how to start one.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table, Wrap};
use unicode_width::UnicodeWidthStr;

use super::round_trips::sparkline;
use crate::app::contact::Contact;
use crate::app::fleet::FleetLink;
use crate::app::{App, ConnectionState};
use crate::screen::layout;
use crate::screen::theme::MOVES;
use crate::text::{ago, fit, short, worded};

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    if app.fleet.links.is_empty() {
        return empty(frame, area, app);
    }
    let theme = app.theme();
    let columns = columns(area.width.saturating_sub(2), app);
    let [list, details] = layout::fleet(area);
    let links = app.fleet_rows();
    let rows = usize::from(list.height.saturating_sub(3));
    let here = app.highlighted(&links);
    let first = layout::first_row(here, rows);
    let shown = links.iter().enumerate().skip(first).take(rows);
    let shown = shown.map(|(place, link)| {
        let style = match app.contact(link) {
            _ if place == here => theme.selected(),
            Contact::Answers => Style::new(),
            _ => theme.quiet(),
        };
        let cells = columns.iter().map(|(_, width, cell)| {
            let width = usize::from(*width);
            Span::raw(fit(&cell(link, app, width), width))
        });
        Row::new(cells.map(Line::from)).style(style)
    });
    let header = Row::new(columns.iter().map(|(name, ..)| *name)).style(theme.quiet());
    let widths = columns
        .iter()
        .map(|(_, width, _)| Constraint::Length(*width));
    let up = (app.fleet.links.values())
        .filter(|link| app.contact(link) == Contact::Answers)
        .count();
    let count = match app.fleet.links.len() {
        1 => "1 link".to_owned(),
        links => format!("{links} links"),
    };
    let mut title = format!(" {count}, {up} up, by {}", app.fleet_list.order.name());
    if !app.fleet_list.filter.is_empty() {
        title += &format!("; filter: {}", app.fleet_list.filter);
    }
    let title = fit(&title, usize::from(area.width.saturating_sub(5))) + " ";
    let table = Table::new(shown, widths)
        .header(header)
        .block(Block::bordered().title(title));
    frame.render_widget(table, list);
    if let (Some(link), true) = (links.get(here), details.height > 2) {
        render_details(frame, details, app, link);
    }
}

/// Draws what is known of the highlighted car.
fn render_details(frame: &mut Frame<'_>, area: Rect, app: &App, link: &FleetLink) {
    let (theme, info) = (app.theme(), &link.info);
    let width = usize::from(area.width.saturating_sub(2));
    let rows = usize::from(area.height.saturating_sub(2));
    let mut said = vec![state(link, app)];
    match app.contact(link) {
        Contact::Answers => said.push(format!("up for {}", ago(link.since, app.now))),
        Contact::Silent(silence) => said.push(format!("{} is silent", silence.hop)),
        Contact::Lost | Contact::NotKnown => said.push(format!(
            "for {}: {}",
            ago(link.since, app.now),
            link.why_down
        )),
    }
    if !info.key.raw().is_empty() {
        said.push(format!("key {}", info.key.raw()));
    }
    if info.router.is_some() {
        said.push(format!("at {}", router_of(link)));
    }
    let recording = info.control.recording.as_ref();
    let recording = recording.filter(|_| app.is_recorded(link));
    if let Some(file) = recording.and_then(|recording| recording.file.as_ref()) {
        said.push(format!("REC {}", file.raw()));
    }
    said.push(format!("driver {}", driver(link, app)));
    said.push(format!("RTT {}", percentiles(link)));
    said.push(format!("{} runs, {} failed", info.runs, info.failures));
    said.push(format!("lease {} ms", info.lease_ms));
    let lines = worded(&fit(&said.join(", "), 4 * width), width);
    let mut lines: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
    let events = link.timeline.events().map(|(at, what)| {
        let text = format!("{}  {what}", app.clock.moment(*at));
        Line::styled(fit(&text, width), theme.quiet())
    });
    lines.extend(events.take(rows.saturating_sub(lines.len())));
    let name = fit(info.name.as_str(), width.saturating_sub(10));
    super::pane(
        frame,
        area,
        format!(" {name} :{} ", info.service_port),
        lines,
    );
}

/// A column: title, width and value.
type Column = (&'static str, u16, fn(&FleetLink, &App, usize) -> String);

/// Least and most columns of a name.
const NAME: (u16, u16) = (13, 64);
/// Most round trips in a sparkline.
const SPARKS: u16 = 60;

/// The columns that there is room for: those with a low number go last. Names get as much of what is
/// left as the longest needs, and the sparklines the rest.
fn columns(width: u16, app: &App) -> Vec<Column> {
    let fleet = &app.fleet;
    let is_recorded = (fleet.links.values()).any(|link| app.is_recorded(link));
    let has_keys = (fleet.links.values()).any(|link| !link.info.key.raw().is_empty());
    let has_routers = (fleet.links.values()).any(|link| link.info.router.is_some());
    #[rustfmt::skip]
    let all: [(bool, u8, Column); 13] = [
        (true, 0, ("name", NAME.0, |link, _, _| link.info.name.to_string())),
        (true, 0, ("state", 11, |link, app, _| state(link, app))),
        (is_recorded, 0, ("rec", 3, |link, app, _| recorded(link, app))),
        (true, 0, ("port", 5, |link, _, _| link.info.service_port.to_string())),
        (has_keys, 1, ("key", 10, |link, _, _| link.info.key.raw().to_owned())),
        (has_routers, 6, ("router", 20, |link, _, _| router_of(link))),
        (true, 3, ("driver", 10, |link, app, _| driver(link, app))),
        (true, 4, ("RTT p50/p95", 13, |link, _, _| percentiles(link))),
        (true, 9, ("last RTTs", 16, |link, _, width| sparkline(&link.rtts, width))),
        (true, 2, ("runs", 6, |link, _, _| link.info.runs.to_string())),
        (true, 5, ("failed", 6, |link, _, _| link.info.failures.to_string())),
        (true, 7, ("seen", 9, |link, app, _| format!("{} ago", ago(link.seen, app.now)))),
        (true, 8, ("up for", 10, |link, app, _| up_for(link, app))),
    ];
    let mut columns: Vec<_> = all.into_iter().filter(|(is_used, ..)| *is_used).collect();
    let wide = |columns: &[(bool, u8, Column)]| -> u16 {
        columns.iter().map(|(.., (_, width, _))| width + 1).sum()
    };
    while wide(&columns) > width + 1
        && let Some(last) = columns
            .iter()
            .map(|(_, rank, _)| *rank)
            .max()
            .filter(|it| *it > 0)
    {
        columns.retain(|(_, rank, _)| *rank != last);
    }
    let mut left = (width + 1).saturating_sub(wide(&columns));
    let longest = fleet
        .links
        .values()
        .map(|link| link.info.name.as_str().width())
        .max();
    let longest = longest
        .and_then(|it| u16::try_from(it).ok())
        .unwrap_or(NAME.1);
    for (.., (title, width, _)) in &mut columns {
        let most = match *title {
            "name" => longest.min(NAME.1),
            "last RTTs" => SPARKS,
            _ => continue,
        };
        let more = most.saturating_sub(*width).min(left);
        (*width, left) = (*width + more, left - more);
    }
    columns.into_iter().map(|(.., column)| column).collect()
}

fn up_for(link: &FleetLink, app: &App) -> String {
    match app.contact(link) {
        Contact::Answers => ago(link.since, app.now),
        _ => "–".to_owned(),
    }
}

fn state(link: &FleetLink, app: &App) -> String {
    match app.contact(link) {
        _ if link.info.stop_failed => "‼ STOP!".to_owned(),
        _ if !link.info.is_up => "✖ down".to_owned(),
        Contact::Lost | Contact::NotKnown => "? unknown".to_owned(),
        Contact::Silent(_) => "? NO ANSWER".to_owned(),
        Contact::Answers if link.moving.is_some() => format!("{MOVES} moves"),
        Contact::Answers => "● up".to_owned(),
    }
}

fn recorded(link: &FleetLink, app: &App) -> String {
    let word = if app.is_recorded(link) { "REC" } else { "" };
    word.to_owned()
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
