//! A TCP proxy between an inner and its router, which can go silent, hold back, delay, garble, cut
//! and refuse: what networks do.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What happens to the bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteFlow {
    /// They are passed on.
    Open,
    /// They wait.
    Held,
    /// They vanish, and neither end learns of it.
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyDirection {
    ToRouter,
    ToInner,
}

/// Faults of all connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkFaults {
    /// Each piece comes this much later.
    pub delay: Duration,
    /// And up to this much more.
    pub jitter: Duration,
    /// So many bytes pass in a second each way; 0: all that come.
    pub bytes_per_second: usize,
    /// The beginning of each piece is garbage.
    pub is_garbled: bool,
    /// Each piece comes to the inner twice.
    pub is_doubled: bool,
    /// One bit of so many bytes is another, anywhere; 0: none.
    pub flips_a_bit_in: usize,
    /// So many bytes of a connection, each way, come as they were sent all the same.
    pub spares: usize,
}

impl NetworkFaults {
    /// How long a piece of so many bytes takes.
    fn pause(self, length: usize) -> Duration {
        let jitter = match self.jitter {
            Duration::ZERO => Duration::ZERO,
            most => most.mul_f64(f64::from(rand_u16()) / f64::from(u16::MAX)),
        };
        let narrow = match self.bytes_per_second {
            0 => Duration::ZERO,
            rate => {
                Duration::from_secs(1) * u32::try_from(length).unwrap()
                    / u32::try_from(rate).unwrap()
            }
        };
        self.delay + jitter + narrow
    }

    /// Flips bits of a piece that comes behind so many bytes.
    fn flip(self, behind: usize, piece: &mut [u8]) {
        let (one_in, spared) = (self.flips_a_bit_in, self.spares.saturating_sub(behind));
        if one_in == 0 {
            return;
        }
        for byte in piece.iter_mut().skip(spared) {
            if random(one_in) == 0 {
                *byte ^= 1 << random(8);
            }
        }
    }
}

/// Below a bound.
fn random(bound: usize) -> usize {
    let bound = u64::try_from(bound).unwrap();
    usize::try_from(p2p_shared::os::random_u64().unwrap() % bound).unwrap()
}

fn rand_u16() -> u16 {
    (p2p_shared::os::random_u64().unwrap() & 0xffff) as u16
}

/// One connection through the proxy.
struct ProxiedConnection {
    to_router: watch::Sender<ByteFlow>,
    to_inner: watch::Sender<ByteFlow>,
    cut: CancellationToken,
}

#[derive(Default)]
struct ProxyState {
    lines: Mutex<Vec<ProxiedConnection>>,
    refuses: AtomicBool,
    /// What is cut ends with a reset.
    resets: AtomicBool,
    faults: Mutex<NetworkFaults>,
    /// Little fits into it.
    is_narrow: bool,
}

pub struct Proxy {
    port: u16,
    shared: Arc<ProxyState>,
    _end: DropGuard,
}

impl Proxy {
    /// A proxy to this port.
    pub async fn to(port: u16) -> Self {
        Self::with(port, false).await
    }

    /// One that keeps little of what the router sends: what is held back waits at the router.
    pub async fn narrow(port: u16) -> Self {
        Self::with(port, true).await
    }

    async fn with(port: u16, is_narrow: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let end = CancellationToken::new();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            shared: Arc::new(ProxyState {
                is_narrow,
                ..ProxyState::default()
            }),
            _end: end.clone().drop_guard(),
        };
        let shared = proxy.shared.clone();
        tokio::spawn(end.run_until_cancelled_owned(accept(listener, port, shared)));
        proxy
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The connections that there are go silent, both ways. New ones are served.
    pub fn silence(&self) {
        self.set(
            ByteFlow::Silent,
            &[ProxyDirection::ToRouter, ProxyDirection::ToInner],
        );
    }

    /// As [`silence`](Self::silence), one way only.
    pub fn silence_way(&self, direction: ProxyDirection) {
        self.set(ByteFlow::Silent, &[direction]);
    }

    /// What goes this way waits, on the connections that there are.
    pub fn hold(&self, direction: ProxyDirection) {
        self.set(ByteFlow::Held, &[direction]);
    }

