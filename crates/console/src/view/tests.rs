//! Each screen in each state, at each size, as it is seen.

mod lists;
mod replay;

use crossterm::event::{KeyCode, KeyEventKind};
use p2p_shared::key::Role;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{
    ActiveMotion, CommandInfo, ConsoleToRouter, DriveCommand, End, FeedEvent, MotionEvent, PressId,
    RouterToConsole, SendEvent, StopCause,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::*;
use crate::connection::ConnectionEvent;
use crate::testing::{self, Bench, bob, us};

const SIZES: [(u16, u16); 3] = [(40, 8), (80, 24), (120, 40)];
/// Of what has more to show on a large screen.
const LARGE: (u16, u16) = (200, 60);

fn draw(app: &App) -> Terminal<TestBackend> {
    let (width, height) = app.setup.size;
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| render(frame, app)).unwrap();
    terminal
}

fn seen(app: &App) -> String {
    draw(app).backend().to_string()
}

fn buffer(app: &App) -> Buffer {
    draw(app).backend().buffer().clone()
}

/// A snapshot of a situation at each size.
fn snapshots(name: &str, situation: impl Fn((u16, u16)) -> Bench) {
    let grows = ["drive_driving", "fleet", "log", "log_run", "commands"].contains(&name);
    let large = [LARGE].into_iter().filter(|_| grows);
    for size in SIZES.into_iter().chain(large) {
        let bench = situation(size);
        insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), seen(&bench.app));
    }
}

fn lost_router(size: (u16, u16)) -> Bench {
    let mut bench = Bench::driving(size);
    let retry_at = Some(bench.now + std::time::Duration::from_secs(3));
    bench.event(ConnectionEvent::Disconnected {
        why: "the router was silent for 6 s".to_owned(),
        retry_at,
    });
    bench.pass(2000);
    bench
}

/// A key that is no longer good: the longest reason there is.
fn denied(size: (u16, u16)) -> Bench {
    let mut bench = Bench::driving(size);
    let said = "this key was revoked: ask the router's owner for another one";
    bench.event(ConnectionEvent::Disconnected {
        why: format!("router.example.org:8888 refuses the key: {said}"),
        retry_at: Some(bench.now + std::time::Duration::from_secs(60)),
    });
    bench.pass(2000);
    bench
}

fn lost_car(size: (u16, u16)) -> Bench {
    let mut bench = Bench::with_car(size);
    bench.feed(FeedEvent::LinkDown {
        service_port: 9000,
        why: "silent for 6 s".into(),
    });
    bench.pass(200);
    bench
}

/// A driven car that has not answered for 1.2 s.
fn no_answer(size: (u16, u16)) -> Bench {
    let mut bench = Bench::driving(size);
    bench.feed(FeedEvent::Rtt {
        service_port: 9000,
        rtt_us: 1_200_000,
        hop_us: None,
        silent_ms: Some(1200),
    });
    bench
}

fn fleet(size: (u16, u16)) -> Bench {
    let mut links = vec![
        testing::link(9000, "car"),
        testing::link(9001, "lab rig"),
        testing::link(9002, &"車".repeat(64)),
        testing::link(9003, "e\u{301}te\u{301}"),
    ];
    links[0].control.driver = Some(us());
    links[1].is_up = false;
    links[2].control.driver = Some(bob());
    links[3].stop_failed = true;
    Bench::with(size, links, Vec::new())
}

fn log(size: (u16, u16)) -> Bench {
    let mut failed = testing::run(7_200_000, "photo");
    failed.arguments = vec![
        bytes::Bytes::from_static(b"a\x1b[31m b")
            .try_into()
            .unwrap(),
    ]
    .try_into()
    .unwrap();
    if let Some(result) = failed.result.as_mut() {
        result.status = 500;
        result.end = Some(End::Exit(3));
        result.stderr = p2p_shared::bounded::Piece::first_of(b"no camera\n");
        result.why = "it ended with 3".into();
    }
    let runs = vec![
        testing::run(7_100_000, "hello"),
        failed,
        testing::open_run(7_300_000, "forward"),
    ];
    let mut bench = Bench::with(size, vec![testing::link(9000, "car")], runs);
    bench.letters("3");
    bench
}

