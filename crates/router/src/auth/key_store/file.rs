//! Reads and changes `keys.toml` in the state directory, for the command line and the first start.
//! A running router only reads.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use p2p_shared::key::{Key, Role};

use super::format::{self, MAX_KEYS};
use super::{KeyFileError, KeyName, KeyRecord};
use crate::net::port_range::PortRange;
use crate::ops::state_file::{StateFile, StateFileError};

/// Name of the key file in the state directory.
const FILE_NAME: &str = "keys.toml";

/// Names of the keys that the first start makes: a car's and its operator's.
pub(super) const FIRST_KEYS: [&str; 2] = ["car", "operator"];

/// Most bytes that are read: twice what the most keys with the longest names take.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// Key file of one state directory. Every call reads it afresh, and blocks on the disk.
#[derive(Debug, Clone)]
pub struct KeyFile {
    file: StateFile,
}

/// Keys that a router makes at its first start.
#[derive(Debug)]
pub struct FirstKeys {
    /// Key with the role link, named `car`.
    pub car: Key,
    /// Key with the role admin, named `operator`: whoever starts the router owns it, and no other
    /// key could seize control.
    pub operator: Key,
}

impl KeyFile {
    /// Names the key file in this state directory; neither has to exist.
    #[must_use]
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            file: StateFile::new(dir, FILE_NAME),
        }
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn dir(&self) -> &Path {
        self.file.dir()
    }

    /// Lists the keys in the order in which they were made; none if there is no file.
    pub fn list(&self) -> Result<Vec<KeyRecord>, KeyFileError> {
        Ok(self.read()?.unwrap_or_default())
    }

    /// Lists the keys; returns `None` if there is no file.
    pub(super) fn read(&self) -> Result<Option<Vec<KeyRecord>>, KeyFileError> {
        let Some(text) = self.file.read(MAX_FILE)? else {
            return Ok(None);
        };
        format::from_text(&text)
            .map(Some)
            .map_err(|error| KeyFileError::Format {
                path: self.path().to_owned(),
                error,
            })
    }

    /// Makes a key and stores its hash. The key itself is returned and kept nowhere: if it is lost,
    /// make another. Makes the state directory if need be.
    pub fn add(
        &self,
        name: &KeyName,
        role: Role,
        ports: Option<PortRange>,
    ) -> Result<Key, KeyFileError> {
        let _lock = self.lock()?;
        let mut records = self.list()?;
        let key = push_new(&mut records, name.clone(), role, ports)?;
        self.replace(&records)?;
        Ok(key)
    }

    /// Removes a key and returns its record.
    pub fn revoke(&self, name: &KeyName) -> Result<KeyRecord, KeyFileError> {
        let no_such_name = |records: Vec<KeyRecord>| KeyFileError::NoSuchName {
            name: name.clone(),
            names: records.into_iter().map(|record| record.name).collect(),
        };
        // Without a file there is nothing to revoke, and no reason to make a directory.
        if self.read()?.is_none() {
            return Err(no_such_name(vec![]));
        }
        let _lock = self.lock()?;
        let mut records = self.list()?;
        let Some(at) = records.iter().position(|record| record.name == *name) else {
            return Err(no_such_name(records));
        };
        let revoked = records.remove(at);
        self.replace(&records)?;
        Ok(revoked)
    }

    /// Makes a key for a car and one for its operator, both or none, if the file has no key;
    /// returns `None` if it has some.
    pub fn create_first_keys(&self) -> Result<Option<FirstKeys>, KeyFileError> {
        // Most starts are not the first, and need not be able to write.
        if !self.list()?.is_empty() {
            return Ok(None);
        }
        let _lock = self.lock()?;
        let mut records = self.list()?;
        if !records.is_empty() {
            return Ok(None);
        }
        let mut make =
            |name: &str, role| push_new(&mut records, KeyName(name.to_owned()), role, None);
        let [car, operator] = FIRST_KEYS;
        let first = FirstKeys {
            car: make(car, Role::Link)?,
            operator: make(operator, Role::Admin)?,
        };
        self.replace(&records)?;
        Ok(Some(first))
    }

    fn lock(&self) -> Result<File, KeyFileError> {
        Ok(self.file.lock()?)
    }

    fn replace(&self, records: &[KeyRecord]) -> Result<(), KeyFileError> {
        let text = format::to_text(records).map_err(|source| StateFileError {
            doing: "write",
            path: self.path().to_owned(),
            source: io::Error::other(source),
        })?;
        Ok(self.file.replace(&text)?)
    }
}

/// Makes a key and adds its record at the end.
fn push_new(
    records: &mut Vec<KeyRecord>,
    name: KeyName,
    role: Role,
    ports: Option<PortRange>,
) -> Result<Key, KeyFileError> {
    if ports.is_some() && !role.may_link() {
        return Err(KeyFileError::PortsWithoutLink);
    }
    if records.iter().any(|record| record.name == name) {
        return Err(KeyFileError::NameTaken { name });
    }
    if records.len() >= MAX_KEYS {
        return Err(KeyFileError::TooMany);
    }
    // Among 10,000 ids of 40 bits, one in a hundred million draws is one that is there already.
    let key = loop {
        let key = Key::generate()?;
        if records.iter().all(|record| record.id != key.id()) {
            break key;
        }
    };
    let created = SystemTime::now();
    records.push(KeyRecord {
        id: key.id(),
        name,
        role,
        ports,
        hash: key.hash(),
        created,
    });
    Ok(key)
}

#[cfg(test)]
mod tests;
