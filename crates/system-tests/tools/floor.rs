//! The floor of a worker's command: hyper, one WebSocket with MessagePack, and the same worker, put
//! together with as little as possible. It shows what the libraries cost, and so how much of a
//! command's time is p2prouter's own.
//!
//! It keeps no promise: no keys, no limits, no time limits, no logs, no records, one car, and a
//! link that is lost ends both programs. Never use it for anything but measuring.
//!
//! ```text
//! floor router 127.0.0.1:8000 127.0.0.1:8001        callers over HTTP; the inner's link
//! floor inner 127.0.0.1:8001 target/release/echo-worker
//! curl 'http://127.0.0.1:8000/?command=echo&arg=hello'
//! ```

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use bytes::Bytes;
use clap::{Parser, Subcommand};
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use p2p_shared::codec::{decode, encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Shows what a worker's command costs at least with these libraries
#[derive(Parser)]
struct Options {
    /// Use one thread in place of one for each core
    #[arg(long, global = true)]
    one_thread: bool,
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Takes requests over HTTP and sends them over the link
    Router {
        callers: SocketAddr,
        link: SocketAddr,
    },
    /// Passes what comes over the link to the worker, and its answers back
    Inner { router: SocketAddr, worker: PathBuf },
}

/// A request, as it is sent over the link and to the worker.
#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
    command: String,
    args: Vec<String>,
}

/// The worker's answer, as it is sent back over the link.
#[derive(Serialize, Deserialize)]
struct Answer {
    id: u64,
    output: String,
}

/// One of the link's two ends, which its task alone uses.
trait LinkEnd {
    type Work;
    type Sent: Serialize;
    type Read: DeserializeOwned;

    /// Makes a message of work that waits.
    fn send(&mut self, work: Self::Work) -> Self::Sent;

    /// Takes a message that came.
    fn take(&mut self, message: Self::Read);
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut runtime = match options.one_thread {
        true => tokio::runtime::Builder::new_current_thread(),
        false => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime
        .enable_all()
        .build()?
        .block_on(async { tokio::spawn(run(options.part)).await? })
}

async fn run(part: Part) -> anyhow::Result<()> {
    match part {
        Part::Router { callers, link } => router(callers, link).await,
        Part::Inner { router, worker } => inner(router, &worker).await,
    }
}

/// Runs the link until it is lost. One write sends all messages that wait.
async fn run_link<E: LinkEnd>(
    mut socket: WebSocketStream<TcpStream>,
    mut queue: mpsc::UnboundedReceiver<E::Work>,
    mut end: E,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            Some(work) = queue.recv() => {
                // Who is about to get his turn adds his message.
                tokio::task::yield_now().await;
                let mut next = Some(work);
                while let Some(work) = next {
                    socket.feed(Message::Binary(encode(&end.send(work))?)).await?;
                    next = queue.try_recv().ok();
                }
                socket.flush().await?;
            }
            message = socket.next() => match message.context("the link was closed")?? {
                Message::Binary(bytes) => end.take(decode(&bytes)?),
                other => anyhow::bail!("this is no message: {other:?}"),
            },
        }
    }
}

/// A caller's request, and where its answer goes.
type Asked = (Order, oneshot::Sender<String>);

/// The callers who wait for an answer, by the id of the request.
#[derive(Default)]
struct Callers {
    waiting: HashMap<u64, oneshot::Sender<String>>,
    last_id: u64,
}

impl LinkEnd for Callers {
    type Work = Asked;
    type Sent = Order;
    type Read = Answer;

    fn send(&mut self, (mut order, caller): Asked) -> Order {
        self.last_id += 1;
        order.id = self.last_id;
        self.waiting.insert(order.id, caller);
        order
    }

    fn take(&mut self, Answer { id, output }: Answer) {
        if let Some(caller) = self.waiting.remove(&id) {
            // A caller that went away is nothing to speak of.
            let _ = caller.send(output);
        }
    }
}

