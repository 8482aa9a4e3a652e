//! What keys do to the car, in terminals that report releases and in those that don't.

use std::time::Duration;

use super::fixture::{
    Fixture, LEFT, LEFT_RELEASED, LEFT_REPEATED, LEGACY_UP, NOTHING_COMES, SIZE, UP, UP_RELEASED,
    UP_REPEATED, holding,
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
    let fixture = Fixture::new().await;
    let terminal = fixture.terminal().await;
    let before = fixture.ran().len();
    terminal.send(UP);
    fixture.last_ran("forward").await;
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(33)).await;
        terminal.send(UP_REPEATED);
    }
    terminal.send(UP_RELEASED);
    // Taking control stops first: whatever moves then is not ours.
    moved_once(
        &fixture.ran_after(before).await,
        &["stop", "forward", "stop"],
    );
    terminal.sees("ARMED").await;
    // A second press by the one who has control: nothing comes before it.
    let before = fixture.ran().len();
    terminal.send(UP);
    fixture.last_ran("forward").await;
    terminal.send(UP_RELEASED);
    moved_once(&fixture.ran_after(before).await, &["forward", "stop"]);
}

#[tokio::test]
async fn without_releases_a_tap_is_one_pulse_and_silence_stops_a_held_key() {
    let fixture = Fixture::new().await;
    let terminal = fixture.desk_with(&[], false).await;
    terminal.sees("KEYS tap").await;
    let before = fixture.ran().len();
    terminal.send(LEGACY_UP);
    moved_once(
        &fixture.ran_after(before).await,
        &["stop", "forward", "stop"],
    );
    // As a keyboard does: a delay, then repeats. Silence is the only release.
    let before = fixture.ran().len();
    for n in 0..20 {
        terminal.send(LEGACY_UP);
        let pause = if n == 0 { 200 } else { 60 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    let ran = fixture.ran_after(before).await;
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
    let fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    terminal.send(LEFT);
    let still_moves = async {
        fixture.last_ran("left").await;
        // The first key's release is no longer anyone's.
        terminal.send(UP_RELEASED);
        tokio::time::sleep(Duration::from_millis(100)).await;
        terminal.sees("DRIVING ◀").await;
    };
    holding(&terminal, LEFT_REPEATED, still_moves).await;
    terminal.send(LEFT_RELEASED);
    fixture.last_ran("stop").await;
    terminal.sees("ARMED").await;
    assert_eq!((fixture.count("forward"), fixture.count("left")), (1, 1));
}

#[tokio::test]
async fn space_latches_until_control_is_taken_anew() {
    let fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    terminal.send(b"\x1b[32u");
    let before = fixture.last_ran("stop").await.len();
    terminal.sees("STOPPED").await;
    // Held, released, pressed again: nothing moves.
    for keys in [UP_REPEATED, UP_RELEASED, UP, UP_RELEASED] {
        terminal.send(keys);
    }
    terminal.sees("[a] takes control again").await;
    assert_eq!(fixture.ran_after(before).await, [""; 0]);
    terminal.send(b"\x1b[97u");
    terminal.sees("ARMED").await;
    terminal.send(UP);
    fixture.last_ran("forward").await;
    terminal.send(UP_RELEASED);
    fixture.last_ran("stop").await;
}

#[tokio::test]
async fn a_megabyte_pasted_while_a_key_is_held_stops_and_moves_nothing() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.driving().await;
    let before = fixture.ran().len();
    terminal.send(b"\x1b[200~");
    for _ in 0..256 {
        terminal.send(&b"\x1b[A q \x03 a ".repeat(372));
    }
    terminal.send(b"\x1b[201~");
    let ran = fixture.ran_after(before).await;
    assert!(
        ran.iter().all(|ran| ran == "stop") && !ran.is_empty(),
        "{ran:?}"
    );
    terminal.send(b"q");
    assert_eq!(terminal.end().await, Some(0));
}

#[tokio::test]
async fn quitting_while_a_key_is_held_stops_the_car_and_frees_it() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.driving().await;
    terminal.send(b"\x1b[113u");
    assert_eq!(terminal.end().await, Some(0));
    fixture.last_ran("stop").await;
    let next = fixture.driving().await;
    next.send(UP_RELEASED);
    fixture.last_ran("stop").await;
}

#[tokio::test]
async fn a_window_that_becomes_too_small_stops_and_disarms() {
    let fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    let before = fixture.ran().len();
    terminal.resize(10, 3);
    terminal.sees("needs").await;
    // The key is still held, and another is pressed.
    for keys in [UP_REPEATED, LEFT, b"\x1b[97u"] {
        terminal.send(keys);
    }
    let ran = fixture.ran_after(before).await;
    assert!(
        ran.iter().all(|ran| ran == "stop") && !ran.is_empty(),
        "{ran:?}"
    );
    terminal.send(UP_RELEASED);
    terminal.send(LEFT_RELEASED);
    terminal.resize(SIZE.0, SIZE.1);
    terminal.sees("1 Fleet").await;
    terminal.sees("VIEW").await;
    tokio::time::sleep(NOTHING_COMES).await;
    assert_eq!((fixture.count("forward"), fixture.count("left")), (1, 0));
    terminal.send(UP);
    terminal.sees("DRIVING").await;
    assert_eq!(fixture.last_ran("forward").await.len(), fixture.ran().len());
    terminal.send(UP_RELEASED);
    fixture.last_ran("stop").await;
}