fn commands(size: (u16, u16)) -> Bench {
    let mut bench = Bench::with_car(size);
    bench.letters("4");
    let commands = ["back", "forward", "hello", "wide 東京", "broken"].map(|name| CommandInfo {
        name: name.parse().unwrap(),
        problem: (name == "broken").then(|| "it may not be executed: chmod +x broken".into()),
    });
    bench.message(RouterToConsole::Commands {
        request: 1,
        commands: commands.into_iter().collect(),
        more: false,
    });
    bench
}

#[test]
fn the_pad_stays_where_it_is_whatever_is_said() {
    for size in [(80, 24), (120, 40), (200, 60)] {
        let still = Bench::with_car(size).app.pad();
        for situation in [Bench::driving, lost_router, lost_car, no_answer, denied] {
            assert_eq!(situation(size).app.pad(), still, "{size:?}");
        }
        let mut bench = Bench::driving(size);
        bench.control(Some(us()), Some(bob()));
        bench.app.notify("a long reason ".repeat(20), true);
        assert_eq!(bench.app.pad(), still, "{size:?}");
    }
}

#[test]
fn drive() {
    snapshots("drive_view", Bench::with_car);
    snapshots("drive_driving", Bench::driving);
    snapshots("drive_armed", |size| {
        let mut bench = Bench::driving(size);
        bench.stroke(KeyCode::Up, KeyEventKind::Release);
        bench.motion(MotionEvent::Over {
            press: None,
            cause: StopCause::Released,
            clock_ms: None,
            by: None,
        });
        bench.motion(MotionEvent::Stopped {
            cause: StopCause::Released,
            end: End::Exit(0),
            exec_us: 3_900,
            failure: None,
        });
        bench.motion(MotionEvent::Stands);
        bench
    });
    snapshots("drive_stopped", |size| {
        let mut bench = Bench::driving(size);
        bench.key(KeyCode::Char(' '));
        bench
    });
    snapshots("drive_failsafe", |size| {
        let mut bench = Bench::driving(size);
        bench.motion(MotionEvent::Over {
            press: Some(PressId {
                epoch: 7,
                number: 1,
            }),
            cause: StopCause::Lease,
            clock_ms: None,
            by: None,
        });
        bench
    });
    snapshots("drive_stop_failed", |size| {
        let mut bench = Bench::driving(size);
        bench.motion(MotionEvent::Stopped {
            cause: StopCause::Released,
            end: End::Exit(7),
            exec_us: 12_000,
            failure: None,
        });
        bench.motion(MotionEvent::StopFailed);
        bench
    });
    snapshots("drive_lost_router", lost_router);
    snapshots("drive_no_answer", no_answer);
    snapshots("drive_denied", denied);
    snapshots("drive_lost_car", lost_car);
    snapshots("drive_by_another", |size| {
        let mut bench = Bench::with_car(size);
        bench.control(Some(bob()), None);
        bench
    });
    snapshots("drive_asked", |size| {
        let mut bench = Bench::driving(size);
        bench.control(Some(us()), Some(bob()));
        bench
    });
    snapshots("drive_readonly", |size| {
        let mut bench = Bench::with_car(size);
        bench.app.setup.readonly = true;
        bench.app.role = Role::View;
        bench
    });
    snapshots("drive_tap", |size| {
        let mut bench = Bench::with_car(size);
        bench.app.setup.releases = crate::drive::KeyReleases::Guessed;
        bench.app.drive = crate::drive::Drive::new(crate::drive::KeyReleases::Guessed);
        bench
    });
    snapshots("help", |size| {
        let mut bench = Bench::with_car(size);
        bench.letters("?");
        bench
    });
}

