//! What commands leave running.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::car::Car;
use crate::common::{is_alive, until};

#[tokio::test]
async fn a_grandchild_that_holds_the_output_delays_the_answer_by_two_seconds_and_is_killed() {
    let car = Car::new().await;
    car.script(
        "hold",
        "sleep 1000 & echo $! > @child; echo out; echo err >&2",
    );
    let begun = Instant::now();
    let answer = car.run("hold").await;
    assert_eq!(
        (answer.verdict(), answer.text().as_str()),
        ((200, "yes"), "out\n")
    );
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    until("it is killed", || !is_alive(&car.note("child"))).await;
    car.is_unharmed().await;
}

#[tokio::test]
async fn a_grandchild_that_goes_on_talking_does_not_hold_up_the_answer() {
    let car = Car::new().await;
    car.script(
        "talk",
        "(while :; do echo more; sleep 0.01; done) & echo $! > @child; echo out",
    );
    let answer = car.run("talk").await;
    assert_eq!(answer.verdict(), (200, "yes"));
    assert!(answer.complete && answer.text().contains("out\n"));
    until("it is killed", || !is_alive(&car.note("child"))).await;
}

#[tokio::test]
async fn a_grandchild_that_holds_only_the_input_does_not_hold_up_the_answer() {
    let car = Car::new().await;
    car.script(
        "hold",
        "exec 3<&0; sleep 1000 <&3 > /dev/null 2>&1 & echo $! > @child; echo out",
    );
    let input = vec![b'x'; 1 << 20];
    let answer = crate::common::post(car.port, "/cgi?command=hold", input).await;
    assert_eq!(
        (answer.verdict(), answer.text().as_str()),
        ((200, "yes"), "out\n")
    );
    until("it is killed", || !is_alive(&car.note("child"))).await;
}

#[tokio::test]
async fn what_runs_on_in_the_background_is_killed_two_seconds_later() {
    let car = Car::new().await;
    car.script(
        "leave",
        "(while :; do date +%s%N >> @beat; sleep 0.02; done) > /dev/null 2>&1 & \
         echo $! > @child; date +%s%N",
    );
    let answer = car.run("leave").await;
    assert_eq!(answer.verdict(), (200, "yes"));
    until("it is killed", || !is_alive(&car.note("child"))).await;
    let nanos = |text: String| text.trim().parse::<u64>().unwrap();
    let ended = nanos(answer.text());
    let beats = std::fs::read_to_string(car.note("beat")).unwrap();
    let last = nanos(beats.lines().last().unwrap().to_owned());
    assert!(
        last > ended + 1_000_000_000,
        "it lived for {} ms",
        (last - ended) / 1_000_000
    );
}

#[tokio::test]
async fn a_daemon_in_a_session_of_its_own_lives_on() {
    let car = Car::new().await;
    car.script(
        "daemon",
        "setsid sh -c 'echo $$ > @daemon; exec sleep 1000' > /dev/null 2>&1 < /dev/null & \
         sleep 1000 > /dev/null 2>&1 & echo $! > @child; \
         while [ ! -s @daemon ]; do sleep 0.01; done",
    );
    assert_eq!(car.run("daemon").await.verdict(), (200, "yes"));
    until("what is no daemon is killed", || {
        !is_alive(&car.note("child"))
    })
    .await;
    let note = car.note("daemon");
    assert!(is_alive(&note));
    let number = std::fs::read_to_string(&note)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    kill_process(Pid::from_raw(number).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_daemon_that_holds_the_output_does_not_hold_up_the_answer() {
    let car = Car::new().await;
    car.script(
        "daemon",
        "setsid sh -c 'echo $$ > @daemon; while :; do echo more; sleep 0.01; done' & \
         while [ ! -s @daemon ]; do sleep 0.01; done; echo out",
    );
    let answer = car.run("daemon").await;
    assert_eq!(answer.verdict(), (200, "yes"));
    assert!(answer.complete && answer.text().contains("out\n"));
    // Nobody reads what it says.
    until("it has lost its output", || !is_alive(&car.note("daemon"))).await;
    car.is_unharmed().await;
}
