//! What is said of the car: silence, stops, control, motion of others, a restart of the router.

use p2p_shared::protocol::ControlEnd;

use super::*;
use crate::app::timeline::Sign;

#[test]
fn what_was_heard_half_a_second_ago_is_not_shown_as_if_it_were_so() {
    let mut bench = Bench::driving(SIZE);
    bench.event(Event::Tick {
        input_seen: bench.now,
    });
    assert!(matches!(bench.app.state(), DriveState::Driving(_)));
    // The router answers, and the car's clock ticks no more.
    let silent = |bench: &mut Bench, ms: u64| {
        bench.now += Duration::from_millis(ms);
        bench.event(ConnectionEvent::Ponged(Duration::from_millis(20)));
        bench
            .app
            .chosen_contact()
            .silence()
            .map(|silence| silence.hop)
    };
    assert_eq!(silent(&mut bench, 499), None);
    assert_eq!(silent(&mut bench, 1), Some("router → car"));
    assert_eq!(bench.app.state(), DriveState::NoAnswer);
    assert!(bench.app.facts().healthy_since.is_none());
    // Nor does the router answer any more.
    bench.now += Duration::from_millis(500);
    bench.event(Event::Tick {
        input_seen: bench.now,
    });
    assert_eq!(
        bench.app.router_silence().map(|silence| silence.hop),
        Some("console → router")
    );
    assert!(bench.app.next_tick() <= Duration::from_millis(100));
    bench.pass(600);
    assert_eq!(bench.app.chosen_contact(), Contact::Answers);
}

#[test]
fn a_car_that_its_router_does_not_hear_is_silent_on_every_screen_until_its_next_round_trip() {
    let mut bench = Bench::with_car(SIZE);
    bench.letters("1");
    let rtt = |silent_ms| FeedEvent::Rtt {
        service_port: 9000,
        rtt_us: 20_000,
        hop_us: None,
        silent_ms,
    };
    bench.app.dirty = false;
    bench.feed(rtt(Some(520)));
    let silence = bench.app.chosen_contact().silence().unwrap();
    assert_eq!(silence.length(bench.now), "0.5 s");
    assert!(bench.app.dirty);
    bench.feed(rtt(None));
    assert_eq!(bench.app.chosen_contact(), Contact::Answers);
    // One that comes later is told in the snapshot.
    let mut link = testing::link(9000, "car");
    link.silent_ms = Some(3000);
    let mut bench = Bench::unconnected(SIZE);
    bench.connect(vec![link], Vec::new());
    assert!(bench.app.chosen_contact().silence().is_some());
}

fn over(cause: StopCause, by: Option<&str>) -> MotionEvent {
    MotionEvent::Over {
        press: Some(PressId {
            epoch: 7,
            number: 1,
        }),
        cause,
        clock_ms: None,
        by: by.map(Into::into),
    }
}

fn notice(bench: &Bench) -> &str {
    bench.app.notice.as_ref().map_or("", |notice| &notice.text)
}

#[test]
fn a_stop_says_who_or_what_when_and_what_ran_for_as_long_as_its_state_is_shown() {
    let mut bench = Bench::driving(SIZE);
    bench.motion(over(StopCause::Lease, None));
    let said = "the car stopped itself at 00:00:00.6: it heard nothing for 400 ms (forward)";
    assert_eq!(notice(&bench), said);
    assert_eq!(bench.app.state(), DriveState::Failsafe);
    bench.pass(20_000);
    assert_eq!(notice(&bench), said);
    bench.letters("a");
    bench.pass(20);
    assert_eq!((notice(&bench), bench.app.state()), ("", DriveState::Armed));

    let mut bench = Bench::driving(SIZE);
    bench.motion(over(StopCause::Asked, Some("bob")));
    let said = "the car was stopped at 00:00:00.6 by bob (forward): press again to drive";
    assert_eq!(notice(&bench), said);
}

#[test]
fn the_end_of_a_motion_is_told_by_the_cars_clock_however_late_it_comes() {
    let mut bench = Bench::driving(SIZE);
    bench.message(RouterToConsole::Tick {
        service_port: PORT,
        clock_ms: 10_000,
    });
    bench.now += Duration::from_secs(3);
    let MotionEvent::Over {
        press, cause, by, ..
    } = over(StopCause::Lease, None)
    else {
        unreachable!()
    };
    let clock_ms = Some(10_400);
    bench.motion(MotionEvent::Over {
        press,
        cause,
        clock_ms,
        by,
    });
    assert!(
        notice(&bench).contains("at 00:00:01.0:"),
        "{}",
        notice(&bench)
    );
}

