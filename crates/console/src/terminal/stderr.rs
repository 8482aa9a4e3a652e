//! Silences standard error while the screens are shown: logs, libraries and the allocator must not
//! print over them.

use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::fs::{Mode, OFlags};
use std::io::IsTerminal;

static BEFORE: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Redirects standard error to /dev/null if it is a terminal.
pub(super) fn silence() {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let Ok(before) = rustix::io::dup(std::io::stderr()) else {
        return;
    };
    if let Ok(nowhere) = rustix::fs::open("/dev/null", OFlags::WRONLY, Mode::empty())
        && rustix::stdio::dup2_stderr(&nowhere).is_ok()
        && let Ok(mut slot) = BEFORE.lock()
    {
        *slot = Some(before);
    }
}

/// Restores standard error.
pub(super) fn restore() {
    if let Ok(mut slot) = BEFORE.lock()
        && let Some(before) = slot.take()
    {
        let _ = rustix::stdio::dup2_stderr(&before);
    }
}
