//! Reads and replaces a file in the state directory: readable by its owner alone, changed whole or
//! not at all, by one program at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use p2p_shared::key::{SecretFileError, read_secret_file};
use rustix::fs::OFlags;

/// File of the secret of the mesh that the router with this state directory is a member of.
pub(crate) const MESH_FILE: &str = "mesh.toml";

/// Time for which a running router waits for a lock, and between two tries.
const LOCK_SOON: Duration = Duration::from_secs(2);
const LOCK_LOOK: Duration = Duration::from_millis(10);

/// File in the state directory; file and directory need not exist. Every call blocks on the disk.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
}

/// See [`StateFile::fingerprint`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileFingerprint(u64, u64, u64, (i64, i64));

/// The file, its lock or its directory can't be written.
#[derive(Debug, thiserror::Error)]
#[error("can't {doing} {path}: {source}", path = path.display())]
pub struct StateFileError {
    pub doing: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl StateFile {
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, name: &str) -> Self {
        Self {
            path: dir.into().join(name),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn dir(&self) -> &Path {
        // `new` has joined a name, so there is a parent.
        self.path.parent().unwrap_or(&self.path)
    }

    /// Returns true if the router with this state directory may be a member of a mesh.
    pub(crate) fn is_of_mesh(&self) -> bool {
        self.dir().join(MESH_FILE).exists()
    }

    /// Reads the text, of at most `limit` bytes; returns `None` if there is no file.
    pub fn read(&self, limit: u64) -> Result<Option<String>, SecretFileError> {
        match read_secret_file(&self.path, limit) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells one state of the file from another without reading it; `None`: there is none. The kernel
    /// renews the time of the last change to the inode also for a chmod. Two changes within a tick of
    /// older kernels (4 ms) have the same time, but hardly the same size.
    pub(crate) fn fingerprint(&self) -> Option<FileFingerprint> {
        let file = fs::metadata(&self.path).ok()?;
        let changed = (file.ctime(), file.ctime_nsec());
        Some(FileFingerprint(
            file.dev(),
            file.ino(),
            file.size(),
            changed,
        ))
    }

    /// Reads the text. If there is no file, makes it, unless another program does so first. Returns
    /// true if this call has made it.
    pub(crate) fn read_or_make(
        &self,
        limit: u64,
        make: impl FnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<(String, bool)> {
        if let Some(text) = self.read(limit)? {
            return Ok((text, false));
        }
        let _lock = self.lock()?;
        if let Some(text) = self.read(limit)? {
            return Ok((text, false));
        }
        let text = make()?;
        self.replace(&text)?;
        Ok((text, true))
    }

    /// Waits until no other program changes the file, and makes others wait until the lock is
    /// dropped. Makes the directory if need be. The lock is a file of its own, because the file
    /// itself is replaced each time.
    pub fn lock(&self) -> Result<File, StateFileError> {
        let lock = self.open_lock()?;
        let path = self.lock_path();
        lock.lock().map_err(unwritable("lock", &path))?;
        Ok(lock)
    }

    /// Takes the [lock](Self::lock) for a running router, which can't wait for ever: whoever has it may have been
    /// stopped.
    pub(crate) fn lock_soon(&self) -> Result<File, StateFileError> {
        let (lock, end) = (self.open_lock()?, Instant::now() + LOCK_SOON);
        loop {
            let error = match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) if Instant::now() < end => {
                    std::thread::sleep(LOCK_LOOK);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    let why =
                        "another program has it: is a `p2p-router` command stopped in the middle?";
                    io::Error::new(io::ErrorKind::WouldBlock, why)
                }
                Err(TryLockError::Error(error)) => error,
            };
            return Err(unwritable("lock", &self.lock_path())(error));
        }
    }

    fn lock_path(&self) -> PathBuf {
        self.path.with_extension("lock")
    }

    fn open_lock(&self) -> Result<File, StateFileError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.dir())
            .map_err(unwritable("make the folder", self.dir()))?;
        let path = self.lock_path();
        // The directory's owner may have put anything here, and this may run as root: follow no
        // link, and wait for no pipe.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags.bits().cast_signed())
            .open(&path)
            .map_err(unwritable("open", &path))?;
        self.give_to_owner(&lock)
            .map_err(unwritable("set the owner of", &path))?;
        Ok(lock)
    }

    /// Replaces the content, under the [lock](Self::lock). Whatever happens meanwhile, also a power
    /// cut, the file is the old one or the new one.
    pub fn replace(&self, text: &str) -> Result<(), StateFileError> {
        let mut next = self.path.clone().into_os_string();
        next.push(".new");
        let next = PathBuf::from(next);
        self.write_next(&next, text.as_bytes())
            .map_err(unwritable("write", &next))?;
        fs::rename(&next, &self.path).map_err(unwritable("replace", &self.path))?;
        // Without this, the old file may come back after a power cut.
        File::open(self.dir())
            .and_then(|dir| dir.sync_all())
            .map_err(unwritable("write", self.dir()))
    }

    /// Replaces the content by a shorter one, under the [lock](Self::lock), as
    /// [`replace`](Self::replace) does; on a full disk in place, where no room is needed: after a
    /// power cut in that moment the file may be neither the old one nor the new one.
    pub(crate) fn replace_by_shorter(&self, text: &str) -> Result<(), StateFileError> {
        let Err(error) = self.replace(text) else {
            return Ok(());
        };
        let is_full = matches!(
            error.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        if !is_full {
            return Err(error);
        }
        self.overwrite(text.as_bytes())
            .map_err(unwritable("write", &self.path))
    }

    fn overwrite(&self, text: &[u8]) -> io::Result<()> {
        // The directory's owner may have put a link here since the file was read.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&self.path)?;
        let now = file.metadata()?;
        let length = text.len() as u64;
        if !now.is_file() || now.nlink() != 1 || now.len() < length {
            let why = "the disk is full, and it can't be changed in place: free some space";
            return Err(io::Error::new(io::ErrorKind::StorageFull, why));
        }
        file.write_all_at(text, 0)?;
        file.set_len(length)?;
        file.sync_all()
    }

    pub fn remove(&self) -> Result<(), StateFileError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(unwritable("remove", &self.path)(error))
            }
            _ => Ok(()),
        }
    }

    fn write_next(&self, next: &Path, text: &[u8]) -> io::Result<()> {
        // A killed program may have left this file: the lock shows that nobody uses it now.
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
            // The disk is full: a partial file is of no use.
            let _ = fs::remove_file(next);
        }
        written
    }

    /// Gives a new file to the owner of the old one, or else of the directory: after `sudo
    /// p2p-router key add`, a router that runs as another user must be able to read it. Refuses a
    /// file with a second name (a hard link), which may be anybody's.
    fn give_to_owner(&self, file: &File) -> io::Result<()> {
        let owner = fs::metadata(&self.path).or_else(|_| fs::metadata(self.dir()))?;
        let now = file.metadata()?;
        if (owner.uid(), owner.gid()) == (now.uid(), now.gid())
            || !rustix::process::geteuid().is_root()
        {
            return Ok(());
        }
        if !now.is_file() || now.nlink() != 1 {
            let why = "it is no file, or has other names as well: remove it";
            return Err(io::Error::other(why));
        }
        fchown(file, Some(owner.uid()), Some(owner.gid()))
    }
}

fn unwritable<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> StateFileError + use<'a> {
    move |source| StateFileError {
        doing,
        path: path.to_owned(),
        source,
    }
}
