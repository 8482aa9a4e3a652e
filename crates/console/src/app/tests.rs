//! The application from key to message; what it says of the car is in `said`, what it asks of it in `past`.

mod past;
mod said;

use crossterm::event::{
    Event as Input, KeyCode, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use p2p_shared::names::RunId;
use p2p_shared::protocol::{
    ActiveMotion, CommandInfo, ConsoleToRouter, ControlInfo, ControlRequest, DriveCommand, End,
    FeedEvent, MotionEvent, PressId, RefusedReason, RouterToConsole, SendEvent, StopCause,
};

use super::*;
use crate::app::contact::Contact;
use crate::connection::ConnectionEvent;
use crate::drive::Direction;
use crate::keymap::Screen;
use crate::screen::layout;
use crate::testing::{self, Bench, bob, us};

const SIZE: (u16, u16) = (100, 32);
const PORT: u16 = 9000;

fn stop() -> ConsoleToRouter {
    ConsoleToRouter::Drive {
        service_port: PORT,
        command: DriveCommand::Stop,
    }
}

fn control(request: ControlRequest) -> ConsoleToRouter {
    ConsoleToRouter::Control {
        service_port: PORT,
        request,
    }
}

fn presses(messages: &[ConsoleToRouter]) -> Vec<&str> {
    let mut names = Vec::new();
    for message in messages {
        if let ConsoleToRouter::Drive {
            command: DriveCommand::Press { command, .. },
            ..
        } = message
        {
            names.push(command.as_str());
        }
    }
    names
}

#[test]
fn with_one_link_it_opens_on_drive_and_an_arrow_drives() {
    let mut bench = Bench::with_car(SIZE);
    assert_eq!(bench.app.screen, Screen::Drive);
    bench.stroke(KeyCode::Up, KeyEventKind::Press);
    assert_eq!(bench.messages(), [control(ControlRequest::Take)]);
    bench.control(Some(us()), None);
    assert_eq!(presses(&bench.messages()), ["forward"]);
    bench.pass(120);
    let renewals = bench.messages();
    assert_eq!(renewals.len(), 2, "{renewals:?}");
    bench.stroke(KeyCode::Up, KeyEventKind::Release);
    assert!(matches!(
        bench.messages()[..],
        [ConsoleToRouter::Drive {
            command: DriveCommand::Release(_),
            ..
        }]
    ));
}

#[test]
fn with_several_links_it_opens_on_fleet_and_enter_opens_one() {
    let links = vec![testing::link(9000, "car"), testing::link(9001, "rig")];
    let mut bench = Bench::with(SIZE, links, Vec::new());
    assert_eq!(bench.app.screen, Screen::Fleet);
    bench.key(KeyCode::Down);
    bench.key(KeyCode::Enter);
    assert_eq!(
        (bench.app.screen, bench.app.chosen),
        (Screen::Drive, Some(9001))
    );
}

#[test]
fn the_wanted_link_is_opened_when_it_comes() {
    let mut bench = Bench::unconnected(SIZE);
    bench.app.setup.wanted = Some("rig".to_owned());
    bench.connect(vec![testing::link(9000, "car")], vec![]);
    assert_eq!(bench.app.screen, Screen::Fleet);
    let notice = bench.app.notice.as_ref().unwrap();
    assert!(notice.text.contains("no link is called rig"));
    bench.feed(FeedEvent::Link(Box::new(testing::link(9001, "rig"))));
    assert_eq!(
        (bench.app.screen, bench.app.chosen),
        (Screen::Drive, Some(9001))
    );
}

#[test]
fn a_latched_press_ends_with_any_key_and_any_click() {
    let latched = || {
        let mut bench = Bench::with_car(SIZE);
        bench.app.drive = crate::drive::Drive::new(crate::drive::KeyReleases::Guessed);
        bench.letters("L");
        bench.stroke(KeyCode::Up, KeyEventKind::Press);
        bench.control(Some(us()), None);
        bench.pass(1_000);
        assert!(bench.app.drive.is_latched());
        bench.messages();
        bench
    };
    let is_over = |bench: &mut Bench| {
        assert_eq!(bench.app.drive.asked(), None);
        let is_release = |message: &ConsoleToRouter| {
            matches!(
                message,
                ConsoleToRouter::Drive {
                    command: DriveCommand::Release(_),
                    ..
                }
            )
        };
        bench.messages().iter().any(is_release)
    };
    for key in [
        KeyCode::Char('z'),
        KeyCode::Down,
        KeyCode::Char('v'),
        KeyCode::Char('3'),
        KeyCode::Esc,
    ] {
        let mut bench = latched();
        bench.stroke(key, KeyEventKind::Press);
        assert!(is_over(&mut bench), "{key:?}");
    }
    let mut bench = latched();
    bench.event(Event::Terminal(Input::Mouse(MouseEvent {
        kind: MouseEventKind::Down(MouseButton::Left),
        column: 70,
        row: 10,
        modifiers: KeyModifiers::NONE,
    })));
    assert!(is_over(&mut bench));
    // On the pad, too, a click does nothing but that; the car's timeline says why it has stopped.
    let mut bench = latched();
    let pad = bench.app.pad();
    bench.event(Event::Terminal(Input::Mouse(MouseEvent {
        kind: MouseEventKind::Down(MouseButton::Left),
        column: pad.x + pad.width / 2,
        row: pad.y + 1,
        modifiers: KeyModifiers::NONE,
    })));
    bench.pass(1_000);
    assert_eq!(bench.app.drive.asked(), None);
    let presses = |it: &ConsoleToRouter| {
        matches!(
            it,
            ConsoleToRouter::Drive {
                command: DriveCommand::Press { .. },
                ..
            }
        )
    };
    assert!(!bench.messages().iter().any(presses));
    let mut told = bench.app.link().unwrap().timeline.events();
    let why = "the latched press ends: a key or a click";
    assert!(told.any(|(_, what)| what == why));
    let mut bench = latched();
    bench.event(Event::Terminal(Input::FocusLost));
    assert!(is_over(&mut bench));
    // Before there is control, too.
    for key in [KeyCode::Char('z'), KeyCode::Up] {
        let mut bench = Bench::with_car(SIZE);
        bench.app.drive = crate::drive::Drive::new(crate::drive::KeyReleases::Guessed);
        bench.letters("L");
        bench.stroke(KeyCode::Up, KeyEventKind::Press);
        bench.stroke(key, KeyEventKind::Press);
        bench.control(Some(us()), None);
        bench.pass(1_000);
        let sent = bench.messages();
        let presses = |it: &ConsoleToRouter| {
            let ConsoleToRouter::Drive { command, .. } = it else {
                return false;
            };
            matches!(command, DriveCommand::Press { .. })
        };
        assert!(!sent.iter().any(presses), "{key:?}: {sent:?}");
    }
}

#[test]
fn space_stops_from_every_screen() {
    for screen in ['1', '2', '3', '4'] {
        let mut bench = Bench::with_car(SIZE);
        bench.letters(&screen.to_string());
        bench.messages();
        bench.key(KeyCode::Char(' '));
        assert_eq!(bench.messages(), [stop()], "{screen}");
    }
}

#[test]
fn leaving_drive_a_text_field_focus_and_a_paste_end_the_press() {
    let ways: [fn(&mut Bench); 5] = [
        |bench| bench.key(KeyCode::Tab),
        |bench| bench.letters("?"),
        |bench| bench.event(Event::Terminal(Input::FocusLost)),
        |bench| bench.event(Event::Terminal(Input::Paste("x".repeat(1 << 20)))),
        |bench| bench.event(Event::Terminal(Input::Resize(10, 3))),
    ];
    for (n, way) in ways.into_iter().enumerate() {
        let mut bench = Bench::driving(SIZE);
        bench.messages();
        way(&mut bench);
        let sent = bench.messages();
        let ended = |m: &ConsoleToRouter| {
            matches!(
                m,
                ConsoleToRouter::Drive {
                    command: DriveCommand::Release(_),
                    ..
                } | ConsoleToRouter::Drive {
                    command: DriveCommand::Stop,
                    ..
                }
            )
        };
        assert!(sent.iter().any(ended), "{n}: {sent:?}");
        bench.pass(200);
        let renews = |m: &ConsoleToRouter| {
            matches!(
                m,
                ConsoleToRouter::Drive {
                    command: DriveCommand::Renew { .. },
                    ..
                }
            )
        };
        assert!(!bench.messages().iter().any(renews), "{n}");
    }
}

#[test]
fn quitting_stops_and_disarms_a_driver_and_lets_others_drive_on() {
    let mut bench = Bench::driving(SIZE);
    bench.sent.clear();
    bench.letters("q");
    assert!(bench.sent.contains(&Effect::Send(stop())));
    assert!(
        bench
            .sent
            .contains(&Effect::Send(control(ControlRequest::Release)))
    );
    assert!(bench.sent.contains(&Effect::Quit));

    let mut viewer = Bench::with_car(SIZE);
    viewer.control(Some(bob()), None);
    viewer.letters("q");
    assert!(!viewer.sent.contains(&Effect::Send(stop())));
}

#[test]
fn control_c_quits_out_of_a_text_field_too() {
    let mut bench = Bench::with_car(SIZE);
    bench.letters("3/q");
    assert_eq!(bench.app.field.as_ref().unwrap().text, "q");
    let key = crossterm::event::KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    bench.event(Event::Terminal(Input::Key(key)));
    assert!(bench.sent.contains(&Effect::Quit));
}

#[test]
fn a_request_for_control_is_shown_and_answered() {
    let mut bench = Bench::driving(SIZE);
    bench.messages();
    bench.control(Some(us()), Some(bob()));
    let until = bench.app.link().and_then(|link| link.request_until);
    assert_eq!(until, Some(bench.now + Duration::from_secs(8)));
    bench.letters("g");
    let sent = bench.messages();
    assert!(
        matches!(
            sent[0],
            ConsoleToRouter::Drive {
                command: DriveCommand::Release(_),
                ..
            }
        ),
        "{sent:?}"
    );
    assert!(sent.contains(&control(ControlRequest::Grant)));
    bench.control(Some(bob()), None);
    assert_eq!(bench.app.state(), DriveState::View);
}

#[test]
fn a_lost_router_is_a_failsafe_for_its_driver_and_nothing_resumes() {
    let mut bench = Bench::driving(SIZE);
    bench.messages();
    bench.event(ConnectionEvent::Disconnected {
        why: "the router was silent".to_owned(),
        retry_at: None,
    });
    assert_eq!(bench.app.state(), DriveState::Offline);
    bench.pass(200);
    assert_eq!(bench.messages(), []);
    bench.event(testing::connected());
    bench.message(RouterToConsole::Snapshot {
        first: true,
        last: true,
        session: SessionId(9),
        key: "desk".into(),
        role: Role::Drive,
        missed: 0,
        links: vec![testing::link(PORT, "car")].try_into().unwrap(),
        runs: Default::default(),
    });
    bench.pass(1000);
    bench.stroke(KeyCode::Up, KeyEventKind::Repeat);
    assert_eq!(bench.app.state(), DriveState::Failsafe);
    assert_eq!(bench.messages(), []);
    bench.stroke(KeyCode::Up, KeyEventKind::Release);
    bench.key(KeyCode::Char('a'));
    assert_eq!(bench.messages(), [control(ControlRequest::Take)]);
}

#[test]
fn a_new_picture_for_a_slow_console_does_not_end_the_drive() {
    let mut bench = Bench::driving(SIZE);
    let mut link = testing::link(PORT, "car");
    link.control.driver = Some(us());
    link.control.epoch = 7;
    bench.messages();
    for (first, last) in [(true, false), (false, true)] {
        bench.message(RouterToConsole::Snapshot {
            first,
            last,
            session: testing::US,
            key: "desk".into(),
            role: Role::Drive,
            missed: if first { 40 } else { 0 },
            links: last.then(|| link.clone()).into_iter().collect(),
            runs: Default::default(),
        });
        bench.pass(60);
    }
    assert!(matches!(bench.app.state(), DriveState::Driving(_)));
    assert_eq!(bench.app.log.missed, 40);
}

#[test]
fn late_disarms_and_stops() {
    let mut bench = Bench::driving(SIZE);
    bench.messages();
    bench.event(Event::Late(Duration::from_millis(150)));
    assert!(matches!(bench.app.state(), DriveState::Driving(_)));
    bench.messages();
    bench.event(Event::Late(Duration::from_secs(3)));
    assert!(bench.messages().contains(&stop()));
    assert_eq!(bench.app.state(), DriveState::Failsafe);
}

#[test]
fn a_readonly_console_sends_nothing_but_stop() {
    let mut bench = Bench::with_car(SIZE);
    bench.app.setup.readonly = true;
    for code in [
        KeyCode::Up,
        KeyCode::Left,
        KeyCode::Char('a'),
        KeyCode::Char('S'),
    ] {
        bench.key(code);
    }
    bench.letters("4");
    bench.messages();
    bench.key(KeyCode::Enter);
    assert_eq!(bench.messages(), []);
    bench.key(KeyCode::Char(' '));
    assert_eq!(bench.messages(), [stop()]);
}

#[test]
fn too_small_takes_nothing_but_stop_and_quit() {
    let mut bench = Bench::with_car((10, 3));
    for code in [
        KeyCode::Up,
        KeyCode::Char('a'),
        KeyCode::Char('3'),
        KeyCode::Char('?'),
    ] {
        bench.key(code);
    }
    assert_eq!(bench.messages(), []);
    assert_eq!((bench.app.screen, bench.app.overlay), (Screen::Drive, None));
    bench.key(KeyCode::Char(' '));
    assert_eq!(bench.messages(), [stop()]);
    bench.letters("q");
    assert!(bench.sent.contains(&Effect::Quit));
}

#[test]
fn the_mouse_drives_on_the_pad_and_stops_where_it_leaves() {
    let mut bench = Bench::with_car(SIZE);
    bench.control(Some(us()), None);
    bench.messages();
    let pad = bench.app.pad();
    let mouse = |kind, area: ratatui::layout::Rect| {
        let event = MouseEvent {
            kind,
            column: area.x + 1,
            row: area.y + 1,
            modifiers: KeyModifiers::NONE,
        };
        Event::Terminal(Input::Mouse(event))
    };
    let left = layout::cell(pad, Direction::Left);
    let right = layout::cell(pad, Direction::Right);
    bench.event(mouse(MouseEventKind::Down(MouseButton::Left), left));
    assert_eq!(presses(&bench.messages()), ["left"]);
    bench.event(mouse(MouseEventKind::Drag(MouseButton::Left), left));
    assert_eq!(bench.messages(), []);
    bench.event(mouse(MouseEventKind::Drag(MouseButton::Left), right));
    assert!(matches!(
        bench.messages()[..],
        [ConsoleToRouter::Drive {
            command: DriveCommand::Release(_),
            ..
        }]
    ));
    bench.event(mouse(
        MouseEventKind::Down(MouseButton::Left),
        layout::stop_cell(pad),
    ));
    assert_eq!(bench.messages(), [stop()]);
}

#[test]
fn a_command_runs_and_its_output_streams() {
    let mut bench = Bench::with_car(SIZE);
    bench.letters("4");
    let [ConsoleToRouter::ListCommands { request, .. }] = bench.messages()[..] else {
        panic!("no list asked for");
    };
    let command = |name: &str, problem: Option<&str>| CommandInfo {
        name: name.parse().unwrap(),
        problem: problem.map(Into::into),
    };
    for (commands, more) in [
        (vec![command("broken", Some("chmod +x broken"))], true),
        (vec![command("hello", None)], false),
    ] {
        bench.message(RouterToConsole::Commands {
            request,
            commands: commands.try_into().unwrap(),
            more,
        });
    }
    bench.key(KeyCode::Enter);
    assert_eq!(bench.messages(), []);
    bench.key(KeyCode::Down);
    bench.letters("e");
    bench.letters("a 'b c'");
    bench.key(KeyCode::Enter);
    let sent = bench.messages();
    let [
        ConsoleToRouter::Send {
            request, arguments, ..
        },
    ] = &sent[..]
    else {
        panic!("{sent:?}");
    };
    assert_eq!(arguments.len(), 2);
    let request = *request;
    let event = |event| RouterToConsole::SendEvent { request, event };
    bench.message(event(SendEvent::Started));
    bench.message(event(SendEvent::Output(
        p2p_shared::bounded::Piece::first_of(b"it is \x1b[2J"),
    )));
    assert!(
        matches!(bench.messages()[..], [ConsoleToRouter::Window { more, .. }] if more == 10 + 64)
    );
    bench.message(event(SendEvent::Finished {
        end: End::Exit(3),
        exec_us: 1_000,
        stderr: p2p_shared::bounded::Piece::first_of(b"oh"),
    }));
    assert!(!bench.app.commands.run.as_ref().unwrap().is_open());
}

#[test]
fn a_refusal_is_shown() {
    let mut bench = Bench::with_car(SIZE);
    bench.message(RouterToConsole::Refused {
        reason: RefusedReason::Locked,
        press: None,
        message: "bob drives\x1b[2J".into(),
    });
    let notice = bench.app.notice.as_ref().unwrap();
    assert_eq!(notice.text, r"bob drives\u{1b}[2J");
    bench.pass(8_100);
    assert!(bench.app.notice.is_none());
}

#[test]
fn typing_keys_are_reported_whole_only_while_armed() {
    let mut bench = Bench::driving(SIZE);
    assert!(bench.sent.contains(&Effect::AllKeys(true)));
    bench.key(KeyCode::Esc);
    assert!(bench.sent.contains(&Effect::AllKeys(false)));
}

#[test]
fn idle_it_wants_to_be_drawn_once_a_second_at_most() {
    let mut bench = Bench::with_car(SIZE);
    bench.letters("3");
    bench.app.dirty = false;
    let mut drawings = 0;
    for _ in 0..40 {
        bench.now += Duration::from_millis(250);
        bench.event(ConnectionEvent::Ponged(Duration::from_millis(20)));
        let input_seen = bench.now;
        bench.event(Event::Tick { input_seen });
        drawings += u32::from(std::mem::take(&mut bench.app.dirty));
    }
    assert!(drawings <= 11, "{drawings}");
}

#[test]
fn a_slow_motion_command_is_pointed_out() {
    let mut bench = Bench::with_car(SIZE);
    bench.control(Some(us()), None);
    bench.feed(FeedEvent::Run(Box::new(testing::open_run(77, "forward"))));
    bench.motion(p2p_shared::protocol::MotionEvent::Ended {
        run: RunId::from_number(77),
        end: End::Exit(0),
        exec_us: 612_000,
    });
    let text = &bench.app.notice.as_ref().unwrap().text;
    assert!(
        text.contains("forward took 612 ms") && text.contains("worker"),
        "{text}"
    );
}

#[test]
fn the_router_is_told_which_car_is_looked_at_on_drive_and_again_after_a_reconnect() {
    let links = || vec![testing::link(9000, "car"), testing::link(9001, "rig")];
    let mut bench = Bench::unconnected(SIZE);
    bench.connect(links(), Vec::new());
    // It opens on Fleet: a list is no look at a car.
    assert_eq!(bench.watches(), []);
    bench.key(KeyCode::Enter);
    assert_eq!(bench.watches(), [Some(9000)]);
    bench.pass(1000);
    assert_eq!(bench.watches(), [], "said once");
    bench.letters("3");
    assert_eq!(bench.watches(), [None]);
    bench.letters("4");
    assert_eq!(bench.watches(), []);
    bench.letters("2");
    assert_eq!(bench.watches(), [Some(9000)]);
    bench.letters("1");
    bench.key(KeyCode::Down);
    bench.key(KeyCode::Enter);
    assert_eq!(bench.watches(), [None, Some(9001)]);
    bench.event(ConnectionEvent::Disconnected {
        why: "the router was silent".to_owned(),
        retry_at: None,
    });
    assert_eq!(bench.watches(), []);
    bench.connect(links(), Vec::new());
    assert_eq!(bench.watches(), [Some(9001)]);
}

#[test]
fn who_may_not_drive_looks_at_no_car() {
    let mut bench = Bench::unconnected(SIZE);
    bench.app.setup.readonly = true;
    bench.connect(vec![testing::link(PORT, "car")], Vec::new());
    assert_eq!(bench.app.screen, Screen::Drive);
    assert_eq!(bench.watches(), []);
}

/// The press that is out.
fn last_press(messages: &[ConsoleToRouter]) -> PressId {
    let press = messages.iter().find_map(|message| match message {
        ConsoleToRouter::Drive {
            command: DriveCommand::Press { press, .. },
            ..
        } => Some(*press),
        _ => None,
    });
    press.unwrap()
}

#[test]
fn a_refused_press_is_over_and_only_a_fresh_one_moves() {
    for reason in [
        RefusedReason::NotDriving,
        RefusedReason::Offline,
        RefusedReason::TooSlow,
        RefusedReason::Locked,
    ] {
        let mut bench = Bench::with_car(SIZE);
        bench.control(Some(us()), None);
        bench.stroke(KeyCode::Up, KeyEventKind::Press);
        let press = last_press(&bench.messages());
        let refused = |press| RouterToConsole::Refused {
            reason,
            press: Some(press),
            message: "too slow".into(),
        };
        // The refusal of an earlier press says nothing of this one.
        let earlier = PressId {
            number: press.number - 1,
            ..press
        };
        bench.message(refused(earlier));
        assert!(matches!(bench.app.state(), DriveState::Driving(_)));
        bench.messages();
        bench.message(refused(press));
        assert_eq!(bench.app.state(), DriveState::Armed);
        assert_eq!(bench.app.notice.as_ref().unwrap().text, "too slow");
        // It is held on, and that is nothing any more.
        bench.pass(200);
        bench.stroke(KeyCode::Up, KeyEventKind::Repeat);
        bench.stroke(KeyCode::Up, KeyEventKind::Release);
        assert_eq!(bench.messages(), []);
        bench.stroke(KeyCode::Up, KeyEventKind::Press);
        assert_eq!(presses(&bench.messages()), ["forward"]);
    }
}

#[test]
fn a_press_that_waits_for_control_ends_when_that_is_refused() {
    let mut bench = Bench::with_car(SIZE);
    bench.stroke(KeyCode::Up, KeyEventKind::Press);
    bench.messages();
    bench.message(RouterToConsole::Refused {
        reason: RefusedReason::Offline,
        press: None,
        message: "it is away".into(),
    });
    bench.pass(100);
    bench.control(Some(us()), None);
    bench.pass(100);
    assert_eq!(bench.messages(), []);
    assert_eq!(bench.app.notice.as_ref().unwrap().text, "it is away");
}

fn stale(code: KeyCode, modifiers: KeyModifiers) -> Event {
    let key = crossterm::event::KeyEvent::new(code, modifiers);
    Event::Stale(Input::Key(key))
}

#[test]
fn of_what_waited_too_long_stop_and_quit_are_acted_on_and_nothing_else() {
    // A viewer: nothing else than Space stops the car that another drives.
    let mut bench = Bench::with_car(SIZE);
    bench.control(Some(bob()), None);
    bench.messages();
    bench.event(Event::Late(Duration::from_secs(3)));
    for code in [KeyCode::Up, KeyCode::Char('a'), KeyCode::Tab] {
        bench.event(stale(code, KeyModifiers::NONE));
    }
    assert_eq!(bench.messages(), []);
    assert_eq!(bench.app.screen, Screen::Drive);
    bench.event(stale(KeyCode::Char(' '), KeyModifiers::NONE));
    assert_eq!(bench.messages(), [stop()]);

    let pad = bench.app.pad();
    let cell = layout::stop_cell(pad);
    bench.event(Event::Stale(Input::Mouse(MouseEvent {
        kind: MouseEventKind::Down(MouseButton::Left),
        column: cell.x,
        row: cell.y,
        modifiers: KeyModifiers::NONE,
    })));
    assert_eq!(bench.messages(), [stop()]);

    for key in [
        stale(KeyCode::Char('q'), KeyModifiers::NONE),
        stale(KeyCode::Char('c'), KeyModifiers::CONTROL),
    ] {
        let mut bench = Bench::with_car(SIZE);
        bench.event(key);
        assert!(bench.sent.contains(&Effect::Quit));
    }
}

#[test]
fn an_arrow_that_went_down_while_nobody_listened_moves_nothing_while_it_is_held() {
    let mut bench = Bench::with_car(SIZE);
    bench.app.drive = Drive::new(crate::drive::KeyReleases::Guessed);
    bench.event(Event::Late(Duration::from_secs(3)));
    bench.event(stale(KeyCode::Up, KeyModifiers::NONE));
    for _ in 0..20 {
        bench.pass(40);
        bench.stroke(KeyCode::Up, KeyEventKind::Press);
    }
    assert_eq!(bench.messages(), []);
    bench.pass(2000);
    bench.stroke(KeyCode::Up, KeyEventKind::Press);
    assert_eq!(bench.messages(), [control(ControlRequest::Take)]);
}

fn comes(bench: &mut Bench, port: u16, name: &str) {
    bench.feed(FeedEvent::Link(Box::new(testing::link(port, name))));
}

#[test]
fn another_car_on_the_chosen_port_is_not_driven_by_an_arrow() {
    let ways: [fn(&mut Bench); 3] = [
        |bench| {
            bench.feed(FeedEvent::LinkGone { service_port: PORT });
            comes(bench, PORT, "rig");
        },
        |bench| comes(bench, PORT, "rig"),
        |bench| bench.connect(vec![testing::link(PORT, "rig")], Vec::new()),
    ];
    for (n, way) in ways.into_iter().enumerate() {
        let mut bench = Bench::with_car(SIZE);
        way(&mut bench);
        bench.pass(1000);
        bench.messages();
        bench.key(KeyCode::Up);
        bench.key(KeyCode::Char('a'));
        assert_eq!(bench.messages(), [], "{n}");
        assert_eq!(bench.app.chosen, None, "{n}");
        // The operator's own choice is one.
        bench.letters("1");
        bench.key(KeyCode::Down);
        bench.key(KeyCode::Enter);
        assert_eq!(bench.app.chosen, Some(PORT), "{n}");
        bench.pass(600);
        bench.messages();
        bench.key(KeyCode::Up);
        assert!(
            bench.messages().contains(&control(ControlRequest::Take)),
            "{n}"
        );
    }
}

#[test]
fn the_chosen_car_is_found_again_on_another_port_and_needs_a() {
    let mut bench = Bench::driving(SIZE);
    bench.feed(FeedEvent::LinkGone { service_port: PORT });
    comes(&mut bench, PORT, "rig");
    bench.messages();
    comes(&mut bench, 9001, "car");
    assert_eq!(bench.app.chosen, Some(9001));
    bench.stroke(KeyCode::Up, KeyEventKind::Release);
    bench.pass(600);
    bench.key(KeyCode::Up);
    assert_eq!(bench.messages(), []);
    bench.key(KeyCode::Char('a'));
    let take = ConsoleToRouter::Control {
        service_port: 9001,
        request: ControlRequest::Take,
    };
    assert_eq!(bench.messages(), [take]);
}

#[test]
fn a_wanted_car_that_comes_back_on_another_port_is_chosen_while_the_old_one_is_kept() {
    for (wanted, chosen) in [(Some("car"), 9001), (None, PORT)] {
        let mut bench = Bench::unconnected(SIZE);
        bench.app.setup.wanted = wanted.map(str::to_owned);
        bench.connect(vec![testing::link(PORT, "car")], Vec::new());
        bench.feed(FeedEvent::LinkDown {
            service_port: PORT,
            why: "silent".into(),
        });
        comes(&mut bench, 9001, "car");
        assert_eq!(bench.app.chosen, Some(chosen));
    }
}

#[test]
fn an_idle_console_that_has_driven_waits() {
    let mut bench = Bench::driving(SIZE);
    bench.stroke(KeyCode::Up, KeyEventKind::Release);
    bench.motion(MotionEvent::Stands);
    bench.letters("1");
    // The router answers, and the car's clock is not asked for any more.
    for _ in 0..150 {
        bench.now += Duration::from_millis(20);
        bench.event(ConnectionEvent::Ponged(Duration::from_millis(20)));
        assert!(bench.app.next_tick() > Duration::ZERO);
    }
}

#[test]
fn a_click_on_the_large_picture_moves_nothing() {
    let mut bench = Bench::with_car(SIZE);
    bench.letters("2");
    let pad = layout::cell(bench.app.pad(), Direction::Forward);
    let click = |bench: &mut Bench| {
        bench.event(Event::Terminal(Input::Mouse(MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column: pad.x + 1,
            row: pad.y + 1,
            modifiers: KeyModifiers::NONE,
        })));
    };
    bench.letters("vv");
    bench.messages();
    click(&mut bench);
    assert_eq!(bench.messages(), []);
    bench.letters("v");
    click(&mut bench);
    assert_ne!(bench.messages(), []);
}

