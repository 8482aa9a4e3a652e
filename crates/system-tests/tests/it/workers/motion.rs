//! A car that a worker moves, and that stands whatever becomes of the worker.

use p2p_shared::protocol::{MotionEvent, StopCause};
use rustix::process::{Pid, Signal, kill_process};

use super::car::{Car, NOTING, UnstartedCar, sees_it_stand, sees_over};
use crate::common::{answered, asking, inner_config, soon, until, until_so};

/// Notes a motion and answers it only when the stop comes, as a process that runs while it moves.
const HOLDING: &str = "note('did', \"worker $c\");
    if ($c eq 'stop') { answer($_) for splice @::open; answer($r) } else { push @::open, $r }";

#[tokio::test]
async fn a_press_moves_the_car_and_its_release_stops_it() {
    let car = Car::with_worker("forward left stop", NOTING).await;
    let mut driver = car.driver().await;
    driver.drives("forward").await;
    driver.holds_until(car.does("worker forward")).await;
    driver.drives("left").await;
    driver.holds_until(car.does("worker left")).await;
    let before = car.did().len();
    driver.releases().await;
    driver.sees_it_stand().await;
    assert_eq!(car.did()[before], "worker stop");
}

#[tokio::test]
async fn a_press_that_is_answered_at_its_stop_moves_the_car_too() {
    let car = Car::with_worker("forward stop", HOLDING).await;
    let mut driver = car.driver().await;
    driver.drives("forward").await;
    driver.holds_until(car.does("worker forward")).await;
    let before = car.did().len();
    driver.releases().await;
    driver.sees_it_stand().await;
    assert_eq!(car.did()[before], "worker stop");
}

