//! Owns the note by which a running router tells `key revoke` which routers of its mesh have heard. It remembers
//! the others over restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::record::{KeyTime, whole_seconds};
use crate::ops::state_file::StateFile;

/// File of the note in the state directory.
const FILE_NAME: &str = "keys-heard.toml";
/// Most routers that are remembered beside those that are there, and most bytes that are read of that file: more
/// than they all take.
const MOST: usize = 1024;
const MAX_FILE: u64 = 1024 * 1024;
const LOOK: Duration = Duration::from_millis(20);

/// Note of which routers of a mesh know a change of the keys, made two seconds after it, or as soon as all know it.
/// Routers that are gone stay in its file until somebody says that they don't come back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeardNote {
    /// Digest of the keys after the change; empty: the note is of before a change.
    digest: String,
    #[serde(default)]
    router: BTreeMap<String, NotedRouter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NotedRouter {
    /// It has the same keys.
    has_heard: bool,
    is_away: bool,
    /// When it was heard of last. Of one that is not away this is as old as the note.
    seen: KeyTime,
}

impl HeardNote {
    /// Time for the running router to see a change, and for the others to hear of it.
    pub(crate) const WAIT: Duration = Duration::from_secs(3);

    /// Begins a note of keys with this digest.
    pub(crate) fn new(digest: u64) -> Self {
        Self {
            digest: format!("{digest:016x}"),
            ..Self::default()
        }
    }

    /// Notes what is known of a router. Of several starts at one address all have to have heard.
    pub(crate) fn add(&mut self, router: String, has_heard: bool, is_away: bool, seen: SystemTime) {
        let seen = KeyTime(whole_seconds(seen));
        let noted = self.router.entry(router).or_insert(NotedRouter {
            has_heard,
            is_away,
            seen,
        });
        noted.has_heard &= has_heard;
        noted.is_away |= is_away;
    }

    /// Returns true if all that can hear have heard.
    pub(crate) fn is_complete(&self) -> bool {
        self.router.values().all(|it| it.has_heard || it.is_away)
    }

    /// Leaves the note for whoever waits for it, with the routers of the one before. Blocks on the disk.
    pub(crate) fn leave(mut self, state_dir: &Path) -> anyhow::Result<()> {
        change(state_dir, |note| {
            for (router, before) in std::mem::take(&mut note.router).into_iter().take(MOST) {
                self.router.entry(router).or_insert(NotedRouter {
                    has_heard: false,
                    is_away: true,
                    ..before
                });
            }
            *note = self;
            Ok(())
        })
    }

    /// Begins a change of the keys: what was noted before is not taken for a note about it.
    ///
    /// # Errors
    /// If that can't be written. The change can be made all the same.
    pub(crate) fn begin(state_dir: &Path) -> anyhow::Result<()> {
        change(state_dir, |note| {
            note.digest.clear();
            Ok(())
        })
    }

    /// Forgets a router that does not come back.
    ///
    /// # Errors
    /// If it is not known, or is there, or that can't be written.
    pub(crate) fn forget(state_dir: &Path, router: &str) -> anyhow::Result<()> {
        change(state_dir, |note| {
            let forgotten = note.router.remove(router).with_context(|| {
                let known: Vec<_> = note.router.keys().map(String::as_str).collect();
                let known = known.join(", ");
                format!("no router {router} was heard of here; there are: {known}")
            })?;
            ensure!(
                forgotten.is_away,
                "{router} is there, by the last that was heard here: it would be noted again. End it first"
            );
            Ok(())
        })
    }

