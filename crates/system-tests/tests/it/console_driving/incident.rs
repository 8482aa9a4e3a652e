//! An incident made up: the inner freezes for 9 s while somebody drives, the guardian acts, the router is
//! started anew. What `incident` writes explains it to somebody who was not there.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::fixture::{ContinuedProgram, Fixture, UP_RELEASED};
use crate::common::program::{RunningProgram, run};
use crate::common::until;

#[tokio::test]
async fn a_reader_who_was_not_there_is_told_what_happened() {
    let mut fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    let continued = ContinuedProgram(&fixture.inner);
    fixture.inner.signal(Signal::STOP);
    fixture.last_ran("stop").await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    drop(continued);
    terminal.sees("FAILSAFE").await;
    terminal.send(UP_RELEASED);
    fixture.router.kill().await;
    terminal.sees("LINK LOST console → router").await;
    let links_up = || fixture.inner.errors().matches("link up").count();
    let before = links_up();
    let (router, _) = RunningProgram::open_router(fixture.folder.path(), fixture.router_port).await;
    fixture.router = router;
    until("the car is back", || links_up() > before).await;
    terminal.sees("by its guardian").await;
    let mut asks = fixture.console(&["incident", "car", "--last", "2m"]);
    asks.stdin(Stdio::null());
    let told = run(&mut asks.into()).await;
    assert_eq!(told.code, Some(0), "{}", told.errors);
    for said in [
        "takes control (it was free)",
        "drove forward",
        "no answer from the car",
        "The guardian stopped the car, because the inner is silent.",
        "The car's own lease ended forward",
        "The router started",
        "the key for forward is pressed",
        "NO ANSWER: router → car is silent",
        "the stop command ran",
        "the car stands",
        "Clocks: all times are this desk's; the car's is",
        "saved as incident-car-",
    ] {
        assert!(told.out.contains(said), "no {said:?} in {}", told.out);
    }
    // It was the inner that stood still.
    assert!(!told.out.contains("the router was silent"), "{}", told.out);
    println!("{}", told.out);
    for _ in 0..3 {
        let mut asks = fixture.console(&["incident", "car"]);
        asks.stdin(Stdio::null());
        let told = run(&mut asks.into()).await;
        assert_eq!(told.code, Some(0), "{}", told.errors);
    }
    let mut asks = fixture.console(&["incident", "car", "--last", "2m", "--json"]);
    asks.stdin(Stdio::null());
    let told = run(&mut asks.into()).await;
    let line = |line| serde_json::from_str::<Value>(line).unwrap();
    let lines: Vec<Value> = told.out.lines().map(line).collect();
    let is_of = |from: &str| lines.iter().any(|line| line["from"] == from);
    assert!(is_of("car") && is_of("router"), "{}", told.out);
}
