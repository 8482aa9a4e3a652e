//! Keys of a running router and what each may do. `KeyStore` follows `keys.toml` in the state
//! directory; it has hashes, never a secret.

mod error;
mod file;
mod follow;
mod format;
mod name;

pub use error::KeyFileError;
pub use file::{FirstKeys, KeyFile};
pub use format::{FormatError, KeyRecord};
pub use name::{KeyName, ParseKeyNameError};

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use p2p_shared::key::{Key, KeyHash, KeyId, Role};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::net::port_range::PortRange;

/// Keys of a running router. Clones share them.
#[derive(Clone)]
pub struct KeyStore {
    shared: Arc<Shared>,
}

struct Shared {
    file: KeyFile,
    keys: RwLock<HashMap<KeyId, KeyRecord>>,
    generation: watch::Sender<u64>,
    /// Lock from reading the file until its keys are in force: of two reloads at the same time, the
    /// older content can't come last.
    reloading: Mutex<()>,
    /// Hash that is compared for a key that does not exist; nobody has its secret.
    nobody: KeyHash,
}

/// Rights of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Id of the key, which is the identity of an inner.
    pub id: KeyId,
    pub name: String,
    pub role: Role,
    /// Service ports that the key may ask for, if its role is link; `None`: any.
    pub ports: Option<PortRange>,
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
    /// The browser's session cookie is wrong or expired, or its key was revoked.
    #[error(
        "you are signed out: the key was revoked, or it is a month since you signed in; sign in again"
    )]
    SignedOut,
}

impl std::fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyStore")
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

impl KeyStore {
    /// Reads the keys in the state directory; without a file there are none. Blocks on the disk.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, KeyFileError> {
        let store = Self {
            shared: Arc::new(Shared {
                file: KeyFile::in_dir(dir),
                keys: RwLock::default(),
                generation: watch::Sender::new(0),
                reloading: Mutex::new(()),
                nobody: Key::generate()?.hash(),
            }),
        };
        store.reload()?;
        Ok(store)
    }

    pub fn path(&self) -> &Path {
        self.shared.file.path()
    }

    /// Makes a key for a car and one for its operator if the file has no key; returns `None` if it
    /// has some. Blocks on the disk.
    pub fn create_first_keys(&self) -> Result<Option<FirstKeys>, KeyFileError> {
        let first = self.shared.file.create_first_keys()?;
        self.reload()?;
        Ok(first)
    }

    /// Removes the [first keys](Self::create_first_keys). Blocks on the disk.
    pub fn revoke_first_keys(&self) -> Result<(), KeyFileError> {
        for name in file::FIRST_KEYS {
            self.shared.file.revoke(&KeyName(name.to_owned()))?;
        }
        self.reload()?;
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        let keys = &self.shared.keys;
        keys.read().is_empty()
    }

    /// Returns the rights of the key in an `Authorization` header.
    ///
    /// # Errors
    ///
    /// If there is no valid key. An unknown id and a wrong secret take the same steps.
    pub fn authenticate(&self, authorization: Option<&[u8]>) -> Result<Grant, AuthError> {
        self.grant_of(&bearer_key(authorization.ok_or(AuthError::Missing)?)?)
    }

    /// Returns the rights of a key.
    ///
    /// # Errors
    ///
    /// If the key is wrong or revoked. An unknown id and a wrong secret take the same steps.
    pub fn grant_of(&self, key: &Key) -> Result<Grant, AuthError> {
        let hash = key.hash();
        let keys = self.shared.keys.read();
        let record = keys.get(&key.id());
        let right = hash == *record.map_or(&self.shared.nobody, |record| &record.hash);
        match record {
            Some(record) if right => Ok(record.grant()),
            _ => Err(AuthError::Wrong),
        }
    }

    /// Returns true if the key still exists.
    #[must_use]
    pub fn is_live(&self, id: &KeyId) -> bool {
        self.grant(id).is_some()
    }

    /// Returns the rights of the key now, to compare with its rights when its link or console was
    /// accepted; `None`: it was revoked.
    #[must_use]
    pub fn grant(&self, id: &KeyId) -> Option<Grant> {
        let keys = self.shared.keys.read();
        keys.get(id).map(KeyRecord::grant)
    }

    /// Returns the hash of the key's secret; `None`: the key was revoked.
    pub(crate) fn hash(&self, id: &KeyId) -> Option<KeyHash> {
        let keys = self.shared.keys.read();
        keys.get(id).map(|record| record.hash)
    }

    pub(crate) fn state_dir(&self) -> &Path {
        self.shared.file.dir()
    }

    /// Returns a number that changes after the keys have changed: then call [`KeyStore::is_live`]
    /// again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.generation.subscribe()
    }

    /// Follows the file until `shutdown`: new keys are valid, and revoked ones void, within a
    /// quarter of a second.
    ///
    /// A file that can't be used leaves the last good keys in force, with a warning; without a file
    /// no key is valid.
    pub async fn watch(self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = shutdown => {}
            () = follow::follow(&self, follow::POLL_EVERY) => {}
        }
    }

    /// Puts the file's keys in force; returns `false` if there is no file. After an error the keys
    /// stay as they are. Blocks on the disk.
    fn reload(&self) -> Result<bool, KeyFileError> {
        let _reloading = self.shared.reloading.lock();
        let records = self.shared.file.read()?;
        let exists = records.is_some();
        let new: HashMap<_, _> = records
            .unwrap_or_default()
            .into_iter()
            .map(|record| (record.id, record))
            .collect();
        let mut keys = self.shared.keys.write();
        if *keys != new {
            *keys = new;
            // A task that the number wakes must find the new keys.
            drop(keys);
            self.shared
                .generation
                .send_modify(|generation| *generation += 1);
        }
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
