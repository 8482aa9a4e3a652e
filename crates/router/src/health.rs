//! Owns whether the router can do its job, which it finds out as anybody would: by calling itself
//! on its main port. That takes a descriptor, the kernel's queue, the task that accepts and one
//! that answers: where one of them is missing or stuck, there is no answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use p2p_shared::supervisor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How often it calls itself, if systemd doesn't want to hear of it more often.
const EVERY: Duration = Duration::from_secs(5);
/// How long an answer may take: when ten thousand inners come at once, callers of the main port
/// wait for seconds (see `pace`), and nothing is wrong.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// Which start of the router answers.
pub(crate) const INSTANCE: HeaderName = HeaderName::from_static("p2p-instance");

/// What is asked: the answer, whichever it is, proves that there are answers.
pub(crate) const REQUEST: &[u8] =
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// What is wrong, if something is; and which router says so.
#[derive(Debug)]
pub(crate) struct Health {
    problem: Mutex<Option<String>>,
    /// Each start's own, also where the process stays the same.
    instance: u64,
}

impl Health {
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        Ok(Self {
            problem: Mutex::default(),
            instance: p2p_shared::random::random_u64()?,
        })
    }

    /// The header that tells one start of the router from another.
    pub(crate) fn instance(&self) -> HeaderValue {
        // Digits are always a header's value.
        HeaderValue::try_from(format!("{:016x}", self.instance))
            .unwrap_or(HeaderValue::from_static(""))
    }

    /// What is wrong, as it was found last.
    pub(crate) fn problem(&self) -> Option<String> {
        self.lock().clone()
    }

    /// Looks again and again, and tells systemd each time that all is well.
    pub(crate) async fn watch(&self, main_port: SocketAddr) {
        let address = reachable(main_port);
        let every = supervisor::watchdog().map_or(EVERY, |every| every.min(EVERY));
        loop {
            sleep(every).await;
            let found = timeout(ANSWER, call(address)).await;
            let problem = match found {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("the router can't call itself: {error}")),
                Err(_) => Some(format!(
                    "the router has not answered itself for {} s",
                    ANSWER.as_secs()
                )),
            };
            match (&problem, &*self.lock()) {
                (Some(why), None) => tracing::error!(why, "the router can't do its job"),
                (None, Some(_)) => tracing::info!("the router can do its job again"),
                _ => {}
            }
            if problem.is_none() {
                supervisor::alive();
            }
            *self.lock() = problem;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the port is found from here.
pub(crate) fn reachable(port: SocketAddr) -> SocketAddr {
    match port.ip() {
        // Both families, or this one alone where there is no IPv6.
        ip if ip.is_unspecified() => (IpAddr::from(Ipv4Addr::LOCALHOST), port.port()).into(),
        _ => port,
    }
}

async fn call(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(REQUEST).await?;
    let mut first = [0; 5];
    stream.read_exact(&mut first).await?;
    if first == *b"HTTP/" {
        return Ok(());
    }
    Err(io::Error::other("what answers is no HTTP"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_proof_and_silence_or_nonsense_is_none() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        for (answer, is_proof) in [
            ("HTTP/1.1 503 x\r\n", true),
            ("SSH-2.0", false),
            ("", false),
        ] {
            let answering = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = vec![0; REQUEST.len()];
                stream.read_exact(&mut asked).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            };
            let (called, ()) = tokio::join!(call(address), answering);
            assert_eq!(called.is_ok(), is_proof, "{answer}");
        }
        drop(listener);
        assert!(call(address).await.is_err());
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
