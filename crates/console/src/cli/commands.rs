//! `commands`: prints what a car can do, a line each.

use std::process::ExitCode;

use p2p_shared::names::CommandName;
use p2p_shared::protocol::{CommandInfo, ConsoleToRouter, RouterToConsole};
use p2p_shared::timing::HELLO;
use serde_json::json;

use super::client::{RouterClient, ask, next_message};
use super::output::{self, OutputLine};
use crate::connection::{ConsoleSocket, RouterTarget};
use crate::exit_code::{Failure, OFFLINE};
use crate::text::closest;

/// Our number for the list; that of the only run of this program is 1.
const REQUEST: u64 = 2;

pub(super) async fn run(
    target: &RouterTarget,
    link: &str,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let mut client = RouterClient::connect(target).await?;
    let found = client.find(link).map(|car| car.service_port);
    let listed = match found {
        Ok(service_port) => list(&mut client.socket, service_port).await,
        Err(failure) => Err(failure),
    };
    client.close().await;
    let listed = listed?;
    if listed.is_empty() && !as_json {
        output::print_sentence(&format!(
            "{link} has no commands: put executable files into its command directory"
        ));
    }
    output::print_lines(listed.into_iter().map(|it| line(it, as_json)))
}

fn line(CommandInfo { name, problem }: CommandInfo, as_json: bool) -> OutputLine {
    if as_json {
        return OutputLine::ForScripts(json!({ "name": name, "problem": problem }));
    }
    let problem = problem.map(|why| format!("  can't be run: {why}"));
    OutputLine::ForPeople(format!("{name}{}", problem.unwrap_or_default()))
}

/// Asks for all commands of the car.
async fn list(socket: &mut ConsoleSocket, service_port: u16) -> Result<Vec<CommandInfo>, Failure> {
    let question = ConsoleToRouter::ListCommands {
        request: REQUEST,
        service_port,
    };
    ask(socket, &question)?;
    let asked = async {
        let mut all = Vec::new();
        loop {
            if let RouterToConsole::Commands {
                request: REQUEST,
                commands,
                more,
            } = next_message(socket).await?
            {
                all.extend(commands);
                if !more {
                    return Ok(all);
                }
            }
        }
    };
    let late = || Failure::new(OFFLINE, "the car did not say its commands in time");
    (tokio::time::timeout(HELLO, asked).await).unwrap_or_else(|_| Err(late()))
}

/// Says what to do about a command that the car has not.
pub(super) async fn hint(
    socket: &mut ConsoleSocket,
    (link, service_port): (&str, u16),
    command: &CommandName,
) -> String {
    let listed = list(socket, service_port).await.unwrap_or_default();
    let names = listed.iter().map(|it| it.name.as_str());
    let meant = closest(command.as_str(), names);
    let meant = meant.map(|name| format!("did you mean {name}? "));
    format!(
        "{}All that it can do: p2p-console commands {link}",
        meant.unwrap_or_default()
    )
}
