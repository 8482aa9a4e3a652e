//! A caller with a key: it asks over TLS, on a connection that it keeps and on new ones.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use p2p_shared::key::{Fingerprint, Key};
use p2p_shared::net::tls;
use tokio::net::TcpSocket;

use crate::fixture::Fixture;
use crate::programs::Programs;

/// Where it is: none of the attackers' addresses.
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(5);
/// A request that takes longer has failed.
pub const LIMIT: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Latencies {
    kept: Vec<f64>,
    new: Vec<f64>,
    pub failed: usize,
}

impl Latencies {
    pub fn of_kept(&self) -> (f64, f64) {
        percentiles(&self.kept)
    }

    pub fn of_new(&self) -> (f64, f64) {
        percentiles(&self.new)
    }

    pub fn count(&self) -> usize {
        self.kept.len() + self.new.len()
    }
}

fn percentiles(millis: &[f64]) -> (f64, f64) {
    let mut sorted = millis.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: usize| {
        let n = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
        sorted.get(n).copied().unwrap_or(f64::NAN)
    };
    (at(50), at(99))
}

/// Asks for this long.
pub async fn measure(fixture: &Fixture, time: Duration) -> Latencies {
    let end = Instant::now() + time;
    let mut latencies = Latencies::default();
    let mut kept = connect(fixture).await.unwrap();
    while Instant::now() < end {
        let begun = Instant::now();
        match limited(ask(fixture, &mut kept)).await {
            Some(()) => latencies.kept.push(begun.elapsed().as_secs_f64() * 1e3),
            None => {
                latencies.failed += 1;
                if let Some(new) = limited(connect(fixture)).await {
                    kept = new;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        let new = async { ask(fixture, &mut connect(fixture).await?).await };
        match limited(new).await {
            Some(()) => latencies.new.push(begun.elapsed().as_secs_f64() * 1e3),
            None => latencies.failed += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
    latencies
}

async fn limited<T>(asking: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(LIMIT, asking).await.ok().flatten()
}

/// Asks once, on a connection of its own to this port.
pub async fn ask_once(programs: &Programs, port: u16) -> Result<(), String> {
    let to = (Ipv4Addr::LOCALHOST, port).into();
    let connected = connect_to(to, Ipv4Addr::LOCALHOST, programs.fingerprint).await;
    let mut sender = connected.ok_or("no connection")?;
    let asked = ask_with(&programs.key, &mut sender).await;
    asked.ok_or_else(|| "no answer".to_owned())
}

async fn connect(fixture: &Fixture) -> Option<SendRequest<Empty<Bytes>>> {
    let to = (Ipv4Addr::LOCALHOST, fixture.router.service_port).into();
    connect_to(to, FROM, fixture.fingerprint).await
}

async fn connect_to(
    to: SocketAddr,
    from: Ipv4Addr,
    fingerprint: Option<Fingerprint>,
) -> Option<SendRequest<Empty<Bytes>>> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind((from, 0).into()).ok()?;
    let stream = socket.connect(to).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let stream = tls::connect(stream, "localhost", fingerprint.as_slice()).await;
    let (sender, connection) = handshake(TokioIo::new(stream.ok()?)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}

/// A command through router and car, and its whole answer.
async fn ask(fixture: &Fixture, sender: &mut SendRequest<Empty<Bytes>>) -> Option<()> {
    ask_with(&fixture.key, sender).await
}

async fn ask_with(key: &Key, sender: &mut SendRequest<Empty<Bytes>>) -> Option<()> {
    let request = Request::get("/cgi?command=hello")
        .header("host", "car.test")
        .header("authorization", format!("Bearer {}", key.expose()))
        .body(Empty::new())
        .ok()?;
    sender.ready().await.ok()?;
    let answer = sender.send_request(request).await.ok()?;
    let is_good = answer.status() == 200;
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    (is_good && body == "hello\n").then_some(())
}