#[tokio::test]
async fn a_motion_by_request_is_stopped_at_its_limit_and_answered() {
    let car = Car::with_worker("forward stop", HOLDING).await;
    // A machine that is too slow has its worker killed.
    until_so("its worker stops it", async || {
        let (before, workers) = (car.did().len(), car.folder().pids().len());
        let moved = car.run("forward&for=50").await;
        moved.verdict() == (200, "yes")
            && car.has_done_since(before, "worker stop")
            && car.folder().pids().len() == workers
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_dies_after_it_moved_the_car_leaves_it_to_the_stop_file() {
    let car = Car::with_worker("forward stop hello", NOTING).await;
    let mut watcher = car.watcher().await;
    car.moves("forward").await;
    let before = car.did().len();
    car.signal(Signal::KILL);
    sees_over(&mut watcher, StopCause::Worker).await;
    sees_it_stand(&mut watcher).await;
    assert!(car.has_done_since(before, "file stop"));
    car.answers_hello().await;
    assert!(
        !car.has_done_since(before, "worker forward"),
        "{:?}",
        car.did()
    );
}

#[tokio::test]
async fn a_worker_that_dies_while_it_moves_the_car_leaves_it_to_the_stop_file() {
    let car = Car::with_worker("forward stop", HOLDING).await;
    let mut watcher = car.watcher().await;
    let moving = asking(car.port, "/cgi?command=forward");
    car.does("worker forward").await;
    let before = car.did().len();
    car.signal(Signal::KILL);
    sees_over(&mut watcher, StopCause::Worker).await;
    sees_it_stand(&mut watcher).await;
    assert!(car.has_done_since(before, "file stop"));
    assert_eq!(answered(moving).await.verdict(), (502, "unknown"));
}

#[tokio::test]
async fn a_driver_whose_worker_dies_sees_the_car_stand() {
    let car = Car::with_worker("forward stop", NOTING).await;
    let mut driver = car.driver().await;
    driver.drives("forward").await;
    driver.holds_until(car.does("worker forward")).await;
    driver.holds().await;
    let before = car.did().len();
    car.signal(Signal::KILL);
    driver.sees_it_stand().await;
    assert!(car.has_done_since(before, "file stop"));
}

#[tokio::test]
async fn a_worker_that_dies_of_a_motion_leaves_the_car_to_the_stop_file() {
    let car = Car::with_worker("forward stop", "note('did', $c); exit 1").await;
    let mut watcher = car.watcher().await;
    car.has_started_workers(2).await;
    let before = car.did().len();
    until_so("it is there again", async || {
        let lost = car.run("forward").await;
        assert!(
            [(502, "unknown"), (503, "no")].contains(&lost.verdict()),
            "{lost:?}"
        );
        lost.status == 502
    })
    .await;
    sees_over(&mut watcher, StopCause::Worker).await;
    sees_it_stand(&mut watcher).await;
    assert!(car.has_done_since(before, "file stop"));
}

#[tokio::test]
async fn a_worker_that_dies_as_soon_as_it_has_moved_the_car_leaves_it_to_the_stop_file() {
    let each = "answer($r); exit 0 if $c eq 'forward'";
    let car = Car::with_worker("forward stop hello", each).await;
    let mut watcher = car.watcher().await;
    for _ in 0..3 {
        car.answers_hello().await;
        car.moves("forward").await;
        sees_over(&mut watcher, StopCause::Worker).await;
        sees_it_stand(&mut watcher).await;
    }
}

#[tokio::test]
async fn the_death_of_a_worker_counts_although_another_moved_the_car_after_it() {
    let unstarted = UnstartedCar::with_stop()
        .worker("a", "forward stop", NOTING)
        .worker("b", "left", NOTING);
    let mut config = inner_config(&unstarted.world);
    config.motion.limit_ms = 0;
    let car = unstarted.start_with(config, "forward").await;
    car.serves("left").await;
    let mut watcher = car.watcher().await;
    for command in ["forward", "left"] {
        car.moves(command).await;
    }
    let before = car.did().len();
    let first = car.folder().pid_of("a.worker");
    kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    sees_over(&mut watcher, StopCause::Worker).await;
    sees_it_stand(&mut watcher).await;
    assert!(car.has_done_since(before, "file stop"));
    // What the other answers says nothing of what this one moved.
    assert!(
        !car.has_done_since(before, "worker stop"),
        "{:?}",
        car.did()
    );
}

#[tokio::test]
async fn a_worker_that_hangs_while_a_key_is_held_does_not_keep_the_car_from_standing() {
    let car = Car::with_worker("forward stop hello", NOTING).await;
    let mut driver = car.driver().await;
    driver.drives("forward").await;
    driver.holds_until(car.does("worker forward")).await;
    car.signal(Signal::STOP);
    driver.holds().await;
    let before = car.did().len();
    driver.releases().await;
    driver.sees_it_stand().await;
    assert!(car.has_done_since(before, "file stop"));
    until("it is killed", || !car.lives(0)).await;
    car.answers_hello().await;
}

#[tokio::test]
async fn a_worker_that_hangs_before_a_press_moves_nothing_afterwards() {
    let car = Car::with_worker("forward stop hello", NOTING).await;
    let mut driver = car.driver().await;
    car.signal(Signal::STOP);
    driver.drives("forward").await;
    let before = car.did().len();
    // Its lease runs out.
    driver.sees_over(StopCause::Lease).await;
    driver.sees_it_stand().await;
    until("it is killed", || !car.lives(0)).await;
    car.answers_hello().await;
    assert!(car.has_done_since(before, "file stop"));
    assert!(!car.has_done("worker forward"), "{:?}", car.did());
}

#[tokio::test]
async fn a_motion_that_does_not_end_when_it_is_over_has_its_worker_killed() {
    // It stops at once, says so, and does not come back from its motion.
    let car = Car::with_worker(
        "forward stop hello",
        "note('did', \"worker $c\"); answer($r) if $c ne 'forward';",
    )
    .await;
    let mut driver = car.driver().await;
    driver.drives("forward").await;
    driver.holds_until(car.does("worker forward")).await;
    driver.releases().await;
    driver.sees_it_stand().await;
    until("it is killed", || !car.lives(0)).await;
    // What it did before its death is stopped by what outlives it.
    car.does("file stop").await;
    assert_eq!(car.did().last().unwrap(), "file stop");
    car.answers_hello().await;
}

#[tokio::test]
async fn an_inner_that_ends_does_not_leave_a_car_that_its_worker_moves() {
    let car = Car::with_worker("forward stop", NOTING).await;
    let mut driver = car.driver().await;
    driver.drives("forward").await;
    driver.holds_until(car.does("worker forward")).await;
    let before = car.did().len();
    let (folder, inner) = (car.note("did"), car.inner);
    // Still at the key.
    driver.holds().await;
    soon("its end", inner.shut_down()).await;
    let did = std::fs::read_to_string(folder).unwrap();
    let since: Vec<_> = did.lines().skip(before).collect();
    assert!(since.iter().any(|did| did.ends_with(" stop")), "{since:?}");
    assert!(!since.contains(&"worker forward"), "{since:?}");
}

#[tokio::test]
async fn a_car_that_is_stopped_while_its_worker_dies_is_stopped_by_the_file_at_once() {
    let car = Car::with_worker(
        "forward stop hello",
        "note('did', \"worker $c\"); exit 1 if $c eq 'stop' and exists_note('deadly'); answer($r)",
    )
    .await;
    let mut watcher = car.watcher().await;
    car.moves("forward").await;
    car.let_go("deadly");
    let before = car.did().len();
    until_so("it is stopped", async || {
        car.run("stop").await.status == 200
    })
    .await;
    sees_it_stand(&mut watcher).await;
    assert!(car.has_done_since(before, "file stop"));
    watcher
        .sees_motion(|event| matches!(event, MotionEvent::Stopped { .. }))
        .await;
}

#[tokio::test]
async fn a_request_to_move_while_its_worker_is_away_is_told_so() {
    let car = UnstartedCar::with_stop()
        .program(
            "car",
            "exit 1 if exists_note('dead'); say_line({ serves => ['forward'] }); 1 while <STDIN>;",
        )
        .start("forward")
        .await;
    car.let_go("dead");
    car.signal(Signal::KILL);
    let away = asking(car.port, "/cgi?command=forward");
    let away = soon("an answer", away).await.unwrap();
    assert!(
        [(502, "unknown"), (503, "no")].contains(&away.verdict()),
        "{away:?}"
    );
    until_so("it says why", async || {
        let away = car.run("forward").await;
        away.verdict() == (503, "no") && away.text().contains("is gone (it ended with")
    })
    .await;
}
