//! Keeps a `KeyStore` level with its file: waits for the kernel to tell of a change (inotify), or
//! looks now and then, and reloads. It never writes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::events::{Change, DirEvents};
use super::{KeyFileError, KeyStore};

/// How often the file is looked at. With inotify too, as that sees no change that another machine
/// makes on a network file system; it is one `stat`.
pub(super) const POLL_EVERY: Duration = Duration::from_secs(2);

/// How long a file may be away or half written before that counts: some editors save in two steps.
const SETTLE: Duration = Duration::from_millis(100);

/// Whether to ask the kernel for events, or (in tests) do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inotify {
    Use,
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests of the fallback"))]
    DoWithout,
}

/// Follows the file for ever.
pub(super) async fn follow(store: &KeyStore, poll_every: Duration, inotify: Inotify) {
    let mut events = None;
    let mut reporter = Reporter::default();
    loop {
        // In this order, so that no change falls between: what happens after the first line wakes
        // us by an event, after the second by a poll.
        if events.is_none() && inotify == Inotify::Use {
            events = DirEvents::of(store.shared.file.dir()).ok();
        }
        let seen = Fingerprint::of(store.path());
        let Some(outcome) = reload_settled(store, seen.is_some()).await else {
            return; // the runtime is going down
        };
        reporter.report(store.path(), outcome);
        wait_for_change(store.path(), seen, &mut events, poll_every, inotify).await;
    }
}

/// Reloads, and once more a moment later if the file looks as if somebody is at it. `None` if the
/// task for it was dropped.
async fn reload_settled(store: &KeyStore, exists: bool) -> Option<Result<bool, KeyFileError>> {
    if !exists {
        sleep(SETTLE).await;
    }
    let outcome = reload(store).await?;
    if outcome.is_ok() {
        return Some(outcome);
    }
    sleep(SETTLE).await;
    reload(store).await
}

async fn reload(store: &KeyStore) -> Option<Result<bool, KeyFileError>> {
    let store = store.clone();
    tokio::task::spawn_blocking(move || store.reload())
        .await
        .ok()
}

/// Returns when the file may have changed, or when events can be had from now on.
async fn wait_for_change(
    file: &Path,
    seen: Option<Fingerprint>,
    events: &mut Option<DirEvents>,
    poll_every: Duration,
    inotify: Inotify,
) {
    let mut poll = interval_at(Instant::now() + poll_every, poll_every);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            change = next_change(events) => match change {
                Ok(Change::OfTheFile) => return,
                // The directory was moved away or removed; another may stand in its place.
                Ok(Change::OfTheDirectory) | Err(_) => {
                    *events = None;
                    return;
                }
            },
            _ = poll.tick() => {
                if Fingerprint::of(file) != seen {
                    return;
                }
                if events.is_none() && inotify == Inotify::Use {
                    *events = file.parent().and_then(|dir| DirEvents::of(dir).ok());
                    if events.is_some() {
                        return;
                    }
                }
            }
        }
    }
}

async fn next_change(events: &mut Option<DirEvents>) -> io::Result<Change> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// What tells one state of the file from another without reading it. The time of the last change
/// to the inode is part of it, as a chmod changes nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self {
            inode: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

/// Says each state of the file once, not at every look.
#[derive(Default)]
struct Reporter {
    existed: bool,
    complaint: Option<String>,
}

impl Reporter {
    fn report(&mut self, path: &Path, outcome: Result<bool, KeyFileError>) {
        match outcome {
            Ok(exists) => {
                if self.existed && !exists {
                    tracing::warn!("{} is gone: no key is valid now", path.display());
                } else if self.complaint.is_some() {
                    tracing::info!("{} is in order again", path.display());
                }
                self.existed = exists;
                self.complaint = None;
            }
            Err(error) => {
                self.existed = true;
                let complaint = error.to_string();
                if self.complaint.as_ref() != Some(&complaint) {
                    tracing::warn!("the keys stay as they were before: {complaint}");
                    self.complaint = Some(complaint);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
