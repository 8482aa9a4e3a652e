//! `send`: runs one command, prints its output as it comes, and ends with its exit code.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::bounded::Arguments;
use p2p_shared::names::{Argument, CommandName, LinkName, RunId};
use p2p_shared::protocol::{
    ConsoleToRouter, End, LinkInfo, Outcome, Refusal, RouterToConsole, RunReport, SendEvent, cost,
};
use p2p_shared::timing::{millis, millis_f64};
use p2p_shared::websocket::SocketEvent;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tracing::field::display;

use super::client::RouterClient;
use super::output::{self, OutputLine};
use super::{StopSignal, commands, recover_run, stop_signal};
use crate::config::SendOptions;
use crate::connection::{ConsoleSocket, DEAD, RouterTarget};
use crate::desk_log;
use crate::exit_code::{
    DENIED, ERROR, Failure, INTERRUPTED, OFFLINE, UNREACHABLE, closed_connection, for_end,
};

/// Our number for the only request of this program.
const REQUEST: u64 = 1;
/// Interval of pings to a silent router.
const PING: Duration = Duration::from_secs(2);

pub(super) async fn run(
    target: &RouterTarget,
    send: &SendOptions,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let result = attempt(target, send, as_json).await;
    if as_json && let Err(error) = &result {
        let failure = error.downcast_ref::<Failure>();
        let code = failure.map_or(ERROR, |failure| failure.code);
        let failed = json!({
            "event": "failed", "why": error.to_string(), "code": code, "code_of": "p2p-console",
        });
        output::print_line(&OutputLine::ForScripts(failed))?;
    }
    result
}

async fn attempt(
    target: &RouterTarget,
    send: &SendOptions,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    if target.readonly {
        let why = "--readonly only watches: leave it out to run a command";
        return Err(Failure::new(DENIED, why).into());
    }
    let arguments = send.arguments.iter().map(argument);
    let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
    let arguments =
        Arguments::try_from(arguments).map_err(|error| Failure::usage(error.to_string()))?;
    let mut client = RouterClient::connect(target).await?;
    let mut stop = stop_signal()?;
    let mut printer = RunPrinter {
        as_json,
        command: send.command.clone(),
        link: None,
        run: None,
        has_started: false,
        printed: 0,
    };
    let found = client.find(&send.to).cloned();
    let followed = async {
        let car = found?;
        printer.link = Some(car.name.clone());
        client.socket.push(&ConsoleToRouter::Send {
            request: REQUEST,
            service_port: car.service_port,
            command: send.command.clone(),
            arguments,
            for_ms: send.lasting.map(millis),
        })?;
        let end = follow(&mut client.socket, &mut printer, &mut stop).await?;
        anyhow::Ok((end, car))
    };
    let (code, why, mut client, car) = match followed.await {
        Ok((FollowEnd::RouterLost(why), car)) => {
            let (link, run) = (&car.name, printer.run.map(display));
            tracing::info!(%link, run, command = %printer.command, why, "send lost");
            (UNREACHABLE, why, None, car)
        }
        Ok((FollowEnd::LinkLost, car)) => {
            let why = "the link to the car was lost".to_owned();
            (OFFLINE, why, Some(client), car)
        }
        Ok((FollowEnd::Ended(code), _)) => {
            client.close().await;
            return Ok(code.into());
        }
        Ok((FollowEnd::NotFound(why), car)) => {
            let at = (car.name.as_str(), car.service_port);
            let hint = commands::hint(&mut client.socket, at, &send.command).await;
            client.close().await;
            let why = why.split(": GET /commands").next().unwrap_or_default();
            return Err(Failure::new(ERROR, format!("{why}: {hint}")).into());
        }
        Err(error) => {
            client.close().await;
            return Err(error);
        }
    };
    let car = (target, &car);
    let ended = follow_lost(car, &mut client, &mut printer, (code, &why), stop).await;
    if let Some(client) = client {
        client.close().await;
    }
    ended
}

