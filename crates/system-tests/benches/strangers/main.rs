//! Measures what strangers cost an honest client and the router's memory:
//! `cargo bench -p p2p-system-tests --bench strangers`. The real router as a process, a car, a caller
//! with a key who asks all the time, first in peace and then beside thousands without one.
//! Prints a table, and fails where an aim is missed. With `--floods` the strangers connect thousands
//! of times a second, and the honest callers are far away.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a benchmark"
)]
#![allow(unreachable_pub, reason = "a program of several files")]

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;

mod attack;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/it/common/mod.rs"]
mod common;
mod far_line;
mod fixture;
mod flood;
mod honest;
#[allow(dead_code, reason = "this benchmark uses a part of it")]
#[path = "../measured_router.rs"]
mod measured_router;
#[path = "../products.rs"]
mod products;
mod programs;

use attack::Attack;
use fixture::Fixture;
use honest::Latencies;

/// The aims: more memory, in KiB, and the ratio of p99.
const MEMORY: u64 = 64 * 1024;
const RATIO: f64 = 2.0;

/// Measures an honest client beside strangers
#[derive(Parser)]
struct Options {
    /// How long the attack takes, in seconds; half of it before, in peace
    #[arg(long, default_value = "60")]
    seconds: u64,
    /// Connections that never come to an end of their TLS handshake or their headers
    #[arg(long, default_value = "10000")]
    slow: usize,
    /// WebSockets that are asked for without a key
    #[arg(long, default_value = "1000")]
    sockets: usize,
    /// After so many seconds a connection that was closed comes again (slowloris.py: 15)
    #[arg(long, default_value = "15")]
    again: u64,
    /// Measure floods in place of slow connections, in a network of their own (`unshare`, `ip`)
    #[arg(long)]
    floods: bool,
    /// With --floods: the folder of the programs. Several take turns
    #[arg(long, value_name = "DIR", requires = "floods")]
    programs: Vec<PathBuf>,
    /// With --floods: so many rounds of all
    #[arg(long, default_value = "1", requires = "floods")]
    rounds: usize,
    /// Set for the process that is in that network already
    #[arg(long, hide = true)]
    inside: bool,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    p2p_router::net::limits::raise_open_files();
    match (options.floods, options.inside) {
        (false, _) => beside_slow_ones(&options).await,
        (true, false) => in_a_network_of_its_own(&options.programs),
        (true, true) => beside_floods(&options).await,
    }
}

/// Runs this program once more, where it may have any address.
fn in_a_network_of_its_own(programs: &[PathBuf]) -> ExitCode {
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--net", "sh", "-c", flood::NETWORK]);
    unshare.arg(std::env::current_exe().unwrap());
    unshare.args(std::env::args_os().skip(1)).arg("--inside");
    if programs.is_empty() {
        unshare.arg("--programs").arg(products::build());
    }
    let status = unshare.status().expect("unshare, of util-linux");
    if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn beside_floods(options: &Options) -> ExitCode {
    let mut is_met = true;
    flood::print_head();
    for _ in 0..options.rounds {
        for by in std::iter::once(None).chain(flood::FLOODS.map(Some)) {
            for folder in &options.programs {
                is_met &= flood::measure(folder, by).await;
            }
        }
    }
    if is_met {
        ExitCode::SUCCESS
    } else {
        println!("an aim is missed: each honest call is answered");
        ExitCode::FAILURE
    }
}

async fn beside_slow_ones(options: &Options) -> ExitCode {
    products::use_products(None);
    let fixture = Fixture::new().await;
    let time = Duration::from_secs(options.seconds);
    // The first requests load what later ones use.
    honest::measure(&fixture, Duration::from_secs(2)).await;
    let peace = honest::measure(&fixture, time / 2).await;
    let memory = fixture.router.memory();
    // From its first connection on.
    let (attack, during) = tokio::join!(
        Attack::start(options, &fixture),
        honest::measure(&fixture, time)
    );
    let most = fixture.router.peak_memory();
    let (connections, open) = attack.end();
    println!(
        "{} slow connections and {} WebSockets from {} addresses for {} s: {connections} connections made, {open} open at the end; {} sent away, {} wrong or no keys refused",
        options.slow,
        options.sockets,
        attack::ADDRESSES,
        options.seconds,
        fixture.metric("strangers_sent_away_total").await,
        fixture.metric("link_refusals_total").await,
    );
    println!(
        "{:24}{:>12}{:>12}{:>8}",
        "ms", "in peace", "beside", "ratio"
    );
    let row = |name: &str, of: fn(&Latencies) -> (f64, f64)| {
        let ((p50, p99), (p50_during, p99_during)) = (of(&peace), of(&during));
        for (which, a, b) in [("p50", p50, p50_during), ("p99", p99, p99_during)] {
            println!("{name:20}{which:4}{a:>12.2}{b:>12.2}{:>8.2}", b / a);
        }
        p99_during / p99
    };
    let ratios = [
        row("kept connection", |l| l.of_kept()),
        row("new connection", |l| l.of_new()),
    ];
    println!(
        "requests: {} in peace, {} beside, {} failed",
        peace.count(),
        during.count(),
        during.failed
    );
    let more = most.saturating_sub(memory);
    println!("memory: {memory} KiB before, {most} KiB at most: {more} KiB more");
    let is_met = more <= MEMORY && during.failed == 0 && ratios.iter().all(|r| *r <= RATIO);
    if is_met {
        ExitCode::SUCCESS
    } else {
        println!("an aim is missed: {MEMORY} KiB more, p99 doubled, no failure");
        ExitCode::FAILURE
    }
}
