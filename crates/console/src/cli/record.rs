//! `record`: has a car recorded at its router from now on, or no longer.

use std::process::ExitCode;

use p2p_shared::protocol::{ConsoleToRouter, ControlInfo, FeedEvent, RouterToConsole};
use p2p_shared::timing::HELLO;
use serde_json::json;

use super::client::{self, RouterClient, next_message};
use super::json;
use super::output::{self, OutputLine};
use crate::app::NO_RECORDINGS;
use crate::connection::{ConsoleSocket, RouterTarget};
use crate::exit_code::{DENIED, ERROR, Failure, UNREACHABLE};

/// Where the router takes long, or its disk.
const NO_FILE: &str = "no file has begun within 5 s, so the car is not recorded: try again";

pub(super) async fn run(
    target: &RouterTarget,
    link: &str,
    on: bool,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    if target.readonly {
        let why = "--readonly only watches: leave it out to record";
        return Err(Failure::new(DENIED, why).into());
    }
    let mut client = RouterClient::connect(target).await?;
    let known = client.known(link).cloned();
    let asked = async {
        let car = known?;
        if car.control.recording.is_none() {
            return Err(Failure::new(ERROR, NO_RECORDINGS));
        }
        let was_asked = (car.control.recording.as_ref()).is_some_and(|it| it.asked.is_some());
        let answer = ask(&mut client.socket, car.service_port, on);
        let late = |_| Failure::new(UNREACHABLE, NO_FILE);
        let answered = tokio::time::timeout(HELLO, answer).await;
        let answered = answered.map_err(late).flatten();
        if answered.is_err() && on && !was_asked {
            // What has failed for who asked does not begin later.
            let (service_port, on) = (car.service_port, false);
            let withdrawn = ConsoleToRouter::Record { service_port, on };
            let _ = client.socket.push(&withdrawn);
        }
        Ok((car, answered?))
    };
    let asked = asked.await;
    client.close().await;
    let (car, control) = asked?;
    let name = &car.name;
    if as_json {
        let told =
            json!({ "event": "recording", "link": name, "recording": json::recording(&control) });
        output::print_line(&OutputLine::ForScripts(told))?;
        return Ok(ExitCode::SUCCESS);
    }
    let recording = control.recording.as_ref();
    let file = recording.and_then(|it| it.file.as_ref());
    let file = file.map_or(String::new(), |file| format!(": {file} at its router"));
    let said = match (on, control.driver.as_ref()) {
        (true, _) => format!(
            "{name} is recorded from now on, 15 min at most (p2p-console record {name} --off ends it){file}"
        ),
        (false, Some(driver)) => {
            format!("{name} is recorded while {} drives it{file}", driver.name)
        }
        (false, None) => format!("{name} is not recorded any more"),
    };
    output::print_lines([OutputLine::ForPeople(said)])
}

/// Asks for it, and waits until it is so.
async fn ask(
    socket: &mut ConsoleSocket,
    service_port: u16,
    on: bool,
) -> Result<ControlInfo, Failure> {
    client::ask(socket, &ConsoleToRouter::Record { service_port, on })?;
    loop {
        let control = match next_message(socket).await? {
            RouterToConsole::Feed(FeedEvent::Control {
                service_port: port,
                control,
            }) if port == service_port => control,
            _ => continue,
        };
        let recording = control.recording.clone().unwrap_or_default();
        if let (true, Some(why)) = (on, recording.failure) {
            return Err(Failure::new(ERROR, format!("not recorded: {why}")));
        }
        let is_asked = recording.asked.is_some();
        let is_so = match on {
            true => is_asked && recording.file.is_some(),
            false => !is_asked,
        };
        if is_so {
            return Ok(control);
        }
    }
}
