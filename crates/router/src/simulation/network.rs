//! A bad network: bytes arrive late, in pieces, much later or never. Within a connection nothing is
//! reordered, as in TCP; connections overtake each other.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use p2p_shared::net::transport::SimulatedStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::rng::Rng;

/// Bytes in flight in one direction: few, as the programs limit the kernels' buffers.
pub(super) const CAPACITY: usize = 8 * 1024;

/// The path between a program and the router; clones share it.
#[derive(Clone)]
pub(super) struct NetworkPath(Arc<Mutex<PathState>>);

struct PathState {
    rng: Rng,
    delay: Duration,
    jitter: Duration,
    /// Bytes that may be in flight in one direction.
    room: usize,
    /// Nothing gets through: to the router, from the router.
    silent: [bool; 2],
    connections: Vec<Arc<Mutex<Connection>>>,
    /// Notified when silence has ended. (A `watch` wakes those who wait in random order.)
    healed: Arc<Notify>,
    /// Delivers the next write of the router twice.
    repeats: bool,
}

/// Both directions of a connection.
#[derive(Default)]
struct Connection {
    pipes: [OneWayPipe; 2],
    /// The client's end was reset, the router's.
    is_reset: [bool; 2],
    ends: u8,
}

/// Bytes in flight in one direction.
#[derive(Default)]
struct OneWayPipe {
    queue: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    last: Option<Instant>,
    /// Nothing arrives before this time.
    not_before: Option<Instant>,
    /// Time at which the writer's close arrives.
    closed: Option<Instant>,
    /// The reader is gone; the writer learns of it at this time.
    unread: Option<Instant>,
    /// Nothing arrives any more, and no end learns of it, as when a NAT forgets a connection.
    lost: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl OneWayPipe {
    fn wake(&mut self) {
        let wakers = self.reader.take().into_iter().chain(self.writer.take());
        wakers.for_each(Waker::wake);
    }
}

/// One end of a connection.
pub(super) struct StreamEnd {
    path: NetworkPath,
    pair: Arc<Mutex<Connection>>,
    /// 0: the client's end; 1: the router's.
    side: usize,
    timer: Pin<Box<Sleep>>,
    on_traffic: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamEnd {}", self.side)
    }
}

impl SimulatedStream for StreamEnd {}

