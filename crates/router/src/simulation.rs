//! Owns the simulation: the real router, inner and console drive in one process on paused time,
//! over a bad network, from a seed, and the promises of docs/reliability.md checked on each history.
//!
//! What is real: the router's link and console tasks, registry, control, queues and `/cgi` from the
//! parsed query on; the inner's agent, session, executor, memory, drive and motion, and the ears of
//! its guardian; the console's `drive`; back-off, keepalive and the WebSocket under them all. What is
//! simulated: sockets (`network`), processes and the car (`machine`), people (`desk`, `callers`),
//! and SIGSTOP and SIGKILL. Running the real tasks was preferred to putting only the pure parts on a
//! scheduler: the shells around them, where most faults would be, are part of it, and what had to be
//! made replaceable for it is four things: the stream, the dialling, a process and two clocks.
//!
//! ```text
//! cargo test -p p2p-router --lib simulation                 a few thousand seeds
//! SEEDS=100000 cargo test … simulation -- --nocapture       so many
//! SEED=7 cargo test … simulation -- --nocapture             one, with all that happened in it
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

mod callers;
mod desk;
mod dice;
mod ending;
mod faults;
mod history;
mod machine;
mod network;
mod presses;
mod relay;
mod scenario;
mod stage;

use history::{Counts, Outcome};

/// So many histories in the suite.
const SEEDS: u64 = 2000;
/// A history takes some 30 ms; one that takes so long does not end.
const HANGS: Duration = Duration::from_secs(60);
/// How many histories that broke a promise are told of.
const TOLD: usize = 5;

/// The files that commands stand for; their processes are simulated.
fn commands() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["forward", "back", "stop", "hello", "slow", "fails", "reads"] {
        let file = folder.path().join(name);
        fs::write(&file, "").unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn promises_hold_in_every_history() {
    let commands = commands();
    if let Some(seed) = number("SEED") {
        let outcome = scenario::live(seed, commands.path(), true);
        outcome.lines.iter().for_each(|line| println!("{line}"));
        println!("{:?}", outcome.counts);
        assert!(outcome.broken.is_empty(), "{:#?}", outcome.broken);
        return;
    }
    let (first, seeds) = (
        number("FROM").unwrap_or(1),
        number("SEEDS").unwrap_or(SEEDS),
    );
    let began = Instant::now();
    let told = live_all(first, seeds, commands.path());
    println!(
        "{seeds} seeds in {:.1} s: {told}",
        began.elapsed().as_secs_f64()
    );
    let broken = told.broken;
    assert!(
        broken.is_empty(),
        "{} histories broke a promise; SEED=n with --nocapture tells all of one:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

#[test]
fn the_same_seed_is_the_same_history() {
    let commands = commands();
    for seed in 1..20 {
        let print = || scenario::live(seed, commands.path(), false).print;
        assert_eq!(print(), print(), "SEED={seed}");
    }
}

/// What all histories were like.
#[derive(Debug, Default)]
struct Told {
    broken: Vec<String>,
    sum: Counts,
    back: Vec<Duration>,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sum = &self.sum;
        let mut back = self.back.clone();
        back.sort_unstable();
        let at = |share: usize| back.get((back.len() * share / 100).min(back.len().max(1) - 1));
        write!(
            f,
            "{} faults, {} motions, {} executions, {} answers, {} of them unknown; service back after p50 {:?}, p99 {:?}, at most {:?}",
            sum.faults,
            sum.motions,
            sum.executions,
            sum.answers,
            sum.unknown,
            at(50).copied().unwrap_or_default(),
            at(99).copied().unwrap_or_default(),
            back.last().copied().unwrap_or_default(),
        )
    }
}

impl Told {
    fn add(&mut self, seed: u64, outcome: &Outcome) {
        let counts = outcome.counts;
        self.sum.faults += counts.faults;
        self.sum.motions += counts.motions;
        self.sum.executions += counts.executions;
        self.sum.answers += counts.answers;
        self.sum.unknown += counts.unknown;
        self.back.extend(counts.back);
        if let Some(first) = outcome.broken.first() {
            self.broken.push(format!("SEED={seed} {first}"));
        }
    }
}

/// On every core, until too many have broken a promise.
fn live_all(first: u64, seeds: u64, commands: &Path) -> Told {
    let next = AtomicU64::new(first);
    let told = Mutex::new(Told::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (done, news) = mpsc::channel();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (done, next, told) = (done.clone(), &next, &told);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || told.lock().unwrap().broken.len() >= TOLD {
                        return;
                    }
                    let _ = done.send((thread, seed));
                    let outcome = scenario::live(seed, commands, false);
                    told.lock().unwrap().add(seed, &outcome);
                }
            });
        }
        drop(done);
        watch_for_hangs(&news);
    });
    told.into_inner().unwrap()
}

/// A history in which something is done for ever at one moment does not end, and nothing in its
/// thread can say so.
fn watch_for_hangs(begun: &mpsc::Receiver<(usize, u64)>) {
    let mut under_way = BTreeMap::new();
    loop {
        match begun.recv_timeout(HANGS) {
            Ok((thread, seed)) => under_way.insert(thread, (seed, Instant::now())),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) => None,
        };
        let hangs = under_way.values().find(|(_, at)| at.elapsed() >= HANGS);
        if let Some((seed, _)) = hangs {
            eprintln!("SEED={seed} hangs: something in it goes round without time passing");
            std::process::exit(101);
        }
    }
}
