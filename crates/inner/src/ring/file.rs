//! The two files of a ring. A line that is cut off, as the disk was full or the power failed, is skipped by
//! whoever reads, and the next one begins anew.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use p2p_shared::logging::check_free_space;
use p2p_shared::protocol::{MAX_PAST, PastEntry};

/// Most bytes of one file.
const FILE: u64 = 8 * 1024 * 1024;
/// Bytes at the end of a file in which the newest entry is looked for.
const LAST: u64 = 64 * 1024;

#[derive(Debug)]
pub(super) struct RingFiles {
    files: [File; 2],
    /// The file that is written to, and its length.
    current: usize,
    length: u64,
    /// True if it ends within a line.
    is_cut: bool,
    last_id: u64,
}

fn paths(path: &Path) -> [PathBuf; 2] {
    ["0.jsonl", "1.jsonl"].map(|end| path.with_added_extension(end))
}

impl RingFiles {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let mut options = File::options();
        let options = options.read(true).append(true).create(true).mode(0o600);
        let [first, second] = paths(path).map(|path| options.open(path));
        let mut files = [first?, second?];
        let mut last = [(0, false); 2];
        for (file, last) in files.iter_mut().zip(&mut last) {
            let lines = tail_of(file, LAST)?;
            let entries = lines.split(|byte| *byte == b'\n');
            let ids = entries.filter_map(|line| Some(PastEntry::of_line(line)?.id));
            *last = (
                ids.max().unwrap_or(0),
                lines.last().is_some_and(|byte| *byte != b'\n'),
            );
        }
        let current = usize::from(last[1].0 > last[0].0);
        Ok(Self {
            length: files[current].metadata()?.len(),
            is_cut: last[current].1,
            last_id: last[current].0,
            current,
            files,
        })
    }

    /// Returns true if no other process keeps this ring; from then on this one does.
    pub(super) fn is_ours(&self) -> bool {
        self.files[0].try_lock().is_ok()
    }

    /// Number of the newest entry.
    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }

    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        check_free_space(&self.files[self.current])?;
        if self.length + lines.len() as u64 > FILE {
            self.sync()?;
            self.current = 1 - self.current;
            self.files[self.current].set_len(0)?;
            (self.length, self.is_cut) = (0, false);
        }
        let file = &mut self.files[self.current];
        let start: &[u8] = if self.is_cut { b"\n" } else { b"" };
        let written = file.write_all(&[start, lines].concat());
        // What was written of it before a failure counts as well; so does what the guardian added.
        self.length = file.metadata()?.len();
        self.is_cut = written.is_err();
        written
    }

    /// Has the disk keep what was written.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.files[self.current].sync_data()
    }
}

/// Returns the last lines of both files, as much as an answer may have of each.
pub(super) fn tail(path: &Path) -> Vec<u8> {
    let tail = |path| tail_of(&mut File::open(path)?, MAX_PAST as u64);
    let lines = paths(path).map(|path| tail(path).unwrap_or_default());
    lines.join(&b'\n')
}

fn tail_of(file: &mut File, most: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
