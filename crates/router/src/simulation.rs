//! Deterministic simulation: the real router, inner and console driving run in one process on paused
//! time, over a bad network. One seed makes one history, and the promises of docs/reliability.md are
//! checked on each history. `mesh` does the same with three routers.
//!
//! Real: the router's link and console tasks, registry, control, queues and `/cgi` from the parsed
//! query on; the inner's agent, session, dispatch, run history, drive and motion, and the guardian's
//! reading of the inner's reports; the console's `drive`; back-off, keepalive and the WebSocket.
//! Simulated: sockets (`network`), processes and the car (`machine`), people (`operator`, `callers`),
//! SIGSTOP and SIGKILL. The real tasks run, and not only the pure parts on a scheduler, because most
//! faults would be in the tasks. Four things are replaceable for this: the stream, the dialling, a
//! process, and two clocks. The simulation builds a router from its private parts, so it is part of
//! this crate.
//!
//! ```text
//! cargo test -p p2p-router --lib simulation                     2,000 seeds, and 400 of three routers
//! SEEDS=100000 cargo test … simulation -- --nocapture           100,000 seeds
//! FROM=1001 SEEDS=1000 cargo test … simulation -- --nocapture   seeds 1,001 to 2,000
//! SEED=7 cargo test … of_three_routers -- --nocapture           one seed, with a log of its history
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

mod answers;
mod callers;
mod faults;
mod final_checks;
mod history;
mod keys;
mod machine;
mod mesh;
mod network;
mod operator;
mod press_ledger;
pub(crate) mod process;
mod rng;
mod scenario;
mod shared;
mod sim_router;
mod world;

use history::{HistoryCounts, HistoryOutcome};

/// Histories in the test suite, and those of three routers, of which each takes six times as long.
const SEEDS: u64 = 2000;
const SEEDS_OF_THREE: u64 = 400;
/// Processor time of all histories since one began that never ends: one takes some 50 ms, also where others have
/// the processors.
const HANGS: Duration = Duration::from_secs(60);
/// Time between looks whether one hangs.
const LOOK: Duration = Duration::from_secs(5);
/// Histories with a broken promise after which a run of seeds ends.
const MAX_FAILURES: usize = 5;

/// A command directory of empty files; the processes of its commands are simulated.
fn commands() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "forward", "back", "stop", "hello", "slow", "long", "fails", "reads",
    ] {
        let file = folder.path().join(name);
        fs::write(&file, "").unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs the history of a seed, and keeps its log if it is to.
type RunHistory = fn(u64, &Path, bool) -> HistoryOutcome;

#[test]
fn promises_hold_in_every_history() {
    check(scenario::run, SEEDS);
}

#[test]
fn promises_hold_in_every_history_of_three_routers() {
    check(mesh::run, SEEDS_OF_THREE);
}

fn check(run: RunHistory, seeds: u64) {
    let commands = commands();
    if let Some(seed) = number("SEED") {
        let outcome = run(seed, commands.path(), true);
        outcome.lines.iter().for_each(|line| println!("{line}"));
        println!("{:?}", outcome.counts);
        assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
        return;
    }
    let (first, seeds) = (
        number("FROM").unwrap_or(1),
        number("SEEDS").unwrap_or(seeds),
    );
    let began = Instant::now();
    let summary = run_all(run, first, seeds, commands.path());
    println!(
        "{seeds} seeds in {:.1} s: {summary}",
        began.elapsed().as_secs_f64()
    );
    let broken = summary.violations;
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
        let print = || scenario::run(seed, commands.path(), false).fingerprint;
        assert_eq!(print(), print(), "SEED={seed}");
    }
}

#[test]
fn the_same_seed_is_the_same_history_of_three_routers_on_a_machine_that_is_slow() {
    let commands = commands();
    for seed in 11..15 {
        let slow = [Duration::ZERO, Duration::from_secs(2)];
        let [one, other] = slow.map(|time| mesh::run_held_up(seed, commands.path(), true, time));
        let mut lines = one.lines.iter().zip(&other.lines);
        let differs = lines.find(|(one, other)| one != other);
        assert_eq!(
            one.fingerprint, other.fingerprint,
            "SEED={seed}: {differs:#?}"
        );
    }
}

/// Sums over all histories of a run.
#[derive(Debug, Default)]
struct RunSummary {
    violations: Vec<String>,
    sum: HistoryCounts,
    back: Vec<Duration>,
}

impl std::fmt::Display for RunSummary {
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

impl RunSummary {
    fn add(&mut self, seed: u64, outcome: &HistoryOutcome) {
        let counts = outcome.counts;
        self.sum.faults += counts.faults;
        self.sum.motions += counts.motions;
        self.sum.executions += counts.executions;
        self.sum.answers += counts.answers;
        self.sum.unknown += counts.unknown;
        self.back.extend(counts.back);
        if let Some(first) = outcome.violations.first() {
            self.violations.push(format!("SEED={seed} {first}"));
        }
    }
}

/// Runs the seeds on every core, until [`MAX_FAILURES`] histories have broken a promise.
fn run_all(run: RunHistory, first: u64, seeds: u64, commands: &Path) -> RunSummary {
    let next = AtomicU64::new(first);
    let summary = Mutex::new(RunSummary::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (done, news) = mpsc::channel();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (done, next, summary) = (done.clone(), &next, &summary);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds
                        || summary.lock().unwrap().violations.len() >= MAX_FAILURES
                    {
                        return;
                    }
                    let _ = done.send((thread, seed));
                    let outcome = run(seed, commands, false);
                    summary.lock().unwrap().add(seed, &outcome);
                }
            });
        }
        drop(done);
        watch_for_hangs(&news);
    });
    summary.into_inner().unwrap()
}

/// Ends the process when a history hangs: a task that loops without waiting blocks its thread, which
/// then can't report that.
fn watch_for_hangs(begun: &mpsc::Receiver<(usize, u64)>) {
    let mut under_way = BTreeMap::new();
    loop {
        match begun.recv_timeout(LOOK) {
            Ok((thread, seed)) => under_way.insert(thread, (seed, processor_time())),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) => None,
        };
        let used = processor_time();
        let hangs = under_way.values().find(|(_, begun)| used - *begun >= HANGS);
        if let Some((seed, _)) = hangs {
            eprintln!("SEED={seed} hangs: something in it goes round without time passing");
            std::process::exit(101);
        }
    }
}

/// Processor time of this process.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.try_into().unwrap()
}