/// Follows a run whose answer was lost, for this reason and with this exit code, as far as its car
/// remembers it.
async fn follow_lost(
    (target, car): (&RouterTarget, &LinkInfo),
    client: &mut Option<RouterClient>,
    printer: &mut RunPrinter,
    (code, why): (u8, &str),
    stop: StopSignal,
) -> anyhow::Result<ExitCode> {
    let lost = printer.lost(code, why);
    let Some(run) = printer.run else {
        return Err(lost.into());
    };
    printer.report_lost(run, why)?;
    let report = tokio::select! {
        report = recover_run::recover(target, client, car, run) => report,
        _ = stop => return Ok(INTERRUPTED.into()),
    };
    let why = match report {
        Ok(Some(report)) => return Ok(printer.report_recovered(run, report)?.into()),
        Ok(None) => "its car is back and doesn't know it: it did not begin, or the car's program was started again since".to_owned(),
        Err(failure) => failure.to_string(),
    };
    Err(Failure::new(code, format!("{lost}; {why}")).into())
}

fn argument(word: &OsString) -> Result<Argument, Failure> {
    let bytes = Bytes::from(word.clone().into_vec());
    Argument::try_from(bytes)
        .map_err(|why| Failure::usage(format!("an argument can't be passed: {why}")))
}

/// Point to which a run could be followed.
enum FollowEnd {
    /// To its end, with this exit code.
    Ended(u8),
    /// The car has no such command, says this sentence.
    NotFound(String),
    LinkLost,
    /// The connection to the router was lost, for this reason.
    RouterLost(String),
}

/// Follows the run as far as possible.
async fn follow(
    socket: &mut ConsoleSocket,
    printer: &mut RunPrinter,
    stop: &mut StopSignal,
) -> anyhow::Result<FollowEnd> {
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_traffic = Instant::now();
    loop {
        let event = tokio::select! {
            event = socket.event() => event,
            _ = &mut *stop => {
                // The message is sent when the connection is closed.
                socket.push(&ConsoleToRouter::Cancel { request: REQUEST })?;
                return Ok(FollowEnd::Ended(INTERRUPTED));
            }
            _ = pings.tick() => {
                if last_traffic.elapsed() > DEAD {
                    let why = "the router does not answer any more".to_owned();
                    return Ok(FollowEnd::RouterLost(why));
                }
                socket.push_ping(Bytes::new())?;
                continue;
            }
        };
        last_traffic = Instant::now();
        match event {
            Ok(SocketEvent::Message(RouterToConsole::SendEvent {
                request: REQUEST,
                event,
            })) => {
                if let SendEvent::Output(bytes) = &event {
                    socket.push(&ConsoleToRouter::Window {
                        request: REQUEST,
                        more: cost(bytes),
                    })?;
                }
                desk_log::run_event(printer.link.as_ref(), &printer.command, printer.run, &event);
                match event {
                    SendEvent::Lost => return Ok(FollowEnd::LinkLost),
                    SendEvent::Refused {
                        refusal: Some(Refusal::NotFound),
                        message,
                        ..
                    } => return Ok(FollowEnd::NotFound(message.raw().to_owned())),
                    _ => {}
                }
                if let Some(code) = printer.handle(event)? {
                    return Ok(FollowEnd::Ended(code));
                }
            }
            Ok(SocketEvent::Message(RouterToConsole::Refused {
                reason, message, ..
            })) => return Err(Failure::refused(Some(reason), message.raw()).into()),
            Ok(SocketEvent::Closed(why)) => {
                return Ok(FollowEnd::RouterLost(closed_connection(&why)));
            }
            Err(error) => return Ok(FollowEnd::RouterLost(error.to_string())),
            Ok(_) => {}
        }
    }
}

struct RunPrinter {
    as_json: bool,
    command: CommandName,
    link: Option<LinkName>,
    run: Option<RunId>,
    has_started: bool,
    /// Bytes of output that were printed.
    printed: u64,
}

