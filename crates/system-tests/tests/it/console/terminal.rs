//! The real program in a real terminal, with the bytes that real terminals send, against a router
//! by hand.

use std::time::{Duration, Instant};

use p2p_shared::protocol::{ConsoleToRouter, ControlRequest, DriveCommand};
use rustix::process::Signal;

use super::fake_router::{FakeRouter, program};
use crate::common::pty::TestTerminal;

/// kitty's up arrow: pressed, repeated, released. Others send only the last.
const DOWN: &[u8] = b"\x1b[1;1:1A";
const REPEAT: &[u8] = b"\x1b[1;1:2A";
const UP: &[u8] = b"\x1b[1;1:3A";
const LEGACY: &[u8] = b"\x1b[A";

const SIZE: (u16, u16) = (100, 32);
const REPEATS: Duration = Duration::from_millis(33);

/// A console that may drive by now: its first picture is there for half a second.
async fn ready(router: &mut FakeRouter, kitty: bool) -> TestTerminal {
    let terminal = TestTerminal::start(&program(router.port, &["--link", "car"]), kitty, SIZE);
    assert!(matches!(
        router.next().await,
        ConsoleToRouter::Hello {
            readonly: false,
            ..
        }
    ));
    terminal.await_text("VIEW").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    terminal
}

async fn driving(router: &mut FakeRouter) -> TestTerminal {
    let terminal = ready(router, true).await;
    terminal.send(DOWN);
    assert!(matches!(
        router.next().await,
        ConsoleToRouter::Control {
            request: ControlRequest::Take,
            ..
        }
    ));
    assert!(matches!(
        router.next().await,
        ConsoleToRouter::Drive {
            command: DriveCommand::Press { .. },
            ..
        }
    ));
    terminal
}

/// The terminal is as it was: flags off, mouse off, the first screen, the cursor.
fn assert_restored(terminal: &TestTerminal) {
    let shown = terminal.shown();
    let end = shown
        .rfind("\x1b[?1049l")
        .expect("the alternate screen is left");
    let flags = shown.rfind("\x1b[<1u").expect("the flags are popped");
    assert!(
        flags < end,
        "flags belong to the screen on which they were pushed"
    );
    for off in ["\x1b[?1000l", "\x1b[?1004l", "\x1b[?2004l", "\x1b[?25h"] {
        assert!(shown.contains(off), "{off:?}");
    }
}

#[tokio::test]
async fn kitty_a_held_arrow_is_one_press_with_heartbeats_and_one_release() {
    let mut router = FakeRouter::start().await;
    let terminal = driving(&mut router).await;
    for _ in 0..20 {
        tokio::time::sleep(REPEATS).await;
        terminal.send(REPEAT);
    }
    terminal.send(UP);
    let said = router.until_silent(Duration::from_millis(500)).await;
    let (last, renewals) = said.split_last().unwrap();
    assert!(
        matches!(
            last.0,
            ConsoleToRouter::Drive {
                command: DriveCommand::Release(_),
                ..
            }
        ),
        "{said:?}"
    );
    assert!(
        renewals.iter().all(|(m, _)| matches!(
            m,
            ConsoleToRouter::Drive {
                command: DriveCommand::Renew { .. },
                ..
            }
        )),
        "{said:?}"
    );
    assert!(renewals.len() >= 8, "{}", renewals.len());
    assert!(terminal.shown().contains("KEYS hold"));
}

