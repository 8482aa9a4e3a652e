//! `record`: has a car recorded at its router from now on, or no longer.

use std::process::ExitCode;

use p2p_shared::names::LinkName;
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
        let answered = answered.map(|answer| answer.map_err(not_known));
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
    output::print_lines([OutputLine::ForPeople(said(name, on, &control))])
}

/// Says where one learns what became of it, if the router was lost before it has answered.
fn not_known(failure: Failure) -> Failure {
    let Failure { code, message } = failure;
    let what = match code {
        UNREACHABLE => "; p2p-console list says whether the car is recorded",
        _ => "",
    };
    Failure::new(code, message + what)
}

/// Says what is recorded of a car with this name now.
fn said(name: &LinkName, on: bool, control: &ControlInfo) -> String {
    let recording = control.recording.clone().unwrap_or_default();
    let by = control.driver.as_ref().map(|driver| &driver.name);
    match (&recording.file, by) {
        (Some(file), _) if on => format!(
            "{name} is recorded from now on, 15 min at most (p2p-console record {name} --off ends it): {file} at its router"
        ),
        (Some(file), Some(by)) => format!(
            "{name} is still recorded, until 10 s after {by} has given control back: {file} at its router"
        ),
        (Some(file), None) => {
            format!("the recording of {name} ends within 10 s: {file} at its router")
        }
        (None, _) => match recording.failure {
            Some(why) => format!("{name} is not recorded: {why}"),
            None => format!("{name} is not recorded"),
        },
    }
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

#[cfg(test)]
mod tests {
    use p2p_shared::protocol::{Driver, RecordingInfo, SessionId};

    use super::*;

    #[test]
    fn what_is_said_of_a_recording_is_so() {
        let car = "car".parse().unwrap();
        let control =
            |file: Option<&str>, driver: Option<&str>, failure: Option<&str>| ControlInfo {
                driver: driver.map(|name| Driver {
                    session: SessionId(1),
                    name: name.into(),
                }),
                recording: Some(RecordingInfo {
                    file: file.map(Into::into),
                    failure: failure.map(Into::into),
                    ..RecordingInfo::default()
                }),
                ..ControlInfo::default()
            };
        let off = |control| said(&car, false, &control);
        let file = Some("a.mcap");
        assert_eq!(
            off(control(file, Some("anna"), None)),
            "car is still recorded, until 10 s after anna has given control back: a.mcap at its router"
        );
        assert_eq!(
            off(control(file, None, None)),
            "the recording of car ends within 10 s: a.mcap at its router"
        );
        assert_eq!(off(control(None, None, None)), "car is not recorded");
        // Somebody drives, and nothing is recorded of it.
        assert_eq!(
            off(control(None, Some("anna"), Some("the disk is full"))),
            "car is not recorded: the disk is full"
        );
        let on = said(&car, true, &control(file, None, None));
        assert!(on.starts_with("car is recorded from now on, 15 min at most"));
    }
}
