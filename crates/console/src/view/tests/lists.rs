//! Fleet, Log, Commands and the palette as they are used: by keys and by the mouse.

use crossterm::event::{
    Event as Input, KeyCode, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

use p2p_shared::protocol::RecordingInfo;

use super::*;
use crate::app::Event;
use crate::keymap::{Action, BINDINGS, Screen};

#[test]
fn a_motion_from_the_commands_asks_first_and_its_question_is_answered_by_y_alone() {
    let sends = |bench: &mut Bench| {
        let sent = bench.messages();
        sent.iter()
            .filter(|message| matches!(message, ConsoleToRouter::Send { .. }))
            .count()
    };
    let mut bench = commands((80, 24));
    bench.messages();
    bench.key(KeyCode::Enter);
    assert!(seen(&bench.app).contains("⚑ back moves car: run it? [y] does"));
    assert_eq!(sends(&mut bench), 0);
    bench.letters("j");
    assert!(!seen(&bench.app).contains("run it?"));
    assert_eq!(bench.app.commands.selected, 0);
    bench.key(KeyCode::Enter);
    bench.pass(9_000);
    bench.letters("y");
    assert_eq!(sends(&mut bench), 0, "the question was too old");
    // A held key comes as presses on some terminals.
    (0..7).for_each(|_| bench.key(KeyCode::Enter));
    assert_eq!(sends(&mut bench), 0);
    assert!(seen(&bench.app).contains("run it?"));
    bench.letters("y");
    assert_eq!(sends(&mut bench), 1);
    // What asked is gone: another car, or hardly a screen.
    let click = |bench: &mut Bench| {
        bench.event(Event::Terminal(Input::Mouse(MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column: 70,
            row: 10,
            modifiers: KeyModifiers::NONE,
        })));
    };
    let shrink = |bench: &mut Bench| {
        for (width, height) in [(30, 6), (80, 24)] {
            bench.event(Event::Terminal(Input::Resize(width, height)));
        }
    };
    let change: [&dyn Fn(&mut Bench); 3] = [&click, &shrink, &|bench| {
        bench.app.set_chosen(Some(9999));
    }];
    for change in change {
        let mut bench = commands((80, 24));
        bench.messages();
        bench.key(KeyCode::Enter);
        change(&mut bench);
        bench.letters("y");
        assert_eq!(sends(&mut bench), 0);
    }
    snapshots("commands_asks", |size| {
        let mut bench = commands(size);
        bench.key(KeyCode::Enter);
        bench
    });
}

/// Four cars that are recorded, whatever else is to be said of them, and one that is not.
fn recorded(size: (u16, u16)) -> Bench {
    let mut links: Vec<_> = ["car", "failing", "away", "silent", "other"]
        .into_iter()
        .zip(9000..)
        .map(|(name, port)| testing::link(port, name))
        .collect();
    for link in &mut links[..4] {
        link.control.recording = Some(RecordingInfo {
            file: Some("recordings/car-20261201T031400Z.mcap".into()),
            ..RecordingInfo::default()
        });
    }
    links[1].stop_failed = true;
    links[2].is_up = false;
    links[3].silent_ms = Some(900);
    Bench::with(size, links, Vec::new())
}

#[test]
fn a_car_that_is_recorded_is_marked_so_whatever_else_is_said_of_it() {
    let on_fleet = |size| {
        let mut bench = recorded(size);
        bench.letters("1");
        bench
    };
    snapshots("recorded_fleet", on_fleet);
    for size in [(40, 12), (80, 24), (120, 40)] {
        let screen = seen(&on_fleet(size).app);
        for name in ["car", "failing", "away", "silent", "other"] {
            let row = screen.lines().find(|row| {
                let mut words = row.split(|it: char| !it.is_alphanumeric());
                words.any(|word| word == name) && row.contains("900")
            });
            let row = row.unwrap_or_else(|| panic!("no {name} in {screen}"));
            assert_eq!(row.contains("REC"), name != "other", "{screen}");
        }
    }
    snapshots("recorded_drive", |size| {
        let mut bench = recorded(size);
        bench.letters("2");
        bench
    });
    // Nor does a stop that fails hide it.
    for port in 9000..9004 {
        let mut bench = recorded((80, 24));
        bench.app.set_chosen(Some(port));
        bench.letters("2");
        let screen = seen(&bench.app);
        let second = screen.lines().nth(1).unwrap();
        assert!(second.contains("REC"), "{port}: {screen}");
    }
}

