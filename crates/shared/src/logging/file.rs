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
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::fstatvfs;
use tracing::Level;

use super::{GATHER, LogOptions, LogThrottle};

/// Number of days of which files are kept: two weeks are enough to look back.
const DAYS_KEPT: usize = 14;

/// Number of parts of the size of all files: one file takes one part at most, and one day has two
/// files at most, which is half.
const PARTS: u64 = 4;

/// Free space that is left for other files, which matter more, such as the router's keys. On a small
/// disk it is a twentieth of the disk.
const KEPT_FREE: u64 = 64 << 20;

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
    dir: PathBuf,
    program: &'static str,
    /// Most bytes of all files.
    size: u64,
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
            dir: options.log_dir,
            program: options.program,
            size: options.log_size,
            open: None,
            outage: None,
            lost,
            notices: LogThrottle::new(2, Duration::from_secs(300)),
            notice: Box::new(notice),
        }
    }

    /// Appends a line, or counts it as lost. `utc` is the time, of which the first ten characters
    /// are the day.
    fn write_line(&mut self, line: &[u8], now: Instant, utc: &str) {
        let day = &utc[.."2026-11-22".len()];
        let is_resting = |outage: &Outage| now < outage.retry_at;
        let result = if self.outage.as_ref().is_some_and(is_resting) {
            Err(None)
        } else {
            self.append(line, now, day, utc).map_err(Some)
        };
        let Err(error) = result else {
            if let Some(outage) = self.outage.take() {
                let (path, lost) = (self.path(day), outage.lost);
                let path = path.display();
                let again = format!("writing the log file {path} again; lines lost: {lost}");
                self.tell(now, Level::WARN, &again);
            }
            return;
        };
        self.lost.fetch_add(1, Ordering::Relaxed);
        if let Some(outage) = &mut self.outage {
            outage.lost += 1;
        }
        let Some(error) = error else { return };
        self.open = None;
        let mut outage = self.outage.take().unwrap_or(Outage {
            retry_at: now,
            lost: 1,
            is_told: false,
        });
        outage.retry_at = now + RETRY;
        // An outage that begins soon after another is reported later, if it lasts.
        if !outage.is_told {
            let (path, advice) = (self.path(day), advice(error.kind()));
            let path = path.display();
            let failed =
                format!("can't write the log file {path}: {error}; going on without it: {advice}");
            outage.is_told = self.tell(now, Level::ERROR, &failed);
        }
        self.outage = Some(outage);
    }

    fn append(&mut self, line: &[u8], now: Instant, day: &str, utc: &str) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) if open.day == day => self.check(open, now, utc)?,
            _ => self.open_day(day, now, utc)?,
        };
        if open.length > 0 && open.length + line.len() as u64 > self.size / PARTS {
            fs::rename(self.path(day), self.full_path(day))?;
            open = self.open_day(day, now, utc)?;
        }
        open.length += line.len() as u64;
        let written = match &self.outage {
            None => open.file.write_all(line),
            // Whoever reads the file later must see that lines are missing.
            Some(Outage { lost, .. }) => {
                let gap = warning(
                    utc,
                    "log lines are missing here",
                    &format!("\"lost\":{lost}"),
                );
                open.file.write_all(&[gap.as_bytes(), line].concat())
            }
        };
        self.open = Some(open);
        written
    }

    fn open_day(&mut self, day: &str, now: Instant, utc: &str) -> io::Result<OpenFile> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&self.dir)?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(self.path(day))?;
        // A line that was torn by a full disk or a power cut must not swallow the next one.
        let mut last = *b"\n";
        if let Some(at) = file.metadata()?.len().checked_sub(1) {
            file.read_exact_at(&mut last, at)?;
        }
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
        let (files, bytes) = self.remove_old(day);
        if files > 0 {
            let (program, size) = (self.program, self.size);
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
        match (open.file.metadata(), fs::metadata(self.path(&open.day))) {
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

    fn path(&self, day: &str) -> PathBuf {
        self.dir.join(format!("{}.{day}.jsonl", self.program))
    }

    /// Returns the path of the day's earlier lines.
    fn full_path(&self, day: &str) -> PathBuf {
        self.dir.join(format!("{}.{day}.1.jsonl", self.program))
    }

    /// Removes the oldest files, so that what is left has room beside the file of the day, which is
    /// never removed: the clock may be behind, or have been ahead. A file that can't be removed
    /// stays until the next try. Returns how many were removed although they are of the days that are
    /// kept, and their bytes.
    fn remove_old(&self, day: &str) -> (usize, u64) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return (0, 0);
        };
        let open = self.path(day);
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let age = self.age(&path)?;
                (path != open).then_some((age, path))
            })
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        let mut left = self.size - self.size / PARTS;
        let mut days = vec![day.to_owned()];
        let mut is_old = false;
        let mut removed = (0, 0);
        for ((of_day, _), path) in files {
            if !days.contains(&of_day) {
                days.push(of_day);
            }
            let length = fs::metadata(&path).map_or(0, |file| file.len());
            is_old |= days.len() > DAYS_KEPT || length > left;
            if is_old {
                let is_removed = fs::remove_file(path).is_ok();
                if is_removed && days.len() <= DAYS_KEPT {
                    removed = (removed.0 + 1, removed.1 + length);
                }
            } else {
                left -= length;
            }
        }
        removed
    }

    /// Returns the day of a log of this program and whether the log has the day's newest lines;
    /// `None` for any other file.
    fn age(&self, path: &Path) -> Option<(String, bool)> {
        let name = path.file_name()?.to_str()?;
        let rest = name.strip_prefix(self.program)?.strip_prefix('.')?;
        let rest = rest.strip_suffix(".jsonl")?;
        let day = rest.strip_suffix(".1").unwrap_or(rest);
        let is_of_day = |byte: u8| byte.is_ascii_digit() || byte == b'-';
        let is_day = day.len() == "2026-11-22".len() && day.bytes().all(is_of_day);
        is_day.then(|| (day.to_owned(), day == rest))
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

/// Fails if there is little free space on the file's disk.
fn check_free_space(file: &File) -> io::Result<()> {
    let disk = fstatvfs(file)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let all = disk.f_blocks.saturating_mul(disk.f_frsize);
    if free >= KEPT_FREE.min(all / 20) {
        return Ok(());
    }
    let message = format!("only {} KiB of the disk are free", free / 1024);
    Err(io::Error::new(ErrorKind::StorageFull, message))
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
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let utc = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        self.write_line(line, Instant::now(), &utc);
        Ok(line.len())
    }

    /// Called when no line waits. Nothing is left to write: lines aren't buffered here, since a
    /// crash would lose them.
    fn flush(&mut self) -> io::Result<()> {
        std::thread::sleep(GATHER);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Mutex;

    use super::*;

    const UTC: &str = "2026-11-22T17:02:03.456Z";

    /// Log files in a folder of their own, and what was said of them.
    struct Bench {
        temp: tempfile::TempDir,
        file: DailyFile,
        lost: Arc<AtomicU64>,
        said: Arc<Mutex<Vec<String>>>,
        start: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let (lost, said) = (Arc::default(), Arc::new(Mutex::new(Vec::new())));
            let sayings = Arc::clone(&said);
            let notice = move |_, text: &str| sayings.lock().unwrap().push(text.to_owned());
            let options = LogOptions {
                program: "p2p-test",
                log_dir: temp.path().join("deep/logs"),
                log_size: 1 << 20,
                verbosity: 0,
            };
            let file = DailyFile::new(options, Arc::clone(&lost), notice);
            Self {
                temp,
                file,
                lost,
                said,
                start: Instant::now(),
            }
        }

        /// A disk that is full: what is written to the day's file fails.
        fn full() -> Self {
            let mut bench = Self::new();
            bench.fill_disk();
            bench
        }

        fn fill_disk(&mut self) {
            self.file.open = None;
            fs::create_dir_all(&self.file.dir).unwrap();
            let _ = fs::remove_file(self.path());
            symlink("/dev/full", self.path()).unwrap();
        }

        fn line_at(&mut self, seconds: u64, line: &str) {
            let now = self.start + Duration::from_secs(seconds);
            self.file.write_line(line.as_bytes(), now, UTC);
        }

        fn line_on(&mut self, day: &str, line: &str) {
            let utc = format!("{day}T00:00:00.000Z");
            self.file.write_line(line.as_bytes(), self.start, &utc);
        }

        fn path(&self) -> PathBuf {
            self.file.path("2026-11-22")
        }

        /// Bytes of all logs.
        fn size(&self) -> u64 {
            fs::read_dir(&self.file.dir)
                .unwrap()
                .map(|entry| entry.unwrap().metadata().unwrap().len())
                .sum()
        }

        fn text(&self) -> String {
            fs::read_to_string(self.path()).unwrap()
        }

        fn said(&self) -> Vec<String> {
            let folder = format!("{}/", self.file.dir.display());
            let said = self.said.lock().unwrap();
            said.iter().map(|text| text.replace(&folder, "")).collect()
        }
    }

    #[test]
    fn a_full_disk_is_said_once_and_so_is_its_recovery() {
        let mut bench = Bench::full();
        for seconds in [1, 2, 6, 12, 18] {
            bench.line_at(seconds, "ok\n");
        }
        assert_eq!(bench.said().len(), 1);
        assert!(
            bench.said()[0].starts_with("can't write the log file p2p-test.2026-11-22.jsonl: ")
        );
        assert!(bench.said()[0].contains("free some space"));

        fs::remove_file(bench.path()).unwrap();
        bench.line_at(24, "back\n");
        bench.line_at(25, "more\n");
        assert_eq!(
            bench.said()[1..],
            ["writing the log file p2p-test.2026-11-22.jsonl again; lines lost: 5"]
        );
        assert!(bench.text().ends_with("back\nmore\n"));
        assert!(bench.text().contains("\"lost\":5"));
        assert_eq!(bench.lost.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn a_file_that_failed_is_left_alone_for_a_while() {
        let mut bench = Bench::full();
        bench.line_at(0, "x\n");
        fs::remove_file(bench.path()).unwrap();
        for seconds in [1, 4] {
            bench.line_at(seconds, "x\n");
            assert!(!bench.path().exists());
        }
        bench.line_at(5, "x\n");
        assert!(bench.text().ends_with("x\n"));
    }

    #[test]
    fn what_to_do_depends_on_what_failed() {
        let mut bench = Bench::new();
        fs::write(bench.temp.path().join("deep"), "").unwrap();
        bench.line_at(0, "x\n");
        assert!(bench.said()[0].contains("something else has that name: move it"));
        assert!(advice(ErrorKind::PermissionDenied).contains("let this user write there"));
    }

    #[test]
    fn a_disk_at_its_brim_is_spoken_of_ever_less() {
        let mut bench = Bench::full();
        for seconds in 0..3600 {
            // Room for one line and nothing more, each time it is tried.
            fs::remove_file(bench.path()).ok();
            bench.line_at(seconds, "0123456789\n");
            bench.fill_disk();
            bench.line_at(seconds, "0123456789\n");
        }
        assert!(bench.said().len() < 40, "{}", bench.said().len());
    }

    #[test]
    fn an_outage_soon_after_another_is_told_when_it_lasts() {
        let mut bench = Bench::full();
        bench.line_at(0, "x\n");
        fs::remove_file(bench.path()).unwrap();
        bench.line_at(5, "x\n");
        assert_eq!(bench.said().len(), 2);
        bench.fill_disk();
        for seconds in (10..=600).step_by(5) {
            bench.line_at(seconds, "x\n");
        }
        let said = bench.said();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[2].starts_with("can't write the log file"));
    }

    #[test]
    fn each_day_has_its_own_file() {
        let mut bench = Bench::new();
        bench.line_at(0, "one\n");
        bench.line_on("2026-11-23", "two\n");
        assert_eq!(bench.text(), "one\n");
        let second = fs::read_to_string(bench.file.path("2026-11-23"));
        assert_eq!(second.unwrap(), "two\n");
    }

    #[test]
    fn a_day_that_cannot_be_opened_is_an_outage_too() {
        let mut bench = Bench::new();
        bench.line_at(0, "one\n");
        fs::create_dir(bench.file.path("2026-11-23")).unwrap();
        bench.line_on("2026-11-23", "two\n");
        assert_eq!(bench.said().len(), 1);
        assert_eq!(bench.text(), "one\n");
    }

    #[test]
    fn a_file_that_was_removed_or_replaced_is_made_again() {
        let mut bench = Bench::new();
        bench.line_at(0, "one\n");
        fs::remove_file(bench.path()).unwrap();
        bench.line_at(6, "two\n");
        assert_eq!(bench.text(), "two\n");
        fs::rename(bench.path(), bench.temp.path().join("moved")).unwrap();
        fs::write(bench.path(), "").unwrap();
        bench.line_at(12, "three\n");
        assert_eq!(bench.text(), "three\n");
        assert!(bench.said().is_empty());
    }

    #[test]
    fn folder_and_file_are_not_for_everybody() {
        let mut bench = Bench::new();
        bench.line_at(0, "x\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&bench.file.dir) & 0o027, 0);
        assert_eq!(mode(&bench.path()) & 0o137, 0);
    }

    #[test]
    fn two_weeks_of_own_logs_are_kept_and_nothing_else_is_touched() {
        let mut bench = Bench::new();
        fs::create_dir_all(&bench.file.dir).unwrap();
        let others = [
            "p2p-test.2026-01-01.jsonl.gz",
            "p2p-test-saved.jsonl",
            "p2p-test2.2026-01-01.jsonl",
        ];
        for name in others {
            fs::write(bench.file.dir.join(name), "").unwrap();
        }
        for day in 1..=20 {
            bench.line_on(&format!("2026-11-{day:02}"), "x\n");
        }
        let names: Vec<_> = fs::read_dir(&bench.file.dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 14 + others.len());
        assert!(others.iter().all(|other| names.contains(&(*other).into())));
        assert!(names.contains(&"p2p-test.2026-11-07.jsonl".into()));
        assert!(!names.contains(&"p2p-test.2026-11-06.jsonl".into()));
    }

    #[test]
    fn what_is_open_is_never_removed_whatever_the_clock_says() {
        let mut bench = Bench::new();
        fs::create_dir_all(&bench.file.dir).unwrap();
        for day in 1..=20 {
            fs::write(bench.file.path(&format!("2027-01-{day:02}")), "x\n").unwrap();
        }
        for seconds in [0, 6, 12] {
            bench.line_at(seconds, "now\n");
        }
        assert_eq!(bench.text(), "now\nnow\nnow\n");
        // Its clock has not been set yet.
        bench.line_on("1970-01-01", "behind\n");
        let behind = fs::read_to_string(bench.file.path("1970-01-01"));
        assert_eq!(behind.unwrap(), "behind\n");
        assert_eq!(fs::read_dir(&bench.file.dir).unwrap().count(), DAYS_KEPT);
    }

    #[test]
    fn a_flood_takes_half_of_the_size_and_its_newest_lines_stay() {
        let mut bench = Bench::new();
        let line = format!("{}\n", "x".repeat(1023));
        bench.line_on("2026-11-20", "an older day\n");
        for _ in 0..3000 {
            bench.line_at(0, &line);
        }
        bench.line_at(0, "newest\n");
        assert!(bench.text().ends_with("newest\n"));
        let day = bench.size();
        assert!((300 << 10..=513 << 10).contains(&day), "{day}");
        let older = fs::read_to_string(bench.file.path("2026-11-20"));
        assert_eq!(older.unwrap(), "an older day\n");
        assert!(bench.said().is_empty());
    }

    #[test]
    fn all_files_together_keep_within_the_size() {
        let mut bench = Bench::new();
        let line = format!("{}\n", "x".repeat(1023));
        for day in 1..=10 {
            for _ in 0..400 {
                bench.line_on(&format!("2026-11-{day:02}"), &line);
                assert!(bench.size() <= 1 << 20);
            }
        }
        assert!(bench.size() > 1 << 19);
        assert!(bench.file.path("2026-11-10").exists());
    }

    #[test]
    fn what_is_removed_for_the_size_is_told_once() {
        let mut bench = Bench::new();
        fs::create_dir_all(&bench.file.dir).unwrap();
        for day in 18..=21 {
            let path = bench.file.path(&format!("2026-11-{day}"));
            fs::write(path, "x".repeat(400 << 10)).unwrap();
        }
        for seconds in [0, 6, 12] {
            bench.line_at(seconds, "now\n");
        }
        let said = bench.said();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with("3 old log files of p2p-test (1228800 bytes)"),
            "{said:?}"
        );
        let text = bench.text();
        assert!(text.ends_with("}\nnow\nnow\nnow\n"), "{text}");
        let told: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&told["files"], &told["bytes"]),
            (&3.into(), &1_228_800.into())
        );
    }

    #[test]
    fn a_disk_with_little_room_is_left_to_others() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can make a small disk");
            return;
        }
        let mut bench = Bench::new();
        let dir = bench.file.dir.clone();
        fs::create_dir_all(&dir).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let status = std::process::Command::new(program)
                .args(arguments)
                .arg(&dir)
                .status();
            assert!(status.unwrap().success());
        };
        run("mount", &["-t", "tmpfs", "-o", "size=10m", "p2p-test"]);
        fs::write(dir.join("others"), vec![0; 9 << 20]).unwrap();
        bench.file.size = 64 << 20;
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..2048 {
            bench.line_at(0, &line);
        }
        let key = fs::write(dir.join("keys.toml.new"), vec![0; 100 << 10]);
        let said = bench.said();
        bench.file.open = None;
        run("umount", &["--lazy"]);
        key.unwrap();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("of the disk are free"), "{said:?}");
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next_begins() {
        let mut bench = Bench::new();
        for line in ["{\"to", "{}\n", ""] {
            bench.file.open = None;
            bench.line_at(0, line);
        }
        assert_eq!(bench.text(), "{\"to\n{}\n");
    }
}
