//! A console in a terminal, at a router of a mesh that does not have the car: it shows the car and drives it, also
//! after the router between was killed, and after the car's own was started again in place.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::history::{CarAct, acts};
use super::mesh_fixture::{MeshConfig, MeshFixture};
use crate::common::program;
use crate::common::pty::TestTerminal;
use crate::common::until;

/// kitty's up arrow: pressed, repeated, released; and `a`.
const UP: &[u8] = b"\x1b[1;1:1A";
const UP_REPEATED: &[u8] = b"\x1b[1;1:2A";
const UP_RELEASED: &[u8] = b"\x1b[1;1:3A";
const ARM: &[u8] = b"\x1b[97u\x1b[97;1:3u";
/// Far above lease and stop, far below what would hide a stop that only a timeout brings.
const AT_ONCE: Duration = Duration::from_secs(4);
/// Pause between two keys: a held one repeats more often than once a second.
const REPEAT: Duration = Duration::from_millis(400);

/// Sends this key until it has happened.
async fn repeating<T>(terminal: &TestTerminal, key: &[u8], happens: impl Future<Output = T>) -> T {
    let repeats = async {
        loop {
            tokio::time::sleep(REPEAT).await;
            terminal.send(key);
        }
    };
    tokio::select! {
        biased;
        happened = happens => happened,
        never = repeats => never,
    }
}

fn moves(path: &Path) -> usize {
    let acts = acts(path);
    let moves = acts.iter().filter(|(_, act)| *act != CarAct::Stops);
    moves.count()
}

async fn stops(path: &Path) {
    let is_stopped = || {
        acts(path)
            .last()
            .is_some_and(|(_, act)| *act == CarAct::Stops)
    };
    until("the car stops", is_stopped).await;
}

/// The car stops though the key is held, and the console drives no more.
async fn stops_at_once(terminal: &TestTerminal, path: &Path) {
    let begun = Instant::now();
    repeating(terminal, UP_REPEATED, stops(path)).await;
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    let drives_no_more = || {
        let picture = terminal.picture();
        !["DRIVING", "ARMED"]
            .iter()
            .any(|state| picture.contains(state))
    };
    let knows = until("the console knows", drives_no_more);
    repeating(terminal, UP_REPEATED, knows).await;
    terminal.send(UP_RELEASED);
}

/// Takes control as soon as the car may be driven, presses, and waits until the car moves.
async fn drives(terminal: &TestTerminal, path: &Path) {
    let before = moves(path);
    repeating(terminal, ARM, terminal.sees("ARMED")).await;
    terminal.send(UP);
    let is_moving = async {
        until("the car moves", || moves(path) > before).await;
        terminal.sees("DRIVING").await;
    };
    repeating(terminal, UP_REPEATED, is_moving).await;
}

#[tokio::test]
async fn a_console_drives_by_a_router_that_is_killed_and_a_car_whose_router_starts_again() {
    let mut fixture = MeshFixture::start(MeshConfig::default()).await;
    let path = fixture.path().to_owned();
    let mut console = program::command(&program::path("p2p-console"), &path).into_std();
    let routers = format!("{},{}", fixture.main(2).at, fixture.main(1).at);
    console.args(["--router", &routers]);
    let terminal = TestTerminal::start(&console, true, (100, 30));
    terminal.sees(" car :").await;
    terminal.sees(&fixture.main(0).at.to_string()).await;

    drives(&terminal, &path).await;
    fixture.routers[2].kill().await;
    stops_at_once(&terminal, &path).await;
    terminal.sees(&format!("{} ● up", fixture.main(1).at)).await;

    // By the other one.
    drives(&terminal, &path).await;
    fixture.routers[0].signal(Signal::USR2);
    stops_at_once(&terminal, &path).await;
    let is_back = "service ports are open again";
    fixture.routers[0].says(is_back).await;

    drives(&terminal, &path).await;
    terminal.send(UP_RELEASED);
    stops(&path).await;
}
