//! Log files on real disks, full ones too.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::log_folder::DAYS_KEPT;
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
        fs::create_dir_all(&self.file.folder.dir).unwrap();
        let _ = fs::remove_file(self.path());
        symlink("/dev/full", self.path()).unwrap();
    }

    fn line_at(&mut self, seconds: u64, line: &str) {
        let now = self.start + Duration::from_secs(seconds);
        self.file.write_lines(line.as_bytes(), now, UTC);
    }

    fn line_on(&mut self, day: &str, line: &str) {
        let utc = format!("{day}T00:00:00.000Z");
        self.file.write_lines(line.as_bytes(), self.start, &utc);
    }

    fn path(&self) -> PathBuf {
        self.file.folder.path("2026-11-22")
    }

    /// Bytes of all logs.
    fn size(&self) -> u64 {
        fs::read_dir(&self.file.folder.dir)
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn said(&self) -> Vec<String> {
        let folder = format!("{}/", self.file.folder.dir.display());
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
    assert!(bench.said()[0].starts_with("can't write the log file p2p-test.2026-11-22.jsonl: "));
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
fn of_lines_that_were_to_go_into_one_write_each_is_counted_as_lost() {
    let mut bench = Bench::full();
    bench.line_at(0, "a\nb\nc\n");
    bench.line_at(1, "d\ne\n");
    assert_eq!(bench.lost.load(Ordering::Relaxed), 5);
    fs::remove_file(bench.path()).unwrap();
    bench.line_at(6, "f\ng\n");
    assert!(bench.text().contains("\"lost\":5"));
    assert!(bench.text().ends_with("}\nf\ng\n"));
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
    let second = fs::read_to_string(bench.file.folder.path("2026-11-23"));
    assert_eq!(second.unwrap(), "two\n");
}

#[test]
fn a_day_that_cannot_be_opened_is_an_outage_too() {
    let mut bench = Bench::new();
    bench.line_at(0, "one\n");
    fs::create_dir(bench.file.folder.path("2026-11-23")).unwrap();
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
    assert_eq!(mode(&bench.file.folder.dir) & 0o027, 0);
    assert_eq!(mode(&bench.path()) & 0o137, 0);
}

#[test]
fn two_weeks_of_own_logs_are_kept_and_nothing_else_is_touched() {
    let mut bench = Bench::new();
    fs::create_dir_all(&bench.file.folder.dir).unwrap();
    let others = [
        "p2p-test.2026-01-01.jsonl.gz",
        "p2p-test-saved.jsonl",
        "p2p-test2.2026-01-01.jsonl",
    ];
    for name in others {
        fs::write(bench.file.folder.dir.join(name), "").unwrap();
    }
    for day in 1..=20 {
        bench.line_on(&format!("2026-11-{day:02}"), "x\n");
    }
    let names: Vec<_> = fs::read_dir(&bench.file.folder.dir)
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
    fs::create_dir_all(&bench.file.folder.dir).unwrap();
    for day in 1..=20 {
        fs::write(bench.file.folder.path(&format!("2027-01-{day:02}")), "x\n").unwrap();
    }
    for seconds in [0, 6, 12] {
        bench.line_at(seconds, "now\n");
    }
    assert_eq!(bench.text(), "now\nnow\nnow\n");
    // Its clock has not been set yet.
    bench.line_on("1970-01-01", "behind\n");
    let behind = fs::read_to_string(bench.file.folder.path("1970-01-01"));
    assert_eq!(behind.unwrap(), "behind\n");
    assert_eq!(
        fs::read_dir(&bench.file.folder.dir).unwrap().count(),
        DAYS_KEPT
    );
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
    let older = fs::read_to_string(bench.file.folder.path("2026-11-20"));
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
    assert!(bench.file.folder.path("2026-11-10").exists());
}

#[test]
fn what_is_removed_for_the_size_is_told_once() {
    let mut bench = Bench::new();
    fs::create_dir_all(&bench.file.folder.dir).unwrap();
    for day in 18..=21 {
        let path = bench.file.folder.path(&format!("2026-11-{day}"));
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
    let dir = bench.file.folder.dir.clone();
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
    bench.file.folder.size = 64 << 20;
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
