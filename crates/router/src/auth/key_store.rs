//! Keys of a running router and what each may do. `KeyStore` follows `keys.toml` in the state
//! directory; it has hashes, never a secret.

mod file;
mod follow;
mod format;
mod name;

pub use file::KeyFile;
pub(in crate::auth) use follow::POLL_EVERY;
pub use format::KeyRecord;
pub use name::{KeyName, ParseKeyNameError};

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
    /// Lock from reading the file until its keys are in force: of two reloads at the same time, the
    /// older content can't come last.
    reloading: Mutex<()>,
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
            reloading: Mutex::new(()),
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
        let hash = key.hash();
        let keys = self.0.keys.borrow();
        let record = keys.get(&key.id());
        let right = hash == *record.map_or(&self.0.nobody, |record| &record.hash);
        match record {
            Some(record) if right => Ok(record.clone()),
            _ => Err(AuthError::Wrong),
        }
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
        let _reloading = self.0.reloading.lock();
        let records = self.0.file.read()?;
        let exists = records.is_some();
        let records = records.unwrap_or_default().into_iter();
        let new = records.map(|record| (record.id, record)).collect();
        self.0.keys.send_if_modified(|keys| {
            let has_changed = *keys != new;
            *keys = new;
            has_changed
        });
        Ok(exists)
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