impl RunPrinter {
    /// Prints an event of the run; returns the exit code if the run has ended.
    fn handle(&mut self, event: SendEvent) -> anyhow::Result<Option<u8>> {
        let run = self.run.map(|run| run.to_string());
        match event {
            SendEvent::Queued { run } => {
                self.run = Some(run);
                self.print_json(json!({ "event": "queued", "run": run.to_string() }))?;
            }
            SendEvent::Started => {
                self.has_started = true;
                self.print_json(json!({ "event": "started", "run": run }))?;
            }
            SendEvent::Output(bytes) => self.print(&bytes)?,
            SendEvent::Finished {
                end,
                exec_us,
                stderr,
            } => return Ok(Some(self.finished(end, exec_us, &stderr)?)),
            // Whether the command ran is unknown, as when the link is lost.
            SendEvent::Refused {
                refusal: Some(Refusal::WorkerLost),
                message,
                ..
            } => return Err(Failure::new(OFFLINE, message.raw()).into()),
            SendEvent::Refused {
                reason, message, ..
            } => return Err(Failure::refused(reason, message.raw()).into()),
            // The car is asked for the run later.
            SendEvent::Lost => {}
        }
        Ok(None)
    }

    fn print(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.printed += bytes.len() as u64;
        if self.as_json {
            let text = String::from_utf8_lossy(bytes);
            return self.print_json(json!({ "event": "output", "text": text }));
        }
        if !output::print_output(bytes)? {
            anyhow::bail!("nobody reads the output any more");
        }
        Ok(())
    }

    fn finished(&self, end: End, exec_us: u64, stderr: &[u8]) -> anyhow::Result<u8> {
        let code = for_end(end);
        if self.as_json {
            self.print_json(json!({
                "event": "finished", "run": self.run.map(|run| run.to_string()),
                "exit": end.to_string(), "exec_ms": millis_f64(Duration::from_micros(exec_us)),
                "stderr": String::from_utf8_lossy(stderr), "code": code, "code_of": "command",
            }))?;
        } else {
            output::print_stderr(stderr);
            // An exit code that the command did not give itself is explained.
            if !matches!(end, End::Exit(_) | End::Ended) {
                output::print_sentence(&format!("{} was ended: {end}", self.command));
            }
        }
        Ok(code)
    }

    fn report_lost(&self, run: RunId, why: &str) -> anyhow::Result<()> {
        if !self.as_json {
            let waiting = "waiting to hear what became of run";
            let sentence = format!("{why}: {waiting} {run} (Ctrl-C leaves it alone)");
            output::print_sentence(&sentence);
        }
        self.print_json(json!({ "event": "lost", "run": run.to_string(), "why": why }))
    }

    /// Prints the rest of a run as its car remembers it; returns the exit code.
    fn report_recovered(&mut self, run: RunId, report: RunReport) -> anyhow::Result<u8> {
        match report.outcome {
            Outcome::Ended { end, exec_us } => {
                let printed = usize::try_from(self.printed).unwrap_or(usize::MAX);
                let rest = report.output.get(printed..);
                if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                    self.print(rest)?;
                }
                if self.printed < report.bytes {
                    let missing = report.bytes - self.printed;
                    output::print_sentence(&format!("{missing} bytes of its output were lost"));
                }
                self.finished(end, exec_us, &report.stderr)
            }
            Outcome::Refused(why) => {
                Err(Failure::new(ERROR, format!("it was not run: {why}")).into())
            }
            Outcome::Unknown(why) => Err(Failure::new(OFFLINE, why.raw()).into()),
            // The car is asked until the run is over.
            Outcome::Waiting | Outcome::Running => {
                Err(self.lost(OFFLINE, &format!("run {run} goes on")).into())
            }
        }
    }

    fn print_json(&self, value: Value) -> anyhow::Result<()> {
        if self.as_json && !output::print_line(&OutputLine::ForScripts(value))? {
            anyhow::bail!("nobody reads the output any more");
        }
        Ok(())
    }

    fn lost(&self, code: u8, why: &str) -> Failure {
        let ran = match self.has_started {
            true => "it had begun, and nobody knows how it ended",
            false => "nobody knows whether it ran",
        };
        let run = self.run.map(|run| format!(" (run {run})"));
        Failure::new(code, format!("{why}: {ran}{}", run.unwrap_or_default()))
    }
}
