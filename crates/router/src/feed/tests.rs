//! Tests what consoles get of the feed, the slow ones too.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use p2p_shared::codec;
use p2p_shared::key::Role;
use p2p_shared::names::{CommandName, RunId};
use p2p_shared::protocol::{RouterToConsole, RunSource, SessionId};
use tokio::sync::broadcast::error::TryRecvError;

use super::*;
use crate::ops::metrics::Metrics;
use crate::run::NewRun;
use crate::run::record::RunRecord;

fn part(snapshot: &mut Snapshot, missed: u64) -> RouterToConsole {
    snapshot.part(SessionId(1), &"me".into(), Role::View, missed)
}

/// One run at port 9000, from the request to the end.
fn run(stand: &Stand, command: &CommandName, n: u64, output: &[u8]) {
    run_at(stand, 9000, command, n, output);
}

fn run_at(stand: &Stand, port: u16, command: &CommandName, n: u64, output: &[u8]) {
    let wanted = NewRun {
        run: RunId::from_number(n),
        command: command.clone(),
        arguments: Default::default(),
        stdin: Bytes::new(),
        for_ms: None,
        source: RunSource::Http,
        by: "me".into(),
        key: "me".into(),
        from: SocketAddr::from(([127, 0, 0, 1], 1)),
        begun: Instant::now(),
    };
    let (feed, metrics, counts) = stand.clone();
    let car = (port, "car".parse().unwrap());
    let mut record = RunRecord::new(feed, metrics, counts, car, &wanted);
    record.started();
    record.output(output);
    record.finish(200, "");
}

type Stand = (Arc<Feed>, Arc<Metrics>, Arc<RunCounts>);

fn stand() -> Stand {
    (
        Arc::new(Feed::new()),
        Arc::new(Metrics::new()),
        Arc::default(),
    )
}

#[test]
fn a_snapshot_has_the_last_thousand_runs_in_parts_that_fit_a_message() {
    let stand = stand();
    let command: CommandName = "x".repeat(64).parse().unwrap();
    for n in 0..1500 {
        run(&stand, &command, n, &[b'x'; 5000]);
    }
    let mut snapshot = stand.0.subscribe(Vec::new, PortRange::ALL).snapshot;
    let (mut runs, mut firsts, mut lasts) = (Vec::new(), 0, 0);
    while !snapshot.is_over() {
        let part = part(&mut snapshot, 0);
        codec::encode(&part).unwrap();
        let RouterToConsole::Snapshot {
            first,
            last,
            runs: some,
            ..
        } = part
        else {
            unreachable!()
        };
        assert_eq!(lasts, 0);
        firsts += usize::from(first);
        lasts += usize::from(last);
        runs.extend(some.into_iter().map(|run| {
            assert_eq!(run.result.unwrap().output.len(), 1024);
            run.run
        }));
    }
    let expected: Vec<_> = (500..1500).map(RunId::from_number).collect();
    assert_eq!((firsts, lasts), (1, 1));
    assert_eq!(runs, expected);
    let RunCounts { runs, failures } = &*stand.2;
    assert_eq!(runs.load(Ordering::Relaxed), 1500);
    assert_eq!(failures.load(Ordering::Relaxed), 0);
}

#[test]
fn who_floods_one_car_with_runs_hides_only_older_ones_of_that_car() {
    let stand = stand();
    let command = "stop".parse().unwrap();
    for n in 0..400 {
        run_at(&stand, 9001, &command, n, b"");
    }
    for n in 400..2400 {
        run(&stand, &command, n, b"");
    }
    let runs_at = |ports: &str| stand.0.runs.lock().at(ports.parse().unwrap());
    assert_eq!(runs_at("9001").len(), 400);
    assert_eq!(runs_at("9000").len(), RUNS - 400);
    let all: Vec<_> = runs_at("9000-9001").iter().map(|run| run.run).collect();
    let expected = (0..400).chain(1800..2400).map(RunId::from_number);
    assert_eq!(all, Vec::from_iter(expected));
    stand.0.forget(9001);
    assert_eq!(stand.0.runs.lock().count, RUNS - 400);
}

#[test]
fn of_ports_with_as_many_runs_the_oldest_run_goes_and_nothing_of_its_port_is_left() {
    let stand = stand();
    let command = "stop".parse().unwrap();
    let ports = (0..=RUNS as u64).map(|n| 10_000 + u16::try_from(n * 7 % 1009).unwrap());
    for (n, port) in ports.clone().enumerate() {
        run_at(&stand, port, &command, n as u64, b"");
    }
    let last = stand.0.runs.lock();
    let runs = last.at(PortRange::ALL);
    let expected = (1..=RUNS as u64).map(RunId::from_number);
    assert!(runs.iter().map(|run| run.run).eq(expected));
    assert_eq!((last.by_port.len(), last.ranks.len()), (RUNS, RUNS));
    assert!(!last.by_port.contains_key(&ports.clone().next().unwrap()));
}

#[test]
fn an_empty_snapshot_is_one_part() {
    let feed = Feed::new();
    let mut snapshot = feed.subscribe(Vec::new, PortRange::ALL).snapshot;
    assert!(!snapshot.is_over());
    let part = part(&mut snapshot, 3);
    assert!(matches!(
        part,
        RouterToConsole::Snapshot {
            first: true,
            last: true,
            missed: 3,
            ..
        }
    ));
    assert!(snapshot.is_over());
}

#[test]
fn a_receiver_that_lags_learns_of_it_and_nobody_waits() {
    let stand = stand();
    let command = "x".parse().unwrap();
    let mut slow = stand.0.subscribe(Vec::new, PortRange::ALL).events;
    for n in 0..BEHIND as u64 {
        run(&stand, &command, n, b"");
    }
    let missed = BEHIND as u64;
    assert_eq!(slow.try_recv(), Err(TryRecvError::Lagged(missed)));
}

/// Measures the time that a run costs the feed and its record. Run it with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_a_run_costs() {
    let stand = stand();
    let command = "forward".parse().unwrap();
    for watched in [false, true] {
        let subscription = watched.then(|| stand.0.subscribe(Vec::new, PortRange::ALL));
        let begun = Instant::now();
        let count = 200_000_u32;
        for n in 0..count {
            run(&stand, &command, n.into(), b"hello\n");
        }
        eprintln!("watched: {watched}, a run: {:?}", begun.elapsed() / count);
        drop(subscription);
    }
}