#[test]
fn stop_all_asks_once_and_stops_every_car_that_is_linked() {
    let stops = |bench: &mut Bench| {
        let sent = bench.messages().into_iter();
        let stop = |message| match message {
            ConsoleToRouter::Drive {
                service_port,
                command: DriveCommand::Stop,
            } => Some(service_port),
            _ => None,
        };
        sent.filter_map(stop).collect::<Vec<_>>()
    };
    let mut bench = fleet((120, 40));
    bench.letters("X");
    assert!(seen(&bench.app).contains("STOP ALL: stop 3 cars?"));
    assert!(stops(&mut bench).is_empty());
    bench.key(KeyCode::Esc);
    bench.key(KeyCode::Enter);
    assert!(stops(&mut bench).is_empty());
    let mut bench = fleet((120, 40));
    bench.letters("Xy");
    assert_eq!(stops(&mut bench), [9000, 9002, 9003]);
    let mut bench = fleet((120, 40));
    bench.letters("X");
    bench.event(Event::Connection(ConnectionEvent::Disconnected {
        why: "gone".to_owned(),
        retry_at: None,
    }));
    bench.letters("y");
    assert!(
        seen(&bench.app).contains("the stop can't be sent"),
        "{}",
        seen(&bench.app)
    );
}

#[test]
fn the_highlight_does_not_change_whom_space_stops() {
    let mut bench = fleet((120, 40));
    assert_eq!(bench.app.chosen, Some(9000));
    bench.key(KeyCode::End);
    bench.key(KeyCode::Up);
    assert!(seen(&bench.app).contains("Space STOP car "));
    bench.messages();
    bench.key(KeyCode::Char(' '));
    let stopped = bench.messages();
    assert!(
        matches!(
            stopped[..],
            [ConsoleToRouter::Drive {
                service_port: 9000,
                ..
            }]
        ),
        "{stopped:?}"
    );
    snapshots("fleet_highlight", |size| {
        let mut bench = fleet(size);
        bench.key(KeyCode::End);
        bench
    });
}

#[test]
fn the_fleet_is_ordered_with_trouble_first_and_filtered_as_one_types() {
    let order = |bench: &Bench| -> Vec<u16> {
        let rows = bench.app.fleet_rows();
        rows.iter().map(|link| link.info.service_port).collect()
    };
    let mut bench = fleet((120, 40));
    assert_eq!(order(&bench), [9003, 9001, 9000, 9002]);
    bench.letters("o");
    assert!(seen(&bench.app).contains("by name"));
    bench.letters("/bo");
    assert_eq!(order(&bench), [9002], "bob drives it");
    bench.key(KeyCode::Esc);
    assert_eq!(order(&bench).len(), 4);
    bench.letters("/rig");
    bench.key(KeyCode::Enter);
    assert_eq!(order(&bench), [9001]);
    bench.key(KeyCode::Esc);
    assert_eq!(order(&bench).len(), 4);
}

#[test]
fn the_palette_finds_every_action_and_performs_it() {
    let mut bench = log((80, 24));
    bench.letters(":");
    for binding in BINDINGS
        .iter()
        .filter(|b| b.is_for(bench.app.screen, false))
    {
        let moves = matches!(
            binding.action,
            Action::Lines(_) | Action::Pages(_) | Action::Palette
        );
        let shown = bench.app.palette().unwrap();
        let is_shown = shown.iter().any(|b| b.action == binding.action);
        assert!(
            is_shown || moves || binding.help.is_empty(),
            "{}",
            binding.label
        );
    }
    bench.letters("freeze");
    bench.key(KeyCode::Enter);
    assert!(bench.app.log.is_frozen() && bench.app.field.is_none());
    // An action of another screen opens that.
    bench.letters(":STOP ALL");
    bench.key(KeyCode::Enter);
    assert_eq!(bench.app.screen, Screen::Fleet);
    assert!(bench.app.question.is_some());
    snapshots("palette", |size| {
        let mut bench = Bench::with_car(size);
        bench.letters(":control");
        bench.key(KeyCode::Down);
        bench
    });
}

