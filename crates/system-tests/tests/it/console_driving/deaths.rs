//! A moving car when something between the key and the wheels dies, is stopped or goes silent: the car
//! stops by itself, and moves again only by a fresh press.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::fixture::{Fixture, SETTLED, UP, UP_RELEASED};
use crate::common::program::{RunningProgram, inner_of};
use crate::common::pty::TestTerminal;

/// Far above lease and stop, far below what would hide a stop that only a timeout brings.
const AT_ONCE: Duration = Duration::from_secs(4);

async fn stops(fixture: &Fixture, what: &str) {
    let begun = Instant::now();
    fixture.last_ran("stop").await;
    assert!(begun.elapsed() < AT_ONCE, "{what}: {:?}", begun.elapsed());
}

/// Nothing moves until a fresh press; that does.
async fn drives_again_only_by_a_fresh_press(
    fixture: &Fixture,
    terminal: &TestTerminal,
    state: &str,
) {
    terminal.sees(state).await;
    let before = fixture.ran().len();
    // Still held, let go, and the link is back for long enough.
    terminal.send(b"\x1b[1;1:2A");
    terminal.send(UP_RELEASED);
    let ran = fixture.ran_after(before).await;
    assert!(!ran.contains(&"forward".to_owned()), "{ran:?}");
    let before = fixture.count("forward");
    terminal.send(b"\x1b[97u\x1b[97;1:3u");
    terminal.sees("ARMED").await;
    terminal.send(UP);
    fixture.last_ran("forward").await;
    assert_eq!(fixture.count("forward"), before + 1);
    terminal.send(UP_RELEASED);
    fixture.last_ran("stop").await;
}

#[tokio::test]
async fn the_console_killed() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.driving().await;
    terminal.signal(Signal::KILL);
    stops(&fixture, "killed").await;
    terminal.end().await;
}

#[tokio::test]
async fn the_console_stopped_and_continued_with_keys_that_waited() {
    let fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    let before = fixture.ran().len();
    terminal.signal(Signal::STOP);
    stops(&fixture, "the lease").await;
    for _ in 0..10 {
        terminal.send(UP_RELEASED);
        terminal.send(UP);
    }
    terminal.signal(Signal::CONT);
    terminal.sees("FAILSAFE").await;
    let ran = fixture.ran_after(before).await;
    assert!(ran.iter().all(|ran| ran == "stop"), "{ran:?}");
    drives_again_only_by_a_fresh_press(&fixture, &terminal, "FAILSAFE").await;
}

#[tokio::test]
async fn the_terminal_hung_up() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.driving().await;
    terminal.hang_up();
    stops(&fixture, "hung up").await;
    // It ends rather than to read a dead terminal for ever.
    let begun = Instant::now();
    assert!(terminal.end().await.is_some());
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_link_to_the_car_silent() {
    let fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    // It dials again within a moment: too soon for anyone to read what is said of it.
    fixture.proxy.refuse(true);
    fixture.proxy.silence();
    stops(&fixture, "the lease").await;
    terminal.sees("LINK LOST router → car").await;
    fixture.proxy.refuse(false);
    drives_again_only_by_a_fresh_press(&fixture, &terminal, "FAILSAFE").await;
}

#[tokio::test]
async fn the_router_killed() {
    let mut fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    fixture.router.kill().await;
    stops(&fixture, "the lease").await;
    terminal.sees("LINK LOST console → router").await;
    let (router, _) = RunningProgram::open_router(fixture.folder.path(), fixture.router_port).await;
    fixture.router = router;
    drives_again_only_by_a_fresh_press(&fixture, &terminal, "FAILSAFE").await;
}

#[tokio::test]
async fn the_inner_killed() {
    let mut fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    fixture.inner.kill().await;
    stops(&fixture, "the guardian").await;
    terminal.sees("LINK LOST router → car").await;
    let mut again = inner_of(fixture.folder.path(), fixture.proxy.port(), fixture.port);
    fixture.inner = RunningProgram::start(&mut again);
    assert_eq!(fixture.inner.service_port().await, fixture.port);
    drives_again_only_by_a_fresh_press(&fixture, &terminal, "FAILSAFE").await;
}

#[tokio::test]
async fn the_inner_stopped() {
    let fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    let continued = super::fixture::ContinuedProgram(&fixture.inner);
    fixture.inner.signal(Signal::STOP);
    stops(&fixture, "the guardian").await;
    drop(continued);
    terminal.sees("FAILSAFE").await;
    tokio::time::sleep(SETTLED).await;
    drives_again_only_by_a_fresh_press(&fixture, &terminal, "FAILSAFE").await;
}
