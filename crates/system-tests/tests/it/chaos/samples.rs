//! Samples of memory, descriptors, threads and logs, and a check that they do not grow.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use super::fixture::{Fixture, pause, processes_in};
use super::history::{History, now};
use crate::common::procfs::status;
use crate::common::raw::RawCaller;

/// Between two samples.
const EVERY: Duration = Duration::from_secs(2);
/// What lasted shorter tells nothing of growth.
const LONG: Duration = Duration::from_secs(240);
/// What a process may have more of late in its life than early: allocators keep some, and the
/// memory of the last runs and their output fills.
const GROWTH: f64 = 1.25;
const FEW_BYTES: f64 = 4.0 * MIB;
const FEW_DESCRIPTORS: f64 = 8.0;
const FEW_PROCESSES: f64 = 4.0;
/// What router and inner may write of a run, in bytes: a line each, some hundred bytes long, and
/// what is said of faults. In the suite these are many for few runs.
const MOST_LOGGED: f64 = 4096.0;

/// What is said of a router that restarts itself.
pub(crate) const RESTART: &str = "router restarts";

const MIB: f64 = 1024.0 * 1024.0;

/// Selects a field of a sample.
type SampleField = fn(&ProcessSample) -> f64;

/// Resources of a process at one time.
#[derive(Debug, Clone, Copy)]
struct ProcessSample {
    at: Duration,
    resident: f64,
    descriptors: f64,
    threads: f64,
}

/// All of them.
pub(crate) struct ProcessSamples {
    began: Instant,
    began_at: Duration,
    /// By program, and which life of it: a router that restarts itself begins another.
    lives: BTreeMap<(&'static str, usize), Vec<ProcessSample>>,
    routers: usize,
    /// How many there were, those of the commands too.
    processes: Vec<f64>,
    /// What the logs have come to, in bytes.
    logs: f64,
    strikes: BTreeMap<&'static str, Vec<Duration>>,
    /// How many pictures were seen.
    pub(crate) pictures: Arc<AtomicU64>,
}

impl Default for ProcessSamples {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            began_at: now(),
            lives: BTreeMap::new(),
            routers: 0,
            processes: Vec::new(),
            logs: 0.0,
            strikes: BTreeMap::new(),
            pictures: Arc::default(),
        }
    }
}

impl ProcessSamples {
    /// Takes samples for so many seconds.
    pub(crate) async fn take_for(&mut self, fixture: &Fixture, seconds: f64) {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        loop {
            self.take(fixture);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            pause(left.min(EVERY).as_secs_f64()).await;
        }
    }

    fn take(&mut self, fixture: &Fixture) {
        let at = self.began.elapsed();
        let programs = [
            (("router", self.routers), fixture.router.id()),
            (("inner", 0), fixture.inner.id()),
        ];
        for (life, process) in programs {
            self.lives
                .entry(life)
                .or_default()
                .extend(sample(at, process));
        }
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        let processes = processes_in(fixture.path()).len() as f64;
        self.processes.push(processes);
        self.logs = size(&fixture.path().join("logs"));
    }

    /// A fault struck, and service was back after so long.
    pub(crate) fn struck(&mut self, name: &'static str, took: Duration) {
        self.strikes.entry(name).or_default().push(took);
        if name == RESTART {
            self.routers += 1;
        }
    }

    pub(crate) fn pictures_seen(&self) -> u64 {
        self.pictures.load(Ordering::Relaxed)
    }

