//! Owns what keys do to the car, in terminals that tell of releases and in those that don't.

use std::time::Duration;

use super::stand::{
    LEFT, LEFT_RELEASED, LEGACY_UP, NOTHING_COMES, SIZE, Stand, UP, UP_RELEASED, UP_REPEATED,
};

/// This ran, and then perhaps stop again: for a process that had not ended when it began.
fn moved_once(ran: &[String], expected: &[&str]) {
    let (first, more) = ran.split_at(expected.len().min(ran.len()));
    assert_eq!(first, expected);
    assert!(
        more.len() <= 1 && more.iter().all(|ran| ran == "stop"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_held_arrow_moves_once_and_its_release_stops_once() {
    let stand = Stand::new().await;
    let desk = stand.desk().await;
    let before = stand.ran().len();
    desk.send(UP);
    stand.last_ran("forward").await;
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(33)).await;
        desk.send(UP_REPEATED);
    }
    desk.send(UP_RELEASED);
    // Taking control stops first: whatever moves then is not ours.
    moved_once(&stand.ran_after(before).await, &["stop", "forward", "stop"]);
    desk.sees("ARMED").await;
    // A second press by the one who has control: nothing comes before it.
    let before = stand.ran().len();
    desk.send(UP);
    stand.last_ran("forward").await;
    desk.send(UP_RELEASED);
    moved_once(&stand.ran_after(before).await, &["forward", "stop"]);
}

#[tokio::test]
async fn without_releases_a_tap_is_one_pulse_and_silence_stops_a_held_key() {
    let stand = Stand::new().await;
    let desk = stand.desk_with(&[], false).await;
    desk.sees("KEYS tap").await;
    let before = stand.ran().len();
    desk.send(LEGACY_UP);
    moved_once(&stand.ran_after(before).await, &["stop", "forward", "stop"]);
    // As a keyboard does: a delay, then repeats. Silence is the only release.
    let before = stand.ran().len();
    for n in 0..20 {
        desk.send(LEGACY_UP);
        let pause = if n == 0 { 200 } else { 60 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    let ran = stand.ran_after(before).await;
    // On a machine that has no time for us, one hold may become two.
    let moves = ran.iter().filter(|ran| *ran == "forward").count();
    assert!(
        (1..=3).contains(&moves) && ran.last().unwrap() == "stop",
        "{ran:?}"
    );
    assert!(
        ran.windows(2).all(|two| two != ["forward", "forward"]),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_second_direction_replaces_the_first() {
    let stand = Stand::new().await;
    let desk = stand.driving().await;
    desk.send(LEFT);
    stand.last_ran("left").await;
    // The first key's release is no longer anyone's.
    desk.send(UP_RELEASED);
    tokio::time::sleep(Duration::from_millis(100)).await;
    desk.sees("DRIVING ◀").await;
    desk.send(LEFT_RELEASED);
    stand.last_ran("stop").await;
    desk.sees("ARMED").await;
    assert_eq!((stand.count("forward"), stand.count("left")), (1, 1));
}

#[tokio::test]
async fn space_latches_until_control_is_taken_anew() {
    let stand = Stand::new().await;
    let desk = stand.driving().await;
    desk.send(b"\x1b[32u");
    let before = stand.last_ran("stop").await.len();
    desk.sees("STOPPED").await;
    // Held, released, pressed again: nothing moves.
    for keys in [UP_REPEATED, UP_RELEASED, UP, UP_RELEASED] {
        desk.send(keys);
    }
    desk.sees("press a to take control again").await;
    assert_eq!(stand.ran_after(before).await, [""; 0]);
    desk.send(b"\x1b[97u");
    desk.sees("ARMED").await;
    desk.send(UP);
    stand.last_ran("forward").await;
    desk.send(UP_RELEASED);
    stand.last_ran("stop").await;
}

#[tokio::test]
async fn a_megabyte_pasted_while_a_key_is_held_stops_and_moves_nothing() {
    let stand = Stand::new().await;
    let mut desk = stand.driving().await;
    let before = stand.ran().len();
    desk.send(b"\x1b[200~");
    for _ in 0..256 {
        desk.send(&b"\x1b[A q \x03 a ".repeat(372));
    }
    desk.send(b"\x1b[201~");
    let ran = stand.ran_after(before).await;
    assert!(
        ran.iter().all(|ran| ran == "stop") && !ran.is_empty(),
        "{ran:?}"
    );
    desk.send(b"q");
    assert_eq!(desk.end().await, Some(0));
}

#[tokio::test]
async fn quitting_while_a_key_is_held_stops_the_car_and_frees_it() {
    let stand = Stand::new().await;
    let mut desk = stand.driving().await;
    desk.send(b"\x1b[113u");
    assert_eq!(desk.end().await, Some(0));
    stand.last_ran("stop").await;
    let next = stand.driving().await;
    next.send(UP_RELEASED);
    stand.last_ran("stop").await;
}

#[tokio::test]
async fn a_window_that_becomes_too_small_stops_and_disarms() {
    let stand = Stand::new().await;
    let desk = stand.driving().await;
    let before = stand.ran().len();
    desk.resize(10, 3);
    desk.sees("needs").await;
    // The key is still held, and another is pressed.
    for keys in [UP_REPEATED, LEFT, b"\x1b[97u"] {
        desk.send(keys);
    }
    let ran = stand.ran_after(before).await;
    assert!(
        ran.iter().all(|ran| ran == "stop") && !ran.is_empty(),
        "{ran:?}"
    );
    desk.send(UP_RELEASED);
    desk.send(LEFT_RELEASED);
    desk.resize(SIZE.0, SIZE.1);
    desk.sees("1 Fleet").await;
    desk.sees("VIEW").await;
    tokio::time::sleep(NOTHING_COMES).await;
    assert_eq!((stand.count("forward"), stand.count("left")), (1, 0));
    desk.send(UP);
    desk.sees("DRIVING").await;
    assert_eq!(stand.last_ran("forward").await.len(), stand.ran().len());
    desk.send(UP_RELEASED);
    stand.last_ran("stop").await;
}
