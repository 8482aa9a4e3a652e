//! Who stops the car: the worker that moves it while it can, else the stop command's file.

use rustix::process::Signal;

use super::car::{Car, NOTING, UnstartedCar, sees_it_stand, sees_over};
use crate::common::{asking, inner_config, soon, until, until_so};
use p2p_shared::protocol::StopCause;

#[tokio::test]
async fn a_stop_is_the_workers_while_it_lives() {
    let car = Car::with_worker("forward stop", NOTING).await;
    car.is_stopped_by_its_worker().await;
}

#[tokio::test]
async fn a_stop_is_the_files_when_the_worker_is_dead() {
    // It dies of a note, and comes back no more.
    let car = UnstartedCar::with_stop()
        .program("car", "exit 1 if exists_note('dead'); say_line({ serves => ['forward', 'stop'] }); 1 while <STDIN>;")
        .start("forward")
        .await;
    car.let_go("dead");
    car.signal(Signal::KILL);
    until_so("the worker is gone", async || {
        car.run("forward").await.status == 503
    })
    .await;
    let before = car.did().len();
    until_so("it is stopped", async || {
        car.run("stop").await.status == 200
    })
    .await;
    assert!(car.has_done_since(before, "file stop"));
}

#[tokio::test]
async fn a_stop_that_the_worker_does_not_answer_is_the_files() {
    let car = Car::with_worker("forward stop hello", "answer($r) if $c ne 'stop';").await;
    let before = car.did().len();
    until_so("it is stopped", async || {
        car.run("stop").await.status == 200
    })
    .await;
    assert!(car.has_done_since(before, "file stop"));
    // It hangs, for all that is known.
    car.has_started_workers(2).await;
    until("it is killed", || !car.lives(0)).await;
    car.answers_hello().await;
}

#[tokio::test]
async fn a_stop_that_fails_in_the_worker_is_the_files() {
    let car = Car::with_worker(
        "forward stop",
        "note('did', \"worker $c\"); answer($r, exit => $c eq 'stop' ? 1 : 0);",
    )
    .await;
    let mut watcher = car.watcher().await;
    car.moves("forward").await;
    let before = car.did().len();
    until_so("it is stopped", async || {
        car.run("stop").await.status == 200
    })
    .await;
    assert_eq!(car.did()[before], "worker stop");
    assert!(car.has_done_since(before, "file stop"));
    sees_it_stand(&mut watcher).await;
}

#[tokio::test]
async fn a_stop_is_the_files_when_another_worker_moves_the_car() {
    let car = UnstartedCar::with_stop()
        .worker("a", "stop hello", NOTING)
        .worker("b", "forward", NOTING)
        .start("forward")
        .await;
    car.serves("hello").await;
    car.moves("forward").await;
    let before = car.did().len();
    until_so("it is stopped", async || {
        car.run("stop").await.status == 200
    })
    .await;
    assert!(car.has_done_since(before, "file stop"), "{:?}", car.did());
    // It stands: now the worker may say so again.
    car.is_stopped_by_its_worker().await;
}

#[tokio::test]
async fn a_stop_is_for_both_when_a_file_and_a_worker_move_the_car() {
    let unstarted = UnstartedCar::with_stop().worker("car", "left stop", NOTING);
    let did = unstarted.world.note("did");
    let note = format!("echo file forward >> {}", did.display());
    unstarted.world.script("forward", &note);
    let car = unstarted.start("left").await;
    // A worker that is too slow for this is killed.
    until_so("both stop it", async || {
        car.moves("left").await;
        car.moves("forward").await;
        let before = car.did().len();
        until_so("it is stopped", async || {
            car.run("stop").await.status == 200
        })
        .await;
        assert!(car.has_done_since(before, "file stop"), "{:?}", car.did());
        car.has_done_since(before, "worker stop")
    })
    .await;
}

#[tokio::test]
async fn a_stop_is_the_files_when_only_a_file_moves_the_car() {
    let unstarted = UnstartedCar::with_stop().worker("car", "hello stop", NOTING);
    unstarted.world.script("forward", ":");
    let car = unstarted.start("hello").await;
    car.moves("forward").await;
    let before = car.did().len();
    until_so("it is stopped", async || {
        car.run("stop").await.status == 200
    })
    .await;
    assert_eq!(car.did()[before], "file stop");
}

#[tokio::test]
async fn a_worker_that_was_started_again_is_not_asked_to_stop_what_it_did_not_move() {
    let unstarted = UnstartedCar::new().worker("car", "forward stop hello", NOTING);
    let (did, broken) = (unstarted.world.note("did"), unstarted.world.note("broken"));
    unstarted.world.script(
        "stop",
        &format!(
            "[ ! -e {} ] || exit 1; echo file stop >> {}",
            broken.display(),
            did.display()
        ),
    );
    let car = unstarted.start("forward").await;
    let mut watcher = car.watcher().await;
    car.moves("forward").await;
    // Nothing stops the car until the worker is back.
    car.let_go("broken");
    car.signal(Signal::KILL);
    sees_over(&mut watcher, StopCause::Worker).await;
    car.has_started_workers(2).await;
    car.answers_hello().await;
    std::fs::remove_file(&broken).unwrap();
    let before = car.did().len();
    until_so("it is stopped", async || {
        car.run("stop").await.status == 200
    })
    .await;
    assert!(car.has_done_since(before, "file stop"), "{:?}", car.did());
}

#[tokio::test]
async fn nothing_moves_without_a_file_for_the_stop_command() {
    let car = UnstartedCar::new()
        .worker("car", "forward stop hello", NOTING)
        .start("forward")
        .await;
    let refused = car.run("forward").await;
    assert_eq!(refused.verdict(), (503, "no"));
    let why = "the car has no stop command that works";
    assert!(refused.text().contains(why), "{}", refused.text());
    // The worker's is better than none.
    until_so("it is stopped", async || {
        car.run("stop").await.status == 200
    })
    .await;
    assert!(car.has_done("worker stop") && !car.has_done("worker forward"));
    assert_eq!(car.run("hello").await.verdict(), (200, "yes"));
}

#[tokio::test]
async fn a_worker_that_reads_no_more_leaves_the_stop_to_the_file_and_plays_nothing_back() {
    let car = Car::with_worker("forward stop hello", NOTING).await;
    car.signal(Signal::STOP);
    let moving = asking(car.port, "/cgi?command=forward");
    let before = car.did().len();
    until_so("it is stopped", async || {
        car.run("stop").await.status == 200
    })
    .await;
    until("it is killed", || !car.lives(0)).await;
    soon("its end", moving).await.unwrap();
    car.answers_hello().await;
    assert!(!car.has_done("worker forward"), "{:?}", car.did());
    assert!(car.has_done_since(before, "file stop"));
}

#[tokio::test]
async fn a_stop_goes_before_all_that_a_worker_has_not_read() {
    let unstarted =
        UnstartedCar::with_stop().worker("car", "stop wait", "select undef, undef, undef, 100");
    let config = inner_config(&unstarted.world);
    let car = unstarted.start_with(config, "wait").await;
    // More than it may keep waiting.
    let port = car.port;
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let body = vec![b'x'; 1_000_000];
            tokio::spawn(crate::common::post(port, "/cgi?command=wait", body))
        })
        .collect();
    until_so("it is stopped", async || {
        car.run("stop").await.status == 200
    })
    .await;
    assert!(car.has_done("file stop"));
    for one in waiting {
        let lost = soon("an answer", one).await.unwrap();
        assert!([502, 503].contains(&lost.status.as_u16()), "{lost:?}");
    }
}
