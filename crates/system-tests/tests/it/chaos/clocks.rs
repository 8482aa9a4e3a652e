//! The fault of a wall clock that is set by hours while the programs run, back and forth. The
//! witnesses' own clock stays: the inner hands nothing of this on to its commands.

use std::path::Path;
use std::process::Command;

use super::fixture::{Fixture, pause};
use super::round::Fault;

/// What the clocks are set to, one after the other, as libfaketime has it.
const JUMPS: [&str; 5] = ["+5h", "-7h", "+9000d", "-30m", "+0"];
const ROUTERS: &str = "clock-router";
const INNERS: &str = "clock-inner";

/// What gives a program a wall clock that is wrong by this.
pub(crate) fn off_by(library: &str, by: &str) -> Vec<(&'static str, String)> {
    vec![
        ("LD_PRELOAD", library.to_owned()),
        ("FAKETIME", by.to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

/// What gives a program a wall clock that is read from this file of its folder.
fn clock(library: &str, file: &str) -> Vec<(&'static str, String)> {
    vec![
        ("LD_PRELOAD", library.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file.to_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // A clock that nobody can set is not set here either.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

/// The library of this machine.
pub(crate) fn library() -> Option<String> {
    let mut tool = Command::new("faketime");
    tool.env_remove("LD_PRELOAD");
    let output = tool.args(["-m", "-f", "+0", "env"]).output().ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix("LD_PRELOAD="));
    found.map(str::to_owned)
}

/// A program never sees half a word.
fn set(folder: &Path, clock: &str, to: &str) {
    let next = folder.join("clock-next");
    std::fs::write(&next, to).unwrap();
    std::fs::rename(next, folder.join(clock)).unwrap();
}

async fn jumps(fault: &'static str, clocks: &[&str]) {
    let Some(library) = library() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "faketime is missing. On Debian: sudo apt install faketime"
        );
        eprintln!("skipped: no clock can be set without faketime");
        return;
    };
    let mut fault = Fault::named(fault);
    fault.prepare = |folder| {
        set(folder, ROUTERS, "+0");
        set(folder, INNERS, "+0");
    };
    fault.fixture_config.router_variables = clock(&library, ROUTERS);
    fault.fixture_config.inner_variables = clock(&library, INNERS);
    let strike = async |fixture: &mut Fixture| {
        fixture.strikes();
        for jump in JUMPS {
            for clock in clocks {
                set(fixture.path(), clock, jump);
            }
            pause(0.4).await;
        }
        fixture.heals();
        fixture.moves().await;
        // It did strike: there are logs of that day.
        let far = std::fs::read_dir(fixture.path().join("logs")).unwrap();
        let far = far.filter(|file| {
            let name = file.as_ref().unwrap().file_name();
            year_of(name.to_str().unwrap()) > Some(2045)
        });
        assert_eq!(far.count(), clocks.len());
    };
    fault.strikes(strike).await;
}

/// Of the day in the name of a log.
fn year_of(log: &str) -> Option<u32> {
    let (_, date) = log.split_once('.')?;
    date.split('-').next()?.parse().ok()
}

#[tokio::test]
async fn clock_of_the_inner() {
    jumps("wall clock of the inner jumps, 2 s", &[INNERS]).await;
}

#[tokio::test]
async fn clock_of_the_router() {
    jumps("wall clock of the router jumps, 2 s", &[ROUTERS]).await;
}
