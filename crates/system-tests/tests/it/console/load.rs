//! The real program while its router tells of 5,000 events a second: it obeys, and grows no further.
//! `P2P_LOAD_SECONDS=60 cargo nextest run --release --no-capture -E "test(console::load)"` measures.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use p2p_shared::protocol::{ConsoleToRouter, DriveCommand};

use super::fake_router::{FakeRouter, program};
use crate::common::procfs;
use crate::common::pty::TestTerminal;

const EVENTS_A_SECOND: u64 = 5_000;

/// Memory in use, in KiB, and time on the processor so far.
fn use_of(id: u32) -> (u64, Duration) {
    let id = i32::try_from(id).unwrap();
    (procfs::status(id, "VmRSS").unwrap(), procfs::cpu(id))
}

#[tokio::test]
async fn five_thousand_events_a_second_leave_it_alive_and_bounded() {
    let seconds = std::env::var("P2P_LOAD_SECONDS").map_or(3, |text| text.parse().unwrap());
    let mut router = FakeRouter::with_feed(EVENTS_A_SECOND).await;
    let terminal = TestTerminal::start(&program(router.port, &["--link", "car"]), true, (120, 40));
    router.next().await;
    terminal.sees("VIEW").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    // The log is full, and its outputs with it, long before this.
    let (_, begun) = (use_of(terminal.id()), Instant::now());
    let mut took = Vec::new();
    let (mut memory, before) = (Vec::new(), use_of(terminal.id()).1);
    while begun.elapsed() < Duration::from_secs(seconds) {
        // One half on Drive, the other where all of it is shown.
        if took.len() == usize::try_from(seconds * 5).unwrap() {
            terminal.send(b"3");
        }
        let pressed = Instant::now();
        terminal.send(b" ");
        assert!(matches!(
            router.next().await,
            ConsoleToRouter::Drive {
                command: DriveCommand::Stop,
                ..
            }
        ));
        took.push(pressed.elapsed());
        memory.push(use_of(terminal.id()).0);
        tokio::time::sleep(Duration::from_millis(97)).await;
    }
    // Every screen, and the log while it is held, which keeps a picture of its own.
    for (key, seen) in [
        ("1", "links"),
        ("3", "Runs, newest"),
        ("f", "FROZEN"),
        ("4", "ommands"),
    ] {
        terminal.send(key.as_bytes());
        terminal.sees(seen).await;
    }
    let (last, after) = use_of(terminal.id());
    took.sort();
    let busy = (after - before).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    println!(
        "{} events in {:.1?}; key to message: p50 {:.1?}, p99 {:.1?}, most {:.1?} of {}; \
         memory {} to {} KiB, in the end {last}; {busy:.0} % of a core",
        router.fed.load(Ordering::Relaxed),
        begun.elapsed(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        took.last().unwrap(),
        took.len(),
        memory.iter().min().unwrap(),
        memory.iter().max().unwrap(),
    );
    // 2,000 runs with 1 KiB of output each are 6 MB or so; twice that with a held view.
    assert!(last < 64 * 1024, "{last} KiB");
}
