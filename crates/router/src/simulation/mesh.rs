//! Histories of three routers that are one mesh: a car that may dial each of them, callers and drivers at
//! every router, and a bus and lines between routers that fail. The promises are those of one router, and:
//! whoever asks at whichever router is told the truth, no run is executed twice, no two drivers move the car,
//! it has one live link at most, and once all is well all routers agree on where it is.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::history::{History, HistoryOutcome};

mod callers;
mod checks;
mod drivers;
mod faults;
mod mesh_router;
mod scenario;
mod world;

use scenario::MeshScenario;

/// Number of routers.
const ROUTERS: usize = 3;
/// Their names, by which inners and each other know them.
const NAMES: [&str; ROUTERS] = ["a", "b", "c"];
/// The car's port.
const PORT: u16 = 20_000;

/// Runs the history of this seed.
pub(super) fn run(seed: u64, commands: &Path, is_verbose: bool) -> HistoryOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        p2p_inner::simulation::simulate_the_clock();
        p2p_shared::os::seed_randomness(seed);
        let history = History::new(is_verbose);
        let living = MeshScenario::new(seed, &history, commands).run();
        if timeout(Duration::from_secs(900), living).await.is_err() {
            history.violation(2, "the history does not end");
        }
        history.end()
    })
}
