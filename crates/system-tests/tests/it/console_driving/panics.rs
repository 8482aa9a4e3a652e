//! Terminal and car when the console itself fails.

use rustix::process::Signal;

use super::fixture::{Fixture, SETTLED, SIZE};
use crate::common::program::console_that_panics;
use crate::common::pty::TestTerminal;

/// A key that makes it panic, its exit code, and what it says of it.
const FAULTS: [(&[u8], i32, &str); 4] = [
    (b"\x1b[117u", 101, "deciding"),
    (b"\x1b[114u", 101, "drawing"),
    (b"\x1b[116u", 1, "in a thread"),
    (b"\x1b[107u", 1, "in a task"),
];

#[tokio::test]
async fn a_panic_anywhere_stops_the_car_and_gives_the_terminal_back() {
    let fixture = Fixture::new().await;
    for (key, code, says) in FAULTS {
        let command = console_that_panics(fixture.folder.path(), fixture.router_port);
        let mut terminal = TestTerminal::start(&command, true, SIZE);
        terminal.sees("VIEW").await;
        tokio::time::sleep(SETTLED).await;
        let edited = terminal.edits_lines();
        fixture.move_forward(&terminal).await;
        terminal.send(key);
        assert_eq!(terminal.end().await, Some(code), "{says}");
        fixture.last_ran("stop").await;
        terminal.await_text(says).await;
        let shown = terminal.shown();
        let at = |what: &str| {
            shown
                .rfind(what)
                .unwrap_or_else(|| panic!("{what:?}: {says}"))
        };
        let left = at("\x1b[?1049l");
        // Flags belong to the screen on which they were pushed.
        assert!(at("\x1b[<1u") < left, "{says}");
        for off in ["\x1b[?1000l", "\x1b[?1004l", "\x1b[?2004l"] {
            assert!(at(off) < left, "{off:?}: {says}");
        }
        assert!(left < at("\x1b[?25h"), "{says}");
        // Nothing is drawn on the screen that others use, and what was wrong is said there.
        assert!(left < at(says), "{says}");
        let after = &shown[left..];
        assert!(
            !after.contains("DRIVING") && !after.contains("\x1b[>"),
            "{after:?}"
        );
        assert!(!edited, "the terminal was raw while it ran: {says}");
        assert!(terminal.edits_lines(), "lines are edited again: {says}");
    }
}

#[tokio::test]
async fn a_signal_while_driving_stops_the_car_and_gives_the_terminal_back() {
    let fixture = Fixture::new().await;
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let mut terminal = fixture.driving().await;
        terminal.signal(signal);
        assert_eq!(terminal.end().await, Some(code));
        fixture.last_ran("stop").await;
        // What it wrote last may still be on its way here.
        terminal.await_text("\x1b[?1049l").await;
        assert!(terminal.edits_lines());
    }
}
