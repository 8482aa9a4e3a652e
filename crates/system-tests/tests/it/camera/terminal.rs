//! The picture in the console's terminal.

use std::fs;

use super::fixture::Camera;
use crate::common::pty::TestTerminal;
use crate::common::{World, program, until};

const RED_AND_BLUE: &[u8] = include_bytes!("../../../../console/src/picture/red-and-blue.jpg");

#[tokio::test]
async fn the_console_shows_the_picture_and_says_when_it_is_old() {
    let world = World::open();
    fs::write(world.note("0.jpg"), RED_AND_BLUE).unwrap();
    let shows = "while [ -e pid ]; do cat 0.jpg; sleep 0.02; done; exec sleep 100";
    let camera = Camera(&world);
    let (_inner, port) = camera.inner(shows).await;
    let mut console = program::console(world.folder.path(), world.main_port());
    console.env("COLORTERM", "truecolor");
    let terminal = TestTerminal::start(&console, true, (120, 40));
    terminal.await_text(&port.to_string()).await;
    assert_eq!(camera.starts(), 0, "nobody looks");
    terminal.send(b"v");
    terminal.await_text("▀▀▀▀").await;
    terminal.await_text("Camera").await;
    fs::remove_file(world.note("pid")).unwrap();
    terminal.await_text("OLD ").await;
    assert!(terminal.picture().contains('▀'));
    terminal.send(b"vv");
    until("it is off", || !terminal.picture().contains('▀')).await;
}
