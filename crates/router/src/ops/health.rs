//! Finds out whether the router can do its job, by calling its own main port. That needs a
//! descriptor, the kernel's queue, the task that accepts and one that answers: if one of them is
//! missing or stuck, there is no answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use p2p_shared::os::sd_notify;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// Interval of the calls, unless systemd wants reports more often.
const EVERY: Duration = Duration::from_secs(5);
/// Longest time for an answer: when ten thousand inners come at once, callers of the main port wait
/// for seconds (see `net/accept_rate`), and nothing is wrong.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

pub(crate) const PATH: &str = "/healthz";
/// Header that names the start of the router; sent to callers on this machine only.
pub(crate) const START: HeaderName = HeaderName::from_static("p2p-start");

/// Request of the check: any answer proves that the router answers. Request and answer have no
/// secret, so there is no TLS.
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// Most bytes of an answer: a status, some headers, a sentence.
const MAX_ANSWER: u64 = 8 * 1024;

/// Health of the router, and the id of its start.
#[derive(Debug)]
pub(crate) struct Health {
    problem: Mutex<Option<String>>,
    /// Id of this start, new also when the process stays the same.
    start: u64,
    main_port: SocketAddr,
    queue: Mutex<Queue>,
}

/// State of the queue at the main port.
#[derive(Debug, Default)]
struct Queue {
    /// Callers accepted so far.
    accepted: u64,
    /// Local port of the router's own call, while the call waits in the queue.
    we: Option<u16>,
}

impl Health {
    pub(crate) fn new(main_port: SocketAddr) -> Result<Self, getrandom::Error> {
        Ok(Self {
            problem: Mutex::default(),
            start: p2p_shared::os::random_u64()?,
            main_port,
            queue: Mutex::default(),
        })
    }

    pub(crate) fn start(&self) -> HeaderValue {
        // Digits are always a valid header value.
        HeaderValue::try_from(format!("{:016x}", self.start))
            .unwrap_or(HeaderValue::from_static(""))
    }

    /// Returns the problem that was found last.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// Returns true if the peer is on this machine: the kernel accepts no packet from elsewhere
    /// with a local source address, and of a balancer elsewhere none is believed.
    pub(crate) fn is_here(&self, peer: IpAddr) -> bool {
        peer.is_loopback() || peer == self.main_port.ip().to_canonical()
    }

    /// Returns true if this caller is the router itself.
    pub(crate) fn is_own_call(&self, peer: SocketAddr) -> bool {
        self.queue.lock().we == Some(peer.port()) && self.is_here(peer.ip())
    }

    /// Reports that it is this caller's turn on the main port.
    pub(crate) fn accepted(&self, peer: SocketAddr) {
        let is_own_call = self.is_own_call(peer);
        let mut queue = self.queue.lock();
        queue.accepted += 1;
        if is_own_call {
            queue.we = None;
        }
    }

    /// Checks again and again, and reports to systemd each time that all is well.
    pub(crate) async fn watch(&self) {
        let every = sd_notify::watchdog().map_or(EVERY, |every| every.min(EVERY));
        loop {
            sleep(every).await;
            let problem = self.poll(ANSWER).await;
            match (&problem, &*self.problem.lock()) {
                (Some(why), None) => tracing::error!(why, "the router can't do its job"),
                (None, Some(_)) => tracing::info!("the router can do its job again"),
                _ => {}
            }
            if problem.is_none() {
                sd_notify::alive();
            }
            *self.problem.lock() = problem;
        }
    }

    /// Returns the problem that there is now. There is none if an answer comes in time, or if the
    /// queue moves while the router's own call still waits in it: after a restart the wait may be
    /// longer than `limit`.
    async fn poll(&self, limit: Duration) -> Option<String> {
        let before = self.queue.lock().accepted;
        let found = timeout(limit, self.call()).await;
        match found {
            Ok(Ok(answer)) if answer.starts_with(b"HTTP/") => None,
            Ok(Ok(_)) => Some("the router can't call itself: the answer is not HTTP".to_owned()),
            Ok(Err(error)) => Some(format!("the router can't call itself: {error}")),
            Err(_) if self.waits_in_a_queue_that_moves(before) => None,
            Err(_) => Some(format!(
                "the router has not answered itself for {} s",
                limit.as_secs()
            )),
        }
    }