#[test]
fn control_that_changes_hands_is_told_with_the_name() {
    let mut bench = Bench::driving(SIZE);
    bench.control(Some(bob()), None);
    assert_eq!(notice(&bench), "bob took control: [a] asks for it");

    let mut bench = Bench::driving(SIZE);
    bench.control(Some(us()), Some(bob()));
    bench.letters("g");
    bench.control(Some(bob()), None);
    assert_eq!(notice(&bench), "you gave control to bob");

    let mut bench = Bench::with_car(SIZE);
    bench.control(Some(bob()), None);
    assert_eq!(notice(&bench), "bob took control");
    bench.control(None, None);
    assert_eq!(notice(&bench), "bob gave control back");
    bench.control(Some(us()), None);
    assert_eq!(notice(&bench), "bob gave control back");
}

#[test]
fn why_somebody_has_control_no_more_is_told_as_it_was() {
    for (ended, said) in [
        (ControlEnd::Given, "bob gave control back"),
        (
            ControlEnd::Silence,
            "bob was silent with a key held: the router took control back",
        ),
        (
            ControlEnd::Idle,
            "bob pressed nothing for a minute: the router took control back",
        ),
        (
            ControlEnd::Gone,
            "bob is gone: the router took control back",
        ),
    ] {
        let mut bench = Bench::with_car(SIZE);
        bench.control(Some(bob()), None);
        bench.feed(FeedEvent::Control {
            service_port: PORT,
            control: ControlInfo {
                ended: Some(ended),
                ..ControlInfo::default()
            },
        });
        assert_eq!(notice(&bench), said);
        let log = bench.app.log.shown().next().unwrap();
        assert_eq!(log.result.as_ref().unwrap().why.raw(), said);
    }
}

/// A router that was frozen passes all on at once when it goes on.
#[test]
fn what_a_frozen_router_held_up_is_dated_by_the_cars_clock_everywhere() {
    let mut bench = Bench::driving(SIZE);
    bench.pass(1000);
    let (froze, froze_ms) = (bench.now, bench.clock_ms());
    bench.now += Duration::from_secs(3);
    let input_seen = bench.now;
    bench.event(Event::Tick { input_seen });
    // The car's lease ran out, and it stopped by itself.
    let ms = |ms: u64| Some(froze_ms + ms);
    let ticks = |bench: &mut Bench, from: u64, to: u64| {
        for later in (from..to).step_by(100) {
            bench.message(RouterToConsole::Tick {
                service_port: PORT,
                clock_ms: froze_ms + later,
            });
        }
    };
    // Ticks and reports go ways of their own: any of them may come first.
    ticks(&mut bench, 0, 3000);
    bench.motion_at(over(StopCause::Lease, None), ms(400));
    let stopped = MotionEvent::Stopped {
        cause: StopCause::Lease,
        end: End::Exit(0),
        exec_us: 10_000,
        failure: None,
    };
    bench.motion_at(stopped, ms(450));
    bench.motion_at(MotionEvent::Stands, ms(450));
    let at = |after: u64| froze + Duration::from_millis(after);
    let link = bench.app.link().unwrap();
    let told: Vec<_> = (link.timeline.events())
        .take(3)
        .map(|(then, what)| (*then, what.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (at(450), "stands"),
            (at(450), "stop: exit 0, 10 ms (the lease ran out)"),
            (at(400), "stops: it heard nothing for 400 ms"),
        ]
    );
    // The car's past, which begins after the motion did, takes nothing of that away.
    let entry = p2p_shared::protocol::PastEntry::of_line(
        format!(
            r#"{{"id":1,"clock_ms":{0},"at_ms":1,"event":{{"motion":{{"over":{{"press":{{"epoch":7,"number":1}},"cause":"lease","clock_ms":{0}}}}}}}}}"#,
            froze_ms + 400
        )
        .as_bytes(),
    );
    let mut link = link.clone();
    link.add_past(&[(at(400), entry.unwrap())], bench.now);
    assert!(link.stopped.unwrap().ran.is_some());
    let link = bench.app.link().unwrap();
    // 600 ms to connect, 1 s of driving.
    assert!(notice(&bench).starts_with("the car stopped itself at 00:00:02.0:"));
    let log: Vec<u64> = bench.app.log.shown().take(2).map(|run| run.at_ms).collect();
    let clock = &bench.app.clock;
    assert_eq!(log, [clock.unix_ms(at(450)), clock.unix_ms(at(400))]);
    // Since then it stood, also while nobody knew.
    let [_, car, _] = link.timeline.rows(at(500), bench.now, 50);
    assert!(car.iter().all(|sign| *sign == Sign::Calm), "{car:?}");
    let [_, car, _] = link.timeline.rows(at(0), at(400), 4);
    assert_eq!(car[..3], [Sign::Active('▲'); 3]);
}

