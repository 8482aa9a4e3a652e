//! Owns a network that is bad: what one end writes comes to the other late, in pieces, much later
//! or never. Inside a connection nothing is reordered, as with TCP; connections overtake each other.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use p2p_shared::net::transport::SimulatedStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::dice::Dice;

/// What may be on its way in one direction: little waits in the kernels, as the program has it.
pub(super) const CAPACITY: usize = 8 * 1024;

/// The way between a program and the router.
#[derive(Clone)]
pub(super) struct Way(Arc<Mutex<State>>);

struct State {
    dice: Dice,
    delay: Duration,
    jitter: Duration,
    /// What may be on its way in one direction.
    room: usize,
    /// Nothing gets through: to the router, from it.
    silent: [bool; 2],
    connections: Vec<Arc<Mutex<Pair>>>,
    /// Counts each time that it is no longer silent.
    healed: watch::Sender<u64>,
    /// Says the next thing from the router twice.
    repeats: bool,
}

/// A connection.
#[derive(Default)]
struct Pair {
    pipes: [Pipe; 2],
    is_reset: bool,
    ends: u8,
}

/// What is on its way in one direction.
#[derive(Default)]
struct Pipe {
    queue: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    last: Option<Instant>,
    /// Nothing comes before.
    not_before: Option<Instant>,
    /// Its writer has closed it.
    closed: Option<Instant>,
    /// Its reader is gone: who writes learns of it then.
    unread: Option<Instant>,
    /// It never comes through again, and nobody says so: a NAT forgot it.
    lost: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        let wakers = self.reader.take().into_iter().chain(self.writer.take());
        wakers.for_each(Waker::wake);
    }
}

/// One end of a connection.
pub(super) struct End {
    way: Way,
    pair: Arc<Mutex<Pair>>,
    /// 0: the client's, which writes to the router.
    side: usize,
    timer: Pin<Box<Sleep>>,
    heard: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "End {}", self.side)
    }
}

impl SimulatedStream for End {}

impl Way {
    pub(super) fn new(dice: Dice) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice,
            delay: Duration::from_millis(5),
            jitter: Duration::from_millis(2),
            room: CAPACITY,
            silent: [false; 2],
            connections: Vec::new(),
            healed: watch::Sender::new(0),
            repeats: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// From now on everything takes so long.
    pub(super) fn set_delay(&self, delay: Duration, jitter: Duration) {
        let mut state = self.lock();
        (state.delay, state.jitter) = (delay, jitter);
    }

    /// No more than so many bytes may be on their way from now on.
    pub(super) fn set_room(&self, room: usize) {
        self.lock().room = room;
    }

    /// Nothing gets through any more to the router, from the router; or all does again.
    pub(super) fn set_silent(&self, silent: [bool; 2]) {
        let mut state = self.lock();
        let was = std::mem::replace(&mut state.silent, silent);
        let now = Instant::now();
        // What waits is sent again by the kernels when they think of it.
        let again = now + state.dice.ms(0..400);
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
            state.healed.send_modify(|healed| *healed += 1);
        }
    }

    /// Whoever is between says the next thing from the router twice.
    pub(super) fn repeat(&self) {
        self.lock().repeats = true;
    }

    /// Cuts all connections: both ends learn of it.
    pub(super) fn reset(&self) {
        for pair in &self.lock().connections {
            let mut pair = pair.lock().unwrap();
            pair.is_reset = true;
            pair.pipes.iter_mut().for_each(Pipe::wake);
        }
    }

    /// Loses all connections: neither end learns of it.
    pub(super) fn lose(&self) {
        for pair in &self.lock().connections {
            for pipe in &mut pair.lock().unwrap().pipes {
                pipe.lost = true;
            }
        }
    }

    /// How many connections there are.
    pub(super) fn open(&self) -> usize {
        let mut state = self.lock();
        state
            .connections
            .retain(|pair| pair.lock().unwrap().ends > 0);
        state.connections.len()
    }

    /// The time of a round trip to make a connection and one to upgrade it.
    pub(super) async fn round_trips(&self) {
        for _ in 0..2 {
            let (silent, delay, mut healed) = {
                let state = self.lock();
                let delay = state.delay * 2 + state.jitter;
                let silent = state.silent != [false; 2];
                (silent, delay, state.healed.subscribe())
            };
            if silent {
                let _ = healed.changed().await;
                let again = self.lock().dice.ms(0..400);
                sleep(again).await;
            }
            sleep(delay).await;
        }
    }

    /// A connection: the client's end and the router's.
    pub(super) fn connect(&self, heard: Option<Arc<dyn Fn() + Send + Sync>>) -> (End, End) {
        let pair = Arc::new(Mutex::new(Pair {
            ends: 2,
            ..Pair::default()
        }));
        self.open();
        self.lock().connections.push(pair.clone());
        let end = |side, heard| End {
            way: self.clone(),
            pair: pair.clone(),
            side,
            timer: Box::pin(sleep(Duration::ZERO)),
            heard,
        };
        (end(0, heard), end(1, None))
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = self.get_mut();
        let direction = 1 - end.side;
        let is_silent = end.way.lock().silent[direction];
        let now = Instant::now();
        let mut pair = end.pair.lock().unwrap();
        if pair.is_reset {
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
            // The end.
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
        if let Some(heard) = &end.heard {
            heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let end = self.get_mut();
        let mut state = end.way.lock();
        let now = Instant::now();
        let jitter = u64::try_from(state.jitter.as_micros()).unwrap();
        let late = Duration::from_micros(state.dice.number(0..jitter + 1));
        let due = now + state.delay + late;
        let mut pair = end.pair.lock().unwrap();
        if pair.is_reset {
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

impl End {
    fn close(&self) {
        let delay = self.way.lock().delay;
        let mut pair = self.pair.lock().unwrap();
        let pipe = &mut pair.pipes[self.side];
        let due = Instant::now() + delay;
        let due = pipe.last.map_or(due, |last| due.max(last));
        pipe.closed.get_or_insert(due);
        pipe.wake();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close();
        let delay = self.way.lock().delay;
        let mut pair = self.pair.lock().unwrap();
        pair.ends -= 1;
        // Who writes on is told so after a while.
        pair.pipes[1 - self.side].unread = Some(Instant::now() + delay * 2);
        pair.pipes[1 - self.side].wake();
    }
}

/// Waits until then.
pub(super) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
