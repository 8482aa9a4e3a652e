//! Asks routers what became of runs (`/run/ID`), and checks what they say against the machines.

use p2p_shared::names::RunId;
use serde::Deserialize;

use super::super::answers::AnswerLog;
use super::super::rng::Rng;
use super::callers::{CallerConnection, HOSTS};
use super::world::MeshWorld;
use super::{NAMES, ROUTERS};
use crate::http::response::Executed;

/// Most runs that routers are asked about.
const MOST: usize = 6;

/// What a router says, as far as it is checked.
#[derive(Deserialize)]
struct Told {
    executed: String,
}

/// Checks what routers say, mostly of runs of which callers were told that nobody knows.
pub(super) async fn check(answers: &AnswerLog, world: &MeshWorld, rng: &Rng) {
    let mut answers = answers.all();
    answers.retain(|answer| answer.is_plain());
    answers.reverse();
    // The last ones, of which the car knows most.
    answers.sort_by_key(|answer| answer.executed != Some(Executed::Unknown));
    for answer in answers.into_iter().take(MOST) {
        let (router, run) = (rng.below(ROUTERS), answer.run);
        let told = ask(world, router, run).await;
        let mut machines = world.machines.iter();
        let was = machines.any(|machine| !machine.executions(run).is_empty());
        let told = told.as_ref().map(|(status, it)| (*status, &**it));
        let is_true = match told {
            Some((200, "yes")) => was,
            Some((200, "no")) => !was,
            Some((200, _)) => true,
            Some((404, _)) => world.may_be_forgotten(run),
            _ => false,
        };
        if !is_true {
            let name = NAMES[router];
            let how = format!("{name} says of /run/{run} {told:?}; executed: {was}");
            world.history.violation(1, how);
        }
    }
}

/// Asks a router. Returns the status of its answer, and whether the run was executed.
async fn ask(world: &MeshWorld, router: usize, run: RunId) -> Option<(u16, String)> {
    let mut connection = CallerConnection::new(world, router, world.keys.good()).await?;
    let path = format!("/run/{run}");
    let (head, body) = connection.send(&path, HOSTS[0], Vec::new()).await?;
    let told = serde_json::from_slice(&body).map(|told: Told| told.executed);
    Some((head.status.as_u16(), told.unwrap_or_default()))
}
