//! The kernel's events (inotify) about the state directory, as far as they concern `keys.toml`.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::file::FILE_NAME;

/// Room for several events of the longest file name (16 + 256 bytes each).
const EVENT_BYTES: usize = 4096;

/// What an event was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    OfTheFile,
    OfTheDirectory,
}

/// The kernel's events about the state directory. The directory and not the file, since each
/// change puts another file in its place.
pub(super) struct DirEvents(AsyncFd<OwnedFd>);

impl DirEvents {
    /// Begins to listen: nothing that happens after this returns is missed.
    #[expect(
        deprecated,
        reason = "its replacement is unsafe fn, for types that may close their descriptor; an OwnedFd does not"
    )]
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events = WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB // chmod 600 mends a file that was refused
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, dir, events)?;
        AsyncFd::new(inotify).map(Self)
    }

    /// Waits for an event that concerns the key file.
    pub(super) async fn next(&mut self) -> io::Result<Change> {
        loop {
            let mut ready = self.0.readable().await?;
            let change = drain(self.0.get_ref())?;
            ready.clear_ready();
            if let Some(change) = change {
                return Ok(change);
            }
        }
    }
}

/// Takes every event that waits, and says the weightiest thing they tell.
fn drain(inotify: &OwnedFd) -> io::Result<Option<Change>> {
    let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
    let mut reader = inotify::Reader::new(inotify, &mut buffer);
    let mut change = None;
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(Errno::WOULDBLOCK) => return Ok(change),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let directory =
            ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
        if event.events().intersects(directory) {
            change = Some(Change::OfTheDirectory);
        } else if change.is_none() && may_concern_the_file(event.events(), event.file_name()) {
            change = Some(Change::OfTheFile);
        }
    }
}

fn may_concern_the_file(events: ReadFlags, name: Option<&CStr>) -> bool {
    let lost_some = events.contains(ReadFlags::QUEUE_OVERFLOW);
    lost_some || name.is_some_and(|name| name.to_bytes() == FILE_NAME.as_bytes())
}
