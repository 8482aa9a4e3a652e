//! Floods: strangers who connect thousands of times a second and say nothing, beside honest callers
//! who are far away and were never here before. All of it in a network of its own, where one process
//! may have any address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::far_line::FarLine;
use crate::honest;
use crate::programs::Programs;

/// Honest calls of each kind during a flood.
const CALLS: usize = 20;
/// Round trip of the honest callers.
const ROUND_TRIP: Duration = Duration::from_millis(80);
/// Between two calls.
const PAUSE: Duration = Duration::from_millis(150);
/// Time for which the flood has gone on before the first honest call.
const RISE: Duration = Duration::from_secs(2);
/// So long a stranger stays, unless it is closed: longer than a caller far away needs for its hello.
const HOLD: Duration = Duration::from_millis(500);
/// Most connections of the flood that are open or being opened.
const OPEN: usize = 12_000;
/// Target of the flood of one address, which calls from the address that the route there has.
const ONE_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);

/// Commands that make the network, for a shell.
pub const NETWORK: &str = "set -e
ip link set lo up
ip route add local 127.0.2.0/24 dev lo src 127.0.2.1
ip -6 addr add 2001:db8:ffff::1/128 dev lo
ip -6 route add local 2001:db8::/32 dev lo
echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind
echo '1024 65535' >/proc/sys/net/ipv4/ip_local_port_range
exec \"$0\" \"$@\"";

/// Network from which strangers come, and the addresses that they call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// All from one IPv4 address, at the main port.
    OneAddress,
    /// Each from another /64 of one /48, at the main port and the service port in turn.
    OneSite,
}

/// A flood: who, and how many a second.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    pub by: Strangers,
    pub rate: usize,
}

/// The floods of the benchmark.
pub const FLOODS: [Flood; 4] = [
    Flood::new(Strangers::OneAddress, 1_400),
    Flood::new(Strangers::OneAddress, 5_000),
    Flood::new(Strangers::OneAddress, 20_000),
    Flood::new(Strangers::OneSite, 5_000),
];

impl Flood {
    const fn new(by: Strangers, rate: usize) -> Self {
        Self { by, rate }
    }

    fn name(self) -> &'static str {
        match self.by {
            Strangers::OneAddress => "one IPv4 address",
            Strangers::OneSite => "one IPv6 /48",
        }
    }

    /// The address of the honest caller's nth call: never one of the flood's, nor of a call before.
    fn honest(self, n: usize) -> IpAddr {
        let n = u16::try_from(n).unwrap();
        match self.by {
            Strangers::OneAddress => Ipv4Addr::from_bits(0x7f03_0000 + u32::from(n)).into(),
            Strangers::OneSite => Ipv6Addr::new(0x2001, 0xdb8, 1 + n, 0, 0, 0, 0, 1).into(),
        }
    }

    /// The router's address, as the honest caller reaches it.
    fn router(self) -> IpAddr {
        match self.by {
            Strangers::OneAddress => Ipv4Addr::LOCALHOST.into(),
            Strangers::OneSite => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1).into(),
        }
    }

    /// Where the nth stranger calls, and its own address if it has to say one.
    fn stranger(self, n: usize, ports: [u16; 2]) -> (SocketAddr, Option<IpAddr>) {
        match self.by {
            Strangers::OneAddress => {
                // Of one address alone there would not be enough ports.
                let [a, b, c, _] = ONE_ADDRESS.octets();
                let last = u8::try_from(1 + n % 8).unwrap();
                ((Ipv4Addr::new(a, b, c, last), ports[0]).into(), None)
            }
            Strangers::OneSite => {
                let home = u16::try_from(n % 65_536).unwrap();
                let from = Ipv6Addr::new(0x2001, 0xdb8, 0, home, 0, 0, 0, 1);
                ((self.router(), ports[n % 2]).into(), Some(from.into()))
            }
        }
    }
}

/// What became of the honest calls of one kind.
#[derive(Default)]
pub struct Calls {
    seconds: Vec<f64>,
    pub failed: usize,
    why: Option<String>,
}

impl Calls {
    fn add(&mut self, begun: Instant, done: Result<(), String>) {
        match done {
            Ok(()) => self.seconds.push(begun.elapsed().as_secs_f64()),
            Err(why) => {
                self.failed += 1;
                self.why = Some(why);
            }
        }
    }

    fn row(&self) -> String {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |n: usize| sorted.get(n).copied().unwrap_or(f64::NAN);
        let good = sorted.len();
        format!(
            "{good:>3} of {:<3}{:>7.2}{:>7.2}",
            good + self.failed,
            at(good / 2),
            at(good.saturating_sub(1))
        )
    }
}

