//! Owns `send`: one command, its output as it comes, and its exit code as ours.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::names::{Argument, RunId};
use p2p_shared::protocol::{
    ConsoleToRouter, End, LinkInfo, Outcome, Refusal, RouterToConsole, RunReport, SendEvent, cost,
};
use p2p_shared::text::Escaped;
use p2p_shared::timing::millis_f64;
use p2p_shared::websocket::SocketEvent;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::{client, output, recover_run};
use crate::config::Send;
use crate::connection::{ConsoleSocket, RouterTarget};
use crate::exit_code::{
    DENIED, ERROR, Failure, INTERRUPTED, OFFLINE, UNREACHABLE, for_end, for_refusal,
};

/// Our number for the only request of this program.
const REQUEST: u64 = 1;
/// How often a silent router is pinged, and how long it may be silent.
const PING: Duration = Duration::from_secs(2);
const DEAD: Duration = Duration::from_secs(6);

pub(super) async fn run(
    target: &RouterTarget,
    send: &Send,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let result = attempt(target, send, as_json).await;
    if as_json && let Err(error) = &result {
        let code = error
            .downcast_ref::<Failure>()
            .map_or(ERROR, |failure| failure.code);
        let said = json!({
            "event": "failed", "why": error.to_string(), "code": code, "code_of": "p2p-console",
        });
        output::print_line(&said.to_string())?;
    }
    result
}

async fn attempt(target: &RouterTarget, send: &Send, as_json: bool) -> anyhow::Result<ExitCode> {
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
    let mut client = client::connect(target).await?;
    let link = find(&client.links, &send.to)?;
    let message = ConsoleToRouter::Send {
        request: REQUEST,
        service_port: link.service_port,
        command: send.command.clone(),
        arguments,
        for_ms: send
            .lasting
            .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    };
    client.socket.push(&message)?;
    let mut printer = RunPrinter {
        as_json,
        command: send.command.to_string(),
        run: None,
        has_started: false,
        printed: 0,
    };
    let mut signals = StopSignals::new()?;
    let service_port = link.service_port;
    let code = match follow(&mut client.socket, &mut printer, &mut signals).await? {
        FollowResult::Ended(code) => code,
        FollowResult::Lost { why, is_routers } => {
            let socket = (!is_routers).then_some(client.socket);
            let code = if is_routers { UNREACHABLE } else { OFFLINE };
            return recover(target, socket, service_port, printer, signals, code, why).await;
        }
    };
    client
        .socket
        .close_with(None, "bye", client::FAREWELL)
        .await;
    Ok(code.into())
}

/// Asks for the run whose answer was lost, until its end is known.
async fn recover(
    target: &RouterTarget,
    socket: Option<ConsoleSocket>,
    service_port: u16,
    mut printer: RunPrinter,
    mut signals: StopSignals,
    code: u8,
    why: String,
) -> anyhow::Result<ExitCode> {
    let lost = printer.lost_failure(code, &why);
    let Some(run) = printer.run else {
        return Err(lost.into());
    };
    printer.report_lost(run, &why)?;
    let told = tokio::select! {
        told = recover_run::recover(target, socket, service_port, run) => told,
        () = signals.received() => return Ok(INTERRUPTED.into()),
    };
    match told {
        Ok(Some(told)) => Ok(printer.report_recovered(run, told)?.into()),
        Ok(None) => Err(Failure::new(
            code,
            format!("{lost}; its car is back and doesn't know it: it did not begin, or the car's program was started again since"),
        )
        .into()),
        Err(failure) => Err(Failure::new(code, format!("{lost}; {failure}")).into()),
    }
}

/// The signals that end this program.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

enum FollowResult {
    /// To its end, with this exit code.
    Ended(u8),
    /// Until the link to the car or the connection to the router was lost.
    Lost { why: String, is_routers: bool },
}