#[test]
fn commands_are_asked_for_again_on_a_new_connection() {
    let mut bench = Bench::with_car(SIZE);
    bench.letters("4");
    bench.messages();
    bench.event(ConnectionEvent::Disconnected {
        why: "cut".to_owned(),
        retry_at: None,
    });
    bench.connect(vec![testing::link(PORT, "car")], vec![]);
    let asked = |it: &ConsoleToRouter| matches!(it, ConsoleToRouter::ListCommands { .. });
    assert!(bench.messages().iter().any(asked));
}

#[test]
fn a_held_key_switches_once() {
    let mut bench = Bench::with_car(SIZE);
    bench.app.drive = crate::drive::Drive::new(crate::drive::KeyReleases::Guessed);
    for _ in 0..30 {
        bench.stroke(KeyCode::Char('L'), KeyEventKind::Press);
        bench.pass(40);
        assert!(bench.app.drive.latches);
    }
    bench.pass(1_000);
    bench.letters("L");
    assert!(!bench.app.drive.latches);
    bench.letters("3");
    for _ in 0..30 {
        bench.stroke(KeyCode::Char('f'), KeyEventKind::Press);
        bench.pass(40);
        assert!(bench.app.log.is_frozen());
    }
}

#[test]
fn who_quits_while_the_stop_fails_is_told_first_that_the_car_may_move() {
    let quits = |bench: &mut Bench| {
        bench.sent.clear();
        bench.letters("q");
        let sent = std::mem::take(&mut bench.sent);
        (
            sent.contains(&Effect::Send(stop())),
            sent.contains(&Effect::Quit),
        )
    };
    let mut bench = Bench::with_car(SIZE);
    assert!(quits(&mut bench).1);
    let mut bench = Bench::with_car(SIZE);
    bench.motion(MotionEvent::StopFailed);
    assert_eq!(quits(&mut bench), (true, false));
    // The stop that is tried fails, too: that does not cover the question.
    bench.motion(MotionEvent::StopFailed);
    let said = " ⚑ car may still move: its stop fails. [q] or [y] quits all the same";
    assert_eq!(bench.app.question_text().unwrap(), said);
    bench.pass(10_000);
    assert_eq!(quits(&mut bench), (true, false), "that was long ago");
    bench.pass(1_000);
    assert!(quits(&mut bench).1);
    // A signal is not a key.
    bench.sent.clear();
    bench.event(Event::Terminate);
    assert!(bench.sent.contains(&Effect::Quit));
    // Where releases are not reported, a held key is pressed again and again.
    let mut bench = Bench::with_car(SIZE);
    bench.app.drive = crate::drive::Drive::new(crate::drive::KeyReleases::Guessed);
    bench.motion(MotionEvent::StopFailed);
    for _ in 0..40 {
        assert!(!quits(&mut bench).1);
        bench.pass(40);
    }
    bench.pass(1_000);
    assert!(quits(&mut bench).1);
}

