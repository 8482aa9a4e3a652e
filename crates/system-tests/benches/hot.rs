//! What each command of a worker costs beside the kernel, piece by piece and as a whole, with its
//! allocations: `cargo bench -p p2p-system-tests --bench hot`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a benchmark"
)]
#![allow(unreachable_pub, reason = "a program of several files")]

use bytes::{Bytes, BytesMut};
use divan::{AllocProfiler, Bencher, black_box};
use p2p_router::http::query::CgiQuery;
use p2p_shared::codec::{decode, encode};
use p2p_shared::names::{Argument, RunId};
use p2p_shared::protocol::{End, InnerToRouter, MotionInfo, RouterToInner, RunRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use common::World;

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/common/mod.rs"]
mod common;
#[allow(
    dead_code,
    reason = "the lines between inner and worker: the inner uses more of them"
)]
#[path = "../../inner/src/worker/protocol.rs"]
mod worker_protocol;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn request() -> RunRequest {
    RunRequest {
        run: RunId::from_number(7),
        command: "forward".parse().unwrap(),
        arguments: vec![Argument::try_from(Bytes::from_static(b"0.5")).unwrap()]
            .try_into()
            .unwrap(),
        deadline_ms: 30_000,
        remote_addr: "192.0.2.1".into(),
        by: None,
        stdin_bytes: 0,
        for_ms: None,
    }
}

fn answered() -> InnerToRouter {
    InnerToRouter::Answered {
        run: RunId::from_number(7),
        end: End::Exit(0),
        exec_us: 50,
        output: p2p_shared::bounded::Piece::first_of(b"going forward\n"),
        stderr: Default::default(),
    }
}

#[divan::bench]
fn query_parse() -> CgiQuery {
    CgiQuery::parse(black_box("command=forward&arg=0.5")).unwrap()
}

#[divan::bench]
fn run_encode(bencher: Bencher<'_, '_>) {
    let run = RouterToInner::Run(request());
    bencher.bench_local(|| encode(black_box(&run)).unwrap());
}

#[divan::bench]
fn run_decode(bencher: Bencher<'_, '_>) {
    let bytes = encode(&RouterToInner::Run(request())).unwrap();
    bencher.bench_local(|| decode::<RouterToInner>(black_box(&bytes)).unwrap());
}

#[divan::bench]
fn worker_line_write(bencher: Bencher<'_, '_>) {
    let request = request();
    let mut line = BytesMut::with_capacity(1024);
    bencher.bench_local(|| {
        line.clear();
        worker_protocol::write_request(&mut line, 7, black_box(&request), b"").unwrap();
    });
}

#[divan::bench]
fn worker_line_parse() -> worker_protocol::WorkerAnswer {
    let line = r#"{"id":7,"output":"going forward\n"}"#;
    serde_json::from_str(black_box(line)).unwrap()
}

#[divan::bench]
fn answered_encode(bencher: Bencher<'_, '_>) {
    let answered = answered();
    bencher.bench_local(|| encode(black_box(&answered)).unwrap());
}

#[divan::bench]
fn answered_decode(bencher: Bencher<'_, '_>) {
    let bytes = encode(&answered()).unwrap();
    bencher.bench_local(|| decode::<InnerToRouter>(black_box(&bytes)).unwrap());
}

/// A whole command, one after another, with all that router and inner allocate for it: both are on
/// this thread, since others are not counted. Nobody reads their logs, so the lines are not in it.
#[divan::bench]
fn worker_command(bencher: Bencher<'_, '_>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let _inside = runtime.enter();
    let world = World::open();
    let worker = std::fs::read(env!("CARGO_BIN_EXE_echo-worker")).unwrap();
    world.file("echo.worker", worker, 0o755);
    let mut config = common::inner_config(&world);
    config.motion = MotionInfo {
        commands: Default::default(),
        ..common::motion()
    };
    let (_inner, port) = runtime.block_on(world.inner_with(config));
    let caller = TcpStream::connect(("127.0.0.1", port));
    let mut caller = runtime.block_on(caller).unwrap();
    let mut answer = Vec::with_capacity(4096);
    let mut ask = async || {
        let request = b"GET /cgi?command=echo&arg=hello HTTP/1.1\r\nHost: car\r\n\r\n";
        caller.write_all(request).await.unwrap();
        answer.clear();
        while !answer.ends_with(b"hello\n") {
            let read = caller.read_buf(&mut answer).await.unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        }
    };
    bencher.bench_local(|| runtime.block_on(ask()));
}
