//! The router as a process, and a car with a camera beside it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Options;
use super::line::NarrowLine;
use super::measured_router::MeasuredRouter;
use super::viewer::{ViewerStats, watch};

/// Between two round trips: as often as a held key says so.
const BEAT: Duration = Duration::from_millis(50);

pub struct Fixture {
    pub router: MeasuredRouter,
    _folder: tempfile::TempDir,
}

/// Pictures that viewers received, and the router's CPU for them.
pub struct ViewerCost {
    pub seen: ViewerStats,
    pub time: Duration,
    /// % of a core.
    pub cpu: f64,
}

impl Fixture {
    /// With this rate and delay of the car's line.
    pub async fn new(options: &Options, line: Option<(f64, Duration)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let camera = std::env::current_exe().unwrap();
        let router = MeasuredRouter::start(folder.path(), &["--open"], |main_port, config| {
            if let Some((rate, delay)) = line {
                config.routers[0].port = NarrowLine::to(main_port, rate, delay).port;
            }
            config.camera = Some(vec![
                camera.to_str().unwrap().to_owned(),
                "--be-camera".to_owned(),
                format!("--bytes={}", options.bytes),
                format!("--rate={}", options.rate),
            ]);
        })
        .await;
        Self {
            router,
            _folder: folder,
        }
    }

    /// So many pages watch for so long.
    pub async fn viewers(&self, count: usize, time: Duration) -> ViewerCost {
        let mut pages = JoinSet::new();
        // The camera is there when it counts.
        watch(self.router.service_port, Duration::from_millis(500)).await;
        let (cpu, begun) = (self.router.cpu(), Instant::now());
        for _ in 0..count {
            pages.spawn(watch(self.router.service_port, time));
        }
        let mut seen = ViewerStats::default();
        while let Some(one) = pages.join_next().await {
            seen.add(one.unwrap());
        }
        let used = self.router.cpu() - cpu;
        ViewerCost {
            seen,
            time,
            cpu: 100.0 * used.as_secs_f64() / begun.elapsed().as_secs_f64(),
        }
    }

    /// Somebody who asks for the video and never reads it.
    pub async fn stuck(&self) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.router.service_port))
            .await
            .unwrap();
        let request = b"GET /video HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream
    }

    /// Round trips over the link, in ms: the list of the commands, of which there are none.
    pub async fn round_trips(&self, time: Duration) -> Vec<f64> {
        let stream = TcpStream::connect(("127.0.0.1", self.router.service_port))
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
    pub async fn round_trips_and_video(&self, time: Duration) -> (Vec<f64>, ViewerStats) {
        tokio::join!(
            self.round_trips(time),
            watch(self.router.service_port, time)
        )
    }
}
