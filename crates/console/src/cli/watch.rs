//! `watch`: prints each event as a line without escapes, for logs and pipes.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use p2p_shared::protocol::{
    ControlInfo, FeedEvent, LinkInfo, MotionEvent, RecordingInfo, RouterToConsole,
};
use p2p_shared::timing::{NO_ANSWER, millis};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::client::RouterClient;
use super::output::{self, OutputLine};
use super::{json, stop_signal};
use crate::connection::{self, ConnectionEvent, RouterTarget, ToRouter};
use crate::text::{short, time_of_day};

/// Round trip to the router before one was measured.
const FIRST_ROUND_TRIP: Duration = Duration::from_secs(1);
/// Pause between two pings of the router.
const PING: Duration = Duration::from_secs(2);

pub(super) async fn run(
    target: RouterTarget,
    link: Option<&str>,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    // The first time, a router that can't be reached is an error with its own code.
    check(&target, link).await?;
    let (events_to, mut events) = mpsc::channel(256);
    let (to_router, requests) = mpsc::unbounded_channel();
    let connection = connection::run(target, PING, events_to, requests);
    let connection = tokio::spawn(connection);
    let mut stop = stop_signal()?;
    let mut printer = FeedPrinter {
        link: link.map(str::to_owned),
        as_json,
        names: HashMap::new(),
        silent: HashMap::new(),
        recordings: HashMap::new(),
        control_lines: HashMap::new(),
        pinged: None,
        round_trip: FIRST_ROUND_TRIP,
    };
    let ended = loop {
        let silence = printer.router_silence();
        let printed = tokio::select! {
            event = events.recv() => match event {
                Some(event) => printer.print_event(event),
                None => break Ok(ExitCode::FAILURE),
            },
            code = &mut stop => break Ok(code.into()),
            () = tokio::time::sleep(silence.unwrap_or_default()), if silence.is_some() => {
                printer.print_silence(None, NO_ANSWER)
            }
        };
        match printed {
            Ok(true) => {}
            Ok(false) => break Ok(ExitCode::SUCCESS),
            Err(error) => break Err(error),
        }
    };
    let _ = to_router.send(ToRouter::End);
    let _ = connection.await;
    ended
}

/// Fails if the router can't be reached, or knows no such link.
async fn check(target: &RouterTarget, link: Option<&str>) -> anyhow::Result<()> {
    let client = RouterClient::connect(target).await?;
    let known = link.map(|link| client.known(link).map(drop));
    client.close().await;
    Ok(known.transpose().map(drop)?)
}

struct FeedPrinter {
    link: Option<String>,
    as_json: bool,
    names: HashMap<u16, String>,
    /// Since when there is no answer: of the car at a service port, or of the router.
    silent: HashMap<Option<u16>, Instant>,
    /// What is recorded, by service port.
    recordings: HashMap<u16, RecordingInfo>,
    /// Who drives and who asks for control, as it was printed last, by service port.
    control_lines: HashMap<u16, String>,
    /// Time of the first ping that the router has not answered.
    pinged: Option<Instant>,
    /// The last round trip to the router.
    round_trip: Duration,
}

