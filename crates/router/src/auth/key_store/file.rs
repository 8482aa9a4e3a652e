//! Reads and changes `keys.toml` in the state directory, for the command line and the first start. A
//! running router reads, and adds what the other routers of its mesh know.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{anyhow, bail, ensure};
use p2p_shared::key::{Key, Role};

use super::format;
use super::key_set::{KeySet, MAX_KEYS};
use super::{HeardNote, KeyName, KeyRecord};
use crate::net::port_range::PortRange;
use crate::ops::state_file::{FileFingerprint, StateFile};

/// Name of the key file in the state directory.
const FILE_NAME: &str = "keys.toml";

/// Most bytes that are read: twice what the most keys with the longest names take.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// Most names that an error lists.
const NAMES_LISTED: usize = 20;

/// Key file of one state directory. Every call reads it afresh, and blocks on the disk. Errors name
/// the file and say what to do, and repeat nothing that may be a secret.
#[derive(Debug, Clone)]
pub struct KeyFile {
    file: StateFile,
}

impl KeyFile {
    /// Names the key file in this state directory. Neither file nor directory has to exist.
    #[must_use]
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            file: StateFile::new(dir, FILE_NAME),
        }
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Tells one state of the file from another, as [`StateFile::fingerprint`] does.
    pub(super) fn fingerprint(&self) -> Option<FileFingerprint> {
        self.file.fingerprint()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.file.dir()
    }

    /// Lists the keys in the order in which they were made; none if there is no file.
    pub fn list(&self) -> anyhow::Result<Vec<KeyRecord>> {
        Ok(self.read()?.unwrap_or_default().records)
    }

    /// Number that tells what is known of keys now from what is known at another time, or elsewhere.
    pub(crate) fn digest(&self) -> anyhow::Result<u64> {
        Ok(self.read()?.unwrap_or_default().digest())
    }

    /// Reads all that is known of keys; returns `None` if there is no file.
    pub(super) fn read(&self) -> anyhow::Result<Option<KeySet>> {
        let Some(text) = self.file.read(MAX_FILE)? else {
            return Ok(None);
        };
        format::from_text(&text)
            .map(Some)
            .map_err(|error| anyhow!("{}{error}", self.path().display()))
    }

    /// Makes a key and stores its hash. The key itself is returned and kept nowhere: if it is lost,
    /// make another. Makes the state directory if need be.
    pub fn add(&self, name: &KeyName, role: Role, ports: Option<PortRange>) -> anyhow::Result<Key> {
        self.edit(|keys| push_new(keys, name.clone(), role, ports))
    }

    /// Makes a key as [`add`](Self::add) does, in a running router.
    pub(crate) fn add_soon(
        &self,
        name: &KeyName,
        role: Role,
        ports: Option<PortRange>,
    ) -> anyhow::Result<Key> {
        let _lock = self.file.lock_soon()?;
        self.edit_locked(|keys| push_new(keys, name.clone(), role, ports))
    }

    /// Removes the key of this name, or id, and returns its record. Works on a full disk, too: whoever
    /// fills it may be the one whose key is revoked.
    pub fn revoke(&self, name: &KeyName) -> anyhow::Result<KeyRecord> {
        let remove = |keys: &mut KeySet| {
            let at = find(&keys.records, name)?;
            if self.is_of_mesh() {
                // On a full disk the key is revoked all the same.
                let _ = HeardNote::begin(self.dir());
            }
            Ok(self.take_out(keys, at))
        };
        match self.read()? {
            // There is nothing to revoke, and no reason to make a directory.
            None => remove(&mut KeySet::default()),
            Some(_) => self.edit(remove),
        }
    }

    /// Removes a key that nobody was shown.
    pub fn unmake(&self, key: &Key) -> anyhow::Result<()> {
        let _lock = self.file.lock_soon()?;
        self.edit_locked(|keys| {
            let at = keys.records.iter().position(|it| it.id == key.id());
            at.map(|at| self.take_out(keys, at));
            Ok(())
        })
    }

    /// Takes the key at this place out. In a mesh that is remembered, though no router of this version has
    /// written the file yet.
    fn take_out(&self, keys: &mut KeySet, at: usize) -> KeyRecord {
        keys.is_shared |= self.is_of_mesh();
        keys.revoke(at)
    }

    /// Returns true if there is no key, and none that was revoked is known.
    pub(crate) fn is_new(&self) -> anyhow::Result<bool> {
        let keys = self.read()?.unwrap_or_default();
        Ok(keys.records.is_empty() && keys.revoked.is_empty())
    }

    /// Returns true if the router with these keys may be a member of a mesh.
    pub(crate) fn is_of_mesh(&self) -> bool {
        self.file.is_of_mesh()
    }

    /// Replaces the keys by what `edit` makes of them, while no other program changes them.
    pub(super) fn edit<T>(
        &self,
        edit: impl FnOnce(&mut KeySet) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let _lock = self.file.lock()?;
        self.edit_locked(edit)
    }

    /// Adds what a running router knows, too.
    pub(super) fn keep(&self, known: &KeySet) -> anyhow::Result<()> {
        let _lock = self.file.lock_soon()?;
        self.edit_locked(|keys| {
            *keys = keys.merge(known);
            Ok(())
        })
    }

    fn edit_locked<T>(
        &self,
        edit: impl FnOnce(&mut KeySet) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let before = self.read()?.unwrap_or_default();
        let mut keys = before.clone();
        let edited = edit(&mut keys)?;
        if before == keys && self.path().exists() {
            return Ok(edited);
        }
        let text = format::to_text(&keys)?;
        // A full disk has room for this: a revoked key is not put off.
        if text.len() < format::to_text(&before)?.len() {
            self.file.replace_by_shorter(&text)?;
        } else {
            self.file.replace(&text)?;
        }
        Ok(edited)
    }
}

