//! The bytes of every message, kept in `golden_bytes.txt`: what a program of an older version
//! has sent is read the same for ever. A changed line is a changed protocol, and needs another
//! `SUBPROTOCOL`. `GOLDEN=write` writes the file anew.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Debug;

use bytes::Bytes;
use p2p_shared::codec::{decode, encode};
use p2p_shared::names::{Argument, InstanceId, RunId};
use p2p_shared::protocol::{
    CommandInfo, End, Hello, InnerToRouter, MotionInfo, Refusal, Rejection, RouterToInner,
    RunRequest,
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
        InnerToRouter::Hello(Hello {
            name: "car".parse().unwrap(),
            service_port: 9000,
            identity: "abcd2345".parse().unwrap(),
            instance: InstanceId(7),
            clock_ms: 1_000_000,
            software: "p2p-inner 0.1.0".to_owned(),
            motion: MotionInfo {
                commands: vec!["forward".parse().unwrap()],
                stop: "stop".parse().unwrap(),
                lease_ms: 400,
                limit_ms: 2000,
            },
        }),
        Clock {
            clock_ms: 1_000_001,
        },
        Started { run: run() },
        Output {
            run: run(),
            bytes: Bytes::from_static(b"hello\n\xff"),
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
                    problem: Some("chmod +x".to_owned()),
                },
            ],
            more: true,
        },
        Draining,
    ];
    for refusal in [
        Refusal::NotFound,
        Refusal::NotExecutable,
        Refusal::Busy,
        Refusal::Late,
        Refusal::Draining,
        Refusal::Repeated,
    ] {
        messages.push(Refused {
            run: run(),
            refusal,
            message: "why".to_owned(),
        });
    }
    for end in [End::Exit(3), End::Signal(9), End::TimedOut, End::Cancelled] {
        let stderr = Bytes::from_static(b"oops");
        messages.push(Finished {
            run: run(),
            end,
            exec_us: 1234,
            stderr,
        });
    }
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
        },
        Notice {
            message: "look".to_owned(),
        },
        Stdin {
            run: run(),
            bytes: Bytes::from_static(b"in\0"),
        },
        Run(RunRequest {
            run: run(),
            command: "forward".parse().unwrap(),
            arguments: vec![Argument::try_from(Bytes::from_static(b"0.5\xff")).unwrap()],
            deadline_ms: 1_005_000,
            remote_addr: "192.0.2.1".to_owned(),
            stdin_bytes: 3,
            for_ms: None,
        }),
        Window {
            run: run(),
            more: 65_536,
        },
        Cancel { run: run() },
        ListCommands { request: 3 },
        GoAway {
            reconnect_after_ms: 250,
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
            message: "why".to_owned(),
        });
    }
    messages
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
    let now = lines("inner→router", &from_inner()) + &lines("router→inner", &to_inner());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden_bytes.txt");
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::write(file, &now).unwrap();
    }
    let golden = std::fs::read_to_string(file).unwrap();
    for (now, golden) in now.lines().zip(golden.lines()) {
        assert_eq!(now, golden);
    }
    assert_eq!(now.lines().count(), golden.lines().count());
}
