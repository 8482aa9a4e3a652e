//! Keys of a running router and what each may do. `KeyStore` follows `keys.toml` in the state
//! directory; it has hashes, never a secret.

mod file;
mod follow;
mod format;
mod heard;
mod key_set;
mod name;
mod record;

pub use file::KeyFile;
pub(in crate::auth) use follow::POLL_EVERY;
pub(crate) use heard::HeardNote;
pub use key_set::KeySet;
pub use name::{KeyName, ParseKeyNameError};
pub use record::KeyRecord;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use p2p_shared::key::{Key, KeyHash, KeyId};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Keys of a running router. Clones share them.
#[derive(Clone)]
pub struct KeyStore(Arc<Shared>);

struct Shared {
    file: KeyFile,
    /// Keys in force.
    keys: watch::Sender<HashMap<KeyId, KeyRecord>>,
    /// Locked from reading the file until its keys are in force: of two reloads at the same time, the older
    /// content can't come last. The one lock here that is held while the disk works.
    reading: Mutex<()>,
    /// All that is known of keys: what the file has, and what it has yet to be given.
    known: Mutex<Arc<KeySet>>,
    /// False while the file lacks something that is known from another router.
    is_kept: watch::Sender<bool>,
    /// Digest of what the file has.
    digest: watch::Sender<u64>,
    /// True while no key is taken, as too little is known of the other routers of a mesh.
    is_stale: watch::Sender<bool>,
    /// Hash that is compared for a key that does not exist; nobody has its secret.
    nobody: KeyHash,
}

/// Reason for a 401, as the sentence of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no `Authorization` header.
    #[error(
        "this needs a key: send it in the header `Authorization: Bearer KEY` (`p2p-router key add` on the router makes one)"
    )]
    Missing,
    /// The header is not `Bearer` and a complete key.
    #[error(
        "the Authorization header is not `Bearer KEY` with a whole key (p2p1_ID_SECRET_FINGERPRINT): copy the key again as `p2p-router key add` printed it"
    )]
    Malformed,
    /// The key does not exist, or its secret is wrong; the caller is not told which.
    #[error(
        "this key is wrong or was revoked: check that it is a key of this router, or ask its owner for a new one"
    )]
    Wrong,
    /// The browser's session cookie is wrong, expired or signed out, or its key was revoked.
    #[error(
        "you are signed out: this browser was signed out, the key was revoked, or it is a month since you signed in; sign in again"
    )]
    SignedOut,
    /// The router is in a mesh, and may not know what was revoked elsewhere.
    #[error(
        "this router has not heard of the others of its mesh for so long that it takes no keys (--mesh-keys-stale): ask another router, or wait until it hears of them"
    )]
    Stale,
}

impl std::fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyStore").field(&self.0.file).finish()
    }
}

impl KeyStore {
    /// Reads the keys in the state directory; without a file there are none. Blocks on the disk.
    pub fn open(dir: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let store = Self(Arc::new(Shared {
            file: KeyFile::in_dir(dir),
            keys: watch::Sender::default(),
            reading: Mutex::default(),
            known: Mutex::default(),
            is_kept: watch::Sender::new(true),
            digest: watch::Sender::new(KeySet::default().digest()),
            is_stale: watch::Sender::new(false),
            nobody: Key::generate()?.hash(),
        }));
        store.reload()?;
        Ok(store)
    }

    /// Returns the file that the store follows.
    pub fn file(&self) -> &KeyFile {
        &self.0.file
    }

    pub fn is_empty(&self) -> bool {
        self.0.keys.borrow().is_empty()
    }

    /// Returns the record of the key in an `Authorization` header.
    ///
    /// # Errors
    ///
    /// If there is no valid key.
    pub fn authenticate(&self, authorization: Option<&[u8]>) -> Result<KeyRecord, AuthError> {
        self.find(&bearer_key(authorization.ok_or(AuthError::Missing)?)?)
    }

    /// Returns the record of a key.
    ///
    /// # Errors
    ///
    /// If the key is wrong or revoked. An unknown id and a wrong secret take the same steps.
    pub fn find(&self, key: &Key) -> Result<KeyRecord, AuthError> {
        if self.is_stale() {
            return Err(AuthError::Stale);
        }
        let hash = key.hash();
        let keys = self.0.keys.borrow();
        let record = keys.get(&key.id());
        let right = hash == *record.map_or(&self.0.nobody, |record| &record.hash);
        match record {
            Some(record) if right => Ok(record.clone()),
            _ => Err(AuthError::Wrong),
        }
    }

    /// Sets whether the keys are too old to be taken. What they have open ends then.
    pub(crate) fn set_stale(&self, is_stale: bool) {
        set(&self.0.is_stale, is_stale);
    }