/// Returns the place of the key with this name, or id.
fn find(records: &[KeyRecord], name: &KeyName) -> anyhow::Result<usize> {
    let is_meant = |it: &KeyRecord| it.name == *name || it.id.to_string() == name.as_str();
    let found: Vec<usize> = (0..records.len())
        .filter(|at| is_meant(&records[*at]))
        .collect();
    match found[..] {
        [at] => Ok(at),
        [] => bail!("there is no key named `{name}`; {}", list_names(records)),
        _ => {
            let ids: Vec<_> = found.iter().map(|at| records[*at].id.to_string()).collect();
            bail!(
                "{} keys are named `{name}`, or have it as their id: say which one by its id, of {}",
                ids.len(),
                ids.join(", ")
            )
        }
    }
}

/// Makes a key and adds its record at the end.
fn push_new(
    keys: &mut KeySet,
    name: KeyName,
    role: Role,
    ports: Option<PortRange>,
) -> anyhow::Result<Key> {
    let records = &mut keys.records;
    ensure!(
        records.iter().all(|record| record.name != name),
        "there is a key named `{name}` already: revoke it first (p2p-router key revoke NAME), or choose another name"
    );
    ensure!(
        records.len() < MAX_KEYS,
        "there are {MAX_KEYS} keys, which is as many as there may be: revoke some"
    );
    // With 10,000 ids of 40 bits, one draw in a hundred million repeats an id.
    let key = loop {
        let key = Key::generate()?;
        let is_known = records.iter().any(|record| record.id == key.id());
        if !is_known && !keys.revoked.contains_key(&key.id()) {
            break key;
        }
    };
    let created = keys.time_for_new(SystemTime::now());
    keys.records.push(KeyRecord {
        id: key.id(),
        name,
        role,
        ports,
        hash: key.hash(),
        created,
    });
    Ok(key)
}

fn list_names(records: &[KeyRecord]) -> String {
    if records.is_empty() {
        return "there are no keys yet (p2p-router key add NAME --role ROLE makes one)".to_owned();
    }
    let names = records.iter().map(|record| record.name.as_str());
    let listed = names.take(NAMES_LISTED).collect::<Vec<_>>().join(", ");
    match records.len().saturating_sub(NAMES_LISTED) {
        0 => format!("there are: {listed}"),
        more => format!("there are: {listed} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
