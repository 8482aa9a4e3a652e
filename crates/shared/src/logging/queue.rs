//! The bounded queue between those who log and the thread that writes. It owns the bound and the
//! count of what was lost; whoever logs never waits, whatever the disk or the terminal does.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

/// What a waiting line costs beside its bytes: the allocation and its place in the queue. It also
/// bounds the number of lines that fit.
const LINE_OVERHEAD: usize = 256;

/// How long the thread lets lines gather once it has written all there were. Waking it costs
/// whoever logs several microseconds more than the line itself; so that happens a hundred times a
/// second at most. A process that is killed loses the lines of that time.
const GATHER: Duration = Duration::from_millis(10);

/// How many lines didn't reach their place, for want of room in the queue or on the disk.
pub(super) type Lost = Arc<AtomicU64>;

/// Takes whole lines, and hands them to a thread of its own.
#[derive(Clone)]
pub(super) struct Queue {
    thread: NonBlocking,
    waiting: Arc<AtomicUsize>,
    limit: usize,
    lost: Lost,
}

impl Queue {
    /// Starts the thread; at most `limit` bytes wait for it. Dropping the guard writes what waits,
    /// for a second at most, and ends the thread.
    pub(super) fn start(
        thread_name: &str,
        limit: usize,
        lost: Lost,
        sink: impl Write + Send + 'static,
    ) -> (Self, WorkerGuard) {
        let waiting = Arc::new(AtomicUsize::new(0));
        // One place more than lines can wait: the guard's farewell always finds room. Were the
        // queue full then, tracing-appender would print to a terminal that may be blocked.
        let (thread, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(limit / LINE_OVERHEAD + 1)
            .lossy(true)
            .thread_name(thread_name)
            .finish(Counted {
                sink,
                waiting: Arc::clone(&waiting),
            });
        (
            Self {
                thread,
                waiting,
                limit,
                lost,
            },
            guard,
        )
    }

    /// Queues one line, or counts it as lost.
    pub(super) fn push(&self, line: &[u8]) {
        let cost = line.len() + LINE_OVERHEAD;
        let room = |waiting: usize| Some(waiting + cost).filter(|sum| *sum <= self.limit);
        if self
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room)
            .is_err()
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // A lossy queue never fails: after the guard's end there is nobody left to tell.
        let _ = self.thread.clone().write_all(line);
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Lines<'a>;

    fn make_writer(&'a self) -> Lines<'a> {
        Lines(self)
    }
}

/// tracing-subscriber writes an event in one call, so that a call is a line.
pub(super) struct Lines<'a>(&'a Queue);

impl Write for Lines<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread's end of the queue: gives the room back once a line is dealt with.
struct Counted<W> {
    sink: W,
    waiting: Arc<AtomicUsize>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let result = self.sink.write_all(line);
        self.waiting
            .fetch_sub(line.len() + LINE_OVERHEAD, Ordering::AcqRel);
        result
    }

    /// Called when the queue is empty.
    fn flush(&mut self) -> io::Result<()> {
        let result = self.sink.flush();
        thread::sleep(GATHER);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    /// A terminal that someone has stopped: each line waits for a permit.
    struct Stopped {
        entered: Sender<Vec<u8>>,
        permits: Receiver<()>,
    }

    impl Write for Stopped {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.entered.send(line.to_vec());
            let _ = self.permits.recv();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stopped_reader_loses_lines_but_holds_nobody_up() {
        let (entered, written) = channel();
        let (permit, permits) = channel();
        let lost = Lost::default();
        let sink = Stopped { entered, permits };
        let (queue, guard) = Queue::start("test", 4 * (LINE_OVERHEAD + 2), Arc::clone(&lost), sink);
        for n in 0..10 {
            queue.push(format!("{n}\n").as_bytes());
        }
        assert_eq!(lost.load(Ordering::Relaxed), 6);
        drop(permit);
        drop(guard);
        assert_eq!(
            written.iter().collect::<Vec<_>>(),
            [b"0\n", b"1\n", b"2\n", b"3\n"]
        );
    }

    #[test]
    fn ending_does_not_wait_for_ever_for_a_stopped_reader() {
        let (entered, written) = channel();
        let (_permit, permits) = channel();
        let sink = Stopped { entered, permits };
        let (queue, guard) = Queue::start("test", 8 * LINE_OVERHEAD, Lost::default(), sink);
        for _ in 0..100 {
            queue.push(b"x\n");
        }
        written.recv().unwrap();
        let begin = Instant::now();
        drop(guard);
        assert!(begin.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_line_longer_than_the_queue_is_lost_and_counted() {
        let lost = Lost::default();
        let (queue, _guard) = Queue::start("test", 1024, Arc::clone(&lost), io::sink());
        queue.push(&[b'x'; 2000]);
        assert_eq!(lost.load(Ordering::Relaxed), 1);
    }
}