#[test]
fn stop_all_says_which_cars_stand() {
    let fleet = || {
        let links = [(9000, "car"), (9001, "rig"), (9002, "van")];
        let links = links.map(|(port, name)| testing::link(port, name));
        let mut bench = Bench::with(SIZE, links.into(), Vec::new());
        bench.letters("1Xy");
        bench
    };
    let tell = |bench: &mut Bench, service_port, event| {
        bench.feed(FeedEvent::Motion {
            service_port,
            event,
            clock_ms: None,
        });
        bench.app.notice.as_ref().unwrap().text.clone()
    };
    let mut bench = fleet();
    let said = &bench.app.notice.as_ref().unwrap().text;
    assert_eq!(said, "STOP ALL: 0 of 3 cars stand; 3 were asked");
    let said = tell(&mut bench, 9000, MotionEvent::Stands);
    assert_eq!(said, "STOP ALL: 1 of 3 cars stand; 2 were asked");
    tell(&mut bench, 9001, MotionEvent::Stands);
    let said = tell(&mut bench, 9002, MotionEvent::Stands);
    assert_eq!(said, "STOP ALL: all 3 cars stand");
    // That is told once.
    bench.app.notice = None;
    bench.pass(1_000);
    assert!(bench.app.notice.is_none());
    let moving = ActiveMotion {
        run: RunId::from_number(9),
        command: "back".parse().unwrap(),
        press: None,
    };
    let said = tell(&mut bench, 9001, MotionEvent::Started(moving));
    assert_eq!(said, "STOP ALL: 2 of 3 cars stand; moved again: rig");
    bench.app.notice = None;
    bench.pass(6_000);
    assert!(bench.app.notice.is_none());
    let mut bench = fleet();
    tell(&mut bench, 9000, MotionEvent::Stands);
    tell(&mut bench, 9002, MotionEvent::StopFailed);
    bench.pass(5_000);
    let notice = bench.app.notice.as_ref().unwrap();
    let said = "STOP ALL: 1 of 3 cars stand; STOP FAILED: van; no answer: rig";
    assert_eq!((notice.text.as_str(), notice.is_bad), (said, true));
    // All links are lost before the answer to the question.
    let links = vec![testing::link(9000, "car"), testing::link(9001, "rig")];
    let mut bench = Bench::with(SIZE, links, Vec::new());
    bench.letters("1X");
    for service_port in [9000, 9001] {
        let why = "silent".into();
        bench.feed(FeedEvent::LinkDown { service_port, why });
    }
    bench.letters("y");
    let notice = bench.app.notice.as_ref().unwrap();
    assert!(notice.text.contains("no car is linked"), "{}", notice.text);
}