    async fn call(&self) -> io::Result<Vec<u8>> {
        let address = reachable(self.main_port);
        let (socket, any) = match address.ip() {
            IpAddr::V4(_) => (TcpSocket::new_v4()?, Ipv4Addr::UNSPECIFIED.into()),
            IpAddr::V6(_) => (TcpSocket::new_v6()?, Ipv6Addr::UNSPECIFIED.into()),
        };
        // The port is noted first, since the call may be accepted at once.
        socket.bind(SocketAddr::new(any, 0))?;
        self.queue.lock().we = Some(socket.local_addr()?.port());
        ask(socket.connect(address).await?).await
    }

    fn waits_in_a_queue_that_moves(&self, before: u64) -> bool {
        let queue = self.queue.lock();
        queue.we.is_some() && queue.accepted > before
    }
}

/// Returns the address at which this machine reaches the port.
pub(crate) fn reachable(port: SocketAddr) -> SocketAddr {
    match port.ip() {
        // IPv4 is reached on a socket for both families, and without IPv6, too.
        ip if ip.is_unspecified() => (IpAddr::from(Ipv4Addr::LOCALHOST), port.port()).into(),
        _ => port,
    }
}

/// Returns the whole answer; one that is cut off after its body is good enough.
pub(crate) async fn ask(mut stream: TcpStream) -> io::Result<Vec<u8>> {
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    let read = stream.take(MAX_ANSWER).read_to_end(&mut answer).await;
    match read {
        Err(error) if answer.is_empty() => Err(error),
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A main port and the health of its router.
    async fn main_port() -> (TcpListener, Health) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let health = Health::new(listener.local_addr().unwrap()).unwrap();
        (listener, health)
    }

    const ENOUGH: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn an_answer_is_proof_and_silence_or_nonsense_is_none() {
        let (listener, health) = main_port().await;
        for (answer, is_proof) in [
            ("HTTP/1.1 503 x\r\n", true),
            ("SSH-2.0", false),
            ("", false),
        ] {
            let answering = async {
                let (mut stream, peer) = listener.accept().await.unwrap();
                health.accepted(peer);
                let mut asked = vec![0; REQUEST.len()];
                stream.read_exact(&mut asked).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            };
            let (problem, ()) = tokio::join!(health.poll(ENOUGH), answering);
            assert_eq!(problem.is_none(), is_proof, "{answer}: {problem:?}");
        }
        drop(listener);
        assert!(health.poll(ENOUGH).await.is_some());
    }

    #[tokio::test]
    async fn whoever_waits_in_a_queue_knows_only_whether_that_moves() {
        let (_listener, health) = main_port().await;
        assert!(health.poll(SHORT).await.is_some());
        let another: SocketAddr = "192.0.2.1:1".parse().unwrap();
        health.accepted(another);
        assert!(health.poll(SHORT).await.is_some());
        // A caller in front of us is accepted.
        let moving = async { health.accepted(another) };
        let (problem, ()) = tokio::join!(health.poll(SHORT), moving);
        assert_eq!(problem, None);
        // The queue moves, but our call was accepted and got no answer.
        let (listener, health) = main_port().await;
        let taking = async {
            let (stream, peer) = listener.accept().await.unwrap();
            health.accepted(peer);
            health.accepted(another);
            stream
        };
        let (problem, _stream) = tokio::join!(health.poll(SHORT), taking);
        assert!(problem.is_some());
    }

    #[test]
    fn this_machine_is_where_our_own_addresses_are() {
        let is_here = |port: &str, peer: &str| {
            let health = Health::new(port.parse().unwrap()).unwrap();
            health.is_here(peer.parse().unwrap())
        };
        assert!(is_here("[::]:1", "127.0.0.1"));
        assert!(is_here("192.0.2.1:1", "192.0.2.1"));
        assert!(is_here("[::ffff:192.0.2.1]:1", "192.0.2.1"));
        assert!(!is_here("192.0.2.1:1", "192.0.2.2"));
        assert!(!is_here("0.0.0.0:1", "192.0.2.1"));
    }

    #[test]
    fn every_address_is_called_by_one_that_can_be() {
        let reached = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reached("[::]:8888"), "127.0.0.1:8888");
        assert_eq!(reached("0.0.0.0:8888"), "127.0.0.1:8888");
        assert_eq!(reached("192.0.2.1:8888"), "192.0.2.1:8888");
        assert_eq!(reached("[::1]:8888"), "[::1]:8888");
    }
}