impl NetworkPath {
    pub(super) fn new(rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(PathState {
            rng,
            delay: Duration::from_millis(5),
            jitter: Duration::from_millis(2),
            room: CAPACITY,
            silent: [false; 2],
            connections: Vec::new(),
            healed: Arc::default(),
            repeats: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, PathState> {
        self.0.lock().unwrap()
    }

    /// Sets the delay of everything that is written from now on.
    pub(super) fn set_delay(&self, delay: Duration, jitter: Duration) {
        let mut state = self.lock();
        (state.delay, state.jitter) = (delay, jitter);
    }

    /// Limits the bytes in flight in one direction.
    pub(super) fn set_room(&self, room: usize) {
        self.lock().room = room;
    }

    /// Silences the path to the router, from the router; or ends the silence.
    pub(super) fn set_silent(&self, silent: [bool; 2]) {
        let mut state = self.lock();
        let was = std::mem::replace(&mut state.silent, silent);
        let now = Instant::now();
        // The kernels retransmit after a while.
        let again = now + state.rng.ms(0..400);
        for direction in 0..2 {
            if was[direction] && !silent[direction] {
                for pair in &state.connections {
                    let mut pair = pair.lock().unwrap();
                    pair.pipes[direction].not_before = Some(again);
                    pair.pipes[direction].wake();
                }
            }
        }
        if silent == [false; 2] {
            state.healed.notify_waiters();
        }
    }

    /// Has the next write of the router delivered twice.
    pub(super) fn repeat(&self) {
        self.lock().repeats = true;
    }

    /// Resets all connections; both ends learn of it.
    pub(super) fn reset(&self) {
        for pair in &self.lock().connections {
            let mut pair = pair.lock().unwrap();
            pair.is_reset = [true; 2];
            pair.pipes.iter_mut().for_each(OneWayPipe::wake);
        }
    }

    /// Loses all connections; neither end learns of it.
    pub(super) fn lose_silently(&self) {
        for pair in &self.lock().connections {
            for pipe in &mut pair.lock().unwrap().pipes {
                pipe.lost = true;
            }
        }
    }

    /// Loses all connections; only the client's ends learn of it, as when its network changes.
    pub(super) fn abandon(&self) {
        for pair in &self.lock().connections {
            let mut pair = pair.lock().unwrap();
            pair.is_reset[0] = true;
            for pipe in &mut pair.pipes {
                pipe.lost = true;
                pipe.wake();
            }
        }
    }

    /// Number of connections whose ends both live, and over which something may pass.
    pub(super) fn live(&self) -> usize {
        let is_live = |pair: &&Arc<Mutex<Connection>>| {
            let pair = pair.lock().unwrap();
            let is_open = |pipe: &OneWayPipe| pipe.closed.is_none() && !pipe.lost;
            pair.ends == 2 && pair.is_reset == [false; 2] && pair.pipes.iter().all(is_open)
        };
        self.lock().connections.iter().filter(is_live).count()
    }

    /// Number of open connections.
    pub(super) fn open_connections(&self) -> usize {
        let mut state = self.lock();
        state
            .connections
            .retain(|pair| pair.lock().unwrap().ends > 0);
        state.connections.len()
    }

    /// Waits for two round trips: one to connect, one to upgrade.
    pub(super) async fn round_trips(&self) {
        for _ in 0..2 {
            let (silent, delay, healed) = {
                let state = self.lock();
                let delay = state.delay * 2 + state.jitter;
                let silent = state.silent != [false; 2];
                (silent, delay, state.healed.clone().notified_owned())
            };
            if silent {
                healed.await;
                let again = self.lock().rng.ms(0..400);
                sleep(again).await;
            }
            sleep(delay).await;
        }
    }

    /// A new connection: the client's end and the router's.
    pub(super) fn connect(
        &self,
        on_traffic: Option<Arc<dyn Fn() + Send + Sync>>,
    ) -> (StreamEnd, StreamEnd) {
        let pair = Arc::new(Mutex::new(Connection {
            ends: 2,
            ..Connection::default()
        }));
        self.open_connections();
        self.lock().connections.push(pair.clone());
        let end = |side, on_traffic| StreamEnd {
            path: self.clone(),
            pair: pair.clone(),
            side,
            timer: Box::pin(sleep(Duration::ZERO)),
            on_traffic,
        };
        (end(0, on_traffic), end(1, None))
    }
}

impl AsyncRead for StreamEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = self.get_mut();
        let direction = 1 - end.side;
        let is_silent = end.path.lock().silent[direction];
        let now = Instant::now();
        let mut pair = end.pair.lock().unwrap();
        if pair.is_reset[end.side] {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let pipe = &mut pair.pipes[direction];
        pipe.reader = Some(cx.waker().clone());
        if is_silent || pipe.lost {
            return Poll::Pending;
        }
        let first = pipe.queue.front().map(|(due, _)| *due).or(pipe.closed);
        let Some(due) = first.map(|due| pipe.not_before.map_or(due, |not| due.max(not))) else {
            return Poll::Pending;
        };
        if due > now {
            end.timer.as_mut().reset(due);
            return match end.timer.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Pending => Poll::Pending,
            };
        }
        let Some((_, mut bytes)) = pipe.queue.pop_front() else {
            // End of the stream.
            return Poll::Ready(Ok(()));
        };
        let taken = bytes.len().min(buffer.remaining());
        buffer.put_slice(&bytes[..taken]);
        if taken < bytes.len() {
            pipe.queue.push_front((due, bytes.split_off(taken)));
        }
        pipe.bytes -= taken;
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
        drop(pair);
        if let Some(on_traffic) = &end.on_traffic {
            on_traffic();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let end = self.get_mut();
        let mut state = end.path.lock();
        let now = Instant::now();
        let jitter = u64::try_from(state.jitter.as_micros()).unwrap();
        let late = Duration::from_micros(state.rng.number(0..jitter + 1));
        let due = now + state.delay + late;
        let mut pair = end.pair.lock().unwrap();
        if pair.is_reset[end.side] {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let is_known = state.silent == [false; 2];
        let pipe = &mut pair.pipes[end.side];
        if is_known && !pipe.lost && pipe.unread.is_some_and(|known| known <= now) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.bytes >= state.room {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = bytes.len().min(state.room - pipe.bytes);
        let is_whole = taken == bytes.len();
        let bytes = &bytes[..taken];
        let due = pipe.last.map_or(due, |last| due.max(last));
        pipe.last = Some(due);
        let times = if end.side == 1 && is_whole && std::mem::take(&mut state.repeats) {
            2
        } else {
            1
        };
        for _ in 0..times {
            pipe.bytes += bytes.len();
            pipe.queue.push_back((due, bytes.to_vec()));
        }
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

impl StreamEnd {
    fn close(&self) {
        let delay = self.path.lock().delay;
        let mut pair = self.pair.lock().unwrap();
        let pipe = &mut pair.pipes[self.side];
        let due = Instant::now() + delay;
        let due = pipe.last.map_or(due, |last| due.max(last));
        pipe.closed.get_or_insert(due);
        pipe.wake();
    }
}

impl Drop for StreamEnd {
    fn drop(&mut self) {
        self.close();
        let delay = self.path.lock().delay;
        let mut pair = self.pair.lock().unwrap();
        pair.ends -= 1;
        // The other end's writes fail after a round trip.
        pair.pipes[1 - self.side].unread = Some(Instant::now() + delay * 2);
        pair.pipes[1 - self.side].wake();
    }
}

/// Waits until this time; for ever if there is none.
pub(super) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
