//! Owns what becomes of a moving car when something between the key and the wheels dies, is
//! stopped or goes silent: it stops by itself, and moves again only by a fresh press.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::stand::{SETTLED, Stand, UP, UP_RELEASED};
use crate::common::program::{Program, inner_of};
use crate::common::pty::Pty;

/// Far above lease and stop, far below what would hide a stop that only a timeout brings.
const AT_ONCE: Duration = Duration::from_secs(4);

async fn stops(stand: &Stand, what: &str) {
    let begun = Instant::now();
    stand.last_ran("stop").await;
    assert!(begun.elapsed() < AT_ONCE, "{what}: {:?}", begun.elapsed());
}

/// Nothing moves until a fresh press; that does.
async fn drives_again_only_by_a_fresh_press(stand: &Stand, desk: &Pty, state: &str) {
    desk.sees(state).await;
    let before = stand.ran().len();
    // Still held, let go, and the link is back for long enough.
    desk.send(b"\x1b[1;1:2A");
    desk.send(UP_RELEASED);
    let ran = stand.ran_after(before).await;
    assert!(!ran.contains(&"forward".to_owned()), "{ran:?}");
    let before = stand.count("forward");
    desk.send(b"\x1b[97u\x1b[97;1:3u");
    desk.sees("ARMED").await;
    desk.send(UP);
    stand.last_ran("forward").await;
    assert_eq!(stand.count("forward"), before + 1);
    desk.send(UP_RELEASED);
    stand.last_ran("stop").await;
}

#[tokio::test]
async fn the_console_killed() {
    let stand = Stand::new().await;
    let mut desk = stand.driving().await;
    desk.signal(Signal::KILL);
    stops(&stand, "killed").await;
    desk.end().await;
}

#[tokio::test]
async fn the_console_stopped_and_continued_with_keys_that_waited() {
    let stand = Stand::new().await;
    let desk = stand.driving().await;
    let before = stand.ran().len();
    desk.signal(Signal::STOP);
    stops(&stand, "the lease").await;
    for _ in 0..10 {
        desk.send(UP_RELEASED);
        desk.send(UP);
    }
    desk.signal(Signal::CONT);
    desk.sees("FAILSAFE").await;
    let ran = stand.ran_after(before).await;
    assert!(ran.iter().all(|ran| ran == "stop"), "{ran:?}");
    drives_again_only_by_a_fresh_press(&stand, &desk, "FAILSAFE").await;
}

#[tokio::test]
async fn the_terminal_hung_up() {
    let stand = Stand::new().await;
    let mut desk = stand.driving().await;
    desk.hang_up();
    stops(&stand, "hung up").await;
    // It ends rather than to read a dead terminal for ever.
    let begun = Instant::now();
    assert!(desk.end().await.is_some());
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_link_to_the_car_silent() {
    let stand = Stand::new().await;
    let desk = stand.driving().await;
    // It dials again within a moment: too soon for anyone to read what is said of it.
    stand.proxy.refuse(true);
    stand.proxy.silence();
    stops(&stand, "the lease").await;
    desk.sees("LINK LOST router → car").await;
    stand.proxy.refuse(false);
    drives_again_only_by_a_fresh_press(&stand, &desk, "FAILSAFE").await;
}

#[tokio::test]
async fn the_router_killed() {
    let mut stand = Stand::new().await;
    let desk = stand.driving().await;
    stand.router.kill().await;
    stops(&stand, "the lease").await;
    desk.sees("LINK LOST console → router").await;
    let (router, _) = Program::open_router(stand.folder.path(), stand.router_port).await;
    stand.router = router;
    drives_again_only_by_a_fresh_press(&stand, &desk, "FAILSAFE").await;
}

#[tokio::test]
async fn the_inner_killed() {
    let mut stand = Stand::new().await;
    let desk = stand.driving().await;
    stand.inner.kill().await;
    stops(&stand, "the guardian").await;
    desk.sees("LINK LOST router → car").await;
    let mut again = inner_of(stand.folder.path(), stand.proxy.port(), stand.port);
    stand.inner = Program::start(&mut again);
    assert_eq!(stand.inner.service_port().await, stand.port);
    drives_again_only_by_a_fresh_press(&stand, &desk, "FAILSAFE").await;
}

#[tokio::test]
async fn the_inner_stopped() {
    let stand = Stand::new().await;
    let desk = stand.driving().await;
    let continued = super::stand::Continued(&stand.inner);
    stand.inner.signal(Signal::STOP);
    stops(&stand, "the guardian").await;
    drop(continued);
    desk.sees("FAILSAFE").await;
    tokio::time::sleep(SETTLED).await;
    drives_again_only_by_a_fresh_press(&stand, &desk, "FAILSAFE").await;
}