    /// What has grown, in a sentence each, after so many runs.
    pub(crate) fn grown(&self, runs: usize) -> Vec<String> {
        let mut grown = Vec::new();
        let parts = self.processes.chunks(self.processes.len().div_ceil(5));
        let parts: Vec<f64> = parts.map(|part| middle(part.to_vec())).collect();
        if let [_, early, .., late] = parts[..]
            && late > early + FEW_PROCESSES
            && self.began.elapsed() > LONG
        {
            grown.push(format!("{early} processes early, {late} late"));
        }
        let line = self.logs_per_run(runs);
        if line > MOST_LOGGED {
            grown.push(format!("the logs: {line} bytes a run"));
        }
        for ((program, _), samples) in &self.lives {
            let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
                continue;
            };
            if last.at - first.at < LONG {
                continue;
            }
            let of = |what: SampleField| {
                let parts: Vec<f64> = samples
                    .chunks(samples.len().div_ceil(5))
                    .map(|part| median(part, what))
                    .collect();
                (parts[1], parts[parts.len() - 1])
            };
            let (early, late) = of(|sample| sample.resident);
            if late > early * GROWTH + FEW_BYTES {
                grown.push(format!("{program}: {early} bytes early, {late} late"));
            }
            let (early, late) = of(|sample| sample.descriptors);
            if late > early + FEW_DESCRIPTORS {
                grown.push(format!("{program}: {early} descriptors early, {late} late"));
            }
            let (early, late) = of(|sample| sample.threads);
            if late > early + FEW_DESCRIPTORS {
                grown.push(format!("{program}: {early} threads early, {late} late"));
            }
        }
        grown
    }

    #[expect(clippy::cast_precision_loss, reason = "it is about a thousand")]
    fn logs_per_run(&self, runs: usize) -> f64 {
        self.logs / runs.max(1) as f64
    }

    /// What it was like, in some lines.
    pub(crate) fn told(&self, history: &History, faults: usize, broken: usize) -> String {
        let mut told = String::new();
        let minutes = self.began.elapsed().as_secs_f64() / 60.0;
        let calls = history.calls.len();
        let pictures = self.pictures_seen();
        let _ = writeln!(
            told,
            "soak: {minutes:.1} min, {faults} faults, {calls} calls, {} runs, {} presses, \
             {pictures} pictures, {broken} promises broken",
            history.witness.len(),
            history.presses.len(),
        );
        let most = self.processes.iter().copied().fold(0.0, f64::max);
        let usual = middle(self.processes.clone());
        let line = self.logs_per_run(history.witness.len());
        let _ = writeln!(
            told,
            "processes: {usual}, at most {most}; logs: {line:.0} bytes a run"
        );
        for ((program, life), samples) in &self.lives {
            let row = |what: SampleField| {
                let parts = samples.chunks(samples.len().div_ceil(5));
                let parts = parts.map(|part| format!("{:.1}", median(part, what)));
                parts.collect::<Vec<_>>().join(" ")
            };
            let _ = writeln!(
                told,
                "{program} {life}: MiB {}; descriptors {}; threads {}",
                row(|sample| sample.resident / MIB),
                row(|sample| sample.descriptors),
                row(|sample| sample.threads),
            );
        }
        for (name, took) in &self.strikes {
            let worst = took.iter().max().copied().unwrap_or_default();
            let times = took.len();
            let _ = writeln!(
                told,
                "{name}: {times} times, service after at most {worst:?}"
            );
        }
        told
    }

    /// For `load chart`.
    pub(crate) fn chart(&self, history: &History) -> String {
        let mut chart = String::new();
        let programs = [("router", 1), ("inner", 2)];
        let panels: [(&str, SampleField); 2] = [
            ("resident, MiB", |sample| sample.resident / MIB),
            ("descriptors", |sample| sample.descriptors),
        ];
        for (label, what) in panels {
            let _ = writeln!(chart, "panel {label} | minutes | linear x y");
            for (program, colour) in programs {
                let _ = writeln!(chart, "series {colour} solid | {program}");
                let lives = self.lives.iter().filter(|((of, _), _)| *of == program);
                for sample in lives.flat_map(|(_, samples)| samples) {
                    let _ = writeln!(chart, "{} {}", minutes(sample.at), what(sample));
                }
            }
        }
        let _ = writeln!(chart, "panel a script's answer, ms | minutes | linear x");
        for (percent, line) in [(50, "solid"), (99, "dashed")] {
            let _ = writeln!(chart, "series 1 {line} | p{percent} of each minute");
            for (minute, times) in self.latencies(history) {
                let at = (times.len() * percent).div_ceil(100) - 1;
                #[expect(clippy::cast_precision_loss, reason = "an hour has few minutes")]
                let middle = minute as f64 + 0.5;
                let _ = writeln!(chart, "{middle} {}", times[at].as_secs_f64() * 1000.0);
            }
        }
        chart
    }

    /// How long `say` took, sorted, by the minute in which it was asked for.
    fn latencies(&self, history: &History) -> BTreeMap<u64, Vec<Duration>> {
        let mut minutes: BTreeMap<u64, Vec<Duration>> = BTreeMap::new();
        for call in &history.calls {
            let is_served = call.answer.as_ref().is_some_and(|it| it.status == 200);
            if call.command == "say" && is_served {
                let minute = call.asked.saturating_sub(self.began_at).as_secs() / 60;
                minutes
                    .entry(minute)
                    .or_default()
                    .push(call.answered - call.asked);
            }
        }
        minutes.values_mut().for_each(|times| times.sort());
        minutes
    }
}

fn minutes(time: Duration) -> f64 {
    time.as_secs_f64() / 60.0
}

fn median(samples: &[ProcessSample], what: SampleField) -> f64 {
    middle(samples.iter().map(what).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Nothing, if the process is just not there.
fn sample(at: Duration, process: i32) -> Option<ProcessSample> {
    #[expect(clippy::cast_precision_loss, reason = "they are small")]
    let number = |name| status(process, name).map(|number| number as f64);
    #[expect(clippy::cast_precision_loss, reason = "there are few")]
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).ok()?.count() as f64;
    Some(ProcessSample {
        at,
        resident: number("VmRSS")? * 1024.0,
        descriptors,
        threads: number("Threads")?,
    })
}

/// Of what is in this folder, in bytes.
fn size(folder: &Path) -> f64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = files.filter_map(|file| file.metadata().ok());
    #[expect(clippy::cast_precision_loss, reason = "it is drawn")]
    let sum = sizes.map(|file| file.len()).sum::<u64>() as f64;
    sum
}

/// Counts the pictures that come, until the end; connects anew when they end.
pub(crate) async fn watches_camera(port: u16, pictures: Arc<AtomicU64>, end: CancellationToken) {
    while !end.is_cancelled() {
        let stream = tokio::net::TcpStream::connect(crate::common::local(port)).await;
        if let Ok(stream) = stream {
            let mut viewer = RawCaller::new(stream);
            viewer
                .send("GET /video HTTP/1.1\r\nHost: car\r\n\r\n")
                .await;
            let watching = counts(&mut viewer.stream, &pictures);
            let _ = end.run_until_cancelled(watching).await;
        }
        pause(0.2).await;
    }
}

/// Until the stream ends, or there is no picture for as long as none can be missing.
async fn counts(stream: &mut tokio::net::TcpStream, pictures: &AtomicU64) {
    let mut piece = vec![0; 64 * 1024];
    let mut last = [0; 2];
    loop {
        let reading = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut piece));
        let Ok(Ok(length @ 1..)) = reading.await else {
            return;
        };
        // A JPEG's first bytes stand nowhere else in it.
        let bytes = last
            .iter()
            .chain(&piece[..length])
            .copied()
            .collect::<Vec<u8>>();
        let begun = bytes
            .windows(3)
            .filter(|at| *at == [0xff, 0xd8, 0xff])
            .count();
        pictures.fetch_add(begun.try_into().unwrap(), Ordering::Relaxed);
        last.copy_from_slice(&bytes[bytes.len() - 2..]);
    }
}
