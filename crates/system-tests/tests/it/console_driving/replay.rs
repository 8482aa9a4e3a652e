//! A drive that a router records is replayed: from its recording, which a killed router has not ended, and from the
//! router's log.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use p2p_console::app::replay;

use super::fixture::{Fixture, UP_RELEASED};
use crate::common::program::{RunningProgram, path, router, run};
use crate::common::pty::TestTerminal;
use crate::common::until;

/// Most that a stop of the recording may lie from the log's.
const APART: Duration = Duration::from_millis(50);
const STOPS: usize = 3;

#[tokio::test]
async fn a_replayed_drive_has_each_stop_when_the_log_has_it() {
    let mut fixture = Fixture::new().await;
    fixture.router.kill().await;
    let port = fixture.router_port.to_string();
    let mut recording = router(fixture.folder.path());
    recording.args([&port, "--open", "--bind", "127.0.0.1"]);
    recording.args(["--record", "recordings"]);
    fixture.router = RunningProgram::start(&mut recording);
    assert_eq!(fixture.router.main_port().await, fixture.router_port);
    let terminal = fixture.terminal().await;
    for _ in 0..STOPS {
        fixture.move_forward(&terminal).await;
        terminal.send(UP_RELEASED);
        fixture.last_ran("stop").await;
        terminal.sees("ARMED").await;
    }
    let folder = fixture.folder.path();
    until("the stops are in the file", || {
        stops(&folder.join("recordings"), ".mcap").len() == STOPS
    })
    .await;
    fixture.router.kill().await;

    let (recorded, logged) = (
        stops(&folder.join("recordings"), ".mcap"),
        stops(&folder.join("logs"), ".jsonl"),
    );
    assert_eq!((recorded.len(), logged.len()), (STOPS, STOPS));
    let apart = |(a, b): (&Duration, &Duration)| a.abs_diff(*b);
    let mut apart: Vec<_> = recorded.iter().zip(&logged).map(apart).collect();
    apart.sort();
    // A machine that is busy keeps one message or another waiting; a clock that is read wrongly is wrong each time.
    assert!(apart[0] < APART, "{apart:?}");
    assert!(apart[STOPS - 1] < Duration::from_secs(1), "{apart:?}");

    let file = the_file(&folder.join("recordings"), ".mcap").unwrap();
    let mut printed = tokio::process::Command::new(path("p2p-console"));
    printed.arg("replay").arg(&file).current_dir(folder);
    printed.env("HOME", folder).stdin(Stdio::null());
    let told = run(&mut printed).await;
    assert_eq!(told.code, Some(0), "{}", told.errors);
    assert_eq!(told.out.matches(" car stops: key released").count(), STOPS);
    assert!(
        told.errors.contains("cut off or damaged"),
        "{}",
        told.errors
    );

    let mut plays = std::process::Command::new(path("p2p-console"));
    plays
        .arg("replay")
        .arg(&file)
        .env("HOME", folder)
        .current_dir(folder);
    let screen = TestTerminal::start(&plays, true, (100, 30));
    screen.sees("REPLAY 1 ×").await;
    screen.sees("forward started").await;
    screen.send(b" ");
    screen.sees("REPLAY paused").await;
}

/// The only file with this ending in a folder.
fn the_file(folder: &Path, ending: &str) -> Option<PathBuf> {
    let mut files = std::fs::read_dir(folder).ok()?.flatten();
    let file = files.find(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.ends_with(ending) && !name.starts_with("p2p-inner") && !name.starts_with("p2p-console")
    });
    Some(file?.path())
}

/// The times since 1970 of the stops in the file with this ending in a folder.
fn stops(folder: &Path, ending: &str) -> Vec<Duration> {
    let Some(file) = the_file(folder, ending) else {
        return Vec::new();
    };
    let Ok(recording) = replay::read(&Bytes::from(std::fs::read(file).unwrap())) else {
        return Vec::new();
    };
    let events = recording.events().into_iter();
    let stops = events.filter(|(_, _, said)| said == "stops: key released");
    stops.map(|(_, at, _)| at).collect()
}
