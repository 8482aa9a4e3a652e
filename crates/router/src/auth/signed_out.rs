//! Owns the session cookies that were signed out before their end, so that a copy of one is void, too.
//! They are kept over restarts, in a file that has nothing of a cookie's code.

use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Write as _};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use p2p_shared::key::KeyId;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::auth::digest_of;
use crate::auth::key_store::POLL_EVERY;
use crate::ops::shutdown::spawn_blocking;
use crate::ops::state_file::StateFile;

/// File in the state directory: a line for each cookie.
const FILE_NAME: &str = "signed-out";
/// Most bytes that are read of that file: some ten times what the most cookies take.
const MAX_FILE: u64 = 32 * 1024 * 1024;
/// Most cookies of one key that are remembered one by one: beyond that, the cookies that are older
/// than the oldest of them are signed out, too.
const MOST: usize = 1024;
/// Most cookies of all keys together: beyond that, those of the key that has most are signed out as
/// beyond [`MOST`].
const MOST_IN_ALL: usize = 64 * 1024;
/// Word in the line of a key whose older cookies are signed out.
const UNTIL: &str = "until";

/// Part of a cookie that tells it from others of its key: its end, in seconds since 1970, and a random
/// number.
/// Cookies that were made before there was a number have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    pub end: u64,
    pub number: Option<u64>,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.end)?;
        self.number
            .map_or(Ok(()), |number| write!(f, "-{number:016x}"))
    }
}

impl FromStr for Stamp {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (end, number) = match text.split_once('-') {
            Some((end, number)) => (end, Some(u64::from_str_radix(number, 16)?)),
            None => (text, None),
        };
        let end = end.parse()?;
        let stamp = Self { end, number };
        // Each has one spelling.
        anyhow::ensure!(stamp.to_string() == text, "this is no stamp");
        Ok(stamp)
    }
}

/// Cookies of one key.
#[derive(Debug, Default)]
struct OfKey {
    /// Cookies that end by then are signed out.
    until: u64,
    stamps: BTreeSet<Stamp>,
}

impl OfKey {
    fn has(&self, stamp: Stamp) -> bool {
        stamp.end <= self.until || self.stamps.contains(&stamp)
    }

    fn add(&mut self, stamp: Stamp) {
        self.stamps.insert(stamp);
        if self.stamps.len() > MOST {
            self.forget_oldest();
        }
    }

    /// Forgets the oldest cookie. From now on all that end no later are signed out.
    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.stamps.pop_first() {
            self.until = self.until.max(oldest.end);
        }
    }

    /// Adds the cookies of the file.
    fn merge(&mut self, kept: Self) {
        self.until = self.until.max(kept.until);
        for stamp in kept.stamps {
            if !self.has(stamp) {
                self.add(stamp);
            }
        }
    }

    /// Returns true if some cookie that has not ended by now is signed out by this and not by what is known.
    fn is_news_to(&self, known: Option<&Self>, now: u64) -> bool {
        let is_new =
            |stamp: &Stamp| stamp.end > now && !known.is_some_and(|known| known.has(*stamp));
        let until = known.map_or(0, |known| known.until);
        self.until > until.max(now) || self.stamps.iter().any(is_new)
    }

    /// Forgets what has ended by now. Returns true if something is left.
    fn forget(&mut self, now: u64) -> bool {
        self.stamps.retain(|stamp| stamp.end > now);
        self.until > now || !self.stamps.is_empty()
    }
}

type OfKeys = HashMap<KeyId, OfKey>;

/// Cookies that are signed out, and the hash of their list, if that `is_shared`.
#[derive(Debug, Default)]
pub(crate) struct List {
    keys: OfKeys,
    pub(crate) digest: u64,
}

/// The cookies that are signed out.
#[derive(Debug)]
pub(crate) struct SignedOut {
    file: StateFile,
    list: watch::Sender<List>,
    /// Other routers want to know whether they have the same list.
    is_shared: bool,
    /// The number of changes so far. Changed with the cookies.
    changes: AtomicU64,
    /// The number of changes that are in the file. Locked from reading the cookies until they are in the
    /// file: an older list can't come last.
    written: Mutex<u64>,
}