#[test]
fn a_page_that_is_longer_than_the_screen_is_scrolled() {
    let small = |letters: &str| {
        let mut bench = log((50, 10));
        bench.letters(letters);
        bench
    };
    for mut bench in [small("2?"), small("?")] {
        let rule = "Anyone who watches may stop";
        let is_on_drive = bench.app.screen == crate::keymap::Screen::Drive;
        assert!(seen(&bench.app).contains("PgDn: more") || !is_on_drive);
        bench.key(KeyCode::End);
        assert_eq!(seen(&bench.app).contains(rule), is_on_drive);
        bench.key(KeyCode::Home);
        assert!(seen(&bench.app).contains("Space"));
        bench.key(KeyCode::PageDown);
        bench.key(KeyCode::PageUp);
        assert!(seen(&bench.app).contains("Space"));
        if is_on_drive {
            // Here, too, the arrows only drive when the page is closed.
            bench.sent.clear();
            bench.key(KeyCode::Down);
            assert!(!seen(&bench.app).contains("Space     stop"));
            assert!(bench.sent.is_empty(), "{:?}", bench.sent);
        }
        bench.key(KeyCode::Esc);
        assert!(bench.app.overlay.is_none());
    }
    // A run's output goes on below the screen; the arrows go on to the next run.
    let mut bench = small("");
    bench.key(KeyCode::Down);
    bench.key(KeyCode::Enter);
    assert!(!seen(&bench.app).contains("no camera"));
    bench.key(KeyCode::PageDown);
    assert!(seen(&bench.app).contains("no camera"));
    bench.key(KeyCode::Down);
    assert!(seen(&bench.app).contains("command   hello"));
}

#[test]
fn the_fleet_shows_whose_key_each_car_has_at_each_size() {
    for size in [(50, 15), (80, 24), (120, 40)] {
        let (mut car, mut other) = (testing::link(9000, "car"), testing::link(9001, "car-2"));
        car.key = "truck".into();
        other.key = "\u{202e}not the truck".into();
        let bench = Bench::with(size, vec![car, other], Vec::new());
        let seen = seen(&bench.app);
        let is_shown = |line: &str| line.contains(" 9000  truck ");
        assert!(seen.lines().any(is_shown), "{seen}");
        assert!(!seen.contains('\u{202e}'), "{seen}");
    }
}

#[test]
fn in_a_text_field_the_footer_says_what_stops() {
    for size in SIZES {
        let mut bench = log(size);
        bench.letters("/a long filter that needs more room than there is");
        bench.sent.clear();
        let footer = || seen(&bench.app).lines().last().unwrap().to_owned();
        assert!(
            footer().contains("Ctrl-X STOP") && footer().contains("there is"),
            "{}",
            footer()
        );
        bench.control_key('x');
        let stops = |message: &ConsoleToRouter| {
            matches!(
                message,
                ConsoleToRouter::Drive {
                    command: DriveCommand::Stop,
                    ..
                }
            )
        };
        assert!(bench.messages().iter().any(stops));
        assert!(bench.app.field.is_some());
    }
}

#[test]
fn fleets() {
    snapshots("fleet", fleet);
    snapshots("fleet_empty", |size| {
        Bench::with(size, Vec::new(), Vec::new())
    });
    snapshots("fleet_connecting", |size| {
        let mut bench = Bench::unconnected(size);
        bench.event(ConnectionEvent::Disconnected {
            why: "no connection to router.example.org:8888".to_owned(),
            retry_at: None,
        });
        bench
    });
}

#[test]
fn logs() {
    snapshots("log", log);
    snapshots("log_held", |size| {
        let mut bench = log(size);
        bench.key(KeyCode::Down);
        let run = testing::run(7_400_000, "left");
        bench.feed(FeedEvent::Run(Box::new(run)));
        bench
    });
    snapshots("log_frozen", |size| {
        let mut bench = log(size);
        bench.letters("f");
        let run = testing::run(7_400_000, "left");
        bench.feed(FeedEvent::Run(Box::new(run)));
        bench
    });
    snapshots("log_filter", |size| {
        let mut bench = log(size);
        bench.letters("/photo");
        bench
    });
    snapshots("log_run", |size| {
        let mut bench = log(size);
        bench.key(KeyCode::Down);
        bench.key(KeyCode::Enter);
        bench
    });
}

#[test]
fn a_motion_of_others_does_not_begin_when_our_last_press_began() {
    let mut bench = Bench::driving((80, 24));
    assert!(seen(&bench.app).contains("began in"));
    bench.stroke(KeyCode::Up, KeyEventKind::Release);
    bench.motion(MotionEvent::Stands);
    bench.motion(MotionEvent::Started(p2p_shared::protocol::ActiveMotion {
        run: p2p_shared::names::RunId::from_number(78),
        command: "back".parse().unwrap(),
        press: None,
    }));
    assert!(seen(&bench.app).contains("back by http or send"));
    assert!(!seen(&bench.app).contains("began in"));
}

