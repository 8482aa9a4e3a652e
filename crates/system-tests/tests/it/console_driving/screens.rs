//! The console without colours, and without a terminal.

use super::fixture::{Fixture, SETTLED, SIZE, UP, UP_RELEASED};
use crate::common::get;
use crate::common::program::{RunningProgram, console};
use crate::common::pty::TestTerminal;

/// Every sequence that sets a colour.
fn colours(shown: &str) -> Vec<String> {
    let sequences = shown.split("\x1b[").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        (rest[end..].starts_with('m')).then(|| rest[..end].to_owned())
    });
    let is_colour = |set: &String| {
        let mut numbers = set.split(';').filter_map(|n| n.parse().ok());
        numbers.any(|n: u8| matches!(n, 30..=38 | 40..=48 | 90..=107))
    };
    sequences.filter(is_colour).collect()
}

#[tokio::test]
async fn without_colours_it_drives_all_the_same() {
    let fixture = Fixture::new().await;
    let coloured = fixture.driving().await;
    assert!(!colours(&coloured.shown()).is_empty());
    drop(coloured);
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = fixture.console(&[]);
        command.env(name, value);
        let terminal = TestTerminal::start(&command, true, SIZE);
        terminal.sees("VIEW").await;
        tokio::time::sleep(SETTLED).await;
        terminal.send(UP);
        fixture.last_ran("forward").await;
        terminal.sees("DRIVING").await;
        terminal.send(UP_RELEASED);
        fixture.last_ran("stop").await;
        terminal.sees("ARMED").await;
        let colours = colours(&terminal.shown());
        assert!(colours.is_empty(), "{name}: {colours:?}");
    }
}

#[tokio::test]
async fn what_is_no_terminal_gets_a_line_an_event_without_escapes() {
    let fixture = Fixture::new().await;
    let command = console(fixture.folder.path(), fixture.router_port);
    let mut watch = RunningProgram::start(&mut command.into());
    crate::common::until("it watches", || watch.out().contains("car")).await;
    assert_eq!(get(fixture.port, "/cgi?command=hello").await.status, 200);
    crate::common::until("the run is told", || watch.out().contains("hello")).await;
    assert!(!watch.out().contains('\x1b'), "{:?}", watch.out());
    watch.signal(rustix::process::Signal::TERM);
    assert!(watch.end().await.code().is_some());
}