    /// Waits for the note about the keys as they are, by their digest: others may change them meanwhile. Returns
    /// `None` if no running router has left one in time.
    pub(crate) fn wait_for(
        state_dir: &Path,
        limit: Duration,
        digest: impl Fn() -> anyhow::Result<u64>,
    ) -> Option<Self> {
        let (file, end) = (StateFile::new(state_dir, FILE_NAME), Instant::now() + limit);
        loop {
            if let Ok(note) = read(&file)
                && digest().is_ok_and(|digest| note.digest == Self::new(digest).digest)
            {
                return Some(note);
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Says where a key is revoked, and where not yet.
    pub(crate) fn sentence(&self, now: SystemTime) -> String {
        let heard = self.router.iter().filter(|(_, it)| it.has_heard);
        let heard: Vec<_> = heard.map(|(router, _)| router.as_str()).collect();
        let mut sentence = "revoked here".to_owned();
        if !heard.is_empty() {
            sentence += &format!(" and at {}", heard.join(", "));
        }
        let mut is_any_away = false;
        for (router, noted) in self.router.iter().filter(|(_, it)| !it.has_heard) {
            sentence += &if noted.is_away {
                is_any_away = true;
                let silence = now.duration_since(noted.seen.0).unwrap_or_default();
                let silence = humantime::format_duration(Duration::from_secs(silence.as_secs()));
                format!(
                    "; {router} has not been heard of for {silence}: it learns it when it is back"
                )
            } else {
                format!(
                    "; {router} has not confirmed it: `p2p-router key list` shows there whether it has heard"
                )
            };
        }
        if is_any_away {
            sentence +=
                "\n(`p2p-router mesh forget HOST:PORT` here, for a router that is gone for good)";
        }
        sentence
    }
}

fn read(file: &StateFile) -> anyhow::Result<HeardNote> {
    let text = file.read(MAX_FILE)?.context("there is none")?;
    Ok(toml::from_str(&text)?)
}

/// Changes the note in the file; one that can't be read is as good as none.
fn change(
    state_dir: &Path,
    change: impl FnOnce(&mut HeardNote) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let file = StateFile::new(state_dir, FILE_NAME);
    let _lock = file.lock_soon()?;
    let mut note = read(&file).unwrap_or_default();
    change(&mut note)?;
    Ok(file.replace(&toml::to_string(&note)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn wait(dir: &Path, digest: impl Fn() -> anyhow::Result<u64>) -> Option<HeardNote> {
        HeardNote::wait_for(dir, Duration::ZERO, digest)
    }

    #[test]
    fn the_sentence_names_who_has_heard_and_who_has_not() {
        let mut note = HeardNote::new(7);
        assert_eq!(note.sentence(seconds(0)), "revoked here");
        note.add("b:1".to_owned(), true, false, seconds(0));
        note.add("c:1".to_owned(), true, true, seconds(0));
        assert!(note.is_complete());
        note.add("d:1".to_owned(), false, true, seconds(0));
        assert!(note.is_complete());
        assert_eq!(
            note.sentence(seconds(40)),
            "revoked here and at b:1, c:1; d:1 has not been heard of for 40s: it learns it when it is back\n(`p2p-router mesh forget HOST:PORT` here, for a router that is gone for good)"
        );
        note.add("e:1".to_owned(), false, false, seconds(0));
        assert!(!note.is_complete());
        let said = note.sentence(seconds(0));
        assert!(said.contains("; e:1 has not confirmed it"), "{said}");
        // Two that were given one address are named once, and as heard once both have.
        note.add("b:1".to_owned(), false, false, seconds(0));
        assert!(
            note.sentence(seconds(0))
                .contains("; b:1 has not confirmed it")
        );
    }

    #[test]
    fn a_note_is_found_by_what_it_is_about_and_not_again_after_the_next_change() {
        let dir = tempfile::tempdir().unwrap();
        let mut note = HeardNote::new(7);
        note.add("b:1".to_owned(), true, false, seconds(0));
        note.clone().leave(dir.path()).unwrap();
        assert_eq!(wait(dir.path(), || Ok(7)), Some(note));
        assert_eq!(wait(dir.path(), || Ok(8)), None);
        // As when a copy of before was put back, and the same key is revoked again.
        HeardNote::begin(dir.path()).unwrap();
        assert_eq!(wait(dir.path(), || Ok(7)), None);
    }

    #[test]
    fn routers_that_are_gone_are_named_until_somebody_forgets_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut note = HeardNote::new(7);
        for router in ["b:1", "c:1"] {
            note.add(router.to_owned(), true, false, seconds(0));
        }
        note.leave(dir.path()).unwrap();
        let present = HeardNote::forget(dir.path(), "c:1").unwrap_err();
        assert!(present.to_string().contains("is there"), "{present}");
        let said = || {
            let mut note = HeardNote::new(8);
            note.add("b:1".to_owned(), true, false, seconds(60));
            note.leave(dir.path()).unwrap();
            let note = wait(dir.path(), || Ok(8)).unwrap();
            note.sentence(seconds(70))
        };
        let named = said();
        let expected = "revoked here and at b:1; c:1 has not been heard of for 1m 10s";
        assert!(named.starts_with(expected), "{named}");
        HeardNote::forget(dir.path(), "c:1").unwrap();
        assert_eq!(said(), "revoked here and at b:1");
        let unknown = HeardNote::forget(dir.path(), "c:1").unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "no router c:1 was heard of here; there are: b:1"
        );
    }

    #[test]
    fn who_waits_takes_the_note_about_a_change_that_came_after_its_own() {
        let dir = tempfile::tempdir().unwrap();
        HeardNote::new(8).leave(dir.path()).unwrap();
        let looks = std::cell::Cell::new(0);
        let digest = || Ok(7 + u64::from(looks.replace(looks.get() + 1) > 0));
        let found = HeardNote::wait_for(dir.path(), HeardNote::WAIT, digest);
        assert_eq!(found, Some(HeardNote::new(8)));
    }
}
