//! `list`: prints the links of a router, a line each.

use std::process::ExitCode;
use std::time::Duration;

use p2p_shared::protocol::LinkInfo;
use unicode_width::UnicodeWidthStr;

use super::client::RouterClient;
use super::json;
use super::output::{self, OutputLine};
use crate::app::round_trips::RoundTrips;
use crate::connection::RouterTarget;
use crate::text::{age, cell, fit, short};

pub(super) async fn run(target: &RouterTarget, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut client = RouterClient::connect(target).await?;
    let links = std::mem::take(&mut client.links);
    let (router, nobody) = (client.router.clone(), client.nobody());
    client.close().await;
    if as_json {
        return output::print_lines(links.iter().map(json::link).map(OutputLine::ForScripts));
    }
    let lines = if links.is_empty() {
        let (host, port) = (&router.host, router.port);
        vec![format!(
            "{nobody}; on the machine behind NAT: p2p-inner {host} {port} SERVICE_PORT"
        )]
    } else {
        table(&links)
    };
    output::print_lines(lines.into_iter().map(OutputLine::ForPeople))
}

fn table(links: &[LinkInfo]) -> Vec<String> {
    let mut head = vec![
        "NAME", "STATE", "PORT", "KEY", "DRIVER", "RTT", "RUNS", "FAILED", "SINCE",
    ];
    let has_routers = links.iter().any(|link| link.router.is_some());
    if has_routers {
        head.push("ROUTER");
    }
    let mut rows = vec![head.iter().map(|&name| name.to_owned()).collect()];
    rows.extend(links.iter().map(row));
    let width = |n: usize| rows.iter().map(|row| row[n].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let text: String = cells.map(|(text, width)| cell(text, width + 2)).collect();
        text.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(info: &LinkInfo) -> Vec<String> {
    let rtts = RoundTrips::of(&info.rtts_us);
    let state = match info {
        info if info.stop_failed => "STOP FAILED",
        info if !info.is_up => "down",
        info if info.silent_ms.is_some() => "no answer",
        info if info.moving.is_some() => "moves",
        _ => "up",
    };
    let driver = info.control.driver.as_ref();
    let or_none = |text: &str| match text {
        "" => "-".to_owned(),
        text => fit(text, 30),
    };
    vec![
        fit(info.name.as_str(), 64),
        match info.control.is_recorded() {
            true => format!("{state} REC"),
            false => state.to_owned(),
        },
        info.service_port.to_string(),
        or_none(info.key.raw()),
        or_none(driver.map_or("", |driver| driver.name.raw())),
        rtts.quantile(0.5).map_or("-".to_owned(), short),
        info.runs.to_string(),
        info.failures.to_string(),
        age(Duration::from_millis(info.since_ms)),
        info.router
            .as_ref()
            .map_or("here".to_owned(), |router| fit(router.raw(), 64)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_routers_are_shown_if_there_are_several() {
        let mut links = [testing::link(9000, "car"), testing::link(9001, "other")];
        assert!(table(&links).iter().all(|line| !line.contains("here")));
        links[1].router = Some("a.test:8888".into());
        let lines = table(&links);
        assert!(lines[0].ends_with("ROUTER"), "{lines:?}");
        assert!(lines[1].ends_with("here"), "{lines:?}");
        assert!(lines[2].ends_with("a.test:8888"), "{lines:?}");
    }
}