#[test]
fn the_highlight_stays_on_its_line_when_its_car_goes() {
    let links = [(9000, "a"), (9001, "b"), (9002, "c"), (9003, "d")];
    let links = links.map(|(port, name)| testing::link(port, name));
    let mut bench = Bench::with(SIZE, links.into(), Vec::new());
    bench.letters("1");
    bench.key(KeyCode::Down);
    bench.key(KeyCode::Down);
    assert_eq!(bench.app.highlighted_port(), Some(9002));
    bench.feed(FeedEvent::LinkGone { service_port: 9002 });
    assert_eq!(bench.app.highlighted_port(), Some(9003));
    bench.feed(FeedEvent::LinkGone { service_port: 9003 });
    assert_eq!(bench.app.highlighted_port(), Some(9001));
}

#[test]
fn a_recording_is_shown_as_long_as_the_router_tells_of_it() {
    let mut car = testing::link(PORT, "car");
    car.control.recording = Some(p2p_shared::protocol::RecordingInfo::default());
    let mut bench = Bench::with(SIZE, vec![car], Vec::new());
    let told = |file: Option<&str>| p2p_shared::protocol::RecordingInfo {
        file: file.map(Into::into),
        ..Default::default()
    };
    let tell = |bench: &mut Bench, recording| {
        bench.feed(FeedEvent::Control {
            service_port: PORT,
            control: p2p_shared::protocol::ControlInfo {
                recording: Some(recording),
                ..Default::default()
            },
        });
        bench.app.recording_word()
    };
    assert_eq!(tell(&mut bench, told(Some("a.mcap"))), "REC");
    // A held key would switch it to and fro.
    bench.app.drive = crate::drive::Drive::new(crate::drive::KeyReleases::Guessed);
    bench.sent.clear();
    bench.letters("RRRR");
    let asks = bench.messages();
    let asks = asks
        .iter()
        .filter(|it| matches!(it, ConsoleToRouter::Record { .. }));
    assert_eq!(asks.count(), 1);
    bench.now += Duration::from_millis(600);
    bench.event(Event::Tick {
        input_seen: bench.now,
    });
    assert_eq!(bench.app.recording_word(), "", "the router is silent");
    bench.pass(20);
    assert_eq!(bench.app.recording_word(), "REC");
    bench.event(ConnectionEvent::Disconnected {
        why: "the connection was closed".to_owned(),
        retry_at: None,
    });
    assert_eq!(bench.app.recording_word(), "");
}
