//! Histories of three routers that are one mesh: a car that may dial each of them, callers and drivers at
//! every router, and a bus and lines between routers that fail. The promises are those of one router, and:
//! whoever asks at whichever router is told the truth, no run is executed twice, no two drivers move the car,
//! it has one live link at most, and once all is well all routers agree on where it is.

use std::path::Path;
use std::time::Duration;

use super::history::{History, HistoryOutcome, in_history};

mod callers;
mod checks;
mod drivers;
mod faults;
mod keys;
mod losses;
mod mesh_router;
mod moves;
mod reports;
mod scenario;
mod world;

use scenario::MeshScenario;

/// Number of routers.
const ROUTERS: usize = 3;
/// Their names, by which inners and each other know them.
const NAMES: [&str; ROUTERS] = ["a", "b", "c"];
/// The car's port.
const PORT: u16 = 20_000;

/// Time of a history at which its machine stands still, if it does.
const HELD_UP_AT: Duration = Duration::from_secs(1);

/// Runs the history of this seed.
pub(super) fn run(seed: u64, commands: &Path, is_verbose: bool) -> HistoryOutcome {
    run_held_up(seed, commands, is_verbose, Duration::ZERO)
}

/// Does so on a machine that stands still for so long meanwhile, in real time: nothing may depend on that.
pub(super) fn run_held_up(
    seed: u64,
    commands: &Path,
    is_verbose: bool,
    time: Duration,
) -> HistoryOutcome {
    let live = async |history: &History| {
        tokio::spawn(async move {
            tokio::time::sleep(HELD_UP_AT).await;
            std::thread::sleep(time);
        });
        MeshScenario::new(seed, history, commands).run().await;
    };
    in_history(seed, is_verbose, Duration::from_secs(900), live)
}
