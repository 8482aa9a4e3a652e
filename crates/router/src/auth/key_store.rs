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
    /// All that is known of keys, as it was read last. Locked from reading the file until its keys are in
    /// force: of two reloads at the same time, the older content can't come last.
    known: Mutex<KeySet>,
    /// Digest of that.
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
            known: Mutex::default(),
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
        self.0.is_stale.send_if_modified(|was| {
            let has_changed = *was != is_stale;
            *was = is_stale;
            has_changed
        });
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

    /// Puts the file's keys in force; returns `false` if there is no file. After an error the keys
    /// stay as they are. Blocks on the disk.
    pub(crate) fn reload(&self) -> anyhow::Result<bool> {
        let mut known = self.0.known.lock();
        let found = self.0.file.read()?;
        let exists = found.is_some();
        self.put_in_force(&mut known, found.unwrap_or_default());
        Ok(exists)
    }

    fn put_in_force(&self, known: &mut KeySet, new: KeySet) {
        let records = new.records().iter();
        let in_force = records.map(|record| (record.id, record.clone())).collect();
        self.0.keys.send_if_modified(|keys| {
            let has_changed = *keys != in_force;
            *keys = in_force;
            has_changed
        });
        self.0.digest.send_if_modified(|digest| {
            let before = std::mem::replace(digest, new.digest());
            before != *digest
        });
        *known = new;
    }

    /// Returns all that is known of keys, as text, for the other routers of a mesh.
    pub(crate) fn to_text(&self) -> anyhow::Result<String> {
        Ok(format::to_text(&self.0.known.lock())?)
    }

    /// Puts in force what another router of the mesh knows, too, and keeps it in the file. If it can't be
    /// kept, it is in force all the same. Blocks on the disk.
    ///
    /// # Errors
    /// If that is no set of keys, or the file can't be read or written.
    pub(crate) fn merge(&self, text: &str) -> anyhow::Result<()> {
        let theirs = format::from_text(text).map_err(|error| anyhow::anyhow!("its keys{error}"))?;
        let mut known = self.0.known.lock();
        let merged = known.merge(&theirs);
        self.put_in_force(&mut known, merged.clone());
        self.0.file.edit(|keys| {
            *keys = keys.merge(&merged);
            Ok(())
        })
    }

    /// Returns the digest of all that is known of keys, and reports when it changes.
    pub(crate) fn digest(&self) -> watch::Receiver<u64> {
        self.0.digest.subscribe()
    }
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