async fn router(callers: SocketAddr, link: SocketAddr) -> anyhow::Result<()> {
    let (ask, queue) = mpsc::unbounded_channel();
    let (listener, links) = (listen(callers).await?, listen(link).await?);
    let (stream, _) = links.accept().await?;
    stream.set_nodelay(true)?;
    let socket = tokio_tungstenite::accept_async(stream).await?;
    let mut link = tokio::spawn(run_link(socket, queue, Callers::default()));
    loop {
        tokio::select! {
            ended = &mut link => return ended?,
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                tokio::spawn(serve_caller(stream, ask.clone()));
            }
        }
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("can't listen on {address}"))
}

async fn serve_caller(stream: TcpStream, ask: mpsc::UnboundedSender<Asked>) {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (answer, answered) = oneshot::channel();
        let asked = ask.send((order(request.uri()), answer));
        async move {
            let output = match asked {
                Ok(()) => answered.await.ok(),
                Err(_) => None,
            };
            let is_lost = output.is_none();
            let mut response = Response::new(Full::new(Bytes::from(output.unwrap_or_default())));
            if is_lost {
                *response.status_mut() = StatusCode::BAD_GATEWAY;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(stream);
    // A caller that goes away is nothing to speak of.
    let _ = http1::Builder::new().serve_connection(io, service).await;
}

/// Reads `command=…&arg=…`, without escapes. The link gives the id.
fn order(uri: &Uri) -> Order {
    let (mut command, mut args) = (String::new(), Vec::new());
    for (key, value) in uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
    {
        match key {
            "command" => command = value.to_owned(),
            "arg" => args.push(value.to_owned()),
            _ => {}
        }
    }
    Order {
        id: 0,
        command,
        args,
    }
}

/// The worker's end: what comes over the link is for the worker.
struct ToWorker(mpsc::UnboundedSender<Order>);

impl LinkEnd for ToWorker {
    type Work = Answer;
    type Sent = Answer;
    type Read = Order;

    fn send(&mut self, answer: Answer) -> Answer {
        answer
    }

    fn take(&mut self, order: Order) {
        // Without a worker the program ends anyway.
        let _ = self.0.send(order);
    }
}

async fn inner(router: SocketAddr, worker: &Path) -> anyhow::Result<()> {
    let mut child = Command::new(worker)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{} can't be executed", worker.display()))?;
    let stdin = child.stdin.take().context("the worker's input")?;
    let stdout = child.stdout.take().context("the worker's output")?;
    let stream = TcpStream::connect(router).await?;
    stream.set_nodelay(true)?;
    let url = format!("ws://{router}/");
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
    let (orders, lines) = mpsc::unbounded_channel();
    let (answers, queue) = mpsc::unbounded_channel();
    tokio::select! {
        ended = tokio::spawn(run_link(socket, queue, ToWorker(orders))) => ended?,
        ended = tokio::spawn(write_lines(stdin, lines)) => ended?,
        ended = tokio::spawn(read_lines(stdout, answers)) => ended?,
    }
}

/// Writes orders to the worker: those that wait together with one write.
async fn write_lines(
    mut stdin: ChildStdin,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    while let Some(order) = orders.recv().await {
        let mut next = Some(order);
        while let Some(order) = next {
            serde_json::to_writer(&mut lines, &order)?;
            lines.push(b'\n');
            next = orders.try_recv().ok();
        }
        stdin.write_all(&lines).await?;
        lines.clear();
    }
    Ok(())
}

/// Reads the worker's answers, after the line that says what it serves.
async fn read_lines(
    stdout: ChildStdout,
    answers: mpsc::UnboundedSender<Answer>,
) -> anyhow::Result<()> {
    let mut stdout = BufReader::with_capacity(64 * 1024, stdout);
    let mut line = Vec::new();
    stdout.read_until(b'\n', &mut line).await?;
    line.clear();
    while stdout.read_until(b'\n', &mut line).await? > 0 {
        answers.send(serde_json::from_slice(&line)?)?;
        line.clear();
    }
    anyhow::bail!("the worker has ended")
}