impl FeedPrinter {
    /// Prints an event. Returns false when nobody reads any more.
    fn print_event(&mut self, event: ConnectionEvent) -> anyhow::Result<bool> {
        match event {
            ConnectionEvent::Pinged => {
                self.pinged.get_or_insert_with(Instant::now);
                return Ok(true);
            }
            ConnectionEvent::Disconnected { .. } => {
                self.silent.clear();
                self.pinged = None;
            }
            _ => {
                self.pinged = None;
                if !self.print_answer(None)? {
                    return Ok(false);
                }
            }
        }
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
            ConnectionEvent::Ponged(round_trip) => {
                self.round_trip = round_trip;
                Ok(true)
            }
            ConnectionEvent::Pinged => Ok(true),
        }
    }

    /// Time until the router counts as silent, if a ping is open.
    fn router_silence(&self) -> Option<Duration> {
        let open = self.pinged.filter(|_| !self.silent.contains_key(&None))?;
        let late = open + self.round_trip + NO_ANSWER;
        Some(late.saturating_duration_since(Instant::now()))
    }

    /// Prints that there is no answer, of the car at this port or of the router.
    fn print_silence(&mut self, port: Option<u16>, length: Duration) -> anyhow::Result<bool> {
        let since = Instant::now().checked_sub(length);
        self.silent.insert(port, since.unwrap_or_else(Instant::now));
        let (who, hop) = self.silent_hop(port);
        let length = short(length);
        let text =
            format!("{who}NO ANSWER for {length}: {hop} is silent; a driven car stops itself");
        let event = json!({ "event": "no_answer", "service_port": port, "hop": hop });
        self.print_of(port, &text, event)
    }

    /// Prints that a silence is over, if there was one.
    fn print_answer(&mut self, port: Option<u16>) -> anyhow::Result<bool> {
        let Some(since) = self.silent.remove(&port) else {
            return Ok(true);
        };
        let silence = since.elapsed();
        let (who, hop) = self.silent_hop(port);
        let text = format!(
            "{who}answers again: {hop} was silent for {}",
            short(silence)
        );
        let event = json!({ "event": "answers", "service_port": port, "hop": hop, "silent_ms": millis(silence) });
        self.print_of(port, &text, event)
    }

    fn silent_hop(&self, port: Option<u16>) -> (String, &'static str) {
        match port {
            None => (String::new(), "console → router"),
            Some(port) => (format!("{} :{port} ", self.name(port)), "router → car"),
        }
    }

    fn name(&self, port: u16) -> String {
        let name = self.names.get(&port).cloned();
        name.unwrap_or_else(|| port.to_string())
    }

    /// Prints a line about a car, if it is wanted, or about all.
    fn print_of(&self, port: Option<u16>, text: &str, event: Value) -> anyhow::Result<bool> {
        let is_it =
            |link: &String, port: u16| *link == self.name(port) || *link == port.to_string();
        match (&self.link, port) {
            (Some(link), Some(port)) if !is_it(link, port) => Ok(true),
            _ => self.print(text, event),
        }
    }

    fn print_feed(&mut self, event: &FeedEvent) -> anyhow::Result<bool> {
        if let FeedEvent::Rtt {
            service_port,
            silent_ms,
            ..
        } = event
        {
            let port = Some(*service_port);
            if let Some(silent_ms) = silent_ms {
                return self.print_silence(port, Duration::from_millis(*silent_ms));
            }
            if !self.print_answer(port)? {
                return Ok(false);
            }
        }
        let is_read = match event {
            FeedEvent::Control {
                service_port,
                control,
            } => self.follow_recording(*service_port, control)?,
            // Its recording has ended with it.
            FeedEvent::LinkGone { service_port } => {
                self.follow_recording(*service_port, &ControlInfo::default())?
            }
            _ => true,
        };
        if !is_read {
            return Ok(false);
        }
        let (port, text) = match event {
            FeedEvent::Link(link) => {
                let port = link.service_port;
                self.names.insert(port, link.name.to_string());
                self.silent.remove(&Some(port));
                (port, format!("link {}", link_text(link)))
            }
            FeedEvent::LinkDown { service_port, why } => {
                self.silent.remove(&Some(*service_port));
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
                let text = format!("run{over}: {}", output::run_line(run, "running"));
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
                let before = self.control_lines.insert(*service_port, text.clone());
                // Only the recording is another one.
                if !self.as_json && before.as_ref() == Some(&text) {
                    return Ok(true);
                }
                (*service_port, text)
            }
            FeedEvent::Motion {
                service_port,
                event,
                ..
            } => (*service_port, motion_text(event)),
        };
        let text = format!("{} :{port} {text}", self.name(port));
        let is_read = self.print_of(Some(port), &text, json::event(event))?;
        match event {
            FeedEvent::Link(link) if is_read => self.follow_recording(port, &link.control),
            _ => Ok(is_read),
        }
    }

    /// Prints which recordings of a car begin and end. Returns false when nobody reads any more.
    fn follow_recording(&mut self, port: u16, control: &ControlInfo) -> anyhow::Result<bool> {
        let new = control.recording.clone().unwrap_or_default();
        let old = self.recordings.insert(port, new.clone());
        for (text, what) in recording_news(&old.unwrap_or_default(), &new) {
            let event = json!({
                "event": "recording",
                "what": what,
                "service_port": port,
                "recording": json::recording(control),
            });
            let text = format!("{} :{port} {text}", self.name(port));
            if !self.print_of(Some(port), &text, event)? {
                return Ok(false);
            }
        }
        Ok(true)
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

/// Says which recordings have ended, begun and failed: in words, and for scripts.
fn recording_news(old: &RecordingInfo, new: &RecordingInfo) -> Vec<(String, &'static str)> {
    let mut news = Vec::new();
    if let Some(file) = old.file.as_ref().filter(|_| old.file != new.file) {
        news.push((format!("recorded: {file}"), "ended"));
    }
    if let Some(file) = new.file.as_ref().filter(|_| old.file != new.file) {
        news.push((format!("REC {file}"), "recorded"));
    }
    if let Some(why) = new.failure.as_ref().filter(|_| old.failure != new.failure) {
        news.push((format!("NOT RECORDED: {why}"), "failed"));
    }
    news
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
        MotionEvent::Over { cause, by, .. } => match by {
            Some(by) => format!("motion ends: {cause} by {by}"),
            None => format!("motion ends: {cause}"),
        },
        MotionEvent::Ended { end, .. } => format!("motion process ended: {}", end.text()),
        MotionEvent::Stopped {
            failure: Some(failure),
            ..
        } if failure.tries == 0 => {
            format!("nothing was run to stop it: {}", failure.said)
        }
        MotionEvent::Stopped {
            cause,
            end,
            exec_us,
            failure,
        } => {
            let mut text = format!("stop ran ({cause}): {}", end.stop_text(*exec_us));
            if let Some(failure) = failure {
                if !failure.said.raw().is_empty() {
                    text += &format!(": {}", failure.said);
                }
                text += &format!("; failures in a row: {}", failure.tries);
                if let Some(ms) = failure.again_ms {
                    text += &format!(", next try in {}", short(Duration::from_millis(ms)));
                }
            }
            text
        }
        MotionEvent::Stands => "stands".to_owned(),
        MotionEvent::StopFailed => "STOP FAILED".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_recording_its_beginning_its_end_and_its_failure_are_news() {
        let control = |file: Option<&str>, failure: Option<&str>| RecordingInfo {
            file: file.map(Into::into),
            failure: failure.map(Into::into),
            asked: Some(("anna".into(), 1000)),
        };
        let none = RecordingInfo::default();
        let [nothing, first, next] =
            [None, Some("1.mcap"), Some("2.mcap")].map(|file| control(file, None));
        let failed = control(None, Some("the disk is full"));
        let what = |old, new| {
            let news = recording_news(old, new).into_iter();
            news.map(|(text, what)| format!("{what}: {text}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(what(&none, &nothing), [""; 0]);
        assert_eq!(what(&none, &first), ["recorded: REC 1.mcap"]);
        assert_eq!(what(&first, &first), [""; 0]);
        assert_eq!(
            what(&first, &next),
            ["ended: recorded: 1.mcap", "recorded: REC 2.mcap"]
        );
        assert_eq!(
            what(&next, &failed),
            [
                "ended: recorded: 2.mcap",
                "failed: NOT RECORDED: the disk is full"
            ]
        );
        assert_eq!(what(&first, &none), ["ended: recorded: 1.mcap"]);
    }
}
