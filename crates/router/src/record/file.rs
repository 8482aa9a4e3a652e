//! Writes one recording on a thread of its own, so that a disk that is slow, full or hung holds up nothing but pictures,
//! and removes the oldest recordings where they have too many bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use mcap::records::{MessageHeader, Metadata};
use mcap::{McapError, WriteOptions};
use p2p_shared::logging::check_free_space;
use p2p_shared::os::with_causes;
use parking_lot::Mutex;
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::message::{Body, CHANNELS};
use crate::config::RecordConfig;

/// Time after which what was written is in the file, so that it outlives the process.
const FLUSH: Duration = Duration::from_secs(1);
/// Most entries that wait for the disk, and most pictures among them, of up to 1 MiB each.
const WAITING: usize = 1024;
const WAITING_PICTURES: usize = 32;
/// Bytes of a chunk, the part of a file that is read at once.
const CHUNK: u64 = 256 * 1024;
/// Share of all bytes that a recording may have: then another file follows it. All that are open have half of them.
const SHARE: u64 = 8;
const SHARE_OF_OPEN: u64 = 2;
/// Most recordings at a time, each with a thread and pictures that wait.
pub(super) const AT_ONCE: usize = 32;
/// Longest time without a sign of the thread until the disk counts as hung.
const HUNG: Duration = Duration::from_secs(3);
/// Most recordings of one car that begin in the same second.
const SAME_SECOND: usize = 9;
/// End of a recording's name, with its time.
const ENDING: &[u8] = b"-00000000T000000Z.mcap";

/// All recordings of a router. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Recordings {
    config: RecordConfig,
    places: Arc<Semaphore>,
    /// True once the log says that there is no place.
    is_full: Arc<AtomicBool>,
    /// The files that are being written: they are not removed.
    open: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Recordings {
    pub(super) fn new(config: RecordConfig) -> Self {
        Self {
            config,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            is_full: Arc::default(),
            open: Arc::default(),
        }
    }

    /// Holds up the threads as a disk does that does not answer.
    #[cfg(test)]
    pub(super) fn hang(&self) -> parking_lot::MutexGuard<'_, BTreeSet<PathBuf>> {
        self.open.lock()
    }

    /// Takes a place for one more; says once that there is none.
    fn take_place(&self) -> Option<OwnedSemaphorePermit> {
        let place = self.places.clone().try_acquire_owned().ok();
        if !self.is_full.swap(place.is_none(), Ordering::Relaxed) && place.is_none() {
            tracing::warn!(
                "more than {AT_ONCE} drives at a time, or a disk that does not answer: the others are not recorded"
            );
        }
        place
    }

    /// Removes the oldest recordings that are not open, as long as all together have more bytes than may be.
    fn remove_oldest(&self) -> io::Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.config.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            // One that another thread has just removed is no error.
            if let (Some(true), Ok(about)) = (name.map(is_recording), path.metadata()) {
                found.push((about.modified()?, about.len(), path));
            }
        }
        found.sort();
        let mut bytes: u64 = found.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, path) in found {
            if bytes <= self.config.most_bytes {
                break;
            }
            let is_open = self.open.lock().contains(&path);
            if !is_open && fs::remove_file(&path).is_ok() {
                tracing::info!(file = %path.display(), "the oldest recording is removed: all have more than --record-mb");
                bytes -= size;
            }
        }
        Ok(())
    }

    /// Most bytes of one file, with as many open as there are.
    fn most_of_one(&self) -> u64 {
        let open = self.open.lock().len() as u64;
        self.config.most_bytes / SHARE.max(SHARE_OF_OPEN * open)
    }
}

/// Message of a recording.
#[derive(Debug)]
pub(super) struct Entry {
    pub body: Body,
    /// Time of what it is about, and of its arrival, in nanoseconds since 1970.
    pub at_ns: u64,
    pub heard_ns: u64,
}

/// A recording that is being written. Dropping it ends the file, after what waits.
#[derive(Debug)]
pub(super) struct RecordingFile {
    path: PathBuf,
    entries: SyncSender<Entry>,
    pictures: Arc<AtomicUsize>,
    /// Told once the file is there, with its path.
    begun: Option<oneshot::Receiver<PathBuf>>,
    /// When the thread last was not in the middle of writing.
    alive: Arc<Mutex<Instant>>,
    over: oneshot::Receiver<Over>,
    ended: Option<Over>,
}