impl SignedOut {
    /// Reads the list in this state directory, which `is_shared` with other routers. Blocks on the disk.
    pub(super) fn open(state_dir: &Path, is_shared: bool) -> anyhow::Result<Arc<Self>> {
        let file = StateFile::new(state_dir, FILE_NAME);
        let text = file.read(MAX_FILE)?.unwrap_or_default();
        let keys = read(&text).map_err(|error| {
            anyhow!(
                "{} can't be read: {error:#}. Remove it, and cookies that were signed out are good until their end, or until their key is revoked",
                file.path().display()
            )
        })?;
        let new = Self {
            file,
            list: watch::Sender::default(),
            is_shared,
            changes: AtomicU64::new(0),
            written: Mutex::default(),
        };
        new.modify(|list| *list = keys);
        Ok(Arc::new(new))
    }

    pub(super) fn has(&self, key: &KeyId, stamp: Stamp) -> bool {
        has(&self.list.borrow().keys, key, stamp)
    }

    /// Waits until this cookie is signed out.
    pub(super) async fn wait_for(&self, key: &KeyId, stamp: Stamp) {
        let mut list = self.list.subscribe();
        // No error: the sender is here.
        let _ = list.wait_for(|list| has(&list.keys, key, stamp)).await;
    }

    /// Signs a cookie out, at once, and keeps that. `now` is in seconds since 1970. Blocks on the
    /// disk.
    pub(super) fn add(&self, key: KeyId, stamp: Stamp, now: u64) -> anyhow::Result<()> {
        self.change(|keys| add(keys, key, stamp), now)
    }

    /// Returns the list as text, for the other routers of a mesh.
    pub(crate) fn to_text(&self) -> String {
        text(&self.list.borrow().keys)
    }

    /// Signs out what another router of the mesh has signed out, and keeps that. Blocks on the disk.
    ///
    /// # Errors
    /// If that is no list, or the file can't be read or written.
    pub(crate) fn merge(&self, theirs: &str, now: SystemTime) -> anyhow::Result<()> {
        let now = seconds(now);
        let theirs = read(theirs).context("its cookies that are signed out")?;
        let is_news = {
            let list = self.list.borrow();
            let mut theirs = theirs.iter();
            theirs.any(|(key, of_key)| of_key.is_news_to(list.keys.get(key), now))
        };
        if !is_news {
            return Ok(());
        }
        self.change(|keys| merge(keys, theirs), now)
    }

    /// Follows the list.
    pub(crate) fn subscribe(&self) -> watch::Receiver<List> {
        self.list.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut OfKeys), now: u64) -> anyhow::Result<()> {
        self.modify(|keys| {
            change(keys);
            self.changes.fetch_add(1, Ordering::SeqCst);
        });
        self.keep_by(now)
    }

    fn modify(&self, change: impl FnOnce(&mut OfKeys)) {
        self.list.send_if_modified(|list| {
            change(&mut list.keys);
            if !self.is_shared {
                return true;
            }
            let new = digest(&list.keys);
            std::mem::replace(&mut list.digest, new) != new
        });
    }

    /// Writes what another router has signed out, if that was not done. `now` is the time. Blocks on the disk.
    pub(crate) fn keep(&self, now: SystemTime) -> anyhow::Result<()> {
        self.keep_by(seconds(now))
    }

    fn keep_by(&self, now: u64) -> anyhow::Result<()> {
        let change = self.changes.load(Ordering::SeqCst);
        let mut written = self.written.lock();
        // Of those who waited, the first has written the list of all.
        if *written >= change {
            return Ok(());
        }
        let _lock = self.file.lock_soon()?;
        self.merge_file(|keys| keys.retain(|_, of_key| of_key.forget(now)))?;
        let (text, newest) = {
            let list = self.list.borrow();
            (text(&list.keys), self.changes.load(Ordering::SeqCst))
        };
        self.file.replace(&text)?;
        *written = newest;
        Ok(())
    }

    /// Follows the file for ever: what another router at this folder signs out is void here, too,
    /// within a quarter of a second.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut merged = None;
        loop {
            // Taken before the file is read, so that the next check sees a later change.
            let found = self.file.fingerprint();
            if found != merged {
                let this = self.clone();
                if let Ok(Err(error)) = spawn_blocking(move || this.merge_file(|_| {})).await {
                    tracing::warn!(
                        "cookies that another router has signed out may be good here: {error:#}"
                    );
                }
                merged = found;
            }
            sleep(POLL_EVERY).await;
        }
    }

    /// Adds what is in the file: another router at this folder may have written it. Then makes this change. Blocks
    /// on the disk.
    fn merge_file(&self, change: impl FnOnce(&mut OfKeys)) -> anyhow::Result<()> {
        let text = self.file.read(MAX_FILE)?.unwrap_or_default();
        let kept = read(&text).with_context(|| format!("{}", self.file.path().display()))?;
        self.modify(|keys| {
            merge(keys, kept);
            change(keys);
        });
        Ok(())
    }
}

