//! Says why a file can't be executed, and what its owner can do.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use p2p_shared::text::{Escaped, EscapedBytes};
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::io::Errno;

/// The byte order mark in UTF-8, which some editors write at the beginning of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes that are read of a file's beginning: as many as the kernel reads.
const FILE_START: u64 = 256;

/// Checks what the kernel would not say clearly.
pub(crate) fn check_execution(file: &Path) -> Result<(), String> {
    let path = file.to_string_lossy();
    let shown = Escaped(&path);
    if statvfs(file).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOEXEC)) {
        return Err(format!(
            "{shown} is on a file system that is mounted noexec, from which nothing can be executed: move the command directory, or mount it with exec"
        ));
    }
    if begins_with_mark(file) {
        return Err(format!(
            "{shown} begins with a byte order mark, which hides its first line from the kernel: save it as UTF-8 without one"
        ));
    }
    Ok(())
}

/// The sentence that says why a file can't be executed, and what its owner can do.
pub(crate) fn why_not(file: &Path, error: &io::Error) -> String {
    if let Err(why) = check_execution(file) {
        return why;
    }
    let path = file.to_string_lossy();
    let shown = Escaped(&path);
    match error.kind() {
        io::ErrorKind::NotFound => {
            let start = start_of(file);
            let line = start
                .split(|byte| *byte == b'\n')
                .next()
                .unwrap_or_default();
            format!(
                "{shown} can't be executed: the program in its first line does not exist ({})",
                EscapedBytes(line)
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            "{shown} can't be executed by the user that p2p-inner runs as: chmod +x, or change its owner"
        ),
        // From fork(2); a file is never the reason.
        io::ErrorKind::WouldBlock => format!(
            "{shown} can't be executed: the user that p2p-inner runs as has as many processes as it may (ulimit -u, or the machine's memory): try again when some have ended"
        ),
        io::ErrorKind::ExecutableFileBusy => {
            format!("{shown} is being written to: try again when it is whole")
        }
        _ if is(error, Errno::NOEXEC) => format!(
            "{shown} is neither a script nor a program for this kind of machine: build it for this one"
        ),
        _ => format!("{shown} can't be executed: {error}"),
    }
}

pub(super) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Returns true if a shell could read the file: a program for another kind of machine has zeros.
pub(super) fn is_text(file: &Path) -> bool {
    let start = start_of(file);
    !start.contains(&0) && !start.starts_with(BYTE_ORDER_MARK)
}

/// Returns true if the file begins with a byte order mark, as some editors write it.
fn begins_with_mark(file: &Path) -> bool {
    start_of(file).starts_with(BYTE_ORDER_MARK)
}

fn start_of(file: &Path) -> Vec<u8> {
    let mut start = Vec::new();
    // Executing a file that can't be read says why.
    let _ = File::open(file).and_then(|file| file.take(FILE_START).read_to_end(&mut start));
    start
}
