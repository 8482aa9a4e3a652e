//! Owns the ring: the past of the car (what moved it, what stopped it, what its link did) on disk, in two
//! files of 8 MiB each. When one is full, the other one is emptied and goes on. Noting an entry costs
//! microseconds: a thread writes, and has the disk keep what it wrote once a second. A disk that is full,
//! or an inner without a state directory, costs no motion: then only the newest entries are kept, in
//! memory.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use p2p_shared::bounded::Text;
use p2p_shared::protocol::{MAX_PAST, MotionEvent, PastEntry, PastEvent};
use p2p_shared::timing::millis;
use parking_lot::Mutex;

use crate::clock;

mod file;

use file::RingFiles;

/// Most bytes of entries that are not on disk: some thousand.
const UNWRITTEN: usize = 256 * 1024;
/// Most entries a second. Who may stop the car can cause thousands, which would wear out an SD card.
const A_SECOND: u32 = 100;
/// Pause between two orders to the disk to keep what was written, and after a failure.
const SYNC: Duration = Duration::from_secs(1);

/// Number of this start of the machine, as much of it as tells it from others.
static BOOT: LazyLock<Option<Text>> = LazyLock::new(|| {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.get(..8)?.into())
});

/// Takes entries. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Ring {
    newest: Arc<Mutex<Newest>>,
    path: Option<PathBuf>,
    /// Wakes the thread that writes, which ends with it.
    wake: Option<SyncSender<()>>,
}

/// Entries that are not on disk yet, and what makes the next one.
#[derive(Debug, Default)]
struct Newest {
    lines: VecDeque<String>,
    bytes: usize,
    /// Number of lines that were taken out, written or lost.
    removed: u64,
    last_id: u64,
    /// The second on the car's clock, and the number of its entries.
    second: (u64, u32),
}

impl Newest {
    fn forget(&mut self, lines: usize) {
        for line in self.lines.drain(..lines.min(self.lines.len())) {
            self.bytes -= line.len();
            self.removed += 1;
        }
    }
}

impl Ring {
    /// Keeps entries in memory only.
    pub(crate) fn in_memory() -> Self {
        Self {
            newest: Arc::default(),
            path: None,
            wake: None,
        }
    }

    /// Keeps entries in the files of this path, whose folder is made.
    pub(crate) fn at(path: &Path) -> Self {
        // A second inner of the same name has files of its own.
        let more = (2..9).map(|number| path.with_added_extension(number.to_string()));
        let mut places = std::iter::once(path.to_owned()).chain(more);
        let found = places.find_map(|path| match RingFiles::open(&path) {
            Ok(files) => files.is_ours().then_some(Ok((files, path))),
            Err(error) => Some(Err(error)),
        });
        let (mut files, path) = match found.transpose() {
            Ok(Some(found)) => found,
            failed => {
                let (path, error) = (path.display(), failed.err());
                let error = error.as_ref().map(tracing::field::display);
                tracing::warn!(%path, error, "the car's past can't be kept there: what moved it is forgotten with this process");
                return Self::in_memory();
            }
        };
        let newest = Arc::new(Mutex::new(Newest {
            last_id: files.last_id(),
            ..Newest::default()
        }));
        let (wake, woken) = sync_channel(1);
        let unwritten = newest.clone();
        let write = move || write(&mut files, &unwritten, &woken);
        let thread = std::thread::Builder::new().name("ring".to_owned());
        if let Err(error) = thread.spawn(write) {
            tracing::warn!(%error, "the car's past is kept in memory only");
            return Self::in_memory();
        }
        Self {
            newest,
            path: Some(path),
            wake: Some(wake),
        }
    }

    /// Path of its files, if it has any: the guardian adds entries of its own.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Notes what happened now.
    pub(crate) fn note(&self, event: PastEvent) {
        self.add(entry(event));
    }

    /// Adds an entry, to which it gives the number.
    pub(crate) fn add(&self, mut entry: PastEntry) {
        let mut newest = self.newest.lock();
        let second = entry.clock_ms / 1000;
        if newest.second.0 != second {
            newest.second = (second, 0);
        }
        newest.second.1 += 1;
        if newest.second.1 > A_SECOND && !is_needed(&entry.event) {
            return;
        }
        entry.id = entry.id.max(newest.last_id + 1);
        newest.last_id = entry.id;
        let Some(line) = line(&entry) else { return };
        newest.bytes += line.len();
        newest.lines.push_back(line);
        while newest.bytes > UNWRITTEN {
            newest.forget(1);
        }
        drop(newest);
        if let Some(wake) = &self.wake {
            let _ = wake.try_send(());
        }
    }