fn has(keys: &OfKeys, key: &KeyId, stamp: Stamp) -> bool {
    keys.get(key).is_some_and(|of_key| of_key.has(stamp))
}

/// Adds a cookie of this key, within the bounds.
fn add(keys: &mut OfKeys, key: KeyId, stamp: Stamp) {
    keys.entry(key).or_default().add(stamp);
    keep_bound(keys);
}

/// Adds the cookies of another list, within the bounds.
fn merge(keys: &mut OfKeys, others: OfKeys) {
    for (key, of_key) in others {
        keys.entry(key).or_default().merge(of_key);
        keep_bound(keys);
    }
}

fn keep_bound(keys: &mut OfKeys) {
    let mut count: usize = keys.values().map(|of_key| of_key.stamps.len()).sum();
    while count > MOST_IN_ALL
        && let Some(most) = keys.values_mut().max_by_key(|of_key| of_key.stamps.len())
    {
        most.forget_oldest();
        count -= 1;
    }
}

fn text(keys: &OfKeys) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    for (key, of_key) in keys {
        if of_key.until > 0 {
            let _ = writeln!(text, "{key} {UNTIL} {}", of_key.until);
        }
        for stamp in &of_key.stamps {
            let _ = writeln!(text, "{key} {stamp}");
        }
    }
    text
}

fn digest(keys: &OfKeys) -> u64 {
    let text = text(keys);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    digest_of(&lines.join("\n"))
}

fn read(text: &str) -> anyhow::Result<OfKeys> {
    let mut keys = OfKeys::new();
    for (at, line) in text.lines().enumerate() {
        let context = || format!("line {}", at + 1);
        let (key, rest) = line.split_once(' ').with_context(context)?;
        let of_key = keys.entry(key.parse().with_context(context)?).or_default();
        match rest.strip_prefix(UNTIL) {
            Some(until) => of_key.until = until.trim().parse().with_context(context)?,
            None => of_key.add(rest.parse().with_context(context)?),
        }
    }
    Ok(keys)
}