#[tokio::test]
async fn legacy_a_tap_is_a_pulse_and_the_header_says_why() {
    let mut router = FakeRouter::start().await;
    let terminal = ready(&mut router, false).await;
    terminal.send(LEGACY);
    let said = router.until_silent(Duration::from_millis(600)).await;
    let at = |wanted: fn(&ConsoleToRouter) -> bool| said.iter().find(|(m, _)| wanted(m)).unwrap().1;
    let press = at(|m| {
        matches!(
            m,
            ConsoleToRouter::Drive {
                command: DriveCommand::Press { .. },
                ..
            }
        )
    });
    let release = at(|m| {
        matches!(
            m,
            ConsoleToRouter::Drive {
                command: DriveCommand::Release(_),
                ..
            }
        )
    });
    let pulse = release - press;
    assert!(
        pulse > Duration::from_millis(240) && pulse < Duration::from_millis(400),
        "{pulse:?}"
    );
    assert!(terminal.shown().contains("KEYS tap"));
}

#[tokio::test]
async fn q_and_sigterm_stop_give_control_back_and_restore_the_terminal() {
    for (by_key, code) in [(true, 0), (false, 143)] {
        let mut router = FakeRouter::start().await;
        let mut terminal = driving(&mut router).await;
        if by_key {
            terminal.send(b"q");
        } else {
            terminal.signal(Signal::TERM);
        }
        assert_eq!(terminal.end().await, Some(code));
        let said = router.until_silent(Duration::from_millis(300)).await;
        let has = |wanted: fn(&ConsoleToRouter) -> bool| said.iter().any(|(m, _)| wanted(m));
        assert!(
            has(|m| matches!(
                m,
                ConsoleToRouter::Drive {
                    command: DriveCommand::Stop,
                    ..
                }
            )),
            "{said:?}"
        );
        assert!(
            has(|m| matches!(
                m,
                ConsoleToRouter::Control {
                    request: ControlRequest::Release,
                    ..
                }
            )),
            "{said:?}"
        );
        assert_restored(&terminal);
    }
}

#[tokio::test]
async fn a_terminal_that_goes_away_ends_the_program_and_stops_the_car() {
    let mut router = FakeRouter::start().await;
    let mut terminal = driving(&mut router).await;
    terminal.hang_up();
    assert!(terminal.end().await.is_some());
    let said = router.until_silent(Duration::from_millis(300)).await;
    assert!(
        said.iter().any(|(m, _)| matches!(
            m,
            ConsoleToRouter::Drive {
                command: DriveCommand::Stop,
                ..
            }
        )),
        "{said:?}"
    );
}

