//! The console without colours, and without a terminal.

use super::fixture::{Fixture, SETTLED, SIZE, UP, UP_RELEASED, UP_REPEATED, holding};
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
    for (name, arguments) in [("NO_COLOR", &[][..]), ("NO_COLORS", &["--no-color"])] {
        let mut command = fixture.console(arguments);
        command.env(name, "1");
        let terminal = TestTerminal::start(&command, true, SIZE);
        terminal.sees("VIEW").await;
        tokio::time::sleep(SETTLED).await;
        fixture.move_forward(&terminal).await;
        terminal.send(UP_RELEASED);
        fixture.last_ran("stop").await;
        terminal.sees("ARMED").await;
        let colours = colours(&terminal.shown());
        assert!(colours.is_empty(), "{name}: {colours:?}");
    }
}

/// A shell in an editor is a terminal, but shows no screens.
#[tokio::test]
async fn a_dumb_terminal_gets_a_line_an_event_without_escapes() {
    let fixture = Fixture::new().await;
    let mut command = fixture.console(&[]);
    command.env("TERM", "dumb");
    let mut terminal = TestTerminal::start(&command, false, SIZE);
    terminal.await_text("link up").await;
    assert_eq!(get(fixture.port, "/cgi?command=hello").await.status, 200);
    terminal.await_text("run over").await;
    assert!(!terminal.shown().contains('\x1b'), "{:?}", terminal.shown());
    terminal.send(b"\x03");
    assert_eq!(terminal.end().await, Some(130));
}

/// A serial line, whose size nobody has set.
#[tokio::test]
async fn a_terminal_of_no_size_shows_all_and_takes_its_size_when_it_has_one() {
    let fixture = Fixture::new().await;
    let terminal = TestTerminal::start(&fixture.console(&[]), true, (0, 0));
    terminal.await_text("VIEW").await;
    terminal.await_text("Space").await;
    tokio::time::sleep(SETTLED).await;
    terminal.send(UP);
    let moves = async {
        fixture.last_ran("forward").await;
        terminal.resize(100, 30);
        terminal.sees("DRIVING").await;
        terminal.sees("Round trips").await;
    };
    holding(&terminal, UP_REPEATED, moves).await;
    terminal.send(UP_RELEASED);
    fixture.last_ran("stop").await;
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
