//! Owns `send`: one command, its output as it comes, and its exit code as ours.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::names::{Argument, RunId};
use p2p_shared::protocol::console::{ConsoleToRouter, LinkInfo, RouterToConsole, SendEvent};
use p2p_shared::protocol::{Refusal, cost};
use p2p_shared::text::{Escaped, millis};
use p2p_shared::wire::Event;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::{out, snapshot};
use crate::connection::{ConsoleWire, Target};
use crate::ending::{DENIED, ERROR, Failure, INTERRUPTED, OFFLINE, UNREACHABLE, of_end, of_reason};
use crate::settings::Send;

/// Our number for the only request of this program.
const REQUEST: u64 = 1;
/// How often a long silence is asked about, and how long it may last.
const PING: Duration = Duration::from_secs(2);
const DEAD: Duration = Duration::from_secs(6);

pub(super) async fn run(target: &Target, send: &Send, as_json: bool) -> anyhow::Result<ExitCode> {
    let result = attempt(target, send, as_json).await;
    if as_json && let Err(error) = &result {
        let code = error
            .downcast_ref::<Failure>()
            .map_or(ERROR, |failure| failure.code);
        let said = json!({
            "event": "failed", "why": error.to_string(), "code": code, "code_of": "p2p-console",
        });
        out::line(&said.to_string())?;
    }
    result
}

async fn attempt(target: &Target, send: &Send, as_json: bool) -> anyhow::Result<ExitCode> {
    if target.readonly {
        return Err(Failure::new(
            DENIED,
            "--readonly only watches: leave it out to run a command",
        )
        .into());
    }
    let arguments = send
        .arguments
        .iter()
        .map(argument)
        .collect::<Result<_, _>>()?;
    let mut picture = snapshot::of(target).await?;
    let link = find(&picture.links, &send.to)?;
    let message = ConsoleToRouter::Send {
        request: REQUEST,
        service_port: link.service_port,
        command: send.command.clone(),
        arguments,
        for_ms: send
            .lasting
            .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    };
    picture.wire.push(&message)?;
    let story = Story {
        as_json,
        command: send.command.to_string(),
        run: None,
        has_started: false,
    };
    let end = follow(&mut picture.wire, story).await;
    picture.wire.part(None, "bye", snapshot::FAREWELL).await;
    Ok(end?.into())
}

fn argument(word: &OsString) -> anyhow::Result<Argument> {
    let bytes = Bytes::from(word.clone().into_vec());
    Ok(Argument::try_from(bytes)
        .map_err(|why| Failure::usage(format!("an argument can't be passed: {why}")))?)
}

fn find<'a>(links: &'a [LinkInfo], wanted: &str) -> Result<&'a LinkInfo, Failure> {
    let named = |link: &&LinkInfo| link.name.as_str() == wanted;
    let port = wanted.parse().ok();
    let found = links
        .iter()
        .find(|link| named(link) && link.is_up)
        .or_else(|| links.iter().find(named))
        .or_else(|| links.iter().find(|link| Some(link.service_port) == port));
    let Some(link) = found else {
        let names: Vec<_> = links
            .iter()
            .take(20)
            .map(|link| link.name.as_str())
            .collect();
        let there = match names.as_slice() {
            [] => "no machine is linked".to_owned(),
            names => format!("there are {}", names.join(", ")),
        };
        return Err(Failure::new(
            OFFLINE,
            format!("no link is called {}: {there}", Escaped(wanted).cut(64)),
        ));
    };
    if !link.is_up {
        return Err(Failure::new(
            OFFLINE,
            format!("{} is offline: nothing was run", link.name),
        ));
    }
    Ok(link)
}

struct Story {
    as_json: bool,
    command: String,
    run: Option<RunId>,
    has_started: bool,
}

