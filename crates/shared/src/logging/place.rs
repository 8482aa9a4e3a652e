//! The folder of log files: `PROGRAM.2026-11-22.jsonl`, one a day, the newest fourteen kept. It
//! owns their names, modes and removal, and never decides when to write.
//!
//! tracing-appender's own rolling files aren't used: when a new day's file can't be opened they
//! print that to standard error, which panics their thread if it is closed, and go on in the old
//! file until the next day; they make files that everybody may read, and remove whatever begins
//! with the program's name.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// Two weeks: enough to look at last weekend, and no growth without end on an SD card.
const FILES_KEPT: usize = 14;

/// Where log lines go; a trait so that tests can have a disk that is full.
pub(super) trait Place: Send + 'static {
    /// What takes the lines of a day.
    type File: Write + Send;

    /// Opens a day's file (`2026-11-22`) for appending, at the beginning of a line.
    fn open(&mut self, day: &str) -> io::Result<Self::File>;

    /// Whether the file is still the one that a reader finds under its name.
    fn is_current(&self, file: &Self::File, day: &str) -> bool;

    /// The file's path, for messages.
    fn path(&self, day: &str) -> PathBuf;
}

/// A folder on disk.
pub(super) struct Folder {
    pub(super) dir: PathBuf,
    pub(super) program: &'static str,
}

impl Folder {
    /// Whether a file's name is that of a program's log of some day, and nothing else.
    fn is_log(&self, name: &str) -> bool {
        let day = name
            .strip_prefix(self.program)
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.strip_suffix(".jsonl"));
        day.is_some_and(|day| {
            day.len() == "2026-11-22".len()
                && day
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'-')
        })
    }

    /// Removes the oldest. What can't be removed stays until the next day's try.
    fn prune(&self) -> io::Result<()> {
        let mut names: Vec<String> = fs::read_dir(&self.dir)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| self.is_log(name))
            .collect();
        names.sort_unstable();
        for name in names.iter().rev().skip(FILES_KEPT) {
            fs::remove_file(self.dir.join(name))?;
        }
        Ok(())
    }
}

impl Place for Folder {
    type File = File;

    fn open(&mut self, day: &str) -> io::Result<File> {
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
        if file.seek(SeekFrom::End(0))? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        let _ = self.prune();
        Ok(file)
    }

    fn is_current(&self, file: &File, day: &str) -> bool {
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        match (file.metadata(), fs::metadata(self.path(day))) {
            (Ok(ours), Ok(found)) => identity(ours) == identity(found),
            _ => false,
        }
    }

    fn path(&self, day: &str) -> PathBuf {
        self.dir.join(format!("{}.{day}.jsonl", self.program))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(dir: PathBuf) -> Folder {
        Folder {
            dir,
            program: "p2p-test",
        }
    }

    #[test]
    fn folder_and_file_are_not_for_everybody() {
        let temp = tempfile::tempdir().unwrap();
        let mut place = folder(temp.path().join("deep/logs"));
        place.open("2026-11-22").unwrap().write_all(b"x\n").unwrap();
        let mode = |path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(place.dir.clone()) & 0o027, 0);
        assert_eq!(mode(place.path("2026-11-22")) & 0o137, 0);
    }

    #[test]
    fn two_weeks_of_own_logs_are_kept_and_nothing_else_is_touched() {
        let temp = tempfile::tempdir().unwrap();
        let mut place = folder(temp.path().into());
        let others = [
            "p2p-test.2026-01-01.jsonl.gz",
            "p2p-test-saved.jsonl",
            "p2p-test2.2026-01-01.jsonl",
        ];
        for name in others {
            fs::write(temp.path().join(name), "").unwrap();
        }
        for day in 1..=20 {
            place.open(&format!("2026-11-{day:02}")).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(temp.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names.len(), 14 + others.len());
        assert!(others.iter().all(|other| names.contains(&(*other).into())));
        assert!(names.contains(&"p2p-test.2026-11-07.jsonl".into()));
        assert!(!names.contains(&"p2p-test.2026-11-06.jsonl".into()));
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next_begins() {
        let temp = tempfile::tempdir().unwrap();
        let mut place = folder(temp.path().into());
        place
            .open("2026-11-22")
            .unwrap()
            .write_all(b"{\"to")
            .unwrap();
        place
            .open("2026-11-22")
            .unwrap()
            .write_all(b"{}\n")
            .unwrap();
        place.open("2026-11-22").unwrap();
        assert_eq!(
            fs::read_to_string(place.path("2026-11-22")).unwrap(),
            "{\"to\n{}\n"
        );
    }

    #[test]
    fn a_removed_or_replaced_file_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let mut place = folder(temp.path().into());
        let file = place.open("2026-11-22").unwrap();
        assert!(place.is_current(&file, "2026-11-22"));
        fs::rename(place.path("2026-11-22"), temp.path().join("moved")).unwrap();
        assert!(!place.is_current(&file, "2026-11-22"));
        place.open("2026-11-22").unwrap();
        assert!(!place.is_current(&file, "2026-11-22"));
    }
}