#[test]
fn left_and_right_go_through_the_timeline_only_where_nothing_would_drive() {
    let mut bench = Bench::with_car((80, 24));
    bench.key(KeyCode::Left);
    assert!(bench.app.timeline_view.cursor.is_none());
    assert!(!bench.messages().is_empty(), "it takes control");
    let mut bench = Bench::with_car((80, 24));
    bench.pass(30_000);
    bench.control(Some(bob()), None);
    bench.messages();
    bench.key(KeyCode::Left);
    bench.key(KeyCode::Left);
    assert_eq!(
        bench.app.timeline_view.cursor,
        Some(bench.now - std::time::Duration::from_secs(2))
    );
    assert_eq!(bench.messages(), []);
    bench.key(KeyCode::Up);
    assert!(
        bench
            .app
            .notice
            .as_ref()
            .unwrap()
            .text
            .contains("bob drives")
    );
    // Driving shows the present.
    let mut bench = Bench::driving((80, 24));
    bench.letters(",");
    assert!(bench.app.timeline_view.cursor.is_none());
}

#[test]
fn command_lists() {
    snapshots("commands", commands);
    snapshots("commands_running", |size| {
        let mut bench = commands(size);
        // The third is no motion.
        bench.key(KeyCode::Down);
        bench.letters("j");
        bench.key(KeyCode::Enter);
        let event = |event| RouterToConsole::SendEvent { request: 2, event };
        bench.message(event(SendEvent::Started));
        let output = b"line one\n\x1b[2Jsecond\t\xff \xe6\x9d\xb1\n".to_vec();
        bench.message(event(SendEvent::Output(
            p2p_shared::bounded::Piece::first_of(&output),
        )));
        bench
    });
}

#[test]
fn without_colours_every_state_is_still_a_word() {
    for (situation, word) in [
        (Bench::with_car as fn(_) -> _, "VIEW"),
        (Bench::driving, "DRIVING"),
        (lost_router, "OFFLINE"),
        (no_answer, "ANSWER"),
        (fleet, "down"),
        (log, "running"),
    ] {
        let mut bench: Bench = situation((80, 24));
        bench.app.setup.colour = false;
        let buffer = buffer(&bench.app);
        let plain = |c: Color| c == Color::Reset;
        assert!(
            buffer
                .content
                .iter()
                .all(|cell| plain(cell.fg) && plain(cell.bg)),
            "{word}"
        );
        assert!(seen(&bench.app).contains(word), "{word}");
        insta::assert_snapshot!(format!("plain_{word}"), seen(&bench.app));
    }
}

#[test]
fn colours_are_the_16_on_the_terminals_own_background() {
    for situation in [Bench::driving, lost_router, lost_car, fleet, log, commands] {
        let buffer = buffer(&situation((120, 40)).app);
        for cell in &buffer.content {
            assert_eq!(cell.bg, Color::Reset);
            assert!(!matches!(cell.fg, Color::Rgb(..) | Color::Indexed(_)));
        }
    }
}

#[test]
fn a_terminal_of_10_by_3_says_what_it_needs() {
    let bench = Bench::driving((10, 3));
    insta::assert_snapshot!("too_small", seen(&bench.app));
}

#[test]
fn every_size_can_be_drawn_in_every_situation() {
    for situation in [
        Bench::with_car as fn(_) -> _,
        Bench::driving,
        lost_router,
        no_answer,
        fleet,
        log,
        commands,
    ] {
        let mut bench: Bench = situation((80, 24));
        for width in [1, 9, 25, 39, 40, 59, 60, 80, 99, 100, 140] {
            for height in [1, 2, 3, 5, 7, 8, 9, 12, 17, 18, 24, 29, 30, 44] {
                bench.app.setup.size = (width, height);
                seen(&bench.app);
            }
        }
    }
}

#[test]
fn a_motion_from_elsewhere_is_seen_at_each_width() {
    for width in [60, 80, 120] {
        let mut bench = Bench::with_car((width, 24));
        bench.feed(FeedEvent::Run(Box::new(testing::open_run(77, "back"))));
        bench.motion(MotionEvent::Started(ActiveMotion {
            run: RunId::from_number(77),
            command: "back".parse().unwrap(),
            press: None,
        }));
        assert!(
            seen(&bench.app).contains("» MOVES back"),
            "{}",
            seen(&bench.app)
        );
    }
}