/// Follows the run to its end; the exit code.
async fn follow(wire: &mut ConsoleWire, mut story: Story) -> anyhow::Result<u8> {
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let event = tokio::select! {
            event = wire.event() => event,
            _ = interrupt.recv() => return cancel(wire),
            _ = terminate.recv() => return cancel(wire),
            _ = pings.tick() => {
                if heard.elapsed() > DEAD {
                    return Err(story.lost(UNREACHABLE, "the router does not answer any more").into());
                }
                wire.push_ping(Bytes::new())?;
                continue;
            }
        };
        heard = Instant::now();
        match event {
            Ok(Event::Message(RouterToConsole::SendEvent {
                request: REQUEST,
                event,
            })) => {
                if let SendEvent::Output(bytes) = &event {
                    wire.push(&ConsoleToRouter::Window {
                        request: REQUEST,
                        more: cost(bytes),
                    })?;
                }
                if let Some(code) = story.tell(event)? {
                    return Ok(code);
                }
            }
            Ok(Event::Message(RouterToConsole::Refused {
                reason, message, ..
            })) => {
                return Err(Failure::new(of_reason(Some(reason)), message).into());
            }
            Ok(Event::Closed(why)) => {
                return Err(story.lost(UNREACHABLE, &snapshot::closed(&why)).into());
            }
            Err(error) => return Err(story.lost(UNREACHABLE, &error.to_string()).into()),
            Ok(_) => {}
        }
    }
}

/// The message goes out with the farewell.
fn cancel(wire: &mut ConsoleWire) -> anyhow::Result<u8> {
    wire.push(&ConsoleToRouter::Cancel { request: REQUEST })?;
    Ok(INTERRUPTED)
}

impl Story {
    /// Tells what became of it; the exit code, if that is its end.
    fn tell(&mut self, event: SendEvent) -> anyhow::Result<Option<u8>> {
        let run = self.run.map(|run| run.to_string());
        match event {
            SendEvent::Queued { run } => {
                self.run = Some(run);
                self.say(&json!({ "event": "queued", "run": run.to_string() }))?;
            }
            SendEvent::Started => {
                self.has_started = true;
                self.say(&json!({ "event": "started", "run": run }))?;
            }
            SendEvent::Output(bytes) if self.as_json => {
                self.say(&json!({ "event": "output", "text": String::from_utf8_lossy(&bytes) }))?;
            }
            SendEvent::Output(bytes) => {
                if !out::output(&bytes)? {
                    anyhow::bail!("nobody reads the output any more");
                }
            }
            SendEvent::Finished {
                end,
                exec_us,
                stderr,
            } => {
                let code = of_end(end);
                if self.as_json {
                    self.say(&json!({
                        "event": "finished", "run": run, "exit": end.to_string(),
                        "exec_ms": millis(Duration::from_micros(exec_us)),
                        "stderr": String::from_utf8_lossy(&stderr),
                        "code": code, "code_of": "command",
                    }))?;
                } else {
                    out::error_output(&stderr);
                    self.explain(end);
                }
                return Ok(Some(code));
            }
            // Nobody knows whether it ran, as when the link is lost.
            SendEvent::Refused {
                refusal: Some(Refusal::WorkerLost),
                message,
                ..
            } => return Err(Failure::new(OFFLINE, message).into()),
            SendEvent::Refused {
                reason, message, ..
            } => return Err(Failure::new(of_reason(reason), message).into()),
            SendEvent::Lost => {
                return Err(self.lost(OFFLINE, "the link to the car was lost").into());
            }
        }
        Ok(None)
    }

    fn say(&self, value: &serde_json::Value) -> anyhow::Result<()> {
        if self.as_json && !out::line(&value.to_string())? {
            anyhow::bail!("nobody reads the output any more");
        }
        Ok(())
    }

    /// An exit code that the command did not give itself is explained.
    fn explain(&self, end: p2p_shared::protocol::End) {
        use p2p_shared::protocol::End;
        if !matches!(end, End::Exit(_) | End::Ended) {
            let command = Escaped(&self.command);
            out::error_output(format!("{command} was ended: {end}\n").as_bytes());
        }
    }

    fn lost(&self, code: u8, why: &str) -> Failure {
        let ran = if self.has_started {
            "it had begun, and nobody knows how it ended"
        } else {
            "nobody knows whether it ran"
        };
        let run = self
            .run
            .map_or(String::new(), |run| format!(" (run {run})"));
        Failure::new(code, format!("{why}: {ran}{run}"))
    }
}
