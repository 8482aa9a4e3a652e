//! Owns the open loop: requests are due at a constant rate, whatever the answers do, and a time
//! counts from when its request was due. A server that stalls for a second delays thousands of them
//! so, where a closed loop would have seen one slow answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use hdrhistogram::Histogram;

/// Longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks at a constant rate.
#[derive(Args)]
pub(crate) struct Load {
    /// Where, such as 127.0.0.1:20000
    address: SocketAddr,
    /// What, such as /cgi?command=hello
    path: String,
    /// Requests a second
    #[arg(long, default_value = "5000")]
    rate: f64,
    /// For how long it is measured
    #[arg(long, default_value = "2")]
    seconds: f64,
    /// For how long before that it is not
    #[arg(long, default_value = "0.5")]
    warm_up: f64,
    /// How many connections take turns; where all of them wait, the next request is late
    #[arg(long, default_value = "64")]
    connections: usize,
    /// A line for the head of each request
    #[arg(long)]
    header: Option<String>,
}

/// What came of it.
struct Seen {
    /// Microseconds from when a request was due until its answer had come.
    times: Histogram<u64>,
    failed: u64,
}

impl Load {
    /// Prints what came of it.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let next = AtomicU64::new(0);
        let start = Instant::now() + Duration::from_millis(100);
        let seen = thread::scope(|scope| {
            let clients: Vec<_> = (0..self.connections)
                .map(|_| scope.spawn(|| self.client(&next, start)))
                .collect();
            let mut all = Seen::new()?;
            for client in clients {
                let Ok(one) = client.join() else {
                    anyhow::bail!("a client panicked");
                };
                let one = one?;
                all.times.add(one.times)?;
                all.failed += one.failed;
            }
            Ok(all)
        })?;
        let at = |quantile| seen.times.value_at_quantile(quantile);
        println!(
            "p50_us={} p99_us={} max_us={} rate={:.0} failed={}",
            at(0.5),
            at(0.99),
            seen.times.max(),
            self.achieved(&seen),
            seen.failed
        );
        Ok(())
    }

    /// Answers a second: less than was asked for where the last of them came late.
    fn achieved(&self, seen: &Seen) -> f64 {
        let late = Duration::from_micros(seen.times.max()).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a few millions at the most")]
        let answers = seen.times.len() as f64;
        answers / self.seconds.max(late)
    }

    /// One connection: whenever it is free it takes the next request that is due.
    fn client(&self, next: &AtomicU64, start: Instant) -> anyhow::Result<Seen> {
        // Else the kernel lets it sleep for 50 microseconds longer, to save wake-ups.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let mut connection = self.connect()?;
        let mut seen = Seen::new()?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            #[expect(clippy::cast_precision_loss, reason = "a few millions at the most")]
            let due = number as f64 / self.rate;
            if due >= self.warm_up + self.seconds {
                return Ok(seen);
            }
            let intended = start + Duration::from_secs_f64(due);
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            let is_good = connection.ask();
            if due < self.warm_up {
                continue;
            }
            seen.times
                .record(u64::try_from(intended.elapsed().as_micros())?)?;
            if !is_good.unwrap_or(false) {
                seen.failed += 1;
                connection = self.connect()?;
            }
        }
    }

    fn connect(&self) -> anyhow::Result<Connection> {
        let Self { address, path, .. } = self;
        let header = (self.header.as_ref()).map_or_else(String::new, |line| format!("{line}\r\n"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}\r\n");
        Connection::open(*address, request)
    }
}

impl Seen {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            times: Histogram::new(3)?,
            failed: 0,
        })
    }
}

/// A kept-alive HTTP connection that asks the same again and again.
struct Connection {
    stream: TcpStream,
    request: String,
    answer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr, request: String) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("{address} can't be reached"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            request,
            answer: vec![0; 16 * 1024],
        })
    }

    /// Whether it was answered with 200.
    fn ask(&mut self) -> anyhow::Result<bool> {
        self.stream.write_all(self.request.as_bytes())?;
        let mut filled = 0;
        loop {
            let room = self.answer.get_mut(filled..).context("its room")?;
            let count = self.stream.read(room)?;
            anyhow::ensure!(count > 0, "closed, or an answer of more than 16 KiB");
            filled += count;
            let so_far = self.answer.get(..filled).context("its answer")?;
            if is_whole(so_far) {
                return Ok(so_far.starts_with(b"HTTP/1.1 200 "));
            }
        }
    }
}

/// Whether these bytes are a whole answer, with the length that it says.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let lines = answer.get(..head).unwrap_or_default();
    let length = lines.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| answer.len() >= head + 4 + length)
}
