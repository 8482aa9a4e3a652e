//! The router as a process, and a car with a camera beside it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use p2p_inner::{Inner, LinkState};
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::protocol::MotionInfo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::viewer::{Seen, watch};
use super::{Options, narrow_line};

/// Between two round trips: as often as a held key says so.
const BEAT: Duration = Duration::from_millis(50);

pub struct Stand {
    service_port: u16,
    router: Child,
    _inner: Inner,
    _folder: tempfile::TempDir,
}

/// What viewers saw, and what they cost.
pub struct Measured {
    pub seen: Seen,
    pub time: Duration,
    /// % of a core.
    pub cpu: f64,
}

impl Stand {
    /// With this rate and delay of the car's line.
    pub async fn new(options: &Options, line: Option<(f64, Duration)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut router = Command::new(crate::products::path("p2p-router"))
            .args(["0", "--open", "--bind", "127.0.0.1", "--log-dir"])
            .arg(folder.path().join("logs"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(router.stderr.take().unwrap()).lines();
        let main_port = lines
            .by_ref()
            .find_map(|line| {
                let line = line.unwrap();
                let (_, address) = line.split_once("listening on ")?;
                address.trim().parse().ok().map(|at: SocketAddr| at.port())
            })
            .unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let commands = folder.path().join("command");
        std::fs::create_dir(&commands).unwrap();
        let port = line.map_or(main_port, |line| narrow_line(main_port, line).port);
        let camera = std::env::current_exe().unwrap();
        let inner = Inner::start(p2p_inner::Config {
            router: RouterAddress {
                host: "127.0.0.1".to_owned(),
                port,
            },
            service_port: 0,
            name: "car".parse().unwrap(),
            identity: "identity1".parse().unwrap(),
            key: None,
            commands,
            timeout: Duration::from_secs(30),
            max_runs: 16,
            worker_hello: p2p_inner::WORKER_HELLO,
            motion: MotionInfo {
                commands: Vec::new(),
                stop: "stop".parse().unwrap(),
                lease_ms: 400,
                limit_ms: 2000,
            },
            guardian: None,
            camera: Some(vec![
                camera.to_str().unwrap().to_owned(),
                "--be-camera".to_owned(),
                format!("--bytes={}", options.bytes),
                format!("--rate={}", options.rate),
            ]),
        })
        .unwrap();
        let mut state = inner.link_state();
        let is_up = |state: &LinkState| matches!(state, LinkState::Up { .. });
        let LinkState::Up { service_port, .. } = *state.wait_for(is_up).await.unwrap() else {
            unreachable!()
        };
        Self {
            service_port,
            router,
            _inner: inner,
            _folder: folder,
        }
    }

    /// So many pages watch for so long.
    pub async fn viewers(&self, count: usize, time: Duration) -> Measured {
        let mut pages = JoinSet::new();
        // The camera is there when it counts.
        watch(self.service_port, Duration::from_millis(500)).await;
        let (cpu, begun) = (self.cpu(), Instant::now());
        for _ in 0..count {
            pages.spawn(watch(self.service_port, time));
        }
        let mut seen = Seen::default();
        while let Some(one) = pages.join_next().await {
            seen.add(one.unwrap());
        }
        let used = self.cpu() - cpu;
        Measured {
            seen,
            time,
            cpu: 100.0 * used.as_secs_f64() / begun.elapsed().as_secs_f64(),
        }
    }

    /// Somebody who asks for the video and never reads it.
    pub async fn stuck(&self) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.service_port))
            .await
            .unwrap();
        let request = b"GET /video HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream
    }

    /// Round trips over the link, in ms: the list of the commands, of which there are none.
    pub async fn round_trips(&self, time: Duration) -> Vec<f64> {
        let stream = TcpStream::connect(("127.0.0.1", self.service_port))
            .await
            .unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let (begun, mut times) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            let request = Request::get("/commands").header("host", "127.0.0.1");
            let asked = Instant::now();
            let answer = sender
                .send_request(request.body(Empty::<Bytes>::new()).unwrap())
                .await
                .unwrap();
            assert_eq!(answer.status(), 200);
            answer.into_body().collect().await.unwrap();
            times.push(asked.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(BEAT.saturating_sub(asked.elapsed())).await;
        }
        times
    }

    /// The same while a page watches.
    pub async fn round_trips_and_video(&self, time: Duration) -> (Vec<f64>, Seen) {
        tokio::join!(self.round_trips(time), watch(self.service_port, time))
    }

    /// KiB of the router's memory, now.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.router.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let line = line.unwrap().trim().trim_end_matches(" kB");
        line.parse().unwrap()
    }

    /// What the router's threads have used of the CPUs so far (proc(5): in ticks of 10 ms).
    fn cpu(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.router.id());
        let text = std::fs::read_to_string(path).unwrap();
        let (_, fields) = text.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        Duration::from_millis(
            10 * ticks
                .map(|field| field.parse::<u64>().unwrap())
                .sum::<u64>(),
        )
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = self.router.kill();
        let _ = self.router.wait();
    }
}
