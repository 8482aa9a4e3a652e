//! How commands end, or don't.

use std::time::Duration;

use super::car::Car;
use crate::common::raw::RawCaller;
use crate::common::{HttpAnswer, is_alive, soon, until};

/// Long enough for a command to begin on a busy machine, and short enough to wait for.
const LIMIT: Duration = Duration::from_secs(2);

#[track_caller]
fn assert_timed_out(answer: &HttpAnswer) {
    assert_eq!(answer.verdict(), (504, "yes"));
    let text = answer.text();
    assert!(
        text.contains("past its time limit") && text.contains("--timeout"),
        "{text}"
    );
}

#[tokio::test]
async fn a_command_that_never_ends_is_a_504_and_its_whole_group_is_dead() {
    let car = Car::with_limit(LIMIT).await;
    car.script(
        "endless",
        "sh -c 'echo $$ > @grandchild; sleep 1000; :' & \
         echo $$ > @leader; echo $! > @child; echo so far; wait",
    );
    assert_timed_out(&car.run("endless").await);
    for note in ["leader", "child", "grandchild"] {
        assert!(
            car.note(note).exists() && !is_alive(&car.note(note)),
            "{note}"
        );
    }
    car.is_unharmed().await;
}

#[tokio::test]
async fn a_command_that_ignores_sigterm_is_killed() {
    let car = Car::with_limit(LIMIT).await;
    car.script(
        "deaf",
        "trap '' TERM; echo $$ > @leader; sleep 1000 & echo $! > @child; while :; do wait; done",
    );
    assert_timed_out(&car.run("deaf").await);
    for note in ["leader", "child"] {
        assert!(
            car.note(note).exists() && !is_alive(&car.note(note)),
            "{note}"
        );
    }
    car.is_unharmed().await;
}

#[tokio::test]
async fn a_command_gets_to_tidy_up_at_its_time_limit() {
    let car = Car::with_limit(LIMIT).await;
    car.script(
        "tidy",
        "trap 'echo tidied > @tidied; exit 0' TERM; sleep 1000 & wait",
    );
    assert_timed_out(&car.run("tidy").await);
    assert!(car.note("tidied").exists());
}

#[tokio::test]
async fn a_command_that_stops_itself_is_ended_at_the_time_limit() {
    let car = Car::with_limit(LIMIT).await;
    car.script("stopped", "echo $$ > @mild; kill -STOP $$; echo never");
    car.script(
        "deaf",
        "trap '' TERM; echo $$ > @deaf; kill -STOP $$; exec sleep 1000",
    );
    let (mild, deaf) = tokio::join!(car.run("stopped"), car.run("deaf"));
    assert_timed_out(&mild);
    assert_timed_out(&deaf);
    for note in ["mild", "deaf"] {
        assert!(
            car.note(note).exists() && !is_alive(&car.note(note)),
            "{note}"
        );
    }
}

#[tokio::test]
async fn a_command_that_goes_over_to_another_process_group_is_ended_all_the_same() {
    let car = Car::with_limit(LIMIT).await;
    let note = car.note("defector");
    for prelude in ["", "$SIG{TERM} = 'IGNORE';"] {
        let script = format!(
            "#!/usr/bin/env perl\n{prelude}\n\
             setpgrp(0, getpgrp(getppid));\n\
             open(NOTE, '>', '{}'); print NOTE $$; close NOTE;\n\
             sleep 1000 while 1;\n",
            note.display()
        );
        car.world.file("defector", script, 0o755);
        assert_timed_out(&car.run("defector").await);
        assert!(note.exists() && !is_alive(&note), "{prelude}");
        std::fs::remove_file(&note).unwrap();
    }
}

#[tokio::test]
async fn a_command_that_forks_a_lot_leaves_nobody() {
    let car = Car::with_limit(LIMIT).await;
    car.script(
        "fork",
        "for n in $(seq 200); do sleep 1000 & echo $! > @child$n; done; wait",
    );
    assert_timed_out(&car.run("fork").await);
    let left = |n: &i32| is_alive(&car.note(&format!("child{n}")));
    assert!(car.note("child1").exists());
    assert_eq!((1..=200).filter(left).count(), 0);
    car.is_unharmed().await;
}

#[tokio::test]
async fn the_end_is_told_as_it_was() {
    let car = Car::new().await;
    for (body, exit) in [
        ("exit 1", "1"),
        ("exit 255", "255"),
        ("exit 256", "0"),
        ("kill -9 $$", "SIGKILL"),
        ("kill -TERM $$", "SIGTERM"),
        ("kill -SEGV $$", "SIGSEGV"),
        ("kill -TERM 0", "SIGTERM"),
        ("no-such-program-anywhere", "127"),
        ("(", "2"),
    ] {
        car.script("end", body);
        let answer = car.run("end").await;
        let status = if exit == "0" { 200 } else { 500 };
        assert_eq!(answer.verdict(), (status, "yes"), "{body}");
        assert_eq!(answer.header("p2p-exit"), exit, "{body}");
        assert_eq!(answer.body.is_empty(), exit == "0", "{body}");
    }
    car.is_unharmed().await;
}

#[tokio::test]
async fn when_output_was_sent_the_time_limit_breaks_the_transfer() {
    let car = Car::with_limit(LIMIT).await;
    car.script("long", "head -c 100000 /dev/zero; exec sleep 1000");
    car.script("short", "echo so far; exec sleep 1000");
    for (command, length) in [
        ("long", 100_000),
        ("long&stream=1", 100_000),
        ("short&stream=1", 7),
    ] {
        let get =
            format!("GET /cgi?command={command} HTTP/1.1\r\nHost: car\r\nTE: trailers\r\n\r\n");
        let mut caller = RawCaller::saying(car.port, get).await;
        let answer = caller.answer().await;
        assert_eq!(answer.verdict(), (200, "yes"), "{command}");
        assert!(!answer.complete && answer.trailers.is_empty(), "{command}");
        // All that came before is there.
        assert_eq!(answer.body.len(), length, "{command}");
    }
}

#[tokio::test]
async fn the_time_limit_holds_when_nobody_reads() {
    let car = Car::with_limit(LIMIT).await;
    car.script(
        "flood",
        "echo $$ > @flood; exec head -c 100000000 /dev/zero",
    );
    let mut caller = RawCaller::saying(
        car.port,
        "GET /cgi?command=flood HTTP/1.1\r\nHost: car\r\n\r\n",
    )
    .await;
    soon("it streams", caller.stream.readable()).await.unwrap();
    until("it is ended", || !is_alive(&car.note("flood"))).await;
    car.is_unharmed().await;
    let answer = caller.answer().await;
    assert!(!answer.complete);
}

#[tokio::test]
async fn a_script_that_is_deleted_while_it_runs_goes_on() {
    let car = Car::new().await;
    car.script("brief", "rm \"$0\"; echo still here");
    let answer = car.run("brief").await;
    assert_eq!(
        (answer.verdict(), answer.text().as_str()),
        ((200, "yes"), "still here\n")
    );
    assert_eq!(car.run("brief").await.verdict(), (404, "no"));
}