/// Head of the table that [`measure`] prints the rows of.
pub fn print_head() {
    println!(
        "{:24}{:18}{:>7}{:>8}  {:>10}{:>7}{:>7}  {:>10}{:>7}{:>7}",
        "programs", "flood", "wanted", "made/s", "list", "p50 s", "worst", "/cgi", "p50 s", "worst"
    );
}

/// Measures honest calls beside this flood, or in peace. Returns true if none failed.
pub async fn measure(folder: &Path, flood: Option<Flood>) -> bool {
    let programs = Programs::start(folder).await;
    let ports = [programs.main_port, programs.service_port];
    let shown = flood.unwrap_or(FLOODS[0]);
    let running = flood.map(|flood| RunningFlood::start(flood, ports));
    if running.is_some() {
        tokio::time::sleep(RISE).await;
    }
    let lines = |port: u16, which: usize| {
        let to = SocketAddr::new(shown.router(), port);
        let addresses = (0..CALLS).map(|n| shown.honest(1 + 2 * n + which));
        addresses
            .map(|from| FarLine::to(to, from, ROUND_TRIP / 2))
            .collect::<Vec<_>>()
    };
    let (main, service) = (lines(ports[0], 0), lines(ports[1], 1));
    let (listed, asked) = tokio::join!(
        calls(&main, async |port| programs.list(port).await),
        calls(&service, async |port| honest::ask_once(&programs, port)
            .await),
    );
    let made = running.map_or(0.0, RunningFlood::end);
    let name = folder.display().to_string();
    let (by, rate) = flood.map_or(("none", 0), |flood| (flood.name(), flood.rate));
    println!(
        "{:24}{by:18}{rate:>7}{made:>8.0}  {}  {}",
        &name[name.len().saturating_sub(23)..],
        listed.row(),
        asked.row()
    );
    for why in [&listed.why, &asked.why].into_iter().flatten() {
        println!("    {why}");
    }
    listed.failed + asked.failed == 0
}

async fn calls(lines: &[FarLine], call: impl AsyncFn(u16) -> Result<(), String>) -> Calls {
    let mut calls = Calls::default();
    for line in lines {
        let begun = Instant::now();
        let done = tokio::time::timeout(honest::LIMIT, call(line.port)).await;
        calls.add(begun, done.unwrap_or(Err("no answer in time".to_owned())));
        tokio::time::sleep(PAUSE).await;
    }
    calls
}

/// A flood on threads of its own, so that the honest callers don't wait for them.
struct RunningFlood {
    made: Arc<AtomicUsize>,
    begun: Instant,
    strangers: Runtime,
}

impl RunningFlood {
    fn start(flood: Flood, ports: [u16; 2]) -> Self {
        let made = Arc::new(AtomicUsize::new(0));
        let mut strangers = Builder::new_multi_thread();
        let strangers = strangers.worker_threads(2).enable_all().build().unwrap();
        strangers.spawn(run(flood, ports, made.clone()));
        Self {
            made,
            begun: Instant::now(),
            strangers,
        }
    }

    /// How many connections were made, in each second.
    fn end(self) -> f64 {
        let made = self.made.load(Ordering::Relaxed) as f64 / self.begun.elapsed().as_secs_f64();
        self.strangers.shutdown_background();
        made
    }
}

/// Connects at a constant rate, as far as this machine can.
async fn run(flood: Flood, ports: [u16; 2], made: Arc<AtomicUsize>) {
    let open = Arc::new(Semaphore::new(OPEN));
    let mut all = JoinSet::new();
    let begun = Instant::now();
    let mut n = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        while all.try_join_next().is_some() {}
        let due = begun.elapsed().as_secs_f64() * flood.rate as f64;
        while (n as f64) < due {
            n += 1;
            // What the machine can't do now is not made up for.
            let Ok(permit) = open.clone().try_acquire_owned() else {
                continue;
            };
            let (to, from) = flood.stranger(n, ports);
            let made = made.clone();
            all.spawn(async move {
                if let Ok(stream) = connect(to, from).await {
                    made.fetch_add(1, Ordering::Relaxed);
                    stay(stream).await;
                }
                drop(permit);
            });
        }
    }
}

async fn connect(to: SocketAddr, from: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(from) = from {
        socket.bind((from, 0).into())?;
    }
    socket.connect(to).await
}

/// Says nothing until it is closed, and leaves without a trace.
async fn stay(mut stream: TcpStream) {
    let _ = tokio::time::timeout(HOLD, stream.read(&mut [0; 16])).await;
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}
