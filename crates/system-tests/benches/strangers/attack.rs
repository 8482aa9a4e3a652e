//! Strangers: TLS handshakes that never end, the longest hellos there are, headers a byte at a time, and WebSockets without a
//! key. Who is closed comes again.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::Options;
use crate::fixture::Fixture;

/// From so many addresses, so that they fill the places of all.
pub const ADDRESSES: usize = 16;
/// Between two bytes.
const BYTE: Duration = Duration::from_secs(1);

/// The longest hello that there can be, but for its last bytes, in TLS records of 16 KiB: all of it
/// is kept until it ends.
static HELLO: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut hello = vec![0; 4 * RECORD];
    hello[..6].copy_from_slice(b"\x01\0\xff\xff\x03\x03");
    let records = hello.chunks(RECORD);
    records
        .flat_map(|record| [b"\x16\x03\x01\x40\0", record].concat())
        .collect()
});
const RECORD: usize = 16 * 1024;
/// The beginning of a TLS record that promises 512 bytes of a hello.
const TLS: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
const HEADERS: &[u8] = b"GET /cgi?command=hello HTTP/1.1\r\nHost: r\r\nX-A: ";
const SOCKET: &[u8] = b"GET /link HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: p2p.v1\r\n\r\n";

#[derive(Default)]
struct ConnectionCounts {
    made: AtomicUsize,
    open: AtomicUsize,
}

pub struct Attack {
    counts: Arc<ConnectionCounts>,
    _strangers: JoinSet<()>,
}

#[derive(Clone, Copy)]
struct Stranger {
    from: Ipv4Addr,
    to: SocketAddr,
    says: &'static [u8],
    goes_on: bool,
}

impl Attack {
    /// Starts, and returns when each has tried once.
    pub async fn start(options: &Options, fixture: &Fixture) -> Self {
        let counts = Arc::new(ConnectionCounts::default());
        let mut strangers = JoinSet::new();
        let again = Duration::from_secs(options.again);
        let all = options.slow + options.sockets;
        for n in 0..all {
            let is_slow = n < options.slow;
            let port = if is_slow && n % 4 < 2 {
                fixture.router.service_port
            } else {
                fixture.router.main_port
            };
            let stranger = Stranger {
                from: Ipv4Addr::new(127, 0, 2, u8::try_from(1 + n % ADDRESSES).unwrap()),
                to: (Ipv4Addr::LOCALHOST, port).into(),
                says: match (is_slow, n % 3) {
                    (false, _) => SOCKET,
                    (true, 0) => TLS,
                    (true, 1) => &HELLO,
                    (true, _) => HEADERS,
                },
                goes_on: is_slow && n % 3 != 1,
            };
            let counts = counts.clone();
            strangers.spawn(async move {
                loop {
                    // Refused or closed, it comes again.
                    let _ = stranger.live(&counts).await;
                    tokio::time::sleep(again).await;
                }
            });
        }
        while counts.made.load(Ordering::Relaxed) < all {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self {
            counts,
            _strangers: strangers,
        }
    }

    /// How many connections there were, and how many are open.
    pub fn end(self) -> (usize, usize) {
        let counts = &self.counts;
        (
            counts.made.load(Ordering::Relaxed),
            counts.open.load(Ordering::Relaxed),
        )
    }
}

impl Stranger {
    async fn live(self, counts: &ConnectionCounts) -> std::io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.from, 0).into())?;
        let connected = socket.connect(self.to).await;
        counts.made.fetch_add(1, Ordering::Relaxed);
        let stream = connected?;
        counts.open.fetch_add(1, Ordering::Relaxed);
        let lived = self.speak(stream).await;
        counts.open.fetch_sub(1, Ordering::Relaxed);
        lived
    }

    async fn speak(self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.write_all(self.says).await?;
        let mut answer = [0; 512];
        loop {
            match tokio::time::timeout(BYTE, stream.read(&mut answer)).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) if self.goes_on => stream.write_all(b"a").await?,
                Err(_) => {}
            }
        }
    }
}
