//! Tests how many writes a link's messages take, and that a stop does not wait for what has arrived.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use p2p_shared::names::RunId;
use p2p_shared::net::transport::SimulatedStream;
use p2p_shared::protocol::{CameraState, MotionEvent, MotionInfo, PressId, RunSource, StopCause};
use p2p_shared::websocket::limits;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::link::handle::LinkId;
use crate::run::NewRun;

/// A connection that calls a function before each write.
struct Watched<F>(DuplexStream, F);

impl<F> fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<F: Fn() + Send + Unpin> SimulatedStream for Watched<F> {}

impl<F: Unpin> AsyncRead for Watched<F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<F: Fn() + Unpin> AsyncWrite for Watched<F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        (self.1)();
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

struct Nobody;

impl LinkObserver for Nobody {
    fn on_tick(&self, _: u64) {}
    fn on_round_trip(&self, _: Duration) {}
    fn on_silence(&self, _: LinkId, _: Duration) {}
    fn on_answer(&self, _: LinkId) {}
    fn on_motion(&self, _: LinkId, _: MotionEvent, _: Option<u64>, _: bool) {}
    fn on_camera(&self, _: LinkId, _: CameraState) {}
    fn on_late_press(&self, _: PressId) {}
    fn is_overtaken(&self, _: RunKind) -> bool {
        false
    }
}

fn hello() -> LinkHello {
    LinkHello {
        service_port: 0,
        name: "car".parse().unwrap(),
        identity: "abcd2345".to_owned().try_into().unwrap(),
        instance: p2p_shared::names::InstanceId(1),
        software: "".into(),
        clock_ms: 0,
        motion: MotionInfo {
            commands: Vec::new().try_into().unwrap(),
            stop: "stop".parse().unwrap(),
            lease_ms: 400,
            limit_ms: 2000,
        },
        camera: false,
        dial: 0,
        past: false,
    }
}

/// Begins a run, and holds it until the test ends.
async fn call(link: LinkHandle, number: u64) {
    let new = NewRun {
        run: RunId::from_number(number),
        command: "hello".parse().unwrap(),
        arguments: Default::default(),
        stdin: Bytes::new(),
        for_ms: None,
        source: RunSource::Http,
        by: "".into(),
        key: "".into(),
        from: ([127, 0, 0, 1], 4).into(),
        begun: timing::now(),
    };
    let kind = RunKind::Plain;
    let asked = timing::now();
    let _run = link.begin(RunOrder { new, kind, asked });
    std::future::pending().await
}

type Inner = MessageSocket<DuplexStream, InnerToRouter, RouterToInner>;

/// Makes a link and its inner, which are connected.
async fn start<O: LinkObserver>(
    on_write: impl Fn() + Send + Unpin + 'static,
    observer: impl FnOnce(&LinkHandle) -> O,
) -> (LinkHandle, LinkTask<O>, Inner) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let ours = Transport::Simulated(Box::new(Watched(ours, on_write)));
    let config = Some(limits());
    let theirs = WebSocketStream::from_raw_socket(theirs, Role::Client, config).await;
    let (link, work) = LinkHandle::new();
    let handle = (link.clone(), "car".parse().unwrap());
    let socket = Box::new(MessageSocket::accepted(ours, Vec::new()).await);
    let task = LinkTask::new(socket, work, handle, observer(&link), &hello());
    (link, task, MessageSocket::new(theirs))
}

fn welcome() -> RouterToInner {
    RouterToInner::Welcome {
        name: "car".parse().unwrap(),
        service_port: 9000,
        media: None,
        host: None,
    }
}

/// With one worker thread, as under load, the link's task is the next to run after the first caller.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn messages_of_callers_who_come_together_share_a_write() {
    const CALLERS: u64 = 10;
    let writes = Arc::<AtomicUsize>::default();
    let counted = writes.clone();
    let on_write = move || {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    let (link, mut task, mut inner) = start(on_write, |_| Nobody).await;
    let welcome = welcome();
    let link_task = tokio::spawn(async move { task.run(&welcome).await });
    // The first run is alone, and waits for nobody.
    let first = tokio::spawn(call(link.clone(), 0));
    while !is_run(&inner.event().await.unwrap()) {}
    writes.store(0, Ordering::Relaxed);
    let callers = tokio::spawn(async move {
        let calls = (1..=CALLERS).map(|number| tokio::spawn(call(link.clone(), number)));
        calls.collect::<Vec<_>>()
    });
    for _ in 0..CALLERS {
        while !is_run(&inner.event().await.unwrap()) {}
    }
    assert_eq!(writes.load(Ordering::Relaxed), 1);
    for task in [first].into_iter().chain(callers.await.unwrap()) {
        task.abort();
    }
    link_task.abort();
}

fn is_run(event: &SocketEvent<RouterToInner>) -> bool {
    matches!(event, SocketEvent::Message(RouterToInner::Run(_)))
}

/// Stops the car at the first news of its camera, and counts them.
struct Stopping(LinkHandle, Arc<AtomicUsize>);

impl LinkObserver for Stopping {
    fn on_tick(&self, _: u64) {}
    fn on_round_trip(&self, _: Duration) {}
    fn on_silence(&self, _: LinkId, _: Duration) {}
    fn on_answer(&self, _: LinkId) {}
    fn on_motion(&self, _: LinkId, _: MotionEvent, _: Option<u64>, _: bool) {}
    fn on_camera(&self, _: LinkId, _: CameraState) {
        if self.1.fetch_add(1, Ordering::Relaxed) == 0 {
            let _ = (self.0.drive()).stop("anna".into(), None, StopCause::Asked);
        }
    }
    fn on_late_press(&self, _: PressId) {}
    fn is_overtaken(&self, _: RunKind) -> bool {
        false
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_what_has_arrived() {
    const NEWS: usize = 100;
    let (heard, heard_before_stop) = <(Arc<AtomicUsize>, Arc<OnceLock<usize>>)>::default();
    let (news, noted) = (heard.clone(), heard_before_stop.clone());
    let on_write = move || match news.load(Ordering::Relaxed) {
        0 => {}
        news => {
            let _ = noted.set(news);
        }
    };
    let stops = |link: &LinkHandle| Stopping(link.clone(), heard);
    let (_link, mut task, mut inner) = start(on_write, stops).await;
    for _ in 0..NEWS {
        let news = InnerToRouter::Camera(CameraState::Starting);
        inner.push(&news).unwrap();
    }
    let welcome = welcome();
    let told = async {
        while !matches!(
            inner.event().await.unwrap(),
            SocketEvent::Message(RouterToInner::Stop { .. })
        ) {}
    };
    tokio::select! {
        end = task.run(&welcome) => panic!("{end:?}"),
        () = told => {}
    }
    assert_eq!(heard_before_stop.get(), Some(&1));
}
