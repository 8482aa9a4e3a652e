//! `KeyFile`: reads and changes `keys.toml` in the state directory. For the command line and the
//! first start; a running router only reads.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use p2p_shared::key::{Key, Role};
use p2p_shared::ports::PortRange;

use super::format::{self, FormatError, MAX_KEYS};
use super::{KeyFileError, KeyName, KeyRecord};
use crate::ops::state_file::{StateFile, StateFileError};

/// The name of the key file in the state directory.
pub(super) const FILE_NAME: &str = "keys.toml";

/// The names of the keys that the first start makes: a car's and its operator's.
pub(super) const FIRST_KEYS: [&str; 2] = ["car", "operator"];

/// The most that is read, in bytes: twice what the most keys with the longest names take.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// The key file of one state directory. Every call reads it afresh, and blocks on the disk.
#[derive(Debug, Clone)]
pub struct KeyFile {
    file: StateFile,
}

/// The two keys that a router makes at its first start.
#[derive(Debug)]
pub struct FirstKeys {
    /// Role link, named `car`.
    pub car: Key,
    /// Role admin, named `operator`: whoever starts the router owns it, and no other key there
    /// could seize control or revoke.
    pub operator: Key,
}

impl KeyFile {
    /// The key file in this state directory; neither has to exist.
    #[must_use]
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            file: StateFile::new(dir, FILE_NAME),
        }
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn dir(&self) -> &Path {
        self.file.dir()
    }

    /// Every key, in the order they were made in; none if there is no file.
    ///
    /// # Errors
    ///
    /// When the file is there but can't be used.
    pub fn list(&self) -> Result<Vec<KeyRecord>, KeyFileError> {
        Ok(self.read()?.unwrap_or_default())
    }

    /// As [`KeyFile::list`], with `None` if there is no file.
    pub(super) fn read(&self) -> Result<Option<Vec<KeyRecord>>, KeyFileError> {
        let Some(text) = self.file.read(MAX_FILE)? else {
            return Ok(None);
        };
        format::from_text(&text)
            .map(Some)
            .map_err(|error| match error {
                FormatError::Newer { version } => KeyFileError::Newer {
                    path: self.path().to_owned(),
                    version,
                },
                FormatError::Garbled { line, reason } => KeyFileError::Garbled {
                    path: self.path().to_owned(),
                    line,
                    reason,
                },
            })
    }

    /// Makes a key. It is in the file when this returns, and nowhere else: who loses it makes
    /// another. Makes the state directory if need be.
    ///
    /// # Errors
    ///
    /// When the name is taken, `ports` are given to another role than link, there are 10,000 keys,
    /// or the file can't be used or written.
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

    /// Takes a key out, and returns what it was.
    ///
    /// # Errors
    ///
    /// When there is none of that name, or the file can't be used or written.
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

    /// Makes a key for a car and one for its operator, both or none, if the file has no key at all;
    /// `None` if it has some.
    ///
    /// # Errors
    ///
    /// When the file can't be used or written.
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
        let mut make = |name, role| push_new(&mut records, KeyName::literal(name), role, None);
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

/// Makes a key, and its record at the end of the others.
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