    /// Returns the lines of the entries of this last time, after one with the time now: the newest
    /// [`MAX_PAST`] bytes. Reads the disk.
    pub(crate) fn past(&self, last: Duration) -> Vec<u8> {
        // First those that are about to be written.
        let unwritten: Vec<String> = self.newest.lock().lines.iter().cloned().collect();
        let written = self.path.as_deref().map(file::tail).unwrap_or_default();
        // Later than all of them.
        let now = entry(PastEvent::Now);
        let last_ms = millis(last);
        // By the car's clock, which nobody sets; by the time of day what was before the machine's start.
        let is_recent = |past: &PastEntry| match past.boot == now.boot {
            true => past.clock_ms.saturating_add(last_ms) >= now.clock_ms,
            false => past.at_ms <= now.at_ms && past.at_ms.saturating_add(last_ms) >= now.at_ms,
        };
        let lines = written.split_inclusive(|byte| *byte == b'\n');
        let lines = lines.chain(unwritten.iter().map(String::as_bytes));
        let entries = lines.filter_map(|line| Some((PastEntry::of_line(line)?, line)));
        let recent = entries.filter(|(past, _)| is_recent(past));
        let by_id: BTreeMap<u64, &[u8]> = recent.map(|(past, line)| (past.id, line)).collect();
        let mut room = MAX_PAST - 1024;
        let fits = |line: &&&[u8]| {
            let left = room.checked_sub(line.len());
            room = left.unwrap_or_default();
            left.is_some()
        };
        let mut newest: Vec<&&[u8]> = by_id.values().rev().take_while(fits).collect();
        newest.reverse();
        let now = line(&now).unwrap_or_default();
        let all = std::iter::once(now.as_bytes()).chain(newest.into_iter().copied());
        all.collect::<Vec<_>>().concat()
    }

    /// Waits until all entries are written, for a while.
    pub(crate) async fn written(&self) {
        for _ in 0..50 {
            if self.wake.is_none() || self.newest.lock().lines.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Adds an entry to the files of another process, the inner: for the guardian, which acts when that one does not.
pub(crate) fn add_to(path: &Path, event: PastEvent) {
    let line = line(&entry(event)).unwrap_or_default();
    let added = RingFiles::open(path).and_then(|mut files| {
        files.append(line.as_bytes())?;
        files.sync()
    });
    if let Err(error) = added {
        tracing::warn!(%error, "what the guardian did can't be noted");
    }
}

/// Makes an entry of now. By its number it is later than all before it, unless the clock was set back.
pub(crate) fn entry(event: PastEvent) -> PastEntry {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    PastEntry {
        id: u64::try_from(now.as_micros()).unwrap_or_default(),
        boot: BOOT.clone(),
        clock_ms: clock::now_ms(),
        at_ms: millis(now),
        event,
        who: None,
        left_ms: None,
        rtt_ms: None,
    }
}

/// Returns true for what a flood of other entries must not hide: when the car moved.
fn is_needed(event: &PastEvent) -> bool {
    matches!(
        event,
        PastEvent::Motion(
            MotionEvent::Started(_) | MotionEvent::Over { .. } | MotionEvent::StopFailed
        )
    )
}

fn line(entry: &PastEntry) -> Option<String> {
    Some(serde_json::to_string(entry).ok()? + "\n")
}

/// Writes entries until nobody can add one any more.
fn write(files: &mut RingFiles, unwritten: &Mutex<Newest>, woken: &Receiver<()>) {
    let mut has_failed = false;
    // Time of the first write that the disk was not told to keep.
    let mut unsynced: Option<Instant> = None;
    loop {
        let wait = match unsynced {
            // Also if more entries come.
            _ if has_failed => {
                std::thread::sleep(SYNC);
                Some(Duration::ZERO)
            }
            since => since.map(|since| SYNC.saturating_sub(since.elapsed())),
        };
        let is_over = match wait {
            None => woken.recv().is_err(),
            Some(wait) => woken.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected),
        };
        let (count, removed, lines) = {
            let newest = unwritten.lock();
            let lines: Vec<&str> = newest.lines.iter().map(String::as_str).collect();
            (lines.len(), newest.removed, lines.concat())
        };
        let mut written = files.append(lines.as_bytes());
        if count > 0 {
            unsynced.get_or_insert_with(Instant::now);
        }
        let is_due = unsynced.is_some_and(|since| is_over || since.elapsed() >= SYNC);
        if is_due && written.is_ok() {
            unsynced = None;
            written = files.sync();
        }
        match written {
            Ok(()) => {
                let mut newest = unwritten.lock();
                // Some may have been lost meanwhile, as there were too many.
                let lost = usize::try_from(newest.removed - removed).unwrap_or(count);
                newest.forget(count.saturating_sub(lost));
                if std::mem::take(&mut has_failed) {
                    tracing::info!("the car's past is written to disk again");
                }
            }
            Err(error) if !std::mem::replace(&mut has_failed, true) => {
                tracing::warn!(%error, "the car's past can't be written to disk: only the newest of it is kept, in memory");
            }
            Err(_) => {}
        }
        if is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