impl FollowResult {
    fn lost(why: impl Into<String>, is_routers: bool) -> Self {
        Self::Lost {
            why: why.into(),
            is_routers,
        }
    }
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

struct RunPrinter {
    as_json: bool,
    command: String,
    run: Option<RunId>,
    has_started: bool,
    /// Bytes of output that were printed.
    printed: u64,
}

/// Follows the run as far as possible.
async fn follow(
    socket: &mut ConsoleSocket,
    printer: &mut RunPrinter,
    signals: &mut StopSignals,
) -> anyhow::Result<FollowResult> {
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_traffic = Instant::now();
    loop {
        let event = tokio::select! {
            event = socket.event() => event,
            () = signals.received() => return cancel(socket),
            _ = pings.tick() => {
                if last_traffic.elapsed() > DEAD {
                    return Ok(FollowResult::lost("the router does not answer any more", true));
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
                if event == SendEvent::Lost {
                    return Ok(FollowResult::lost("the link to the car was lost", false));
                }
                if let Some(code) = printer.handle(event)? {
                    return Ok(FollowResult::Ended(code));
                }
            }
            Ok(SocketEvent::Message(RouterToConsole::Refused {
                reason, message, ..
            })) => {
                return Err(Failure::new(for_refusal(Some(reason)), message).into());
            }
            Ok(SocketEvent::Closed(why)) => {
                return Ok(FollowResult::lost(client::closed(&why), true));
            }
            Err(error) => return Ok(FollowResult::lost(error.to_string(), true)),
            Ok(_) => {}
        }
    }
}

/// Asks the router to end the run. The message is sent when the connection is closed.
fn cancel(socket: &mut ConsoleSocket) -> anyhow::Result<FollowResult> {
    socket.push(&ConsoleToRouter::Cancel { request: REQUEST })?;
    Ok(FollowResult::Ended(INTERRUPTED))
}

impl RunPrinter {
    fn handle(&mut self, event: SendEvent) -> anyhow::Result<Option<u8>> {
        let run = self.run.map(|run| run.to_string());
        match event {
            SendEvent::Queued { run } => {
                self.run = Some(run);
                self.print_json(&json!({ "event": "queued", "run": run.to_string() }))?;
            }
            SendEvent::Started => {
                self.has_started = true;
                self.print_json(&json!({ "event": "started", "run": run }))?;
            }
            SendEvent::Output(bytes) => self.print(&bytes)?,
            SendEvent::Finished {
                end,
                exec_us,
                stderr,
            } => return Ok(Some(self.finished(end, exec_us, &stderr)?)),
            // Nobody knows whether it ran, as when the link is lost.
            SendEvent::Refused {
                refusal: Some(Refusal::WorkerLost),
                message,
                ..
            } => return Err(Failure::new(OFFLINE, message).into()),
            SendEvent::Refused {
                reason, message, ..
            } => return Err(Failure::new(for_refusal(reason), message).into()),
            // What became of it is asked for.
            SendEvent::Lost => {}
        }
        Ok(None)
    }

    fn print(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.printed += bytes.len() as u64;
        if self.as_json {
            return self
                .print_json(&json!({ "event": "output", "text": String::from_utf8_lossy(bytes) }));
        }
        if !output::print_output(bytes)? {
            anyhow::bail!("nobody reads the output any more");
        }
        Ok(())
    }

    fn finished(&self, end: End, exec_us: u64, stderr: &[u8]) -> anyhow::Result<u8> {
        let code = for_end(end);
        if self.as_json {
            self.print_json(&json!({
                "event": "finished", "run": self.run.map(|run| run.to_string()),
                "exit": end.to_string(), "exec_ms": millis_f64(Duration::from_micros(exec_us)),
                "stderr": String::from_utf8_lossy(stderr), "code": code, "code_of": "command",
            }))?;
        } else {
            output::print_stderr(stderr);
            self.explain(end);
        }
        Ok(code)
    }

    fn report_lost(&self, run: RunId, why: &str) -> anyhow::Result<()> {
        if self.as_json {
            return self
                .print_json(&json!({ "event": "lost", "run": run.to_string(), "why": why }));
        }
        let sentence =
            format!("{why}: waiting to hear what became of run {run} (Ctrl-C leaves it alone)\n");
        output::print_stderr(sentence.as_bytes());
        Ok(())
    }

    /// Prints the rest of a run as its car remembers it; returns the exit code.
    fn report_recovered(&mut self, run: RunId, told: RunReport) -> anyhow::Result<u8> {
        match told.outcome {
            Outcome::Ended { end, exec_us } => {
                let printed = usize::try_from(self.printed).unwrap_or(usize::MAX);
                if let Some(rest) = told.output.get(printed..).filter(|rest| !rest.is_empty()) {
                    self.print(rest)?;
                }
                if self.printed < told.bytes {
                    let missing = told.bytes - self.printed;
                    output::print_stderr(
                        format!("{missing} bytes of its output were lost\n").as_bytes(),
                    );
                }
                self.finished(end, exec_us, &told.stderr)
            }
            Outcome::Refused(why) => {
                Err(Failure::new(ERROR, format!("it was not run: {why}")).into())
            }
            Outcome::Unknown(why) => Err(Failure::new(OFFLINE, why).into()),
            // It is asked for until it is over.
            Outcome::Waiting | Outcome::Running => Err(self
                .lost_failure(OFFLINE, &format!("run {run} goes on"))
                .into()),
        }
    }

    fn print_json(&self, value: &serde_json::Value) -> anyhow::Result<()> {
        if self.as_json && !output::print_line(&value.to_string())? {
            anyhow::bail!("nobody reads the output any more");
        }
        Ok(())
    }

    /// Explains an exit code that the command did not give itself.
    fn explain(&self, end: End) {
        if !matches!(end, End::Exit(_) | End::Ended) {
            let command = Escaped(&self.command);
            output::print_stderr(format!("{command} was ended: {end}\n").as_bytes());
        }
    }

    fn lost_failure(&self, code: u8, why: &str) -> Failure {
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
