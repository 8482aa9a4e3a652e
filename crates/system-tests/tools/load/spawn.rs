//! Owns the floor of a command that is a process: `posix_spawn`, a pipe, and the wait, one after
//! another. (It is what std uses where a process is given no more than arguments and pipes.)

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;

/// Prints the median.
pub(crate) fn measure(program: &Path, time: Duration) -> anyhow::Result<()> {
    let mut times = Histogram::<u64>::new(3)?;
    let mut output = Vec::new();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let begun = Instant::now();
        let mut child = Command::new(program)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} can't be executed", program.display()))?;
        output.clear();
        let mut pipe = child.stdout.take().context("its output")?;
        pipe.read_to_end(&mut output)?;
        anyhow::ensure!(child.wait()?.success(), "{} failed", program.display());
        times.record(u64::try_from(begun.elapsed().as_nanos())?)?;
    }
    println!("p50_us={}", times.value_at_quantile(0.5) / 1000);
    Ok(())
}
