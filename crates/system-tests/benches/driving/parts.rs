//! The measurements, one by one. Each round waits for what happens, not for a time.

use std::thread::sleep;
use std::time::Duration;

use p2p_shared::os::jitter;
use rustix::process::Signal;

use super::common::procfs::cpu;
use super::fixture::{ArrowKey, Fixture, FixtureOptions};
use super::namespaces::Namespaces;
use super::proxy::ByteFlow;
use super::table::{ResultTable, TableRow, ms, percentile};
use super::witness::{CommandStart, now};

/// What a key may take beyond the spawn.
const KEY: Duration = Duration::from_millis(5);
/// The lease of a car that was not told otherwise, and what a stop may come later.
const LEASE: Duration = Duration::from_millis(450);
/// What a release may take beyond the way to the car.
const RELEASE: Duration = Duration::from_millis(30);
/// How long a stall lasts.
const STALL: Duration = Duration::from_secs(3);
/// How long a program is looked at that has nothing to do.
const IDLE: Duration = Duration::from_secs(30);

/// A time between these, so that rounds meet every phase of the programs' timers.
fn between(least: u64, most: u64) -> Duration {
    let span = Duration::from_millis(most - least);
    Duration::from_millis(least) + span.mul_f64(jitter())
}

fn wait(least: u64, most: u64) {
    sleep(between(least, most));
}

/// Key byte to the motion's first act, and spawn alone, in turn.
pub fn presses(table: &mut ResultTable, rounds: usize) {
    let fixture = Fixture::start(FixtureOptions::default());
    fixture.arm();
    let (mut alone, mut pressed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        alone.push(fixture.spawn_alone(ArrowKey::UP.command()));
        wait(5, 25);
        let begun = now();
        pressed.push(fixture.drive(ArrowKey::UP).map(|act| act.at - begun));
        wait(10, 40);
        fixture.up(ArrowKey::UP);
        fixture
            .starts
            .first(Duration::from_secs(2), CommandStart::is_stop);
        // So long it may take that the stop has ended: a motion would wait for that.
        wait(20, 60);
    }
    let p99 = |times: &[Option<Duration>]| {
        let mut sorted: Vec<Duration> = times.iter().copied().flatten().collect();
        sorted.sort_unstable();
        percentile(&sorted, 99).unwrap_or_default()
    };
    let aim = p99(&alone) + KEY;
    table.add(TableRow::of_times("spawn alone", &alone, None));
    let mut row = TableRow::of_times("key byte → motion command's first act", &pressed, None);
    row.aim = format!("p99 ≤ {} (spawn + 5 ms)", ms(aim));
    row.is_met = Some(p99(&pressed) <= aim && !pressed.contains(&None));
    table.add(row);
}

/// A fault while a key is held.
#[derive(Clone, Copy)]
enum Fault {
    ConsoleKilled,
    RouterStopped,
    InnerKilled,
    InnerStopped,
    LinkSilent,
    PacketsDropped,
}

impl Fault {
    const ALL: [(Self, &str); 6] = [
        (Self::ConsoleKilled, "console killed with -9"),
        (Self::RouterStopped, "router stopped with SIGSTOP"),
        (Self::InnerKilled, "inner killed with -9"),
        (Self::InnerStopped, "inner stopped with SIGSTOP"),
        (Self::LinkSilent, "link swallows bytes both ways"),
        (Self::PacketsDropped, "packets dropped between namespaces"),
    ];

    fn happen(self, fixture: &Fixture) {
        match self {
            Self::ConsoleKilled => fixture.console.signal(Signal::KILL),
            Self::RouterStopped => fixture.router.signal(Signal::STOP),
            Self::InnerKilled => fixture.inner.signal(Signal::KILL),
            Self::InnerStopped => fixture.inner.signal(Signal::STOP),
            Self::LinkSilent => fixture.link.as_ref().unwrap().set(ByteFlow::Silent),
            Self::PacketsDropped => fixture.namespaces.as_ref().unwrap().forward(false),
        }
    }

    fn mend(self, fixture: &mut Fixture) {
        match self {
            Self::ConsoleKilled => fixture.restart_console(),
            Self::RouterStopped => fixture.router.signal(Signal::CONT),
            Self::InnerKilled => fixture.restart_inner(),
            Self::InnerStopped => fixture.inner.signal(Signal::CONT),
            Self::LinkSilent => fixture.link.as_ref().unwrap().renew(),
            Self::PacketsDropped => fixture.namespaces.as_ref().unwrap().forward(true),
        }
    }
}

