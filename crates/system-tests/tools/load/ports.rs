//! Owns which ports a benchmark listens on: free ones below 32768, where the kernel's own begin, so
//! that no outgoing connection takes one before it is listened on.

use std::net::{IpAddr, TcpListener};

use clap::Args;

/// Which ports.
#[derive(Args)]
pub(crate) struct Wanted {
    count: usize,
    /// Of which address
    #[arg(long, default_value = "127.0.0.1")]
    on: IpAddr,
    /// One after another, with none between that is taken: prints the first
    #[arg(long)]
    row: bool,
}

impl Wanted {
    /// Prints them.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        // Where many are wanted nearly all have to do; else two of these programs should not meet.
        let first = match self.count {
            0..1000 => 20_000 + u16::try_from(std::process::id() % 8000)?,
            _ => 2000,
        };
        let mut found = Vec::new();
        for port in first..32_768 {
            if found.len() == self.count {
                break;
            }
            if TcpListener::bind((self.on, port)).is_ok() {
                found.push(port);
            } else if self.row {
                found.clear();
            }
        }
        anyhow::ensure!(found.len() == self.count, "too few ports are free");
        let shown = if self.row { 1 } else { self.count };
        for port in found.iter().take(shown) {
            println!("{port}");
        }
        Ok(())
    }
}
