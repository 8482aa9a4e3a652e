//! A router that follows its key file.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use p2p_shared::key::{Key, Role};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::{KeyFile, KeysInForce};
use super::*;

/// Longer than any test takes, shorter than a person's patience.
const SOON: Duration = Duration::from_secs(10);
const OFTEN: Duration = Duration::from_millis(20);

struct Followed {
    dir: tempfile::TempDir,
    file: KeyFile,
    store: KeyStore,
    changes: watch::Receiver<KeysInForce>,
    task: JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Followed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        let store = KeyStore::open(&state).unwrap();
        let followed = store.clone();
        let task = tokio::spawn(async move { follow(&followed, OFTEN).await });
        let changes = store.changes();
        Self {
            dir,
            file: KeyFile::in_dir(state),
            store,
            changes,
            task,
        }
    }

    fn add(&self, name: &str) -> Key {
        self.file
            .add(&name.parse().unwrap(), Role::Link, None)
            .unwrap()
    }

    fn revoke(&self, name: &str) {
        self.file.revoke(&name.parse().unwrap()).unwrap();
    }

    async fn until(&mut self, key: &Key, is_live: bool) {
        let condition = |keys: &KeysInForce| keys.get(&key.id()).is_some() == is_live;
        timeout(SOON, self.changes.wait_for(condition))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(self.store.is_live(&key.id()), is_live);
    }

    async fn until_live(&mut self, key: &Key) {
        self.until(key, true).await;
    }

    async fn until_void(&mut self, key: &Key) {
        self.until(key, false).await;
    }

    fn path(&self) -> PathBuf {
        self.file.path().to_owned()
    }
}

#[tokio::test]
async fn a_revoked_key_is_void_at_once_and_a_new_one_valid() {
    let mut followed = Followed::new();
    for round in 0..20 {
        let key = followed.add(&format!("car{round}"));
        followed.until_live(&key).await;
        followed.revoke(&format!("car{round}"));
        followed.until_void(&key).await;
    }
}

#[tokio::test]
async fn a_garbled_file_keeps_the_last_good_keys_until_it_is_mended() {
    let mut followed = Followed::new();
    let (car, path) = (followed.add("car"), followed.path());
    followed.until_live(&car).await;
    let whole = fs::read(&path).unwrap();

    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let garbled = timeout(3 * SETTLE, followed.changes.changed()).await;
    assert!(garbled.is_err() && followed.store.is_live(&car.id()));

    fs::write(&path, &whole).unwrap();
    let van = followed.add("van");
    followed.until_live(&van).await;
    assert!(followed.store.is_live(&car.id()));
}

#[tokio::test]
async fn a_file_that_was_refused_for_its_mode_counts_again_after_the_chmod() {
    let mut followed = Followed::new();
    let (car, path) = (followed.add("car"), followed.path());
    followed.until_live(&car).await;
    // Exposed and emptied of its key in one step, so that only the chmod can bring it in.
    let next = followed.dir.path().join("next");
    fs::write(&next, "version = 1\n").unwrap();
    fs::set_permissions(&next, Permissions::from_mode(0o644)).unwrap();
    fs::rename(&next, &path).unwrap();
    let exposed = timeout(3 * SETTLE, followed.changes.changed()).await;
    assert!(exposed.is_err() && followed.store.is_live(&car.id()));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    followed.until_void(&car).await;
}

#[tokio::test]
async fn without_a_file_no_key_is_valid() {
    let mut followed = Followed::new();
    let car = followed.add("car");
    followed.until_live(&car).await;
    fs::remove_file(followed.path()).unwrap();
    followed.until_void(&car).await;
}

#[tokio::test]
async fn an_editor_that_saves_in_two_steps_voids_nothing() {
    let mut followed = Followed::new();
    let (car, path) = (followed.add("car"), followed.path());
    followed.until_live(&car).await;
    let mut before = followed.store.changes();
    let backup = path.with_extension("toml~");
    fs::rename(&path, &backup).unwrap();
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    fs::copy(&backup, &path).unwrap();
    assert!(timeout(3 * SETTLE, before.changed()).await.is_err());
    assert!(followed.store.is_live(&car.id()));
}

#[tokio::test]
async fn a_directory_that_comes_later_or_is_exchanged_is_followed_too() {
    let mut followed = Followed::new();
    let (first, dir) = (followed.add("first"), followed.dir.path().to_owned());
    followed.until_live(&first).await;
    fs::rename(dir.join("state"), dir.join("away")).unwrap();
    followed.until_void(&first).await;
    let second = followed.add("second");
    followed.until_live(&second).await;
    followed.revoke("second");
    followed.until_void(&second).await;
}

#[test]
fn each_state_of_the_file_is_said_once() {
    let say = |before: &Outcome, now: &Outcome| news(Path::new("/keys.toml"), before, now);
    let (gone, there, garbled) = (Ok(false), Ok(true), Err("garbled".to_owned()));
    for outcome in [&gone, &there, &garbled] {
        assert_eq!(say(outcome, outcome), None);
    }
    assert_eq!(say(&gone, &there), None);
    assert!(say(&there, &garbled).unwrap().ends_with(": garbled"));
    assert!(say(&garbled, &there).unwrap().ends_with("in order again"));
    for before in [&there, &garbled] {
        let said = say(before, &gone).unwrap();
        assert!(said.contains("no key is valid now"), "{said}");
    }
}
