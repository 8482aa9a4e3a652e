//! Owns the console without colours, and without a terminal.

use super::stand::{SETTLED, SIZE, Stand, UP, UP_RELEASED};
use crate::common::get;
use crate::common::program::{Program, console};
use crate::common::pty::Pty;

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
    let stand = Stand::new().await;
    let coloured = stand.driving().await;
    assert!(!colours(&coloured.shown()).is_empty());
    drop(coloured);
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = stand.console(&[]);
        command.env(name, value);
        let desk = Pty::start(&command, true, SIZE);
        desk.sees("VIEW").await;
        tokio::time::sleep(SETTLED).await;
        desk.send(UP);
        stand.last_ran("forward").await;
        desk.sees("DRIVING").await;
        desk.send(UP_RELEASED);
        stand.last_ran("stop").await;
        desk.sees("ARMED").await;
        let colours = colours(&desk.shown());
        assert!(colours.is_empty(), "{name}: {colours:?}");
    }
}

#[tokio::test]
async fn what_is_no_terminal_gets_a_line_an_event_without_escapes() {
    let stand = Stand::new().await;
    let command = console(stand.folder.path(), stand.router_port);
    let mut watch = Program::start(&mut command.into());
    crate::common::until("it watches", || watch.out().contains("car")).await;
    assert_eq!(get(stand.port, "/cgi?command=hello").await.status, 200);
    crate::common::until("the run is told", || watch.out().contains("hello")).await;
    assert!(!watch.out().contains('\x1b'), "{:?}", watch.out());
    watch.signal(rustix::process::Signal::TERM);
    assert!(watch.end().await.code().is_some());
}
