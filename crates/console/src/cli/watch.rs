//! Owns `watch`: a line an event, without an escape, for logs and pipes.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use p2p_shared::protocol::{FeedEvent, LinkInfo, MotionEvent, RouterToConsole};
use p2p_shared::text::Escaped;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{client, json, output};
use crate::connection::{self, FromRouter, RouterTarget, ToRouter};
use crate::exit_code::INTERRUPTED;
use crate::text::time_of_day;

pub(super) async fn run(
    target: RouterTarget,
    link: Option<&str>,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    // The first time, a router that can't be reached is an error with its own code.
    let first = client::connect(&target).await?;
    first.socket.close_with(None, "bye", client::FAREWELL).await;
    let (events_to, mut events) = mpsc::channel(256);
    let (to_router, requests) = mpsc::unbounded_channel();
    let connection = tokio::spawn(connection::run(target, events_to, requests));
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut printer = FeedPrinter {
        link: link.map(str::to_owned),
        as_json,
        names: Vec::new(),
    };
    let code = loop {
        let event = tokio::select! {
            event = events.recv() => event,
            _ = interrupt.recv() => break INTERRUPTED.into(),
            _ = terminate.recv() => break 143.into(),
        };
        let Some(event) = event else {
            break ExitCode::FAILURE;
        };
        if !printer.print_event(event)? {
            break ExitCode::SUCCESS;
        }
    };
    let _ = to_router.send(ToRouter::End);
    let _ = connection.await;
    Ok(code)
}

struct FeedPrinter {
    link: Option<String>,
    as_json: bool,
    names: Vec<(u16, String)>,
}

impl FeedPrinter {
    /// Prints an event. Returns false when nobody reads any more.
    fn print_event(&mut self, event: FromRouter) -> anyhow::Result<bool> {
        match event {
            FromRouter::Message(message) => match *message {
                RouterToConsole::Snapshot { links, missed, .. } => {
                    for link in &links {
                        self.remember(link);
                        if !self.print(
                            link.service_port,
                            &format!("link {}", link_text(link)),
                            || json!({ "event": "link", "link": json::link(link) }),
                        )? {
                            return Ok(false);
                        }
                    }
                    if missed > 0 {
                        let text = format!("{missed} events were missed: reading was too slow");
                        return self
                            .print_line(&text, json!({ "event": "missed", "events": missed }));
                    }
                    Ok(true)
                }
                RouterToConsole::Feed(event) => self.print_feed(&event),
                RouterToConsole::Refused { message, .. } => self.print_line(
                    &format!("refused: {message}"),
                    json!({ "event": "refused", "why": message }),
                ),
                _ => Ok(true),
            },
            FromRouter::Connected => {
                self.print_line("connected to the router", json!({ "event": "connected" }))
            }
            FromRouter::Disconnected { why, .. } => self.print_line(
                &format!("no router: {why}"),
                json!({ "event": "disconnected", "why": why }),
            ),
            FromRouter::Pinged | FromRouter::Ponged(_) => Ok(true),
        }
    }

    fn remember(&mut self, link: &LinkInfo) {
        self.names.retain(|(port, _)| *port != link.service_port);
        self.names.push((link.service_port, link.name.to_string()));
    }

    fn name(&self, port: u16) -> String {
        let known = self.names.iter().find(|(known, _)| *known == port);
        known.map_or_else(|| port.to_string(), |(_, name)| name.clone())
    }

    fn print_feed(&mut self, event: &FeedEvent) -> anyhow::Result<bool> {
        let as_json = || json::event(event);
        match event {
            FeedEvent::Link(link) => {
                self.remember(link);
                self.print(
                    link.service_port,
                    &format!("link {}", link_text(link)),
                    as_json,
                )
            }
            FeedEvent::LinkDown { service_port, why } => {
                self.print(*service_port, &format!("link down: {why}"), as_json)
            }
            FeedEvent::LinkGone { service_port } => {
                self.print(*service_port, "link gone: its port is given up", as_json)
            }
            // One every two seconds a link: for scripts, not for people.
            FeedEvent::Rtt { service_port, .. } if self.as_json => {
                self.print(*service_port, "", as_json)
            }
            FeedEvent::Rtt { .. } => Ok(true),
            FeedEvent::Run(run) => {
                let text = match run.result {
                    Some(_) => format!("run over: {}", output::run_line(run)),
                    None => format!("run: {}", output::run_line(run)),
                };
                self.print(run.service_port, &text, as_json)
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
                self.print(*service_port, &text, as_json)
            }
            FeedEvent::Motion {
                service_port,
                event,
            } => self.print(*service_port, &motion_text(event), as_json),
        }
    }

    fn print(
        &self,
        port: u16,
        text: &str,
        as_json: impl FnOnce() -> serde_json::Value,
    ) -> anyhow::Result<bool> {
        let name = self.name(port);
        let wanted = |link: &String| *link == name || *link == port.to_string();
        if !self.link.as_ref().is_none_or(wanted) {
            return Ok(true);
        }
        self.print_line(&format!("{name} :{port} {text}"), as_json())
    }

    fn print_line(&self, text: &str, value: serde_json::Value) -> anyhow::Result<bool> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or_default();
        Ok(output::print_line(&if self.as_json {
            let mut value = value;
            if let serde_json::Value::Object(fields) = &mut value {
                fields.insert("at_ms".to_owned(), now_ms.into());
            }
            value.to_string()
        } else {
            format!("{}Z {}", time_of_day(now_ms), Escaped(text))
        })?)
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
        MotionEvent::Refused { press, why } => format!("press {} refused: {why}", press.number),
        MotionEvent::Over { cause, .. } => format!("motion over: {cause}"),
        MotionEvent::Ended { end, .. } => format!("motion process ended: {end}"),
        MotionEvent::Stopped { cause, end, .. } => {
            format!("stop ran ({cause}): {end}")
        }
        MotionEvent::Stands => "stands".to_owned(),
        MotionEvent::StopFailed => "STOP FAILED".to_owned(),
    }
}