#[test]
fn a_motion_from_elsewhere_is_told_with_who_and_how_long() {
    let mut bench = Bench::with_car(SIZE);
    bench.feed(FeedEvent::Run(Box::new(testing::open_run(77, "back"))));
    bench.motion(MotionEvent::Started(ActiveMotion {
        run: RunId::from_number(77),
        command: "back".parse().unwrap(),
        press: None,
    }));
    bench.pass(400);
    let said = bench.app.motion_elsewhere().unwrap();
    assert_eq!(
        said,
        "» MOVES back, by http of desk 192.0.2.7:51234, at most 1.6 s left"
    );
    assert!(bench.app.next_tick() <= Duration::from_millis(100));
    // Our own is told by the state.
    assert_eq!(Bench::driving(SIZE).app.motion_elsewhere(), None);
}

#[test]
fn a_notice_ends_when_what_it_speaks_of_has_changed() {
    let mut bench = Bench::with_car(SIZE);
    bench.control(Some(bob()), None);
    bench.key(KeyCode::Up);
    assert!(
        notice(&bench).starts_with("bob drives"),
        "{}",
        notice(&bench)
    );
    bench.control(None, None);
    bench.pass(20);
    assert!(
        !notice(&bench).starts_with("bob drives"),
        "{}",
        notice(&bench)
    );
}

#[test]
fn a_router_that_restarts_takes_nothing_of_what_is_known_along() {
    let mut bench = Bench::with_car(SIZE);
    bench.letters("4");
    let commands = [CommandInfo {
        name: "hello".parse().unwrap(),
        problem: None,
    }];
    let request = bench.app.commands.request;
    bench.message(RouterToConsole::Commands {
        request,
        commands: commands.into_iter().collect(),
        more: false,
    });
    bench.motion(MotionEvent::Stands);
    let events = bench.app.link().unwrap().timeline.events().count();
    bench.event(ConnectionEvent::Disconnected {
        why: "the router ended".to_owned(),
        retry_at: None,
    });
    bench.connect(Vec::new(), Vec::new());
    assert!(
        notice(&bench).starts_with("router restarted 00:00:00.6"),
        "{}",
        notice(&bench)
    );
    let log: Vec<_> = bench.app.log.shown().collect();
    let said = |run: &std::sync::Arc<p2p_shared::protocol::RunInfo>| {
        format!("{}: {}", run.command, bench.app.outcome(run))
    };
    let said: Vec<_> = log.iter().map(said).collect();
    assert_eq!(
        said,
        ["restarted: ", "forward: status 502", "hello: exit 0"]
    );
    // The car comes back, and its list of commands is the last known one until it answers.
    bench.feed(FeedEvent::Link(Box::new(testing::link(9000, "car"))));
    let after = bench.app.link().unwrap().timeline.events().count();
    assert_eq!(after, events + 1, "the link is up");
    let commands = &bench.app.commands;
    assert_eq!(
        (commands.list.len(), commands.is_old, commands.complete),
        (1, true, false)
    );
}

#[test]
fn who_seizes_control_was_given_nothing() {
    let mut bench = Bench::with_car(SIZE);
    bench.control(Some(bob()), None);
    bench.control(Some(us()), None);
    assert_eq!(notice(&bench), "you took control from bob");
    let mut bench = Bench::with_car(SIZE);
    bench.control(Some(bob()), Some(us()));
    bench.control(Some(us()), None);
    assert_eq!(notice(&bench), "bob gave you control");
}

#[test]
fn our_motion_is_ours_until_the_car_has_heard_of_the_next_press() {
    let mut bench = Bench::driving(SIZE);
    bench.stroke(KeyCode::Left, KeyEventKind::Press);
    assert_eq!(bench.app.motion_elsewhere(), None);
    bench.motion(MotionEvent::Over {
        press: None,
        cause: p2p_shared::protocol::StopCause::Lease,
        clock_ms: None,
        by: None,
    });
    assert!(
        bench.app.link().unwrap().moving.is_some(),
        "its stop only begins"
    );
    bench.motion(MotionEvent::Stands);
    assert!(bench.app.link().unwrap().moving.is_none());
}

#[test]
fn a_router_that_tells_of_as_many_runs_as_it_may_has_not_restarted() {
    let mut bench = Bench::with_car(SIZE);
    let (first, last) = (5_000, 6_000);
    bench.event(ConnectionEvent::Disconnected {
        why: "cut".to_owned(),
        retry_at: None,
    });
    let runs = (first..last).map(|n| testing::run(n, "left")).collect();
    bench.connect(vec![testing::link(PORT, "car")], runs);
    assert!(
        bench
            .app
            .notice
            .is_none_or(|it| !it.text.contains("restarted"))
    );
}