    /// What waited goes on.
    pub fn release(&self) {
        self.set(
            ByteFlow::Open,
            &[ProxyDirection::ToRouter, ProxyDirection::ToInner],
        );
    }

    /// Closes the connections that there are.
    pub fn cut(&self) {
        for line in self.shared.lines.lock().unwrap().drain(..) {
            line.cut.cancel();
        }
    }

    /// The same without a goodbye: both ends get a reset.
    pub fn reset(&self) {
        self.shared.resets.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// What becomes of all bytes from now on.
    pub fn faults(&self, faults: NetworkFaults) {
        *self.shared.faults.lock().unwrap() = faults;
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    fn set(&self, flow: ByteFlow, directions: &[ProxyDirection]) {
        for line in self.shared.lines.lock().unwrap().iter() {
            for direction in directions {
                match direction {
                    ProxyDirection::ToRouter => line.to_router.send_replace(flow),
                    ProxyDirection::ToInner => line.to_inner.send_replace(flow),
                };
            }
        }
    }
}

async fn accept(listener: TcpListener, target: u16, shared: Arc<ProxyState>) {
    let mut all = tokio::task::JoinSet::new();
    loop {
        let (inner, _) = listener.accept().await.unwrap();
        if shared.refuses.load(Ordering::SeqCst) {
            continue;
        }
        let socket = TcpSocket::new_v4().unwrap();
        if shared.is_narrow {
            socket.set_recv_buffer_size(4096).unwrap();
        }
        let Ok(router) = socket.connect((Ipv4Addr::LOCALHOST, target).into()).await else {
            continue;
        };
        let _ = (inner.set_nodelay(true), router.set_nodelay(true));
        let line = ProxiedConnection {
            to_router: watch::Sender::new(ByteFlow::Open),
            to_inner: watch::Sender::new(ByteFlow::Open),
            cut: CancellationToken::new(),
        };
        let directions = (line.to_router.subscribe(), line.to_inner.subscribe());
        let cut = line.cut.clone();
        shared.lines.lock().unwrap().push(line);
        let shared = shared.clone();
        all.spawn(async move {
            let (mut inner_in, mut inner_out) = inner.into_split();
            let (mut router_in, mut router_out) = router.into_split();
            let passing = async {
                tokio::join!(
                    pump(
                        ProxyDirection::ToRouter,
                        &mut inner_in,
                        &mut router_out,
                        directions.0,
                        &shared.faults
                    ),
                    pump(
                        ProxyDirection::ToInner,
                        &mut router_in,
                        &mut inner_out,
                        directions.1,
                        &shared.faults
                    ),
                );
            };
            let is_cut = cut.run_until_cancelled(passing).await.is_none();
            if is_cut && shared.resets.load(Ordering::SeqCst) {
                for end in [inner_in.as_ref(), router_in.as_ref()] {
                    let _ = socket2::SockRef::from(end).set_linger(Some(Duration::ZERO));
                }
            }
        });
    }
}

/// Passes bytes on as the flow has it. An end that comes while it is silent is kept back too.
async fn pump(
    direction: ProxyDirection,
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut flow: watch::Receiver<ByteFlow>,
    faults: &Mutex<NetworkFaults>,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut passed = 0;
    loop {
        let is_flowing = |flow: &ByteFlow| *flow != ByteFlow::Held;
        if flow.wait_for(is_flowing).await.is_err() {
            return;
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = flow.changed() => continue,
        };
        let Ok(now) = flow.wait_for(is_flowing).await.map(|flow| *flow) else {
            return;
        };
        match (now, read) {
            (ByteFlow::Silent, 0) => return std::future::pending().await,
            (ByteFlow::Silent, _) => {}
            (_, 0) => {
                let _ = to.shutdown().await;
                return;
            }
            (_, length) => {
                let faults = *faults.lock().unwrap();
                if faults != NetworkFaults::default() {
                    tokio::time::sleep(faults.pause(length)).await;
                }
                faults.flip(passed, &mut buffer[..length]);
                passed += length;
                if faults.is_garbled {
                    buffer[..length.min(2)].fill(0xff);
                }
                let times = if faults.is_doubled && direction == ProxyDirection::ToInner {
                    2
                } else {
                    1
                };
                for _ in 0..times {
                    if to.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