#[test]
fn the_mouse_goes_where_it_clicks() {
    use crossterm::event::{Event as Input, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
    let mouse = |bench: &mut Bench, kind, column, row| {
        let modifiers = KeyModifiers::NONE;
        bench.event(Event::Terminal(Input::Mouse(MouseEvent {
            kind,
            column,
            row,
            modifiers,
        })));
    };
    let click = |bench: &mut Bench, text: &str| {
        let seen = seen(&bench.app);
        let lines = seen.lines().enumerate();
        let found =
            lines.filter_map(|(row, line)| Some((row, line.split_once(text)?.0.chars().count())));
        let (row, column) = found.last().unwrap();
        // Each line is in quotes.
        let (column, row) = (
            u16::try_from(column - 1).unwrap(),
            u16::try_from(row).unwrap(),
        );
        mouse(bench, MouseEventKind::Down(MouseButton::Left), column, row);
    };
    let mut bench = fleet((80, 24));
    click(&mut bench, "3 Log");
    assert_eq!(bench.app.screen, Screen::Log);
    click(&mut bench, "1 Fleet");
    click(&mut bench, "lab rig ");
    assert!(seen(&bench.app).contains("┌ lab rig :9001"));
    bench.messages();
    click(&mut bench, "STOP car");
    assert!(matches!(
        bench.messages()[..],
        [ConsoleToRouter::Drive {
            service_port: 9000,
            ..
        }]
    ));
    // What is highlighted opens.
    mouse(&mut bench, MouseEventKind::Down(MouseButton::Left), 5, 7);
    assert_eq!(
        (bench.app.screen, bench.app.chosen),
        (Screen::Drive, Some(9001))
    );
    bench.letters("1");
    mouse(&mut bench, MouseEventKind::ScrollDown, 5, 7);
    assert!(seen(&bench.app).contains("┌ 車車"));
    // A click runs no command.
    let mut bench = commands((80, 24));
    click(&mut bench, "hello");
    click(&mut bench, "hello");
    assert_eq!(
        (
            bench.app.commands.selected,
            bench.app.commands.run.is_none()
        ),
        (2, true)
    );
    // Behind the palette no pad drives.
    let mut bench = Bench::with_car((80, 24));
    let pad = bench.app.pad();
    bench.letters(":");
    bench.messages();
    mouse(
        &mut bench,
        MouseEventKind::Down(MouseButton::Left),
        pad.x + 10,
        pad.y + 1,
    );
    assert_eq!(bench.messages(), []);
}

#[test]
fn the_log_has_control_links_and_stops_between_the_runs() {
    let happens = |size| {
        let mut bench = Bench::with(size, vec![testing::link(9000, "car")], Vec::new());
        bench.letters("3");
        bench.control(Some(bob()), None);
        bench.feed(FeedEvent::Run(Box::new(testing::open_run(
            7_300_000, "forward",
        ))));
        bench.motion(MotionEvent::Over {
            press: None,
            cause: StopCause::Asked,
            clock_ms: None,
            by: Some("anna".into()),
        });
        bench.motion(MotionEvent::Stopped {
            cause: StopCause::Asked,
            end: End::Exit(0),
            exec_us: 3_900,
            failure: None,
        });
        bench.motion(MotionEvent::Stands);
        bench.control(None, None);
        let down = FeedEvent::LinkDown {
            service_port: 9000,
            why: "silent for 6 s".into(),
        };
        bench.feed(down);
        bench.feed(FeedEvent::Link(Box::new(testing::link(9000, "car"))));
        // What the router tells of a car that was there is no link that came up.
        bench.feed(FeedEvent::Link(Box::new(testing::link(9000, "car"))));
        bench
    };
    snapshots("log_lines", happens);
    let mut bench = happens((80, 24));
    let texts = |bench: &Bench| -> Vec<String> {
        let text = |run: std::sync::Arc<p2p_shared::protocol::RunInfo>| run.command.to_string();
        bench.app.log.shown().map(text).collect()
    };
    assert_eq!(
        texts(&bench),
        [
            "link up",
            "link down",
            "control",
            "stop",
            "stop",
            "forward",
            "control"
        ]
    );
    bench.letters("/anna");
    assert_eq!(texts(&bench), ["stop"]);
    bench.key(KeyCode::Enter);
    bench.key(KeyCode::Enter);
    assert!(seen(&bench.app).contains("by anna"), "{}", seen(&bench.app));
    // Drive has the runs alone, and a snapshot leaves all where it is.
    bench.key(KeyCode::Esc);
    bench.key(KeyCode::Esc);
    let before = texts(&bench);
    bench.connect(
        vec![testing::link(9000, "car")],
        vec![testing::run(7_300_000, "forward")],
    );
    assert_eq!(texts(&bench).len(), before.len());
    assert_eq!(bench.app.log.of_link(9000).count(), 1);
}

#[test]
fn long_output_follows_scrolls_is_searched_and_copied() {
    let long = |size| {
        let mut bench = commands(size);
        bench.letters("jj");
        bench.key(KeyCode::Enter);
        let output: String = (0..100)
            .map(|n| format!("\x1b[32mline {n}\x1b[0m of it\n"))
            .collect();
        let event = |event| RouterToConsole::SendEvent { request: 2, event };
        bench.message(event(SendEvent::Started));
        let output = p2p_shared::bounded::Piece::first_of(output.as_bytes());
        bench.message(event(SendEvent::Output(output)));
        bench.letters("o");
        bench
    };
    snapshots("output", long);
    let more = |bench: &mut Bench| {
        let output = p2p_shared::bounded::Piece::first_of(b"one more\n");
        bench.message(RouterToConsole::SendEvent {
            request: 2,
            event: SendEvent::Output(output),
        });
    };
    let mut bench = long((80, 24));
    more(&mut bench);
    assert!(seen(&bench.app).contains("one more"), "it follows");
    bench.key(KeyCode::PageUp);
    bench.key(KeyCode::PageUp);
    more(&mut bench);
    assert!(!seen(&bench.app).contains("one more"), "it is held");
    bench.letters("/LINE 7");
    bench.key(KeyCode::Enter);
    let found = |bench: &Bench| {
        seen(&bench.app)
            .lines()
            .nth(5)
            .unwrap()
            .contains("line 7 of")
    };
    bench.key(KeyCode::Home);
    bench.letters("/");
    bench.key(KeyCode::Enter);
    assert!(found(&bench), "{}", seen(&bench.app));
    let marked = buffer(&bench.app);
    assert!(
        marked[(3, 5)]
            .modifier
            .contains(ratatui::style::Modifier::REVERSED)
    );
    assert_eq!(marked[(3, 6)].fg, Color::Green, "its colours are kept");
    bench.sent.clear();
    bench.letters("y");
    let copied = bench.sent.iter().find_map(|effect| match effect {
        crate::app::Effect::Copy(text) => Some(text),
        _ => None,
    });
    let copied = copied.unwrap();
    assert!(copied.starts_with("line 0 of it\nline 1") && !copied.contains('\x1b'));
    bench.key(KeyCode::End);
    assert!(seen(&bench.app).contains("one more"));
    bench.key(KeyCode::Esc);
    assert!(bench.app.overlay.is_none());
}

#[test]
fn five_hundred_links_are_drawn_where_the_selection_is() {
    let links: Vec<_> = (0..500)
        .map(|n| testing::link(9000 + n, &format!("car-{n}")))
        .collect();
    let mut bench = Bench::with((80, 24), links, Vec::new());
    assert!(seen(&bench.app).contains("car-0 ") && !seen(&bench.app).contains("car-100"));
    bench.key(KeyCode::End);
    assert!(seen(&bench.app).contains("car-499"));
}
