//! The first arrow key of an operator, with the real parts: console, router and car.

use std::time::Duration;

use crate::common;
use crate::common::pty::TestTerminal;
use crate::common::{World, program, until};

/// kitty's up arrow: pressed, released.
const DOWN: &[u8] = b"\x1b[1;1:1A";
const UP: &[u8] = b"\x1b[1;1:3A";
const SIZE: (u16, u16) = (100, 32);

#[tokio::test]
async fn the_first_arrow_on_a_car_just_looked_at_drives_at_once() {
    let world = World::open();
    let did = world.note("did");
    let note = |what: &str| format!("echo {what} >> {}", did.display());
    world.script("forward", &format!("{}; exec sleep 100", note("forward")));
    world.script("stop", &note("stop"));
    let (_car, port) = world.inner().await;
    let other = p2p_inner::Config {
        name: "rig".parse().unwrap(),
        identity: "identity2".parse().unwrap(),
        ..common::inner_config(&world)
    };
    let (_other, _) = world.inner_with(other).await;
    // Two links: it opens on Fleet, where no car ticks.
    let console = program::console(world.folder.path(), world.main_port());
    let terminal = TestTerminal::start(&console, true, SIZE);
    terminal.await_text(&port.to_string()).await;
    terminal.await_text("rig").await;
    // The link has to be healthy for half a second, which nothing on the screen tells.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let lines = || std::fs::read_to_string(&did).unwrap_or_default();
    let before = lines().len();
    assert!(!lines().contains("forward"));
    // Both in one: the look at the car, and the key.
    terminal.send(&[b"\r", DOWN].concat());
    until("it moves", || lines()[before..].contains("forward")).await;
    terminal.await_text("DRIVING").await;
    terminal.send(UP);
    // It may run once more, when the motion was reaped only after it had begun.
    until("it stands", || lines().contains("forward\nstop\n")).await;
    assert_eq!(lines().matches("forward").count(), 1);
}
