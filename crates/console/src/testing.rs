//! Owns what the tests of several files need: links and runs made from little.

use bytes::Bytes;
use p2p_shared::names::RunId;
use p2p_shared::protocol::End;
use p2p_shared::protocol::console::{ControlInfo, LinkInfo, RunInfo, RunResult, Source};

/// A run that has ended with 0; its number is also its time.
pub(crate) fn run(number: u64, command: &str) -> RunInfo {
    RunInfo {
        result: Some(RunResult {
            status: 200,
            end: Some(End::Exit(0)),
            why: String::new(),
            link_us: 1_200,
            exec_us: Some(3_400),
            bytes: 12,
            output: Bytes::from_static(b"it is done\n"),
            stderr: Bytes::new(),
        }),
        ..open_run(number, command)
    }
}

/// A run that has not ended.
pub(crate) fn open_run(number: u64, command: &str) -> RunInfo {
    RunInfo {
        run: RunId::from_number(number),
        service_port: 9000,
        link: "car".parse().unwrap(),
        command: command.parse().unwrap(),
        arguments: Vec::new(),
        source: Source::Http,
        from: "192.0.2.7:51234".to_owned(),
        key: "desk".to_owned(),
        at_ms: number,
        result: None,
    }
}

/// A link that is up, with nobody driving.
pub(crate) fn link(service_port: u16, name: &str) -> LinkInfo {
    LinkInfo {
        service_port,
        name: name.parse().unwrap(),
        is_up: true,
        since_ms: 65_000,
        rtts_us: vec![20_000, 22_000, 19_000, 24_000, 40_000, 21_000],
        runs: 12,
        failures: 1,
        motion: ["forward", "back", "left", "right"]
            .map(|name| name.parse().unwrap())
            .to_vec(),
        stop: "stop".parse().unwrap(),
        lease_ms: 400,
        motion_limit_ms: 2_000,
        control: ControlInfo::default(),
        moving: None,
        stop_failed: false,
    }
}
