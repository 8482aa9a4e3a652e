//! Measures driving with the real programs: `cargo bench -p p2p-system-tests --bench driving`. It starts
//! router, inner and console on this machine, types key bytes into the console's terminal, and
//! listens to the commands themselves. Prints a table, and fails where an aim of safety is missed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a benchmark"
)]
#![allow(unreachable_pub, reason = "a program of several files")]

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/it/common/mod.rs"]
mod common;
mod fixture;
mod namespaces;
mod parts;
#[path = "../products.rs"]
mod products;
mod proxy;
mod table;
mod witness;

/// Measures driving with the real programs on this machine
#[derive(Parser)]
struct Options {
    /// What to measure [default: everything]
    parts: Vec<Measurement>,
    /// How often each fault, release and stall is tried
    #[arg(long, default_value = "50")]
    rounds: usize,
    /// Of the faults only those with this in their names
    #[arg(long, default_value = "")]
    only: String,
    /// How many presses are timed
    #[arg(long, default_value = "500")]
    presses: usize,
    /// Said by `cargo bench`; without it nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// Key byte to motion, beside the time to spawn alone
    Press,
    /// From each fault to the stop
    Fault,
    /// From the release to the stop, through delays
    Release,
    /// Stalls of 3 s with keys pressed meanwhile
    Stall,
    /// CPU of an idle console
    Idle,
}

fn main() -> ExitCode {
    if witness::run_if_command() {
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    if !options.bench {
        println!("nothing is measured but by `cargo bench -p p2p-system-tests --bench driving`");
        return ExitCode::SUCCESS;
    }
    products::use_products(None);
    // The programs' output is collected there.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let mut table = table::ResultTable::default();
    let parts: &[Measurement] = match options.parts.as_slice() {
        [] => Measurement::value_variants(),
        some => some,
    };
    for part in parts {
        match part {
            Measurement::Press => parts::presses(&mut table, options.presses),
            Measurement::Fault => parts::faults(&mut table, options.rounds, &options.only),
            Measurement::Release => parts::releases(&mut table, options.rounds),
            Measurement::Stall => parts::stalls(&mut table, options.rounds),
            Measurement::Idle => parts::idle(&mut table),
        }
    }
    if table.print() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
