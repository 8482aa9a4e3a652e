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
use key_set::MAX_KEYS;
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
    keys: watch::Sender<KeysInForce>,
    /// Locked from reading the file until its keys are in force: of two reloads at the same time, the older
    /// content can't come last. The one lock here that is held while the disk works.
    reading: Mutex<()>,
    known: Mutex<Known>,
    /// Digest of what the file of a member has.
    digest: watch::Sender<u64>,
    /// Hash that is compared for a key that does not exist; nobody has its secret.
    nobody: KeyHash,
}

/// Keys and revoked ones that are known, by the file and from other routers of a mesh.
#[derive(Default)]
struct Known {
    keys: Arc<KeySet>,
    /// The router is a member of a mesh: what it knows of keys it knows to its end, whatever becomes of the file.
    is_member: bool,
    /// The file lacks something of it.
    is_unkept: bool,
}

/// Keys that open something now.
#[derive(Debug, Default)]
pub struct KeysInForce {
    keys: HashMap<KeyId, KeyRecord>,
    /// Other routers of a mesh may have revoked some: a key may stop cars and be one, and nothing else.
    pub(crate) is_stale: bool,
}

impl KeysInForce {
    pub(crate) fn get(&self, id: &KeyId) -> Option<&KeyRecord> {
        self.keys.get(id)
    }
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
            reading: Mutex::default(),
            known: Mutex::default(),
            digest: watch::Sender::default(),
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
        self.in_force().keys.is_empty()
    }

    /// Returns the record of the key in an `Authorization` header, stale or not.
    ///
    /// # Errors
    ///
    /// If there is no valid key.
    pub fn authenticate(&self, authorization: Option<&[u8]>) -> Result<KeyRecord, AuthError> {
        self.find(&bearer_key(authorization.ok_or(AuthError::Missing)?)?)
    }

    /// Returns the record of a key, stale or not.
    ///
    /// # Errors
    ///
    /// If the key is wrong or revoked. An unknown id and a wrong secret take the same steps.
    pub fn find(&self, key: &Key) -> Result<KeyRecord, AuthError> {
        let hash = key.hash();
        let keys = self.in_force();
        let record = keys.get(&key.id());
        let right = hash == *record.map_or(&self.0.nobody, |record| &record.hash);
        match record {
            Some(record) if right => Ok(record.clone()),
            _ => Err(AuthError::Wrong),
        }
    }

    /// Sets whether the keys are too old to be taken for more than a stop. What they have open ends then.
    pub(crate) fn set_stale(&self, is_stale: bool) {
        let set =
            |keys: &mut KeysInForce| std::mem::replace(&mut keys.is_stale, is_stale) != is_stale;
        match (self.0.keys.send_if_modified(set), is_stale) {
            (true, true) => tracing::warn!(
                "mesh: keys may only stop cars until another router says that it knows the same ones (--mesh-keys-stale)"
            ),
            (true, false) => tracing::info!("mesh: keys are taken"),
            _ => {}
        }
    }

    /// Makes the router a member of a mesh: it forgets nothing that it knows of keys any more, and
    /// [`keep`](Self::keep) writes a file of the version that says so. Blocks on the disk.
    pub(crate) fn share(&self) -> anyhow::Result<()> {
        let mut known = self.0.known.lock();
        known.is_member = true;
        Arc::make_mut(&mut known.keys).is_shared = true;
        drop(known);
        self.reload().map(drop)
    }

    /// Returns true if the key still exists.
    #[must_use]
    pub fn is_live(&self, id: &KeyId) -> bool {
        self.in_force().get(id).is_some()
    }

    /// Returns the record of the key with this id; `None`: the key was revoked.
    #[must_use]
    pub fn record(&self, id: &KeyId) -> Option<KeyRecord> {
        self.in_force().get(id).cloned()
    }

    /// Returns the keys in force, which can't change while this is held.
    pub(crate) fn in_force(&self) -> watch::Ref<'_, KeysInForce> {
        self.0.keys.borrow()
    }

    /// Returns the keys in force, and reports when they change.
    pub fn changes(&self) -> watch::Receiver<KeysInForce> {
        self.0.keys.subscribe()
    }

    /// Follows the file for ever: new keys are valid, and revoked ones void, within a quarter of a
    /// second.
    ///
    /// A file that can't be used leaves the last good keys in force, with a warning; without a file
    /// no key is valid, but for what a member of a mesh knows.
    pub async fn follow(self) {
        follow::follow(&self, POLL_EVERY).await;
    }

    /// Puts the file's keys in force, in a member of a mesh with all that it knew before; returns `false` if there
    /// is no file. After an error the keys stay as they are. Blocks on the disk.
    pub(crate) fn reload(&self) -> anyhow::Result<bool> {
        let _reading = self.0.reading.lock();
        let found = self.0.file.read()?;
        let exists = found.is_some();
        let read = found.unwrap_or_default();
        let mut known = self.0.known.lock();
        let (all, digest) = match known.is_member {
            // A copy of before that was put back brings no revoked key back, and takes none away.
            true => (read.merge(&known.keys), read.digest()),
            false => (read.clone(), 0),
        };
        known.is_unkept = all != read;
        self.put_in_force(&mut known, all);
        drop(known);
        (self.0.digest).send_if_modified(|old| std::mem::replace(old, digest) != digest);
        Ok(exists)
    }

    fn put_in_force(&self, known: &mut Known, new: KeySet) {
        let records = new.records().iter();
        let keys = records.map(|it| (it.id, it.clone())).collect();
        self.0.keys.send_if_modified(|in_force| {
            let has_changed = in_force.keys != keys;
            in_force.keys = keys;
            has_changed
        });
        known.keys = Arc::new(new);
    }

    /// Returns all that is known of keys, as text, for the other routers of a mesh. Takes a while if there are
    /// many.
    pub(crate) fn to_text(&self) -> anyhow::Result<String> {
        let known = self.0.known.lock().keys.clone();
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
        let merged = known.keys.merge(&theirs);
        if merged != *known.keys {
            if merged.records().len() == MAX_KEYS {
                tracing::warn!(
                    "mesh: there are {MAX_KEYS} keys, which is as many as there may be: of more the newest are left out (p2p-router key revoke NAME)"
                );
            }
            self.put_in_force(&mut known, merged);
            known.is_unkept = true;
        }
        Ok(())
    }

    /// Writes what the file lacks of what is known. Blocks on the disk, if that is something.
    ///
    /// # Errors
    /// If the file can't be read or written; the keys are in force all the same.
    pub(crate) fn keep(&self) -> anyhow::Result<()> {
        let unkept = {
            let known = self.0.known.lock();
            known.is_unkept.then(|| known.keys.clone())
        };
        if let Some(keys) = unkept {
            self.0.file.keep(&keys)?;
            self.reload()?;
        }
        Ok(())
    }

    /// Returns true if the file has all that is known.
    pub(crate) fn is_kept(&self) -> bool {
        !self.0.known.lock().is_unkept
    }

    /// Returns the digest of what the file of a member has, and reports when it changes: what is not kept would be
    /// forgotten by a restart, and is not told as known.
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
