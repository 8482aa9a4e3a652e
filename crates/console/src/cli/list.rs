//! Owns `list`: the links there are, a line each.

use std::process::ExitCode;
use std::time::Duration;

use p2p_shared::protocol::LinkInfo;
use unicode_width::UnicodeWidthStr;

use super::{client, json, output};
use crate::app::round_trips::RoundTrips;
use crate::connection::RouterTarget;
use crate::text::{age, fit, short};

pub(super) async fn run(target: &RouterTarget, as_json: bool) -> anyhow::Result<ExitCode> {
    let client = client::connect(target).await?;
    client
        .socket
        .close_with(None, "bye", client::FAREWELL)
        .await;
    if as_json {
        for link in &client.links {
            if !output::print_line(&json::link(link).to_string())? {
                break;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    if client.links.is_empty() {
        let port = target.router.port;
        let host = &target.router.host;
        output::print_line(&format!(
            "no machine is linked; on the machine behind NAT: p2p-inner {host} {port} 9000"
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = [
        "NAME", "STATE", "PORT", "DRIVER", "RTT", "RUNS", "FAILED", "SINCE",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(client.links.iter().map(row));
    let widths: Vec<usize> = (0..head.len())
        .map(|n| rows.iter().map(|row| row[n].width()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let text: String = cells
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.width() + 2)))
            .collect();
        if !output::print_line(text.trim_end())? {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(info: &LinkInfo) -> [String; 8] {
    let mut rtts = RoundTrips::default();
    for rtt_us in &info.rtts_us {
        rtts.push(*rtt_us);
    }
    let state = match info {
        info if info.stop_failed => "STOP FAILED",
        info if !info.is_up => "down",
        info if info.moving.is_some() => "moves",
        _ => "up",
    };
    let driver = info
        .control
        .driver
        .as_ref()
        .map_or("-", |driver| driver.name.as_str());
    [
        fit(info.name.as_str(), 64),
        state.to_owned(),
        info.service_port.to_string(),
        fit(driver, 30),
        rtts.quantile(0.5).map_or("-".to_owned(), short),
        info.runs.to_string(),
        info.failures.to_string(),
        age(Duration::from_millis(info.since_ms)),
    ]
}
