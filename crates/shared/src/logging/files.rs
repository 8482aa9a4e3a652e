//! Writing log lines to a place that can fail. It owns when a file is opened, given up and tried
//! again, and what is said about it; it runs on the log thread and never ends it.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::Level;

use super::clock;
use super::place::Place;
use super::queue::Lost;

/// How long a place that failed is left alone. A try costs a few system calls on the log thread;
/// the lines until then are lost.
const RETRY: Duration = Duration::from_secs(5);

/// The most that [`RETRY`] doubles to while a place fails again and again soon after it recovered
/// (a disk at its brim), so that what is said about it stays rare.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// How long writing must hold for a recovery to count.
const HELD: Duration = Duration::from_secs(60);

/// How often it is checked that the open file still has its name, since someone may tidy up.
const CHECK: Duration = Duration::from_secs(5);

/// Tells a person.
type Say = Box<dyn Fn(Level, &str) + Send>;

/// Lines into daily files, for as long as that works.
pub(super) struct Files<P: Place> {
    place: P,
    open: Option<Open<P::File>>,
    outage: Option<Outage>,
    retry: Duration,
    recovered: Option<Instant>,
    lost: Lost,
    say: Say,
}

struct Open<F> {
    file: F,
    day: String,
    checked: Instant,
}

struct Outage {
    retry_at: Instant,
    lost_before: u64,
}

impl<P: Place> Files<P> {
    /// Opens nothing yet. Lines that can't be written are added to `lost`; what a person should
    /// know goes to `say`: each outage once, and each recovery.
    pub(super) fn new(place: P, lost: Lost, say: impl Fn(Level, &str) + Send + 'static) -> Self {
        let say = Box::new(say);
        Self {
            place,
            open: None,
            outage: None,
            retry: RETRY,
            recovered: None,
            lost,
            say,
        }
    }

    fn take(&mut self, line: &[u8], now: Instant, utc: &str) {
        let resting = self
            .outage
            .as_ref()
            .is_some_and(|outage| now < outage.retry_at);
        let result = if resting {
            Err(None)
        } else {
            self.write(line, now, utc).map_err(Some)
        };
        match result {
            Ok(()) => self.recover(now, utc),
            Err(error) => {
                if let Some(error) = error {
                    self.fail(&error, now, utc);
                }
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn write(&mut self, line: &[u8], now: Instant, utc: &str) -> io::Result<()> {
        let day = clock::day(utc);
        if let Some(open) = &mut self.open {
            let check = now.duration_since(open.checked) >= CHECK;
            if open.day != day || check && !self.place.is_current(&open.file, day) {
                self.open = None;
            } else if check {
                open.checked = now;
            }
        }
        let open = match self.open.take() {
            Some(open) => self.open.insert(open),
            None => {
                let file = self.place.open(day)?;
                self.open.insert(Open {
                    file,
                    day: day.to_owned(),
                    checked: now,
                })
            }
        };
        let Some(outage) = &self.outage else {
            return open.file.write_all(line);
        };
        // Whoever reads the file later must see that it has a gap.
        let lost = self.lost.load(Ordering::Relaxed) - outage.lost_before;
        let gap = format!(
            "{{\"timestamp\":\"{utc}\",\"level\":\"WARN\",\"message\":\"log lines are missing \
             here\",\"lost\":{lost},\"target\":\"{}\"}}\n",
            module_path!()
        );
        open.file.write_all(&[gap.as_bytes(), line].concat())
    }

    fn fail(&mut self, error: &io::Error, now: Instant, utc: &str) {
        self.open = None;
        if let Some(outage) = &mut self.outage {
            outage.retry_at = now + self.retry;
            return;
        }
        let relapse = self
            .recovered
            .is_some_and(|then| now.duration_since(then) < HELD);
        self.retry = if relapse {
            (self.retry * 2).min(RETRY_MAX)
        } else {
            RETRY
        };
        let lost_before = self.lost.load(Ordering::Relaxed);
        self.outage = Some(Outage {
            retry_at: now + self.retry,
            lost_before,
        });
        let path = self.place.path(clock::day(utc));
        let advice = advice(error.kind());
        let path = path.display();
        (self.say)(
            Level::ERROR,
            &format!("can't write the log file {path}: {error}; going on without it: {advice}"),
        );
    }

    fn recover(&mut self, now: Instant, utc: &str) {
        let Some(outage) = self.outage.take() else {
            return;
        };
        self.recovered = Some(now);
        let lost = self.lost.load(Ordering::Relaxed) - outage.lost_before;
        let path = self.place.path(clock::day(utc));
        let path = path.display();
        (self.say)(
            Level::WARN,
            &format!("writing the log file {path} again; lines lost: {lost}"),
        );
    }
}

/// What to do about it.
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

impl<P: Place> Write for Files<P> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line, Instant::now(), &clock::now());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Each line is written by itself: a line that a crash could hold back is of little use.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex, MutexGuard};

