//! Finds out what became of a run whose answer was lost: the car remembers, and is asked when it is
//! back.

use std::time::Duration;

use p2p_shared::names::RunId;
use p2p_shared::protocol::{
    ConsoleToRouter, LinkInfo, Outcome, RouterToConsole, RunAnswer, RunReport,
};
use p2p_shared::timing::PORT_KEPT;
use p2p_shared::websocket::SocketEvent;
use tokio::time::{Instant, sleep, timeout};

use super::client::RouterClient;
use crate::connection::{ConsoleSocket, RouterTarget};
use crate::exit_code::{DENIED, Failure};

/// Our number for the question.
const REQUEST: u64 = 2;
/// Pause between two questions.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for an answer: the router gives up waiting for its car sooner.
const ANSWER: Duration = Duration::from_secs(12);

/// Asks the car what became of the run, until the run has ended; `None` if the car doesn't know the
/// run. The car may come back at another of the routers. Gives up when the router would give up the
/// car's port.
///
/// # Errors
/// If the car could not be asked in that time.
pub(super) async fn recover(
    target: &RouterTarget,
    client: &mut Option<RouterClient>,
    car: &LinkInfo,
    run: RunId,
) -> Result<Option<RunReport>, Failure> {
    let mut target = target.clone();
    let mut give_up_at = Instant::now() + PORT_KEPT;
    let mut why = Failure::new(crate::exit_code::OFFLINE, "the car did not come back");
    loop {
        if client.is_none() {
            match RouterClient::connect(&target).await {
                Ok(connected) => *client = Some(connected),
                Err(failure) if failure.code == DENIED => return Err(failure),
                Err(failure) => why = failure,
            }
        }
        if let Some(open) = client {
            let answer = match port_of(car, open, &target) {
                Some(port) => timeout(ANSWER, ask(&mut open.socket, port, run)).await,
                None => Ok(Some(RunAnswer::Away)),
            };
            let stays = match answer {
                Ok(Some(RunAnswer::Report(report))) if is_over(&report) => return Ok(Some(report)),
                Ok(Some(RunAnswer::NotKnown)) => return Ok(None),
                Ok(Some(RunAnswer::Report(_))) => {
                    give_up_at = Instant::now() + PORT_KEPT;
                    true
                }
                Ok(Some(RunAnswer::Away)) => target.routers.len() == 1,
                Ok(None) | Err(_) => false,
            };
            if !stays && let Some(left) = client.take() {
                let asked = target.routers.iter().position(|it| *it == left.router);
                target
                    .routers
                    .rotate_left(asked.map_or(0, |asked| asked + 1));
                left.close().await;
            }
        }
        if Instant::now() > give_up_at {
            return Err(why);
        }
        sleep(PAUSE).await;
    }
}

/// The service port of the car at this router. Of several routers each gives out ports by itself, and
/// the same one may be another car's.
fn port_of(car: &LinkInfo, at: &RouterClient, target: &RouterTarget) -> Option<u16> {
    if target.routers.len() == 1 {
        return Some(car.service_port);
    }
    let is_car = |link: &&LinkInfo| link.name == car.name && link.key == car.key;
    at.links.iter().find(is_car).map(|link| link.service_port)
}

fn is_over(report: &RunReport) -> bool {
    !matches!(report.outcome, Outcome::Waiting | Outcome::Running)
}

/// Asks once; `None` if the connection is lost.
async fn ask(socket: &mut ConsoleSocket, service_port: u16, run: RunId) -> Option<RunAnswer> {
    let message = ConsoleToRouter::AskRun {
        request: REQUEST,
        service_port,
        run,
    };
    socket.push(&message).ok()?;
    loop {
        match socket.event().await.ok()? {
            SocketEvent::Message(RouterToConsole::Run {
                request: REQUEST,
                answer,
            }) => return Some(answer),
            SocketEvent::Closed(_) => return None,
            _ => {}
        }
    }
}