    pub(crate) fn is_stale(&self) -> bool {
        *self.0.is_stale.borrow()
    }

    /// Waits until no key is taken any more.
    pub(crate) async fn until_stale(&self) {
        // No error: the sender is here.
        let _ = self
            .0
            .is_stale
            .subscribe()
            .wait_for(|is_stale| *is_stale)
            .await;
    }

    /// Returns true if the key still exists.
    #[must_use]
    pub fn is_live(&self, id: &KeyId) -> bool {
        self.0.keys.borrow().contains_key(id)
    }

    /// Returns the record of the key with this id; `None`: the key was revoked.
    #[must_use]
    pub fn record(&self, id: &KeyId) -> Option<KeyRecord> {
        self.0.keys.borrow().get(id).cloned()
    }

    /// Returns the keys in force, and reports when they change.
    pub fn changes(&self) -> watch::Receiver<HashMap<KeyId, KeyRecord>> {
        self.0.keys.subscribe()
    }

    /// Follows the file for ever: new keys are valid, and revoked ones void, within a quarter of a
    /// second.
    ///
    /// A file that can't be used leaves the last good keys in force, with a warning; without a file
    /// no key is valid.
    pub async fn follow(self) {
        follow::follow(&self, POLL_EVERY).await;
    }

    /// Puts the file's keys in force, with what the file has yet to be given; returns `false` if there is no
    /// file. After an error the keys stay as they are. Blocks on the disk.
    pub(crate) fn reload(&self) -> anyhow::Result<bool> {
        let _reading = self.0.reading.lock();
        let found = self.0.file.read()?;
        let exists = found.is_some();
        let read = found.unwrap_or_default();
        let digest = read.digest();
        let mut known = self.0.known.lock();
        let is_kept = *self.0.is_kept.borrow() || {
            let all = read.merge(&known);
            let is_kept = all == read;
            self.put_in_force(&mut known, all);
            is_kept
        };
        if is_kept {
            self.put_in_force(&mut known, read);
        }
        set(&self.0.is_kept, is_kept);
        drop(known);
        set(&self.0.digest, digest);
        Ok(exists)
    }

    fn put_in_force(&self, known: &mut Arc<KeySet>, new: KeySet) {
        let records = new.records().iter();
        let in_force = records.map(|record| (record.id, record.clone())).collect();
        set(&self.0.keys, in_force);
        *known = Arc::new(new);
    }

    /// Returns all that is known of keys, as text, for the other routers of a mesh. Takes a while if there are
    /// many.
    pub(crate) fn to_text(&self) -> anyhow::Result<String> {
        let known = self.0.known.lock().clone();
        Ok(format::to_text(&known)?)
    }

    /// Puts in force what another router of the mesh knows, too; [`keep`](Self::keep) writes it. Takes a while
    /// if there are many.
    ///
    /// # Errors
    /// If that is no set of keys.
    pub(crate) fn merge(&self, text: &str) -> anyhow::Result<()> {
        let theirs = format::from_text(text).map_err(|error| anyhow::anyhow!("its keys{error}"))?;
        let mut known = self.0.known.lock();
        let merged = known.merge(&theirs);
        if merged != **known {
            self.put_in_force(&mut known, merged);
            set(&self.0.is_kept, false);
        }
        Ok(())
    }

    /// Writes what the file lacks. Blocks on the disk.
    ///
    /// # Errors
    /// If the file can't be read or written; the keys are in force all the same.
    pub(crate) fn keep(&self) -> anyhow::Result<()> {
        let known = self.0.known.lock().clone();
        self.0.file.keep(&known)?;
        self.reload().map(drop)
    }

    /// Tells whether the file has all that is known, and reports when that changes.
    pub(crate) fn is_kept(&self) -> watch::Receiver<bool> {
        self.0.is_kept.subscribe()
    }

    /// Returns the digest of what the file has, and reports when it changes: what is not kept would be forgotten
    /// by a restart, and is not told as known.
    pub(crate) fn digest(&self) -> watch::Receiver<u64> {
        self.0.digest.subscribe()
    }
}

/// Sets a value, and reports it if it is another.
fn set<T: PartialEq>(value: &watch::Sender<T>, new: T) {
    value.send_if_modified(|old| {
        let has_changed = *old != new;
        *old = new;
        has_changed
    });
}

/// Returns the key in an `Authorization` header. The scheme's case does not matter (RFC 9110,
/// 11.1).
fn bearer_key(header: &[u8]) -> Result<Key, AuthError> {
    let header = std::str::from_utf8(header).map_err(|_| AuthError::Malformed)?;
    match header.trim().split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => {
            key.parse().map_err(|_| AuthError::Malformed)
        }
        _ => Err(AuthError::Malformed),
    }
}

#[cfg(test)]
mod tests;
