//! A car that stopped while nobody could hear of it: once it is heard again, the screen says who or what
//! stopped it, when, and what ran.

use rustix::process::Signal;

use super::fixture::{ContinuedProgram, Fixture};
use crate::common::program::{RunningProgram, inner_of};
use crate::common::pty::TestTerminal;
use crate::common::until;

/// What is said of a stop by the lease.
const BY_LEASE: &str = ": it heard nothing for 400 ms (forward)";

async fn says_why(terminal: &TestTerminal, why: &str) {
    terminal.sees("FAILSAFE").await;
    terminal.sees("the car stopped itself at ").await;
    terminal.sees(why).await;
}

#[tokio::test]
async fn after_a_pulled_cable() {
    let fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    fixture.proxy.refuse(true);
    fixture.proxy.silence();
    fixture.last_ran("stop").await;
    terminal.sees("LINK LOST router → car").await;
    fixture.proxy.refuse(false);
    says_why(&terminal, BY_LEASE).await;
}

#[tokio::test]
async fn after_the_routers_death() {
    let mut fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    fixture.router.kill().await;
    fixture.last_ran("stop").await;
    terminal.sees("LINK LOST console → router").await;
    let (router, _) = RunningProgram::open_router(fixture.folder.path(), fixture.router_port).await;
    fixture.router = router;
    says_why(&terminal, BY_LEASE).await;
}

#[tokio::test]
async fn after_the_inners_death_the_guardian_is_named() {
    let mut fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    fixture.inner.kill().await;
    fixture.last_ran("stop").await;
    terminal.sees("LINK LOST router → car").await;
    let mut again = inner_of(fixture.folder.path(), fixture.proxy.port(), fixture.port);
    fixture.inner = RunningProgram::start(&mut again);
    says_why(&terminal, " (forward); by its guardian (the inner is gone)").await;
}

#[tokio::test]
async fn after_the_inner_was_suspended_the_guardian_is_named_and_the_time_is_the_deadlines() {
    let fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    let continued = ContinuedProgram(&fixture.inner);
    let stopped_at = std::time::SystemTime::now();
    fixture.inner.signal(Signal::STOP);
    fixture.last_ran("stop").await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    drop(continued);
    terminal.sees("; by its guardian").await;
    let picture = terminal.picture();
    let (_, said) = picture.split_once("the car stopped itself at ").unwrap();
    let said = said.split(':').collect::<Vec<_>>();
    let second: f64 = said[2].chars().take(4).collect::<String>().parse().unwrap();
    let since = stopped_at.duration_since(std::time::UNIX_EPOCH).unwrap();
    let after = (second - since.as_secs_f64() % 60.0).rem_euclid(60.0);
    assert!(!(2.0..=59.0).contains(&after), "{after} {picture}");
}

#[tokio::test]
async fn a_stop_that_fails_says_what_it_said_how_often_it_was_tried_and_when_the_next_try_is() {
    let fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    fixture.sh("printf '#!/bin/sh\\necho no such pin >&2; exit 3\\n' > command/stop");
    terminal.send(b" ");
    let why = "‼ STOP FAILED: car may still move: exit 3: no such pin";
    terminal.sees(why).await;
    terminal.sees(" times. Next try in ").await;
    // Another desk is told as well, and nothing covers it.
    let mut watch = fixture.console(&["watch"]);
    watch.stdin(std::process::Stdio::null());
    let watch = RunningProgram::start(&mut watch.into());
    until("watch tells", || watch.out().contains("no such pin")).await;
    terminal.send(b"3");
    terminal.sees("Runs, newest").await;
    terminal.sees("STOP FAILED").await;
    terminal.sees("no such pin").await;
    terminal.send(b"?");
    terminal.sees("no such pin").await;
    fixture.sh("printf '#!/bin/sh\\necho stop >> ../ran\\n' > command/stop");
    until("it is over", || !terminal.picture().contains("STOP FAILED")).await;
}

#[tokio::test]
async fn a_stop_without_a_stop_command_is_not_shown_as_stopped() {
    let fixture = Fixture::new().await;
    let terminal = fixture.terminal().await;
    fixture.sh("rm command/stop");
    terminal.send(b" ");
    terminal.sees("nothing was run to stop the car").await;
    assert!(!terminal.picture().contains("STOPPED"));
}
