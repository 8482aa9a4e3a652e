//! Log files, one a day: `PROGRAM.2026-11-22.jsonl`, of which the newest fourteen are kept. A file that
//! has become too large is renamed to `PROGRAM.2026-11-22.1.jsonl`, in place of the one before, and a
//! new one is begun: of a busy day the newest lines stay. The log thread writes them. Lines that
//! can't be written are lost and counted, and the file is tried again later.
//!
//! tracing-appender's own rolling files aren't used: when a new day's file can't be opened they
//! print that to standard error, which panics their thread if it is closed, and go on in the old
//! file until the next day; they make files that everybody may read, and remove whatever begins
//! with the program's name.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tracing::Level;

use super::{GATHER, LogOptions, LogThrottle};

mod log_folder;
#[cfg(test)]
mod tests;

use log_folder::LogFolder;

pub use log_folder::check_free_space;

/// Pause after a failure. A try costs a few system calls on the log thread.
const RETRY: Duration = Duration::from_secs(5);

/// Time between two checks that the open file was not removed or renamed, and that the disk has free
/// space.
const CHECK: Duration = Duration::from_secs(5);

/// Number of written bytes after which both are checked sooner.
const CHECKED_BYTES: u64 = 64 << 10;

/// Function that tells a person about an outage or its end.
type Notice = Box<dyn Fn(Level, &str) + Send>;

/// Appends lines to the file of the day.
pub(super) struct DailyFile {
    folder: LogFolder,
    open: Option<OpenFile>,
    outage: Option<Outage>,
    lost: Arc<AtomicU64>,
    /// Limit of notices: an almost full disk fails and recovers again and again.
    notices: LogThrottle,
    notice: Notice,
}

struct OpenFile {
    file: File,
    day: String,
    length: u64,
    checked: Instant,
    checked_length: u64,
}

struct Outage {
    retry_at: Instant,
    lost: u64,
    is_told: bool,
}

impl DailyFile {
    /// Opens no file yet. Lines that can't be written are added to `lost`; `notice` is called for
    /// each outage and each recovery.
    pub(super) fn new(
        options: LogOptions,
        lost: Arc<AtomicU64>,
        notice: impl Fn(Level, &str) + Send + 'static,
    ) -> Self {
        Self {
            folder: LogFolder {
                dir: options.log_dir,
                program: options.program,
                size: options.log_size,
            },
            open: None,
            outage: None,
            lost,
            notices: LogThrottle::new(2, Duration::from_secs(300)),
            notice: Box::new(notice),
        }
    }

    /// Appends lines, or counts each of them as lost. `utc` is the time, of which the first ten
    /// characters are the day.
    fn write_lines(&mut self, lines: &[u8], now: Instant, utc: &str) {
        let day = &utc[.."2026-11-22".len()];
        let is_resting = |outage: &Outage| now < outage.retry_at;
        let result = if self.outage.as_ref().is_some_and(is_resting) {
            Err(None)
        } else {
            self.append(lines, now, day, utc).map_err(Some)
        };
        let Err(error) = result else {
            if let Some(outage) = self.outage.take() {
                let (path, lost) = (self.folder.path(day), outage.lost);
                let path = path.display();
                let again = format!("writing the log file {path} again; lines lost: {lost}");
                self.tell(now, Level::WARN, &again);
            }
            return;
        };
        let lost = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.lost.fetch_add(lost, Ordering::Relaxed);
        if let Some(outage) = &mut self.outage {
            outage.lost += lost;
        }
        let Some(error) = error else { return };
        self.open = None;
        let mut outage = self.outage.take().unwrap_or(Outage {
            retry_at: now,
            lost,
            is_told: false,
        });
        outage.retry_at = now + RETRY;
        // An outage that begins soon after another is reported later, if it lasts.
        if !outage.is_told {
            let (path, advice) = (self.folder.path(day), advice(error.kind()));
            let path = path.display();
            let failed =
                format!("can't write the log file {path}: {error}; going on without it: {advice}");
            outage.is_told = self.tell(now, Level::ERROR, &failed);
        }
        self.outage = Some(outage);
    }