/// Returns the wall clock's time, because a cookie outlives this process. A clock that is an hour
/// wrong makes a month an hour longer or shorter.
pub(super) fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use p2p_shared::key::Key;

    use super::*;

    fn stamp(end: u64, number: u64) -> Stamp {
        let number = Some(number);
        Stamp { end, number }
    }

    #[test]
    fn a_cookie_that_is_signed_out_stays_so_over_a_restart_until_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let [key, other] = [(); 2].map(|()| Key::generate().unwrap().id());
        let list = SignedOut::open(folder.path(), false).unwrap();
        let old = Stamp {
            end: 9,
            number: None,
        };
        for stamp in [stamp(7, 1), stamp(7, 2), old] {
            list.add(key, stamp, 1).unwrap();
        }
        for list in [&list, &SignedOut::open(folder.path(), false).unwrap()] {
            for stamp in [stamp(7, 1), stamp(7, 2), old] {
                assert!(list.has(&key, stamp) && !list.has(&other, stamp), "{stamp}");
            }
            assert!(!list.has(&key, stamp(7, 3)) && !list.has(&key, stamp(9, 1)));
        }
        // What has ended is void anyway.
        list.add(other, stamp(20, 1), 8).unwrap();
        list.add(other, stamp(20, 1), 9).unwrap();
        let kept = std::fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
        assert_eq!(kept, format!("{other} 20-0000000000000001\n"));
    }

    #[test]
    fn who_signs_out_again_and_again_signs_older_cookies_of_the_same_key_out_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let [key, other] = [(); 2].map(|()| Key::generate().unwrap().id());
        let list = SignedOut::open(folder.path(), false).unwrap();
        let last = 100 + MOST as u64 + 100;
        list.modify(|keys| {
            for end in 100..last - 1 {
                add(keys, key, stamp(end, 1));
            }
        });
        list.add(key, stamp(last - 1, 1), 1).unwrap();
        for list in [&list, &SignedOut::open(folder.path(), false).unwrap()] {
            assert!((100..last).all(|end| list.has(&key, stamp(end, 1))));
            let most = last - MOST as u64;
            assert!(list.has(&key, stamp(most - 1, 2)) && !list.has(&key, stamp(most, 2)));
            assert!(!list.has(&other, stamp(100, 1)));
        }
        let kept = std::fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
        assert_eq!(kept.lines().count(), MOST + 1);
    }

    #[test]
    fn a_sign_out_that_another_has_written_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::generate().unwrap().id();
        let list = SignedOut::open(folder.path(), false).unwrap();
        let mut written = list.written.lock();
        std::thread::scope(|scope| {
            let threads = [1, 2, 3].map(|n| {
                let list = &list;
                scope.spawn(move || list.add(key, stamp(7, n), 1).unwrap())
            });
            while list.changes.load(Ordering::SeqCst) < 3 {
                std::thread::yield_now();
            }
            // As if all three were in the file.
            *written = 3;
            drop(written);
            for thread in threads {
                thread.join().unwrap();
            }
        });
        assert!(!list.file.path().exists());
        list.add(key, stamp(7, 4), 1).unwrap();
        let again = SignedOut::open(folder.path(), false).unwrap();
        assert!((1..=4).all(|n| again.has(&key, stamp(7, n))));
    }

    #[test]
    fn two_routers_at_one_folder_keep_the_sign_outs_of_both() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::generate().unwrap().id();
        let [one, two] = [(); 2].map(|()| SignedOut::open(folder.path(), false).unwrap());
        one.add(key, stamp(7, 1), 1).unwrap();
        two.add(key, stamp(7, 2), 1).unwrap();
        one.add(key, stamp(7, 3), 1).unwrap();
        // Nobody asks whether they are the same.
        assert_eq!(one.list.borrow().digest, 0);
        let again = SignedOut::open(folder.path(), false).unwrap();
        assert!((1..=3).all(|n| again.has(&key, stamp(7, n))));
    }

    #[test]
    fn routers_of_a_mesh_sign_out_what_any_of_them_has_signed_out() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let key = Key::generate().unwrap().id();
        let [one, two] = folders
            .each_ref()
            .map(|folder| SignedOut::open(folder.path(), true).unwrap());
        let digest = |list: &SignedOut| list.list.borrow().digest;
        let mut of_two = two.subscribe();
        assert_eq!(digest(&one), digest(&two));
        one.add(key, stamp(7, 1), 1).unwrap();
        two.add(key, stamp(8, 2), 1).unwrap();
        assert_ne!(digest(&one), digest(&two));
        let now = UNIX_EPOCH + std::time::Duration::from_secs(1);
        two.merge(&one.to_text(), now).unwrap();
        one.merge(&two.to_text(), now).unwrap();
        of_two.mark_unchanged();
        assert_eq!(digest(&one), digest(&two));
        for folder in &folders {
            let again = SignedOut::open(folder.path(), true).unwrap();
            assert!(again.has(&key, stamp(7, 1)) && again.has(&key, stamp(8, 2)));
        }
        // What is known wakes nobody.
        two.merge(&one.to_text(), now).unwrap();
        assert!(!of_two.has_changed().unwrap());
        assert!(one.merge("x", now).is_err());
    }

    #[tokio::test]
    async fn what_another_router_at_the_folder_signs_out_is_void_here() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::generate().unwrap().id();
        let [one, two] = [(); 2].map(|()| SignedOut::open(folder.path(), false).unwrap());
        tokio::spawn(two.clone().follow());
        for number in 1..3 {
            let one = one.clone();
            let adding = spawn_blocking(move || one.add(key, stamp(7, number), 1));
            adding.await.unwrap().unwrap();
            two.wait_for(&key, stamp(7, number)).await;
        }
    }

    #[test]
    fn of_all_keys_together_as_many_cookies_are_kept_as_may_be_and_none_is_good_again() {
        let mut keys = HashMap::<KeyId, OfKey>::new();
        let ids: Vec<_> = (0..=MOST_IN_ALL / MOST)
            .map(|_| Key::generate().unwrap().id())
            .collect();
        for id in &ids {
            for end in 1..=MOST as u64 {
                add(&mut keys, *id, stamp(end, 1));
            }
        }
        let count = keys
            .values()
            .map(|of_key| of_key.stamps.len())
            .sum::<usize>();
        assert_eq!(count, MOST_IN_ALL);
        for id in &ids {
            assert!((1..=MOST as u64).all(|end| keys[id].has(stamp(end, 1))));
        }
        assert!((text(&keys).len() as u64) < MAX_FILE / 4);
    }

    #[test]
    fn a_list_that_is_damaged_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::generate().unwrap().id();
        for line in [
            "x",
            "x 7-1",
            &format!("{key} 7-x"),
            &format!("{key} until x"),
        ] {
            let file = StateFile::new(folder.path(), FILE_NAME);
            file.replace(&format!("{key} 7\n{line}\n")).unwrap();
            let error = SignedOut::open(folder.path(), false)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("signed-out can't be read: line 2"),
                "{error}"
            );
        }
    }
}