/// From each fault to the stop command's first act.
pub fn faults(table: &mut ResultTable, rounds: usize, only: &str) {
    let wanted = Fault::ALL
        .into_iter()
        .filter(|(_, what)| what.contains(only));
    for (fault, what) in wanted {
        let mut options = FixtureOptions::default();
        match fault {
            Fault::LinkSilent => options.link = Some(Duration::ZERO),
            Fault::PacketsDropped => match Namespaces::make() {
                Ok(namespaces) => options.namespaces = Some(namespaces),
                Err(why) => {
                    eprintln!("left out: {what}: {why}");
                    continue;
                }
            },
            _ => {}
        }
        let mut fixture = Fixture::start(options);
        let mut times = Vec::new();
        while times.len() < rounds {
            let round = times.len();
            fixture.arm();
            // In turn a command that sets something and exits, and one that runs all the while.
            let arrow = [ArrowKey::UP, ArrowKey::LEFT][round % 2];
            fixture.set_off(arrow);
            // At times at the first moment.
            if round % 3 > 0 {
                wait(0, 200);
            }
            // The last fault made the round trip long: then a press is a pulse, and may be over.
            if fixture
                .starts
                .until_quiet(Duration::ZERO)
                .iter()
                .any(CommandStart::is_stop)
            {
                fixture.up(arrow);
                continue;
            }
            let begun = now();
            fault.happen(&fixture);
            let stop = fixture
                .starts
                .first(Duration::from_secs(5), CommandStart::is_stop);
            if stop.is_none() {
                eprintln!(
                    "round {round}: never stopped; the inner says:\n{}",
                    fixture.inner.errors()
                );
            }
            times.push(stop.map(|stop| stop.at.saturating_sub(begun)));
            fixture.starts.until_quiet(Duration::from_millis(200));
            fault.mend(&mut fixture);
            fixture.up(arrow);
            fixture.starts.until_quiet(Duration::from_millis(200));
        }
        let mut row = TableRow::of_times(&format!("{what} → stop"), &times, Some(LEASE));
        row.is_safety = true;
        table.add(row);
    }
}

/// From the release's bytes to the stop command's first act, with a delay on either hop.
pub fn releases(table: &mut ResultTable, rounds: usize) {
    for delay in [0, 50, 150].map(Duration::from_millis) {
        for (hop, on_link) in [("inner–router", true), ("console–router", false)] {
            let (link, console_proxy) = if on_link {
                (Some(delay), None)
            } else {
                (None, Some(delay))
            };
            let fixture = Fixture::start(FixtureOptions {
                link,
                console_proxy,
                namespaces: None,
            });
            fixture.arm();
            let mut times = Vec::new();
            for _ in 0..rounds {
                fixture.set_off(ArrowKey::UP);
                // Below the 250 ms of a pulse: over a slow link it would end by itself.
                wait(30, 80);
                let begun = now();
                fixture.up(ArrowKey::UP);
                let stop = fixture
                    .starts
                    .first(Duration::from_secs(2), CommandStart::is_stop);
                times.push(stop.map(|stop| stop.at.saturating_sub(begun)));
                fixture.starts.until_quiet(Duration::from_millis(100));
            }
            let what = format!("release → stop, {} each way, {hop}", ms(delay));
            table.add(TableRow::of_times(&what, &times, Some(delay + RELEASE)));
        }
    }
}

/// Motions that start after the link stood still, from keys of that time.
pub fn stalls(table: &mut ResultTable, rounds: usize) {
    for (hop, on_link) in [("inner–router", true), ("console–router", false)] {
        let zero = Some(Duration::ZERO);
        let (link, console_proxy) = if on_link { (zero, None) } else { (None, zero) };
        let fixture = Fixture::start(FixtureOptions {
            link,
            console_proxy,
            namespaces: None,
        });
        let proxy = fixture
            .link
            .as_ref()
            .or(fixture.console_proxy.as_ref())
            .unwrap();
        let (mut typed, mut old) = (0, Vec::new());
        for round in 0..rounds {
            fixture.arm();
            let mut held = ArrowKey(round % 4);
            fixture.set_off(held);
            proxy.set(ByteFlow::Held);
            let clears = now() + STALL;
            while now() < clears {
                wait(20, 200);
                fixture.repeat(held);
                if jitter() < 0.5 {
                    fixture.up(held);
                    held = ArrowKey((held.0 + typed) % 4);
                    fixture.down(held);
                    typed += 1;
                }
            }
            proxy.set(ByteFlow::Open);
            // In turn the last key is let go at once, and held on.
            if round % 2 == 0 {
                fixture.up(held);
            }
            let starts = fixture.starts.until_quiet(Duration::from_millis(1500));
            old.extend(starts.into_iter().filter(|act| !act.is_stop()));
            fixture.up(held);
        }
        for act in &old {
            eprintln!("an old motion: {act:?}");
        }
        let what = format!("motions from {typed} presses in stalls of 3 s, {hop}");
        let mut row = TableRow::new(&what, rounds);
        row.figures[3] = old.len().to_string();
        row.aim = "0".to_owned();
        row.is_met = Some(old.is_empty());
        row.is_safety = true;
        table.add(row);
    }
}

/// What each program computes while the console shows an armed car and nobody presses.
pub fn idle(table: &mut ResultTable) {
    let fixture = Fixture::start(FixtureOptions::default());
    fixture.arm();
    sleep(Duration::from_secs(2));
    let programs = [
        (
            "console",
            i32::try_from(fixture.console.id()).unwrap(),
            Some(1.0),
        ),
        ("router", fixture.router.id(), None),
        ("inner", fixture.inner.id(), None),
    ];
    let before = programs.map(|(_, id, _)| cpu(id));
    sleep(IDLE);
    let after = programs.map(|(_, id, _)| cpu(id));
    for (n, (name, _, aim)) in programs.into_iter().enumerate() {
        let share = (after[n] - before[n]).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
        let mut row = TableRow::new(&format!("CPU of the {name}, armed and idle for 30 s"), 1);
        row.figures[3] = format!("{share:.2} %");
        row.aim = aim.map_or("-".to_owned(), |aim| format!("< {aim} %"));
        row.is_met = aim.map(|aim| share < aim);
        table.add(row);
    }
}
