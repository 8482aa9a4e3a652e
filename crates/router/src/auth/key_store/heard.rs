//! Owns the note by which a running router tells `key revoke` which routers of its mesh have heard.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::ops::state_file::StateFile;

/// File of the note in the state directory.
const FILE_NAME: &str = "keys-heard.toml";
/// Most bytes that are read of that file: more than as many routers as there may be take.
const MAX_FILE: u64 = 1024 * 1024;
/// Time for the running router to see the change, and for the others to hear of it.
const WAIT: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);

/// Note of which routers of a mesh know a change of the keys, made two seconds after it, or as soon as all know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeardNote {
    /// Digest of the keys after the change.
    digest: String,
    /// Routers that have the same keys now.
    heard: Vec<String>,
    /// Routers that have not said so.
    unconfirmed: Vec<String>,
    silent: Vec<SilentRouter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SilentRouter {
    router: String,
    seconds: u64,
}

impl HeardNote {
    /// Begins a note of keys with this digest.
    pub(crate) fn new(digest: u64) -> Self {
        Self {
            digest: format!("{digest:016x}"),
            ..Self::default()
        }
    }

    /// Notes what is known of a router: whether it has heard, and otherwise for how long it is silent, if
    /// it is.
    pub(crate) fn add(&mut self, router: String, has_heard: bool, silence: Option<Duration>) {
        match silence {
            _ if has_heard => self.heard.push(router),
            None => self.unconfirmed.push(router),
            Some(silence) => self.silent.push(SilentRouter {
                router,
                seconds: silence.as_secs(),
            }),
        }
    }

    /// Returns true if all that can hear have heard.
    pub(crate) fn is_complete(&self) -> bool {
        self.unconfirmed.is_empty()
    }

    /// Leaves the note for whoever waits for it. Blocks on the disk.
    pub(crate) fn leave(&self, state_dir: &Path) -> anyhow::Result<()> {
        let file = StateFile::new(state_dir, FILE_NAME);
        let _lock = file.lock_soon()?;
        Ok(file.replace(&toml::to_string(self)?)?)
    }

    /// Waits for the note about the keys as they are, by their digest: others may change them meanwhile. Returns
    /// `None` if no running router has left one in time.
    pub(crate) fn wait_for(
        state_dir: &Path,
        digest: impl Fn() -> anyhow::Result<u64>,
    ) -> Option<Self> {
        let (file, end) = (StateFile::new(state_dir, FILE_NAME), Instant::now() + WAIT);
        loop {
            let read = || -> anyhow::Result<Self> {
                let text = file.read(MAX_FILE)?.context("there is none")?;
                Ok(toml::from_str(&text)?)
            };
            if let Ok(note) = read()
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
    pub(crate) fn sentence(&self) -> String {
        let mut sentence = "revoked here".to_owned();
        if !self.heard.is_empty() {
            sentence += &format!(" and at {}", self.heard.join(", "));
        }
        for router in &self.unconfirmed {
            sentence += &format!(
                "; {router} has not confirmed it: `p2p-router key list` shows there whether it has heard"
            );
        }
        for SilentRouter { router, seconds } in &self.silent {
            let silence = humantime::format_duration(Duration::from_secs(*seconds));
            sentence += &format!(
                "; {router} has not been heard of for {silence}: it learns it when it is back"
            );
        }
        sentence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_who_has_heard_and_who_has_not() {
        let mut note = HeardNote::new(7);
        assert_eq!(note.sentence(), "revoked here");
        note.add("b:1".to_owned(), true, None);
        note.add("c:1".to_owned(), true, Some(Duration::from_secs(9)));
        assert!(note.is_complete());
        note.add("d:1".to_owned(), false, Some(Duration::from_secs(40)));
        assert!(note.is_complete());
        assert_eq!(
            note.sentence(),
            "revoked here and at b:1, c:1; d:1 has not been heard of for 40s: it learns it when it is back"
        );
        note.add("e:1".to_owned(), false, None);
        assert!(!note.is_complete());
        assert!(note.sentence().contains("; e:1 has not confirmed it"));
    }

    #[test]
    fn a_note_is_found_by_what_it_is_about() {
        let dir = tempfile::tempdir().unwrap();
        let mut note = HeardNote::new(7);
        note.add("b:1".to_owned(), true, None);
        note.leave(dir.path()).unwrap();
        assert_eq!(HeardNote::wait_for(dir.path(), || Ok(7)), Some(note));
        assert_eq!(HeardNote::wait_for(dir.path(), || Ok(8)), None);
    }

    #[test]
    fn who_waits_takes_the_note_about_a_change_that_came_after_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let note = HeardNote::new(8);
        note.leave(dir.path()).unwrap();
        let looks = std::cell::Cell::new(0);
        let digest = || Ok(7 + u64::from(looks.replace(looks.get() + 1) > 0));
        assert_eq!(HeardNote::wait_for(dir.path(), digest), Some(note));
    }
}
