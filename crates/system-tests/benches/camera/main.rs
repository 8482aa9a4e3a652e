//! Measures the camera with the real router: `cargo bench -p p2p-system-tests --bench camera`. What 50
//! viewers cost the router, what one of them that doesn't read costs the others, and what becomes of
//! the control's round trip when pictures go over the same narrow line; with `-- --page`, how old a
//! picture is when the drive page has drawn it in Chromium. Prints a table, and fails
//! where an aim is missed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a benchmark"
)]
#![allow(unreachable_pub, reason = "a program of several files")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/it/common/mod.rs"]
mod common;
mod fixture;
mod line;
#[allow(dead_code, reason = "this benchmark uses a part of it")]
#[path = "../measured_router.rs"]
mod measured_router;
mod page;
mod pictures;
#[path = "../products.rs"]
mod products;
mod viewer;

use fixture::Fixture;
use viewer::{ViewerStats, percentile};

/// The aims: times the round trip's p99, and the age of what is seen, in ms.
const RATIO: f64 = 1.5;
const AGE: f64 = 500.0;
/// The narrow line: bytes a second.
const NARROW: f64 = 125_000.0;

/// Measures the camera
#[derive(Parser)]
struct Options {
    /// How long each measurement takes, in seconds
    #[arg(long, default_value = "20")]
    seconds: u64,
    /// How many viewers there are
    #[arg(long, default_value = "50")]
    viewers: usize,
    /// Bytes of a picture: 640×480 at a usual quality
    #[arg(long, default_value = "20000")]
    bytes: usize,
    /// Pictures a second
    #[arg(long, default_value = "30")]
    rate: u32,
    /// The delay of the narrow line, each way, in ms
    #[arg(long, value_delimiter = ',', default_values_t = [25, 50])]
    delays: Vec<u64>,
    /// Measure only how old a picture is when the page has drawn it: needs Chromium
    #[arg(long)]
    page: bool,
    /// Where the page's programs are, if not to be built: a folder as target/release
    #[arg(long, value_name = "DIR", requires = "page")]
    programs: Option<PathBuf>,
    /// Be the camera
    #[arg(long, hide = true)]
    be_camera: bool,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.be_camera {
        pictures::write(options.bytes, options.rate);
        return ExitCode::SUCCESS;
    }
    if !options.bench {
        println!("nothing is measured but by `cargo bench -p p2p-system-tests --bench camera`");
        return ExitCode::SUCCESS;
    }
    products::use_products(options.programs.clone());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if options.page {
        let time = Duration::from_secs(options.seconds);
        runtime.block_on(page::measure(options.rate, time));
        return ExitCode::SUCCESS;
    }
    println!(
        "pictures of {} bytes, {} a second; {} s each",
        options.bytes, options.rate, options.seconds
    );
    let wide = runtime.block_on(viewers(&options));
    let narrow = runtime.block_on(narrow(&options));
    if wide && narrow {
        ExitCode::SUCCESS
    } else {
        println!("an aim is missed");
        ExitCode::FAILURE
    }
}

/// What viewers cost, and whether one that reads nothing costs the others.
async fn viewers(options: &Options) -> bool {
    let time = Duration::from_secs(options.seconds);
    let fixture = Fixture::new(options, None).await;
    let before = fixture.router.memory();
    let one = fixture.viewers(1, time).await;
    let cpu_of_one = one.cpu;
    let all = fixture.viewers(options.viewers, time).await;
    let memory = fixture.router.memory();
    // Before it is closed, which it is after 2 s.
    let stuck = fixture.stuck().await;
    let beside = fixture
        .viewers(options.viewers, Duration::from_secs(2))
        .await;
    drop(stuck);
    println!(
        "\n{:24}{:>10}{:>10}{:>10}",
        "on loopback", "p50", "p95", "p99"
    );
    let age = |name: &str, seen: &ViewerStats| {
        let [a, b, c] = [0.5, 0.95, 0.99].map(|part| percentile(&seen.ages, part));
        println!("{name:24}{a:>10.1}{b:>10.1}{c:>10.1}   ms from its first byte to the viewer");
    };
    age("1 viewer", &one.seen);
    age(&format!("{} viewers", options.viewers), &all.seen);
    age("beside one that hangs", &beside.seen);
    let least = |measured: &fixture::ViewerCost| measured.seen.least_rate(measured.time);
    println!(
        "pictures a second of the viewer that got the least: {:.1}, {:.1} of {}, {:.1} beside one that hangs",
        least(&one),
        least(&all),
        options.viewers,
        least(&beside),
    );
    println!(
        "the router's CPU: {cpu_of_one:.1} % of a core with 1 viewer, {:.1} % with {} ({:.2} % each)",
        all.cpu,
        options.viewers,
        (all.cpu - cpu_of_one) / options.viewers.saturating_sub(1) as f64
    );
    println!(
        "its memory: {before} KiB before, {memory} KiB with them ({} KiB each)",
        memory.saturating_sub(before) / options.viewers as u64
    );
    least(&beside) > 0.9 * least(&all)
}

/// What pictures cost the control, where both go over one narrow line.
async fn narrow(options: &Options) -> bool {
    let time = Duration::from_secs(options.seconds);
    let mut is_met = true;
    println!(
        "\n{:24}{:>10}{:>10}{:>8}{:>10}{:>10}{:>10}",
        "1 Mbit/s, both ways", "p99 off", "p99 on", "ratio", "age p50", "age p99", "pictures"
    );
    for delay in &options.delays {
        let delay = Duration::from_millis(*delay);
        let fixture = Fixture::new(options, Some((NARROW, delay))).await;
        let off = fixture.round_trips(time).await;
        let (on, seen) = fixture.round_trips_and_video(time).await;
        let [off_p99, on_p99] = [&off, &on].map(|times| percentile(times, 0.99));
        let [off_p50, on_p50] = [&off, &on].map(|times| percentile(times, 0.5));
        let (ratio, age) = (on_p99 / off_p99, percentile(&seen.ages, 0.99));
        println!(
            "{:24}{off_p99:>10.1}{on_p99:>10.1}{ratio:>8.2}{:>10.1}{age:>10.1}{:>8.1}/s   (p50 {off_p50:.1} and {on_p50:.1}; {} and {} round trips)",
            format!("{} ms each way", delay.as_millis()),
            percentile(&seen.ages, 0.5),
            seen.ages.len() as f64 / time.as_secs_f64(),
            off.len(),
            on.len(),
        );
        is_met &= ratio < RATIO && age < AGE;
    }
    is_met
}
