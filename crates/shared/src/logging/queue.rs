//! The queue of a log thread, bounded in bytes and so in lines. A caller never waits: a line that
//! finds no room is lost, and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Bytes that a line takes at least, so that the bound in bytes bounds the lines as well.
const LINE: usize = 512;

/// Places of the thread's own queue beyond those for lines: it takes the order to end as well.
const SPARE: usize = 16;

/// Most bytes that go into one write, unless a single line has more.
const BATCH: usize = 64 * 1024;

/// Caller's end of a queue of lines.
#[derive(Clone, Debug)]
pub(super) struct LineQueue {
    thread: NonBlocking,
    room: Arc<Room>,
}

#[derive(Debug)]
struct Room {
    bytes: AtomicUsize,
    lost: AtomicU64,
}

/// Thread's end. Lines that wait together go into one write, which costs as much as all else of a
/// line.
struct Taken<W> {
    writer: W,
    room: Arc<Room>,
    batch: Vec<u8>,
    /// Room in the queue that the batch takes until it is written.
    held: usize,
}

impl LineQueue {
    /// Starts a thread that writes what comes. There is room for so many lines of usual length, or
    /// fewer long ones.
    pub(super) fn start(
        thread: &str,
        lines: usize,
        writer: impl Write + Send + 'static,
    ) -> (Self, WorkerGuard) {
        let room = Arc::new(Room {
            bytes: AtomicUsize::new(lines * LINE),
            lost: AtomicU64::new(0),
        });
        let (thread, guard) = NonBlockingBuilder::default()
            .thread_name(thread)
            .buffered_lines_limit(lines + SPARE)
            .finish(Taken {
                writer,
                room: Arc::clone(&room),
                batch: Vec::new(),
                held: 0,
            });
        (Self { thread, room }, guard)
    }

    /// Puts a line in the queue, or counts it as lost.
    pub(super) fn push(&self, line: &[u8]) {
        let bytes = line.len().max(LINE);
        let take = |left: usize| left.checked_sub(bytes);
        let room = &self.room.bytes;
        if room
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
            .is_ok()
        {
            // A lossy queue never fails.
            let _ = self.thread.clone().write_all(line);
        } else {
            self.room.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many lines found no room.
    pub(super) fn lost(&self) -> u64 {
        self.room.lost.load(Ordering::Relaxed)
    }
}

impl Write for LineQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Taken<W> {
    fn write_batch(&mut self) -> io::Result<()> {
        let written = self.writer.write_all(&self.batch);
        self.batch.clear();
        let held = std::mem::take(&mut self.held);
        self.room.bytes.fetch_add(held, Ordering::AcqRel);
        written
    }
}

impl<W: Write> Write for Taken<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let is_full = self.batch.len() + line.len() > BATCH;
        let written = if is_full { self.write_batch() } else { Ok(()) };
        // Whatever became of the lines before, this one takes its room until it is written.
        self.batch.extend_from_slice(line);
        self.held += line.len().max(LINE);
        written.map(|()| line.len())
    }

    /// Called when no line waits.
    fn flush(&mut self) -> io::Result<()> {
        self.write_batch()?;
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Tells what each write has, and writes nothing until the other sender is dropped.
    struct Stopped(mpsc::Sender<Vec<u8>>, mpsc::Receiver<()>);

    impl Write for Stopped {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            self.0.send(lines.to_vec()).unwrap();
            let _ = self.1.recv();
            Ok(lines.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_has_a_place_for_the_order_to_end() {
        let (writing, _written) = mpsc::channel();
        let (go, stopped) = mpsc::channel();
        let (queue, guard) = LineQueue::start("log-test", 100, Stopped(writing, stopped));
        for _ in 0..1000 {
            queue.push(b"x");
        }
        assert!((899..=900).contains(&queue.lost()), "{}", queue.lost());
        // The thread's own queue lost none: it was never full.
        assert_eq!(queue.thread.error_counter().dropped_lines(), 0);
        drop(go);
        drop(guard);
    }

    #[test]
    fn long_lines_have_no_more_memory_than_short_ones() {
        let (writing, _written) = mpsc::channel();
        let (go, stopped) = mpsc::channel();
        let (queue, guard) = LineQueue::start("log-test", 100, Stopped(writing, stopped));
        let long = vec![b'x'; 10 * LINE];
        for _ in 0..100 {
            queue.push(&long);
        }
        assert_eq!(queue.lost(), 90);
        drop(go);
        drop(guard);
        assert_eq!(queue.room.bytes.load(Ordering::Relaxed), 100 * LINE);
    }

    /// Writes nothing the first time.
    struct FailsOnce(bool);

    impl Write for FailsOnce {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            match std::mem::replace(&mut self.0, true) {
                true => Ok(lines.len()),
                false => Err(io::ErrorKind::StorageFull.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_batch_that_fails_gives_its_room_back_and_so_does_the_line_after_it() {
        let room = Arc::new(Room {
            bytes: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        });
        let mut taken = Taken {
            writer: FailsOnce(false),
            room: room.clone(),
            batch: Vec::new(),
            held: 0,
        };
        taken.write_all(&vec![b'x'; BATCH]).unwrap();
        assert!(taken.write_all(b"next").is_err());
        taken.flush().unwrap();
        assert_eq!(room.bytes.load(Ordering::Relaxed), BATCH + LINE);
    }

    #[test]
    fn lines_that_wait_together_go_into_one_write() {
        let (writing, written) = mpsc::channel();
        let (go, stopped) = mpsc::channel();
        let (queue, guard) = LineQueue::start("log-test", 10_000, Stopped(writing, stopped));
        queue.push(b"a\n");
        assert_eq!(written.recv().unwrap(), b"a\n");
        let line = [vec![b'x'; LINE - 1], vec![b'\n']].concat();
        let lines = BATCH / LINE;
        for _ in 0..2 * lines {
            queue.push(&line);
        }
        drop(go);
        for _ in 0..2 {
            assert_eq!(written.recv().unwrap(), line.repeat(lines));
        }
        drop(guard);
        assert!(written.recv().is_err());
        assert_eq!(queue.room.bytes.load(Ordering::Relaxed), 10_000 * LINE);
    }
}
