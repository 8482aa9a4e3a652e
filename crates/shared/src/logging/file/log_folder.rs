//! Owns the folder of a program's log files: their names, which of them are kept, and how much of the
//! disk is left free.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::fstatvfs;

/// Number of days of which files are kept: two weeks are enough to look back.
pub(super) const DAYS_KEPT: usize = 14;

/// Number of parts of the size of all files: one file takes one part at most, and one day has two
/// files at most, which is half.
const PARTS: u64 = 4;

/// Free space that is left for other files, which matter more, such as the router's keys. On a small
/// disk it is a twentieth of the disk.
const KEPT_FREE: u64 = 64 << 20;

/// Folder of the log files of one program.
pub(super) struct LogFolder {
    pub dir: PathBuf,
    pub program: &'static str,
    /// Most bytes of all files.
    pub size: u64,
}

impl LogFolder {
    /// Returns the most bytes of one file.
    pub(super) fn part(&self) -> u64 {
        self.size / PARTS
    }

    pub(super) fn path(&self, day: &str) -> PathBuf {
        self.dir.join(format!("{}.{day}.jsonl", self.program))
    }

    /// Returns the path of the day's earlier lines.
    pub(super) fn full_path(&self, day: &str) -> PathBuf {
        self.dir.join(format!("{}.{day}.1.jsonl", self.program))
    }

    /// Removes the oldest files, so that what is left has room beside the file of the day, which is
    /// never removed: the clock may be behind, or have been ahead. A file that can't be removed
    /// stays until the next try. Returns how many were removed although they are of the days that are
    /// kept, and their bytes.
    pub(super) fn remove_old(&self, day: &str) -> (usize, u64) {
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
        let mut left = self.size - self.part();
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
}

/// Fails if there is little free space on the file's disk.
///
/// # Errors
/// If it is so, or nothing can be learnt of the disk.
pub fn check_free_space(file: &File) -> io::Result<()> {
    let disk = fstatvfs(file)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let all = disk.f_blocks.saturating_mul(disk.f_frsize);
    if free >= KEPT_FREE.min(all / 20) {
        return Ok(());
    }
    let message = format!("only {} KiB of the disk are free", free / 1024);
    Err(io::Error::new(ErrorKind::StorageFull, message))
}