    /// A disk with so many bytes of room, or one that can't be opened.
    #[derive(Default)]
    struct Disk {
        room: usize,
        unwritable: bool,
        opened: usize,
        days: BTreeMap<String, String>,
    }

    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<Disk>>);

    struct FakeFile(Fake, String);

    impl Fake {
        fn disk(&self) -> MutexGuard<'_, Disk> {
            self.0.lock().unwrap()
        }
    }

    impl Place for Fake {
        type File = FakeFile;

        fn open(&mut self, day: &str) -> io::Result<FakeFile> {
            let mut disk = self.disk();
            disk.opened += 1;
            if disk.unwritable {
                return Err(ErrorKind::PermissionDenied.into());
            }
            disk.days.entry(day.to_owned()).or_default();
            Ok(FakeFile(self.clone(), day.to_owned()))
        }

        fn is_current(&self, file: &FakeFile, _: &str) -> bool {
            self.disk().days.contains_key(&file.1)
        }

        fn path(&self, day: &str) -> PathBuf {
            PathBuf::from(format!("/logs/p.{day}.jsonl"))
        }
    }

    impl Write for FakeFile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.disk();
            let taken = bytes.len().min(disk.room);
            if taken == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            disk.room -= taken;
            if let Some(text) = disk.days.get_mut(&self.1) {
                text.push_str(std::str::from_utf8(&bytes[..taken]).unwrap());
            }
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Bench {
        disk: Fake,
        files: Files<Fake>,
        lost: Lost,
        said: Arc<Mutex<Vec<String>>>,
        start: Instant,
    }

    impl Bench {
        fn new(room: usize, unwritable: bool) -> Self {
            let disk = Fake::default();
            *disk.disk() = Disk {
                room,
                unwritable,
                ..Disk::default()
            };
            let (lost, said) = (Lost::default(), Arc::new(Mutex::new(Vec::new())));
            let sayings = Arc::clone(&said);
            let say = move |_, text: &str| sayings.lock().unwrap().push(text.to_owned());
            let files = Files::new(disk.clone(), Arc::clone(&lost), say);
            Self {
                disk,
                files,
                lost,
                said,
                start: Instant::now(),
            }
        }

        fn line_at(&mut self, seconds: u64, line: &str) {
            let now = self.start + Duration::from_secs(seconds);
            self.files
                .take(line.as_bytes(), now, "2026-11-22T17:02:03.456Z");
        }

        fn said(&self) -> Vec<String> {
            self.said.lock().unwrap().clone()
        }

        fn text(&self) -> String {
            self.disk.disk().days["2026-11-22"].clone()
        }
    }

    #[test]
    fn a_full_disk_is_said_once_and_so_is_its_recovery() {
        let mut bench = Bench::new(4, false);
        for seconds in [0, 1, 2, 6, 12, 18] {
            bench.line_at(seconds, "ok\n");
        }
        assert_eq!(bench.said().len(), 1);
        assert!(bench.said()[0].starts_with("can't write the log file /logs/p.2026-11-22.jsonl: "));
        assert!(bench.said()[0].contains("free some space"));

        bench.disk.disk().room = 1000;
        bench.line_at(24, "back\n");
        bench.line_at(25, "more\n");
        assert_eq!(
            bench.said()[1..],
            ["writing the log file /logs/p.2026-11-22.jsonl again; lines lost: 5"]
        );
        assert!(bench.text().ends_with("back\nmore\n"));
        assert!(bench.text().contains("\"lost\":5"));
        assert_eq!(bench.lost.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn a_place_that_failed_is_left_alone_for_a_while() {
        let mut bench = Bench::new(1000, true);
        for seconds in [0, 1, 4, 5, 9, 10] {
            bench.line_at(seconds, "x\n");
        }
        assert_eq!(bench.disk.disk().opened, 3);
        assert_eq!(bench.said().len(), 1);
        assert!(bench.said()[0].contains("let this user write there"));
    }

    #[test]
    fn a_disk_at_its_brim_is_spoken_of_ever_less() {
        let mut bench = Bench::new(0, false);
        for seconds in 0..3600 {
            // Room for the gap's line and nothing more, each time it is tried.
            bench.disk.disk().room = 160;
            bench.line_at(seconds, "0123456789\n");
            bench.line_at(seconds, &"x".repeat(160));
        }
        assert!(bench.said().len() < 40, "{}", bench.said().len());
    }

    #[test]
    fn each_day_has_its_own_file() {
        let mut bench = Bench::new(1000, false);
        bench.line_at(0, "one\n");
        bench
            .files
            .take(b"two\n", bench.start, "2026-11-23T00:00:00.000Z");
        assert_eq!(bench.text(), "one\n");
        assert_eq!(bench.disk.disk().days["2026-11-23"], "two\n");
    }

    #[test]
    fn a_day_that_cannot_be_opened_is_an_outage_too() {
        let mut bench = Bench::new(1000, false);
        bench.line_at(0, "one\n");
        bench.disk.disk().unwritable = true;
        bench
            .files
            .take(b"two\n", bench.start, "2026-11-23T00:00:00.000Z");
        assert_eq!(bench.said().len(), 1);
        assert_eq!(bench.text(), "one\n");
    }

    #[test]
    fn a_file_that_was_removed_is_made_again() {
        let mut bench = Bench::new(1000, false);
        bench.line_at(0, "one\n");
        bench.disk.disk().days.clear();
        bench.line_at(6, "two\n");
        assert_eq!(bench.text(), "two\n");
        assert!(bench.said().is_empty());
    }
}