#[tokio::test]
async fn keys_that_waited_while_it_was_stopped_move_nothing() {
    let mut router = FakeRouter::start().await;
    let terminal = driving(&mut router).await;
    terminal.signal(Signal::STOP);
    router.until_silent(Duration::from_millis(300)).await;
    for _ in 0..10 {
        terminal.send(UP);
        terminal.send(DOWN);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let continued = Instant::now();
    terminal.signal(Signal::CONT);
    let said = router.until_silent(Duration::from_millis(800)).await;
    assert!(
        said.iter().any(|(m, _)| matches!(
            m,
            ConsoleToRouter::Drive {
                command: DriveCommand::Stop,
                ..
            }
        )),
        "{said:?}"
    );
    let moves = |m: &ConsoleToRouter| {
        matches!(
            m,
            ConsoleToRouter::Drive {
                command: DriveCommand::Press { .. },
                ..
            } | ConsoleToRouter::Drive {
                command: DriveCommand::Renew { .. },
                ..
            }
        )
    };
    assert!(
        !said.iter().any(|(m, at)| moves(m) && *at > continued),
        "{said:?}"
    );
    terminal.await_text("FAILSAFE").await;
}

#[tokio::test]
async fn a_viewers_space_that_waited_while_it_was_stopped_still_stops_the_car() {
    let mut router = FakeRouter::start().await;
    let terminal = ready(&mut router, true).await;
    terminal.signal(Signal::STOP);
    tokio::time::sleep(Duration::from_millis(100)).await;
    terminal.send(DOWN);
    terminal.send(b" ");
    tokio::time::sleep(Duration::from_millis(500)).await;
    terminal.signal(Signal::CONT);
    let said = router.until_silent(Duration::from_millis(500)).await;
    assert!(
        matches!(
            &said[..],
            [(
                ConsoleToRouter::Drive {
                    command: DriveCommand::Stop,
                    ..
                },
                _
            )]
        ),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_size_that_changed_while_it_was_stopped_is_known() {
    let mut router = FakeRouter::start().await;
    let terminal = ready(&mut router, true).await;
    terminal.signal(Signal::STOP);
    tokio::time::sleep(Duration::from_millis(400)).await;
    terminal.resize(10, 3);
    terminal.signal(Signal::CONT);
    terminal.sees("needs").await;
}

#[tokio::test]
async fn a_megabyte_of_paste_moves_nothing_and_the_program_lives() {
    let mut router = FakeRouter::start().await;
    let mut terminal = ready(&mut router, true).await;
    terminal.send(b"\x1b[200~");
    for _ in 0..256 {
        terminal.send(&b"\x1b[A q \x03 a ".repeat(372));
    }
    terminal.send(b"\x1b[201~");
    let said = router.until_silent(Duration::from_millis(500)).await;
    assert!(said.is_empty(), "{said:?}");
    terminal.send(b"q");
    assert_eq!(terminal.end().await, Some(0));
}

#[tokio::test]
async fn too_small_drives_nothing_and_quits() {
    let mut router = FakeRouter::start().await;
    let mut terminal =
        TestTerminal::start(&program(router.port, &["--link", "car"]), true, (10, 3));
    router.next().await;
    terminal.await_text("VIEW").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    terminal.send(DOWN);
    assert!(
        router
            .until_silent(Duration::from_millis(300))
            .await
            .is_empty()
    );
    terminal.send(b" ");
    assert!(matches!(
        router.next().await,
        ConsoleToRouter::Drive {
            command: DriveCommand::Stop,
            ..
        }
    ));
    terminal.send(b"q");
    assert_eq!(terminal.end().await, Some(0));
}

#[tokio::test]
async fn a_terminal_that_takes_no_output_cannot_keep_the_program_alive() {
    let ways = [(Signal::TERM, 143), (Signal::INT, 130)];
    futures_util::future::join_all(ways.map(|(signal, code)| ends_when_stuck(signal, code))).await;
}

async fn ends_when_stuck(signal: Signal, code: i32) {
    let mut router = FakeRouter::start().await;
    let mut terminal = driving(&mut router).await;
    // Ctrl-S as the terminal does it: nothing is read from the screen any more.
    terminal.stall();
    // Each screen is some kilobytes: more than waits between program and terminal.
    for _ in 0..60 {
        terminal.send(b"\t");
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let said = router.until_silent(Duration::from_millis(300)).await;
    assert!(said.iter().any(|(m, _)| matches!(
        m,
        ConsoleToRouter::Drive {
            command: DriveCommand::Release(_),
            ..
        }
    )));
    terminal.signal(signal);
    assert_eq!(terminal.end().await, Some(code));
}

#[tokio::test]
async fn a_second_control_c_ends_it_at_once() {
    let mut router = FakeRouter::that_dies().await;
    let mut terminal = ready(&mut router, true).await;
    terminal.send(b"a");
    assert!(matches!(
        router.next().await,
        ConsoleToRouter::Control { .. }
    ));
    // A dead router is waited for; whoever does not wait says so again.
    terminal.send(b"\x03");
    tokio::time::sleep(Duration::from_millis(100)).await;
    terminal.send(b"\x03");
    assert_eq!(terminal.end().await, Some(130));
    assert_restored(&terminal);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_where_the_terminal_takes_no_output() {
    let mut router = FakeRouter::start().await;
    let mut terminal = ready(&mut router, true).await;
    terminal.stall();
    for _ in 0..60 {
        terminal.send(b"\t");
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    terminal.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(100)).await;
    terminal.signal(Signal::INT);
    assert_eq!(terminal.end().await, Some(130));
}