/// What has become of a file.
#[derive(Debug)]
pub(super) enum FileNews {
    Begun,
    /// It takes no more.
    Over,
}

/// The file takes no more.
#[derive(Debug)]
pub(super) struct NoMore;

/// Reason why a file takes no more.
#[derive(Debug)]
pub(super) enum Over {
    /// Another file is to follow.
    Full,
    Failed(String),
}

impl RecordingFile {
    /// Begins the recording of the link with this name, with these facts. The thread makes the file. Returns nothing
    /// if there are as many recordings as may be.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(super) fn begin(
        recordings: &Recordings,
        name: &str,
        time: &str,
        facts: BTreeMap<String, String>,
    ) -> io::Result<Option<Self>> {
        let Some(place) = recordings.take_place() else {
            return Ok(None);
        };
        let link = name.to_owned();
        let name = name.replace(['/', ' '], "_");
        let path = recordings.config.dir.join(format!("{name}-{time}.mcap"));
        let (entries, received) = sync_channel(WAITING);
        let pictures = Arc::new(AtomicUsize::new(0));
        let (tells_begun, begun) = oneshot::channel();
        let alive = Arc::new(Mutex::new(Instant::now()));
        let writing = Writing {
            entries: received,
            begun: tells_begun,
            alive: alive.clone(),
            pictures: pictures.clone(),
            recordings: recordings.clone(),
            path: path.clone(),
            time: time.to_owned(),
            link,
            name,
            facts,
        };
        let (tells, over) = oneshot::channel();
        let thread = std::thread::Builder::new().name("recording".to_owned());
        thread.spawn(move || {
            let result = writing.write_all();
            drop(place);
            // The router may have ended without it.
            let _ = tells.send(match result {
                Ok(()) => Over::Full,
                Err(error) => Over::Failed(with_causes(&error.into())),
            });
        })?;
        Ok(Some(Self {
            path,
            entries,
            pictures,
            begun: Some(begun),
            alive,
            over,
            ended: None,
        }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the file is there, and then until it takes no more.
    pub(super) async fn news(&mut self) -> FileNews {
        if let Some(begun) = &mut self.begun {
            let begun = begun.await;
            self.begun = None;
            if let Ok(path) = begun {
                self.path = path;
                return FileNews::Begun;
            }
        }
        if self.ended.is_none() {
            self.ended = Some((&mut self.over).await.unwrap_or_else(panicked));
        }
        FileNews::Over
    }

    /// Returns true once the file was made.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_none()
    }

    /// Returns true while the disk does not answer.
    pub(super) fn is_hung(&self) -> bool {
        self.alive.lock().elapsed() > HUNG
    }

    /// Writes an entry; returns false if too much waits for the disk.
    ///
    /// # Errors
    /// If the file takes no more.
    pub(super) fn write(&self, entry: Entry) -> Result<bool, NoMore> {
        let is_picture = matches!(entry.body, Body::Picture(_));
        if is_picture && self.pictures.load(Ordering::Relaxed) >= WAITING_PICTURES {
            return Ok(false);
        }
        let count = usize::from(is_picture);
        self.pictures.fetch_add(count, Ordering::Relaxed);
        let Err(error) = self.entries.try_send(entry) else {
            return Ok(true);
        };
        self.pictures.fetch_sub(count, Ordering::Relaxed);
        match error {
            TrySendError::Full(_) => Ok(false),
            TrySendError::Disconnected(_) => Err(NoMore),
        }
    }

    /// Ends the file, and then returns why it takes no more.
    pub(super) fn end(self) -> impl Future<Output = Over> + Send + 'static {
        let Self {
            entries,
            over,
            ended,
            ..
        } = self;
        drop(entries);
        async {
            match ended {
                Some(ended) => ended,
                None => over.await.unwrap_or_else(panicked),
            }
        }
    }
}

fn panicked(_: RecvError) -> Over {
    Over::Failed("its thread has panicked".to_owned())
}

