//! Tests how many writes a link's messages take.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use p2p_shared::names::RunId;
use p2p_shared::net::transport::SimulatedStream;
use p2p_shared::protocol::{CameraState, MotionEvent, MotionInfo, PressId, RunSource};
use p2p_shared::websocket::limits;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::link::handle::LinkId;
use crate::run::NewRun;

/// A connection whose writes are counted.
#[derive(Debug)]
struct Counted(DuplexStream, Arc<AtomicUsize>);

impl SimulatedStream for Counted {}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
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
    fn on_motion(&self, _: LinkId, _: MotionEvent, _: bool) {}
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

/// With one worker thread, as under load, the link's task is the next to run after the first caller.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn messages_of_callers_who_come_together_share_a_write() {
    const CALLERS: u64 = 10;
    let writes = Arc::<AtomicUsize>::default();
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let ours = Transport::Simulated(Box::new(Counted(ours, writes.clone())));
    let config = Some(limits());
    let theirs = WebSocketStream::from_raw_socket(theirs, Role::Client, config).await;
    let mut inner = MessageSocket::<_, InnerToRouter, RouterToInner>::new(theirs);
    let (link, work) = LinkHandle::new();
    let name: LinkName = "car".parse().unwrap();
    let handle = (link.clone(), name.clone());
    let socket = Box::new(MessageSocket::accepted(ours, Vec::new()).await);
    let mut task = LinkTask::new(socket, work, handle, Nobody, &hello());
    let service_port = 9000;
    let welcome = RouterToInner::Welcome { name, service_port };
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
