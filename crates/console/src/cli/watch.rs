//! `watch`: prints each event as a line without escapes, for logs and pipes.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use p2p_shared::protocol::{FeedEvent, LinkInfo, MotionEvent, RouterToConsole};
use p2p_shared::timing::millis;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::client::RouterClient;
use super::output::{self, OutputLine};
use super::{json, stop_signal};
use crate::connection::{self, ConnectionEvent, RouterTarget, ToRouter};
use crate::text::time_of_day;

pub(super) async fn run(
    target: RouterTarget,
    link: Option<&str>,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    // The first time, a router that can't be reached is an error with its own code.
    RouterClient::connect(&target).await?.close().await;
    let (events_to, mut events) = mpsc::channel(256);
    let (to_router, requests) = mpsc::unbounded_channel();
    let connection = tokio::spawn(connection::run(target, events_to, requests));
    let mut stop = stop_signal()?;
    let mut printer = FeedPrinter {
        link: link.map(str::to_owned),
        as_json,
        names: HashMap::new(),
    };
    let ended = loop {
        let event = tokio::select! {
            event = events.recv() => event,
            code = &mut stop => break Ok(code.into()),
        };
        let Some(event) = event else {
            break Ok(ExitCode::FAILURE);
        };
        match printer.print_event(event) {
            Ok(true) => {}
            Ok(false) => break Ok(ExitCode::SUCCESS),
            Err(error) => break Err(error),
        }
    };
    let _ = to_router.send(ToRouter::End);
    let _ = connection.await;
    ended
}

struct FeedPrinter {
    link: Option<String>,
    as_json: bool,
    names: HashMap<u16, String>,
}

impl FeedPrinter {
    /// Prints an event. Returns false when nobody reads any more.
    fn print_event(&mut self, event: ConnectionEvent) -> anyhow::Result<bool> {
        match event {
            ConnectionEvent::Message(message) => match *message {
                RouterToConsole::Snapshot { links, missed, .. } => {
                    for link in links {
                        if !self.print_feed(&FeedEvent::Link(Box::new(link)))? {
                            return Ok(false);
                        }
                    }
                    if missed > 0 {
                        let text = format!("{missed} events were missed: reading was too slow");
                        return self.print(&text, json!({ "event": "missed", "events": missed }));
                    }
                    Ok(true)
                }
                RouterToConsole::Feed(event) => self.print_feed(&event),
                RouterToConsole::Refused { message, .. } => self.print(
                    &format!("refused: {message}"),
                    json!({ "event": "refused", "why": message }),
                ),
                _ => Ok(true),
            },
            ConnectionEvent::Connected(router) => {
                let router = router.to_string();
                let text = format!("connected to the router {router}");
                self.print(&text, json!({ "event": "connected", "router": router }))
            }
            ConnectionEvent::Disconnected { why, .. } => self.print(
                &format!("no router: {why}"),
                json!({ "event": "disconnected", "why": why }),
            ),
            ConnectionEvent::Pinged | ConnectionEvent::Ponged(_) => Ok(true),
        }
    }

    fn print_feed(&mut self, event: &FeedEvent) -> anyhow::Result<bool> {
        let (port, text) = match event {
            FeedEvent::Link(link) => {
                let port = link.service_port;
                self.names.insert(port, link.name.to_string());
                (port, format!("link {}", link_text(link)))
            }
            FeedEvent::LinkDown { service_port, why } => {
                (*service_port, format!("link down: {why}"))
            }
            FeedEvent::LinkGone { service_port } => {
                (*service_port, "link gone: its port is given up".to_owned())
            }
            // One event every two seconds for each link: for scripts, not for people.
            FeedEvent::Rtt { .. } if !self.as_json => return Ok(true),
            FeedEvent::Rtt { service_port, .. } => (*service_port, String::new()),
            FeedEvent::Run(run) => {
                let over = if run.result.is_some() { " over" } else { "" };
                let text = format!("run{over}: {}", output::run_line(run));
                (run.service_port, text)
            }
            FeedEvent::Control {
                service_port,
                control,
            } => {
                let mut text = match &control.driver {
                    Some(driver) => format!("driven by {}", driver.name),
                    None => "nobody drives".to_owned(),
                };
                if let Some((asker, _)) = &control.request {
                    text += &format!("; {} asks for control", asker.name);
                }
                (*service_port, text)
            }
            FeedEvent::Motion {
                service_port,
                event,
            } => (*service_port, motion_text(event)),
        };
        let name = self.names.get(&port).cloned();
        let name = name.unwrap_or_else(|| port.to_string());
        let is_wanted = |link: &String| *link == name || *link == port.to_string();
        if !self.link.as_ref().is_none_or(is_wanted) {
            return Ok(true);
        }
        self.print(&format!("{name} :{port} {text}"), json::event(event))
    }

    fn print(&self, text: &str, mut value: Value) -> anyhow::Result<bool> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = millis(now.unwrap_or_default());
        let line = if self.as_json {
            value["at_ms"] = now_ms.into();
            OutputLine::ForScripts(value)
        } else {
            OutputLine::ForPeople(format!("{}Z {text}", time_of_day(now_ms)))
        };
        Ok(output::print_line(&line)?)
    }
}

fn link_text(link: &LinkInfo) -> &'static str {
    match link {
        link if link.stop_failed => "STOP FAILED",
        link if link.is_up => "up",
        _ => "down",
    }
}

fn motion_text(event: &MotionEvent) -> String {
    match event {
        MotionEvent::Started(moving) => format!("moves: {}", moving.command),
        MotionEvent::Refused { press, why } => {
            format!("key press #{} refused: {why}", press.number)
        }
        MotionEvent::Over { cause, .. } => format!("motion ends: {cause}"),
        MotionEvent::Ended { end, .. } => format!("motion process ended: {end}"),
        MotionEvent::Stopped { cause, end, .. } => {
            format!("stop ran ({cause}): {end}")
        }
        MotionEvent::Stands => "stands".to_owned(),
        MotionEvent::StopFailed => "STOP FAILED".to_owned(),
    }
}