/// The thread's side.
struct Writing {
    entries: Receiver<Entry>,
    begun: oneshot::Sender<PathBuf>,
    alive: Arc<Mutex<Instant>>,
    pictures: Arc<AtomicUsize>,
    recordings: Recordings,
    path: PathBuf,
    /// The time in its name.
    time: String,
    link: String,
    /// The link's name as it is in files.
    name: String,
    facts: BTreeMap<String, String>,
}

impl Writing {
    /// Makes the file and writes it to its end.
    fn write_all(mut self) -> Result<(), McapError> {
        fs::create_dir_all(&self.recordings.config.dir)?;
        self.recordings.remove_oldest()?;
        let file = self.make()?;
        let (path, open) = (self.path.clone(), self.recordings.open.clone());
        let written = self.write_to(file);
        open.lock().remove(&path);
        // A full disk would collect empty files.
        if written.is_err() && path.metadata().is_ok_and(|about| about.len() == 0) {
            let _ = fs::remove_file(&path);
        }
        written
    }

    /// Makes the file, which is open then. One that the car has of the same second keeps its name, and this gets a number.
    fn make(&mut self) -> io::Result<File> {
        let mut number = 1;
        loop {
            let is_ours = self.recordings.open.lock().insert(self.path.clone());
            let made = File::options()
                .write(true)
                .create_new(true)
                .mode(0o640)
                .open(&self.path);
            if made.is_err() && is_ours {
                self.recordings.open.lock().remove(&self.path);
            }
            match made {
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && number < SAME_SECOND =>
                {
                    number += 1;
                    self.path = self
                        .path
                        .with_file_name(format!("{}-{number}-{}.mcap", self.name, self.time));
                }
                made => return made,
            }
        }
    }

    fn write_to(self, file: File) -> Result<(), McapError> {
        check_free_space(&file)?;
        tracing::info!(link = self.link, file = %self.path.display(), "recording");
        let size = file.try_clone()?;
        let mut writer = WriteOptions::new()
            .library(concat!("p2p-router ", env!("CARGO_PKG_VERSION")))
            .compression(None)
            .chunk_size(Some(CHUNK))
            // A chunk is written at once: what is in the file can be read.
            .disable_seeking(true)
            .create(BufWriter::new(file))?;
        writer.write_metadata(&Metadata {
            name: "p2prouter".to_owned(),
            metadata: self.facts,
        })?;
        let mut channels = [0; CHANNELS.len()];
        for (id, channel) in channels.iter_mut().zip(CHANNELS) {
            let (name, encoding, content) = channel.schema;
            let schema = writer.add_schema(name, encoding, content)?;
            let topic = format!("/{}/{}", self.name, channel.topic);
            *id = writer.add_channel(schema, &topic, channel.encoding, &BTreeMap::new())?;
        }
        // The router may have ended meanwhile.
        let _ = self.begun.send(self.path);
        let mut sequence = 0;
        let mut flushed = Instant::now();
        loop {
            *self.alive.lock() = Instant::now();
            match self.entries.recv_timeout(FLUSH) {
                Ok(entry) => {
                    if matches!(entry.body, Body::Picture(_)) {
                        self.pictures.fetch_sub(1, Ordering::Relaxed);
                    }
                    sequence += 1;
                    let header = MessageHeader {
                        channel_id: channels[entry.body.channel()],
                        sequence,
                        log_time: entry.at_ns,
                        publish_time: entry.heard_ns,
                    };
                    writer.write_to_known_channel(&header, &entry.body.encoded(entry.at_ns))?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if flushed.elapsed() < FLUSH {
                continue;
            }
            writer.flush()?;
            flushed = Instant::now();
            self.recordings.remove_oldest()?;
            check_free_space(&size)?;
            if size.metadata()?.len() > self.recordings.most_of_one() {
                break;
            }
        }
        writer.finish()?;
        Ok(())
    }
}

/// Returns true if the router gives its recordings such a name.
fn is_recording(name: &str) -> bool {
    let Some(start) = name.len().checked_sub(ENDING.len()) else {
        return false;
    };
    let mut pairs = name.as_bytes()[start..].iter().zip(ENDING);
    start > 0
        && pairs.all(|(byte, pattern)| match pattern {
            b'0' => byte.is_ascii_digit(),
            pattern => byte == pattern,
        })
}
