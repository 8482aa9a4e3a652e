//! The bytes of every message, kept in `golden_bytes.txt`: what a program of an older version
//! has sent is read the same for ever. A changed line is a changed protocol, and needs another
//! `SUBPROTOCOL`. `GOLDEN=write` writes the file anew.

use std::fmt::Debug;

use bytes::Bytes;
use p2p_shared::codec::{decode, encode};
use p2p_shared::key::Role;
use p2p_shared::names::{Argument, InstanceId, RunId};
use p2p_shared::protocol::{
    ActiveMotion, CameraState, CommandInfo, ConsoleToRouter, ControlEnd, ControlInfo,
    ControlRequest, DriveCommand, Driver, End, FeedEvent, InnerToRouter, LinkHello, LinkInfo,
    MediaTicket, MediaToRouter, MotionEvent, MotionInfo, MotionRefusal, Outcome, OutputPiece,
    PastSource, PressId, RecordingInfo, Refusal, RefusedReason, Rejection, RouterToConsole,
    RouterToInner, RouterToMedia, RunInfo, RunReport, RunRequest, RunResult, RunSource, SendEvent,
    SessionId, StopCause, StopFailure,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

const RUN: u64 = 0x0123_4567_89ab_cdef;

fn run() -> RunId {
    RunId::from_number(RUN)
}

fn from_inner() -> Vec<InnerToRouter> {
    use InnerToRouter::{Clock, Commands, Draining, Finished, Output, Refused, Started};
    let mut messages = vec![
        InnerToRouter::Hello(LinkHello {
            name: "car".parse().unwrap(),
            service_port: 9000,
            identity: "abcd2345".parse().unwrap(),
            instance: InstanceId(7),
            clock_ms: 1_000_000,
            software: "p2p-inner 0.1.0".into(),
            motion: MotionInfo {
                commands: vec!["forward".parse().unwrap()].try_into().unwrap(),
                stop: "stop".parse().unwrap(),
                lease_ms: 400,
                limit_ms: 2000,
            },
            camera: false,
            dial: 0,
            past: false,
        }),
        Clock {
            clock_ms: 1_000_001,
        },
        Started { run: run() },
        Output {
            run: run(),
            bytes: p2p_shared::bounded::Piece::first_of(b"hello\n\xff"),
        },
        InnerToRouter::Answered {
            run: run(),
            end: End::Exit(0),
            exec_us: 125,
            output: p2p_shared::bounded::Piece::first_of(b"hello\n"),
            stderr: Default::default(),
        },
        Commands {
            request: 3,
            commands: vec![
                CommandInfo {
                    name: "hello".parse().unwrap(),
                    problem: None,
                },
                CommandInfo {
                    name: "a/b".parse().unwrap(),
                    problem: Some("chmod +x".into()),
                },
            ]
            .try_into()
            .unwrap(),
            more: true,
        },
        Draining,
        InnerToRouter::Run {
            run: run(),
            report: None,
        },
    ];
    for outcome in [
        Outcome::Waiting,
        Outcome::Running,
        Outcome::Refused("why".into()),
        Outcome::Unknown("why".into()),
        Outcome::Ended {
            end: End::Exit(3),
            exec_us: 1234,
        },
    ] {
        messages.push(InnerToRouter::Run {
            run: run(),
            report: Some(RunReport {
                command: "hello".parse().unwrap(),
                age_ms: 1500,
                outcome,
                bytes: 6,
                output: p2p_shared::bounded::Piece::first_of(b"hello\n"),
                stderr: p2p_shared::bounded::Piece::first_of(b"oops"),
            }),
        });
    }
    for refusal in [
        Refusal::NotFound,
        Refusal::NotExecutable,
        Refusal::Busy,
        Refusal::Late,
        Refusal::Draining,
        Refusal::Repeated,
        Refusal::StopFailed,
        Refusal::WorkerAway,
        Refusal::WorkerLost,
    ] {
        messages.push(Refused {
            run: run(),
            refusal,
            message: "why".into(),
        });
    }
    for end in [
        End::Exit(3),
        End::Signal(9),
        End::TimedOut,
        End::Cancelled,
        End::Ended,
    ] {
        let stderr = Bytes::from_static(b"oops");
        messages.push(Finished {
            run: run(),
            end,
            exec_us: 1234,
            stderr: stderr.try_into().unwrap(),
        });
    }
    messages.extend(motion_events().into_iter().map(InnerToRouter::Motion));
    if let InnerToRouter::Hello(hello) = &messages[0] {
        messages.push(InnerToRouter::Hello(LinkHello {
            camera: true,
            ..hello.clone()
        }));
    }
    messages.push(InnerToRouter::Camera(CameraState::Starting));
    messages.push(InnerToRouter::Camera(CameraState::Failed {
        why: "why".into(),
    }));
    messages
}

fn to_inner() -> Vec<RouterToInner> {
    use RouterToInner::{
        Cancel, GoAway, ListCommands, Notice, Rejected, Run, Stdin, Welcome, Window,
    };
    let mut messages = vec![
        Welcome {
            name: "car-2".parse().unwrap(),
            service_port: 9000,
            media: None,
            host: None,
        },
        Notice {
            message: "look".into(),
        },
        Stdin {
            run: run(),
            bytes: p2p_shared::bounded::Piece::first_of(b"in\0"),
        },
        Run(RunRequest {
            run: run(),
            command: "forward".parse().unwrap(),
            arguments: vec![Argument::try_from(Bytes::from_static(b"0.5\xff")).unwrap()]
                .try_into()
                .unwrap(),
            deadline_ms: 1_005_000,
            remote_addr: "192.0.2.1".into(),
            by: None,
            stdin_bytes: 3,
            for_ms: None,
        }),
        Window {
            run: run(),
            more: 65_536,
        },
        Cancel { run: run() },
        ListCommands { request: 3 },
        RouterToInner::AskRun { run: run() },
        RouterToInner::Press {
            press: press(),
            run: run(),
            command: "left".parse().unwrap(),
            tick_ms: 1_000_002,
            driver: "me".into(),
            remote_addr: "192.0.2.1".into(),
        },
        RouterToInner::Renew {
            press: press(),
            tick_ms: 1_000_003,
        },
        RouterToInner::Release { press: press() },
        RouterToInner::Stop {
            by: "me".into(),
            over: Some(press()),
            cause: StopCause::Beginning,
        },
        RouterToInner::Ticks {
            wanted: true,
            watched: true,
        },
        RouterToInner::Video {
            ticket: Some(MediaTicket(6)),
        },
        RouterToInner::Video { ticket: None },
        GoAway {
            reconnect_after_ms: 250,
            elsewhere: false,
        },
    ];
    for rejection in [
        Rejection::Denied,
        Rejection::PortUnavailable,
        Rejection::TakenOver,
        Rejection::Contended,
        Rejection::Protocol,
    ] {
        messages.push(Rejected {
            rejection,
            message: "why".into(),
        });
    }
    messages
}

fn press() -> PressId {
    PressId {
        epoch: 2,
        number: 5,
    }
}

fn motion_events() -> Vec<MotionEvent> {
    use MotionEvent::{Ended, Over, Refused, Stands, Started, StopFailed, Stopped};
    let mut events = vec![
        Started(ActiveMotion {
            run: run(),
            command: "left".parse().unwrap(),
            press: Some(press()),
        }),
        Ended {
            run: run(),
            end: End::Ended,
            exec_us: 7,
        },
        Stands,
        StopFailed,
    ];
    for why in [
        MotionRefusal::Old,
        MotionRefusal::Over,
        MotionRefusal::Replaced,
        MotionRefusal::StopFailed,
        MotionRefusal::NotStarted,
    ] {
        events.push(Refused {
            press: press(),
            why,
        });
    }
    for cause in StopCause::ALL {
        events.push(Over {
            press: None,
            cause,
            clock_ms: None,
            by: None,
        });
        events.push(Stopped {
            cause,
            end: End::Exit(0),
            exec_us: 7,
            failure: None,
        });
    }
    events
}

fn from_console() -> Vec<ConsoleToRouter> {
    use ConsoleToRouter::{Cancel, Control, Drive, Hello, ListCommands, Send, Watch, Window};
    let service_port = 9000;
    let drive = |command| Drive {
        service_port,
        command,
    };
    let mut messages = vec![
        Hello {
            software: "p2p-console 0.1.0".into(),
            readonly: true,
        },
        Send {
            request: 1,
            service_port,
            command: "hello".parse().unwrap(),
            arguments: vec![Argument::try_from(Bytes::from_static(b"a")).unwrap()]
                .try_into()
                .unwrap(),
            for_ms: Some(300),
        },
        Window {
            request: 1,
            more: 7,
        },
        Cancel { request: 1 },
        ListCommands {
            request: 2,
            service_port,
        },
        drive(DriveCommand::Press {
            press: press(),
            command: "left".parse().unwrap(),
            tick_ms: 1_000_002,
        }),
        drive(DriveCommand::Renew {
            press: press(),
            tick_ms: 1_000_003,
        }),
        drive(DriveCommand::Release(press())),
        drive(DriveCommand::Stop),
        Watch {
            service_port: Some(service_port),
        },
        Watch { service_port: None },
        ConsoleToRouter::AskRun {
            request: 3,
            service_port,
            run: run(),
        },
    ];
    for request in [
        ControlRequest::Take,
        ControlRequest::Grant,
        ControlRequest::Deny,
        ControlRequest::Release,
        ControlRequest::Seize,
    ] {
        messages.push(Control {
            service_port,
            request,
        });
    }
    messages
}

fn control() -> ControlInfo {
    let driver = Driver {
        session: SessionId(4),
        name: "me".into(),
    };
    ControlInfo {
        recording: None,
        driver: Some(driver.clone()),
        request: Some((driver, 10_000)),
        epoch: 2,
        ended: None,
    }
}

fn link_info() -> LinkInfo {
    LinkInfo {
        key: "van".into(),
        since_ms: 5,
        rtts_us: vec![400, 500].try_into().unwrap(),
        runs: 3,
        failures: 1,
        motion: vec!["left".parse().unwrap()].try_into().unwrap(),
        lease_ms: 400,
        motion_limit_ms: 2000,
        control: control(),
        ..LinkInfo::new(9000, "car".parse().unwrap(), "stop".parse().unwrap())
    }
}

fn run_info(source: RunSource) -> RunInfo {
    RunInfo {
        run: run(),
        service_port: 9000,
        link: "car".parse().unwrap(),
        command: "hello".parse().unwrap(),
        arguments: Default::default(),
        source,
        from: "192.0.2.1".into(),
        key: "me".into(),
        at_ms: 1,
        result: Some(RunResult {
            status: 200,
            end: Some(End::Exit(0)),
            why: "".into(),
            link_us: 1,
            exec_us: Some(2),
            bytes: 3,
            output: p2p_shared::bounded::Piece::first_of(b"out"),
            stderr: Default::default(),
        }),
    }
}

fn to_console() -> Vec<RouterToConsole> {
    use RouterToConsole::{Commands, Feed, GoAway, Refused, Snapshot, Tick};
    let service_port = 9000;
    let mut messages = vec![
        Snapshot {
            first: true,
            last: false,
            session: SessionId(4),
            key: "me".into(),
            role: Role::Drive,
            missed: 9,
            links: vec![link_info()].try_into().unwrap(),
            runs: vec![run_info(RunSource::Http)].try_into().unwrap(),
        },
        Tick {
            service_port,
            clock_ms: 1_000_004,
        },
        Commands {
            request: 2,
            commands: Default::default(),
            more: false,
        },
        GoAway {
            reconnect_after_ms: 250,
            elsewhere: false,
        },
        Feed(FeedEvent::Link(Box::new(link_info()))),
        Feed(FeedEvent::LinkDown {
            service_port,
            why: "why".into(),
        }),
        Feed(FeedEvent::LinkGone { service_port }),
        Feed(FeedEvent::Rtt {
            service_port,
            rtt_us: 400,
            hop_us: None,
            silent_ms: None,
        }),
        Feed(FeedEvent::Run(Box::new(run_info(RunSource::Send)))),
        Feed(FeedEvent::Run(Box::new(run_info(RunSource::Drive)))),
        Feed(FeedEvent::Control {
            service_port,
            control: control(),
        }),
        Feed(FeedEvent::Motion {
            service_port,
            event: MotionEvent::Stands,
            clock_ms: None,
        }),
    ];
    for reason in [
        RefusedReason::Denied,
        RefusedReason::Locked,
        RefusedReason::Offline,
        RefusedReason::NotDriving,
        RefusedReason::TooSlow,
    ] {
        messages.push(Refused {
            reason,
            press: Some(press()),
            message: "why".into(),
        });
    }
    for event in [
        SendEvent::Queued { run: run() },
        SendEvent::Started,
        SendEvent::Output(p2p_shared::bounded::Piece::first_of(b"out")),
        SendEvent::Finished {
            end: End::Exit(0),
            exec_us: 7,
            stderr: Default::default(),
        },
        SendEvent::Refused {
            refusal: Some(Refusal::Busy),
            reason: Some(RefusedReason::Locked),
            message: "why".into(),
        },
        SendEvent::Lost,
    ] {
        messages.push(RouterToConsole::SendEvent { request: 1, event });
    }
    messages
}

fn media_to_router() -> Vec<MediaToRouter> {
    vec![
        MediaToRouter::Hello {
            service_port: 9000,
            ticket: MediaTicket(6),
        },
        MediaToRouter::Picture {
            captured_ms: 1_000_005,
            length: 4,
            bytes: p2p_shared::bounded::Piece::first_of(b"\xff\xd8"),
        },
        MediaToRouter::Piece {
            bytes: p2p_shared::bounded::Piece::first_of(b"\xff\xd9"),
        },
    ]
}

fn router_to_media() -> Vec<RouterToMedia> {
    vec![
        RouterToMedia::Taken { bytes: 4 },
        RouterToMedia::Refused {
            message: "why".into(),
        },
    ]
}

/// Messages with fields that came later, at the end of the file.
fn later() -> String {
    let InnerToRouter::Hello(hello) = from_inner().swap_remove(0) else {
        unreachable!()
    };
    let (reconnect_after_ms, elsewhere) = (250, true);
    let hello = InnerToRouter::Hello(LinkHello { dial: 9, ..hello });
    let to_inner = RouterToInner::GoAway {
        reconnect_after_ms,
        elsewhere,
    };
    let to_console = RouterToConsole::GoAway {
        reconnect_after_ms,
        elsewhere,
    };
    let elsewhere = [
        FeedEvent::Link(Box::new(LinkInfo {
            router: Some("a.test:8888".into()),
            ..link_info()
        })),
        FeedEvent::Rtt {
            service_port: 9000,
            rtt_us: 400,
            hop_us: Some(90),
            silent_ms: None,
        },
    ];
    let welcome = RouterToInner::Welcome {
        name: "car".parse().unwrap(),
        service_port: 9000,
        media: Some("a.test:8888".into()),
        host: None,
    };
    let without_port = RouterToInner::Welcome {
        name: "car".parse().unwrap(),
        service_port: 9000,
        media: None,
        host: Some("car.cars.test".into()),
    };
    let link = FeedEvent::Link(Box::new(LinkInfo {
        epoch: Some(1_700_000_000_000_001),
        ..link_info()
    }));
    let over = |by| MotionEvent::Over {
        press: None,
        cause: StopCause::Asked,
        clock_ms: Some(17),
        by,
    };
    let silent = [
        FeedEvent::Rtt {
            service_port: 9000,
            rtt_us: 510_000,
            hop_us: None,
            silent_ms: Some(510),
        },
        FeedEvent::Link(Box::new(LinkInfo {
            silent_ms: Some(510),
            ..link_info()
        })),
    ];
    lines("inner→router", &[hello])
        + &lines("router→inner", &[to_inner])
        + &lines("router→console", &[to_console])
        + &lines("console→router", &[ConsoleToRouter::Again])
        + &lines("router→console", &elsewhere.map(RouterToConsole::Feed))
        + &lines("router→inner", &[welcome, without_port])
        + &lines("router→console", &[RouterToConsole::Feed(link)])
        + &lines("router→console", &silent.map(RouterToConsole::Feed))
        + &lines("inner→router", &[InnerToRouter::Motion(over(None))])
        + &lines(
            "router→console",
            &[RouterToConsole::Feed(FeedEvent::Motion {
                service_port: 9000,
                event: over(Some("boss".into())),
                clock_ms: None,
            })],
        )
        + &lines(
            "router→console",
            &[
                RouterToConsole::Feed(FeedEvent::Motion {
                    service_port: 9000,
                    event: MotionEvent::Stands,
                    clock_ms: Some(123_456),
                }),
                RouterToConsole::Feed(FeedEvent::Control {
                    service_port: 9000,
                    control: ControlInfo {
                        ended: Some(ControlEnd::Silence),
                        ..ControlInfo::default()
                    },
                }),
            ],
        )
        + &past()
}

/// Messages about a car's past and a stop that failed.
fn past() -> String {
    let InnerToRouter::Hello(hello) = from_inner().swap_remove(0) else {
        unreachable!()
    };
    let failure = StopFailure {
        said: "no such pin".into(),
        tries: 4,
        again_ms: Some(2000),
    };
    let stopped = MotionEvent::Stopped {
        cause: StopCause::Again,
        end: End::Exit(3),
        exec_us: 7,
        failure: Some(failure.clone()),
    };
    let lines_of = OutputPiece::first_of(b"{}\n");
    let from_inner = [
        InnerToRouter::Hello(LinkHello {
            past: true,
            ..hello
        }),
        InnerToRouter::Past {
            request: 1,
            lines: lines_of.clone(),
            more: true,
        },
        InnerToRouter::Motion(stopped),
    ];
    let ask = RouterToInner::AskPast {
        request: 1,
        last_ms: 60_000,
    };
    let asked = ConsoleToRouter::AskPast {
        request: 2,
        service_port: 9000,
        last_ms: 60_000,
        log: true,
    };
    let part = |source| RouterToConsole::Past {
        request: 2,
        source,
        lines: lines_of.clone(),
        more: source == PastSource::Router,
    };
    let link = FeedEvent::Link(Box::new(LinkInfo {
        stop_failure: Some(failure),
        past: true,
        ..link_info()
    }));
    let recording = RecordingInfo {
        file: Some("r/car-20261201T000000Z.mcap".into()),
        asked: Some(("anna".into(), 900_000)),
        failure: None,
    };
    let recorded = FeedEvent::Control {
        service_port: 9000,
        control: ControlInfo {
            recording: Some(recording),
            ..control()
        },
    };
    let record = ConsoleToRouter::Record {
        service_port: 9000,
        on: true,
    };
    let parts = [PastSource::Router, PastSource::Car].map(part);
    lines("inner→router", &from_inner)
        + &lines("router→inner", &[ask])
        + &lines("console→router", &[asked])
        + &lines("router→console", &parts)
        + &lines("router→console", &[RouterToConsole::Feed(link)])
        + &lines("console→router", &[record])
        + &lines("router→console", &[RouterToConsole::Feed(recorded)])
}

fn lines<M: Serialize + DeserializeOwned + Debug + PartialEq>(
    direction: &str,
    messages: &[M],
) -> String {
    let mut text = String::new();
    for message in messages {
        let bytes = encode(message).unwrap();
        assert_eq!(decode::<M>(&bytes).unwrap(), *message);
        let debug = format!("{message:?}");
        let name = debug.split([' ', '(']).next().unwrap();
        text += &format!("{direction} {name} {}\n", bytes.escape_ascii());
    }
    text
}

#[test]
fn every_message_has_the_bytes_that_it_always_had() {
    let now = lines("inner→router", &from_inner())
        + &lines("router→inner", &to_inner())
        + &lines("console→router", &from_console())
        + &lines("router→console", &to_console())
        + &lines("media→router", &media_to_router())
        + &lines("router→media", &router_to_media())
        + &later();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden_bytes.txt");
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::write(file, &now).unwrap();
    }
    let golden = std::fs::read_to_string(file).unwrap();
    for (now, golden) in now.lines().zip(golden.lines()) {
        assert_eq!(now, golden);
    }
    assert_eq!(now.lines().count(), golden.lines().count());
}
