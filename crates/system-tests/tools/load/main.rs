//! What scripts/bench.sh needs beside wrk, in one program: the floors that ours is held against, and
//! an open loop. `cargo run --release --bin load -- --help`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

mod chart;
mod open_loop;
mod ports;
mod relay;
mod spawn;

/// What a benchmark needs beside wrk
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Prints free ports that the kernel gives to nobody by itself
    Ports(ports::Wanted),
    /// Starts a program again and again, reads its output to the end and waits for it
    Spawn { program: PathBuf, seconds: f64 },
    /// Answers each HTTP request with a line of text: a connection's bytes in, an answer out
    Answer { listen: SocketAddr },
    /// Passes on each connection's bytes as they are, both ways
    Relay { listen: SocketAddr, to: SocketAddr },
    /// Asks at a constant rate, whatever the answers do; times count from when a request was due
    Open(open_loop::Load),
    /// Draws lines that are read from standard input
    Chart(chart::Options),
}

fn main() -> anyhow::Result<()> {
    match Options::parse().part {
        Part::Ports(wanted) => wanted.print(),
        Part::Spawn { program, seconds } => {
            spawn::measure(&program, Duration::from_secs_f64(seconds))
        }
        Part::Answer { listen } => relay::answer(listen),
        Part::Relay { listen, to } => relay::relay(listen, to),
        Part::Open(load) => load.run(),
        Part::Chart(options) => options.draw(),
    }
}
