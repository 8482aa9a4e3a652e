//! Measures driving with the real programs: `cargo bench -p p2p-router --bench driving`. It starts
//! router, inner and console on this machine, types key bytes into the console's terminal, and
//! listens to the commands themselves. Prints a table, and fails where an aim of safety is missed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a benchmark"
)]
#![allow(unreachable_pub, reason = "a program of several files")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};

mod parts;
mod proxy;
#[allow(
    dead_code,
    reason = "the terminal of the console's tests: they use more of it"
)]
#[path = "../../../console/tests/common/pty.rs"]
mod pty;
mod spaces;
mod stand;
mod table;
mod witness;

/// Measures driving with the real programs on this machine
#[derive(Parser)]
struct Options {
    /// What to measure [default: everything]
    parts: Vec<Part>,
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
enum Part {
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
    if witness::bear() {
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    if !options.bench {
        println!("nothing is measured but by `cargo bench -p p2p-router --bench driving`");
        return ExitCode::SUCCESS;
    }
    build();
    let mut table = table::Table::default();
    let parts: &[Part] = match options.parts.as_slice() {
        [] => Part::value_variants(),
        some => some,
    };
    for part in parts {
        match part {
            Part::Press => parts::presses(&mut table, options.presses),
            Part::Fault => parts::faults(&mut table, options.rounds, &options.only),
            Part::Release => parts::releases(&mut table, options.rounds),
            Part::Stall => parts::stalls(&mut table, options.rounds),
            Part::Idle => parts::idle(&mut table),
        }
    }
    if table.print() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Inner and console are examples of the router's package, which `cargo bench` does not build.
fn build() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--release", "-p", "p2p-router", "--examples"];
    let built = Command::new(cargo)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "the programs can't be built"
    );
}

/// Where a program of ours is.
fn program_path(name: &str) -> PathBuf {
    let router = Path::new(env!("CARGO_BIN_EXE_p2p-router"));
    let path = match name {
        "p2p-router" => router.to_owned(),
        name => router.with_file_name("examples").join(name),
    };
    assert!(path.exists(), "{} is not there", path.display());
    path
}