    fn append(&mut self, lines: &[u8], now: Instant, day: &str, utc: &str) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) if open.day == day => self.check(open, now, utc)?,
            _ => self.open_day(day, now, utc)?,
        };
        if open.length > 0 && open.length + lines.len() as u64 > self.folder.part() {
            fs::rename(self.folder.path(day), self.folder.full_path(day))?;
            open = self.open_day(day, now, utc)?;
        }
        open.length += lines.len() as u64;
        let written = match &self.outage {
            None => open.file.write_all(lines),
            // Whoever reads the file later must see that lines are missing.
            Some(Outage { lost, .. }) => {
                let gap = warning(
                    utc,
                    "log lines are missing here",
                    &format!("\"lost\":{lost}"),
                );
                open.file.write_all(&[gap.as_bytes(), lines].concat())
            }
        };
        self.open = Some(open);
        written
    }

    fn open_day(&mut self, day: &str, now: Instant, utc: &str) -> io::Result<OpenFile> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&self.folder.dir)?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(self.folder.path(day))?;
        // A line that was torn by a full disk or a power cut must not swallow the next one.
        let mut last = *b"\n";
        if let Some(at) = file.metadata()?.len().checked_sub(1) {
            file.read_exact_at(&mut last, at)?;
        }
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
        let (files, bytes) = self.folder.remove_old(day);
        if files > 0 {
            let (program, size) = (self.folder.program, self.folder.size);
            let message = format!(
                "{files} old log files of {program} ({bytes} bytes) were removed, to keep all within --log-size ({size} bytes)"
            );
            self.tell(now, Level::WARN, &message);
            let fields = format!("\"files\":{files},\"bytes\":{bytes},\"log_size\":{size}");
            let message = "old log files were removed, to keep all within --log-size";
            file.write_all(warning(utc, message, &fields).as_bytes())?;
        }
        let length = file.metadata()?.len();
        check_free_space(&file)?;
        Ok(OpenFile {
            file,
            day: day.to_owned(),
            length,
            checked: now,
            checked_length: length,
        })
    }

    /// Checks, once in a while, that a reader finds the open file under its name, and that there is
    /// free space. Another program may have written to the file, too.
    fn check(&mut self, open: OpenFile, now: Instant, utc: &str) -> io::Result<OpenFile> {
        if now.duration_since(open.checked) < CHECK
            && open.length - open.checked_length < CHECKED_BYTES
        {
            return Ok(open);
        }
        let identity = |file: &fs::Metadata| (file.dev(), file.ino());
        match (
            open.file.metadata(),
            fs::metadata(self.folder.path(&open.day)),
        ) {
            (Ok(ours), Ok(found)) if identity(&ours) == identity(&found) => {
                check_free_space(&open.file)?;
                Ok(OpenFile {
                    length: ours.len(),
                    checked: now,
                    checked_length: ours.len(),
                    ..open
                })
            }
            _ => self.open_day(&open.day, now, utc),
        }
    }

    /// Gives notice, unless there were several a short time ago. Returns whether it did.
    fn tell(&mut self, now: Instant, level: Level, message: &str) -> bool {
        let is_allowed = self.notices.allow(now).is_some();
        if is_allowed {
            (self.notice)(level, message);
        }
        is_allowed
    }
}

/// Makes a line of a log about itself, with these fields.
fn warning(utc: &str, message: &str, fields: &str) -> String {
    format!(
        "{{\"timestamp\":\"{utc}\",\"level\":\"WARN\",\"message\":\"{message}\",{fields},\"target\":\"{}\"}}\n",
        module_path!()
    )
}

/// Says what to do about a failure.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space, or choose another folder with --log-dir"
        }
        ErrorKind::PermissionDenied => {
            "let this user write there, or choose another folder with --log-dir"
        }
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            "something else has that name: move it, or choose another folder with --log-dir"
        }
        _ => "choose another folder with --log-dir",
    }
}

impl Write for DailyFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let utc = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        self.write_lines(lines, Instant::now(), &utc);
        Ok(lines.len())
    }

    /// Called when no line waits. Nothing is left to write here: lines wait only in the queue, and no longer
    /// than they must, since a crash loses them.
    fn flush(&mut self) -> io::Result<()> {
        std::thread::sleep(GATHER);
        Ok(())
    }
}
