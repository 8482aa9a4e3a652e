//! `KeyFile`: reads and changes `keys.toml` in the state directory, whole or not at all, one
//! program at a time. For the command line and the first start; a running router only reads.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use p2p_shared::key::{Key, Role, read_secret_file};
use p2p_shared::ports::PortRange;

use super::format::{self, FormatError, MAX_KEYS};
use super::{KeyFileError, KeyName, KeyRecord};

/// The name of the key file in the state directory.
pub(super) const FILE_NAME: &str = "keys.toml";

/// What is locked while the key file is changed: a file of its own, as the key file itself is
/// replaced each time.
const LOCK_NAME: &str = "keys.lock";

/// Where the next content is written before it takes the key file's place.
const NEXT_NAME: &str = "keys.toml.new";

/// The names of the keys that the first start makes: a car's and its operator's.
pub(super) const FIRST_KEYS: [&str; 2] = ["car", "operator"];

/// The most that is read, in bytes: twice what the most keys with the longest names take.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// The key file of one state directory. Every call reads it afresh, and blocks on the disk.
#[derive(Debug, Clone)]
pub struct KeyFile {
    dir: PathBuf,
    path: PathBuf,
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
        let dir = dir.into();
        Self {
            path: dir.join(FILE_NAME),
            dir,
        }
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
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
        let text = match read_secret_file(&self.path, MAX_FILE) {
            Ok(text) => text,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        format::from_text(&text)
            .map(Some)
            .map_err(|error| match error {
                FormatError::Newer { version } => KeyFileError::Newer {
                    path: self.path.clone(),
                    version,
                },
                FormatError::Garbled { line, reason } => KeyFileError::Garbled {
                    path: self.path.clone(),
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

    /// Waits until no other program changes the file, and keeps others waiting until the lock is
    /// dropped.
    fn lock(&self) -> Result<File, KeyFileError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(unwritable("make the folder", &self.dir))?;
        let path = self.dir.join(LOCK_NAME);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(unwritable("open", &path))?;
        self.give_to_owner(&lock)
            .map_err(unwritable("set the owner of", &path))?;
        lock.lock().map_err(unwritable("lock", &path))?;
        Ok(lock)
    }

    /// Puts other content in the file's place. Whatever happens meanwhile, power cuts included, the
    /// file is the old one or the new one.
    fn replace(&self, records: &[KeyRecord]) -> Result<(), KeyFileError> {
        let text = format::to_text(records)
            .map_err(io::Error::other)
            .map_err(unwritable("write", &self.path))?;
        let next = self.dir.join(NEXT_NAME);
        self.write_next(&next, text.as_bytes())
            .map_err(unwritable("write", &next))?;
        fs::rename(&next, &self.path).map_err(unwritable("replace", &self.path))?;
        // The directory has to be on the disk too, or the old file may come back after a power cut.
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(unwritable("write", &self.dir))
    }

    fn write_next(&self, next: &Path, text: &[u8]) -> io::Result<()> {
        // Left over from a program that was killed: the lock says that nobody is at it now.
        match fs::remove_file(next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(next)?;
        let written = file
            .set_permissions(Permissions::from_mode(0o600))
            .and_then(|()| self.give_to_owner(&file))
            .and_then(|()| file.write_all(text))
            .and_then(|()| file.sync_all());
        if written.is_err() {
            // A full disk: what did get written is of no use, and removing it is the best there is.
            let _ = fs::remove_file(next);
        }
        written
    }

    /// Gives a new file to the owner of the old one, else of the directory: after
    /// `sudo p2p-router key add`, a router that runs as another user must be able to read it.
    fn give_to_owner(&self, file: &File) -> io::Result<()> {
        let owner = fs::metadata(&self.path).or_else(|_| fs::metadata(&self.dir))?;
        let now = file.metadata()?;
        if (owner.uid(), owner.gid()) == (now.uid(), now.gid())
            || !rustix::process::geteuid().is_root()
        {
            return Ok(());
        }
        fchown(file, Some(owner.uid()), Some(owner.gid()))
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

fn unwritable<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> KeyFileError + use<'a> {
    move |source| KeyFileError::Unwritable {
        doing,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
