//! Where a program that is set up keeps its settings and its key: below `/etc` for a service of the machine, else
//! in the folder of the user.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rustix::fs::{Mode, OFlags};

use super::SettingsForm;
use crate::key;

/// Folder of the machine's services.
const OF_THE_MACHINE: &str = "/etc/p2prouter";

/// Place of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The folder.
    pub dir: PathBuf,
    /// True if systemd is to run the program for the machine.
    pub is_service: bool,
}

impl Place {
    /// Finds the place for who runs this: root on a machine with systemd sets up a service, unless it is to be
    /// `for_user`.
    ///
    /// # Errors
    /// If there is no home, or somebody else than root does not say `for_user` where systemd could start it.
    pub fn find(for_user: bool) -> anyhow::Result<Self> {
        let is_root = rustix::process::geteuid().is_root();
        let is_service = is_for_machine(for_user, is_root, is_systemds())?;
        Self::of(is_service, key::config_dir())
    }

    fn of(is_service: bool, of_user: Option<PathBuf>) -> anyhow::Result<Self> {
        let dir = match is_service {
            true => OF_THE_MACHINE.into(),
            false => of_user.context("there is no place for settings, as HOME is not set")?,
        };
        Ok(Self { dir, is_service })
    }

    /// Makes the folder if need be: of a service, whose user has to enter it, whatever the mask of who runs this is.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn make(&self) -> anyhow::Result<()> {
        let mode = if self.is_service { 0o755 } else { 0o700 };
        make_folder(&self.dir, mode).map(drop)
    }

    /// Returns path and form of the settings of a program (`inner`).
    #[must_use]
    pub fn settings(&self, program: &str) -> (PathBuf, SettingsForm) {
        match self.is_service {
            true => (
                self.dir.join(format!("{program}.env")),
                SettingsForm::Environment,
            ),
            false => (self.dir.join(format!("{program}.toml")), SettingsForm::Toml),
        }
    }
}

fn is_for_machine(for_user: bool, is_root: bool, is_systemds: bool) -> anyhow::Result<bool> {
    ensure!(
        for_user || is_root || !is_systemds,
        "nothing is done yet: run this with sudo, so that it starts now and at each boot, or with --user, for you alone"
    );
    Ok(!for_user && is_systemds)
}

/// Returns true on a machine that systemd runs (sd_booted(3)).
#[must_use]
pub fn is_systemds() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Returns a path without symbolic links, which need not exist to its end. For root, nobody else
/// can change what it leads to: root neither writes nor starts anything at a place that others choose.
///
/// # Errors
/// If others can, or it can't be found out.
pub fn own_path(path: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let is_there = |it: &&Path| it.symlink_metadata().is_ok();
    let there = path.ancestors().find(is_there).unwrap_or(Path::new("/"));
    let real =
        (there.canonicalize()).with_context(|| format!("can't follow {}", there.display()))?;
    if rustix::process::geteuid().is_root() {
        for place in real.ancestors() {
            ensure!(
                !is_open_to_others(&place.metadata()?),
                "{} belongs to another user than root, or others may write to it, so root does not use {}: \
                 choose another place, or give it to root (chown, chmod go-w)",
                place.display(),
                path.display()
            );
        }
    }
    // What is missing; with nothing, a join would add a slash.
    Ok(match path.strip_prefix(there) {
        Ok(rest) if rest != Path::new("") => real.join(rest),
        _ => real,
    })
}

/// Returns true if another user than root may change a place, or what is in it.
fn is_open_to_others(place: &Metadata) -> bool {
    // In a folder like `/tmp` others can make files, but not replace root's.
    let is_like_tmp = place.is_dir() && place.mode() & 0o1000 != 0;
    place.uid() != 0 || place.mode() & 0o022 != 0 && !is_like_tmp
}

/// Makes a folder and those that it is in, all of this mode whatever the mask is, unless they are there. Returns its
/// [own path](own_path).
///
/// # Errors
/// If it can't be made.
pub fn make_folder(path: &Path, mode: u32) -> anyhow::Result<PathBuf> {
    let path = own_path(path)?;
    let missing: Vec<_> = path.ancestors().take_while(|it| !it.is_dir()).collect();
    let make = |folder: &Path| {
        DirBuilder::new().mode(mode).create(folder)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = File::from(rustix::fs::open(folder, flags, Mode::empty())?);
        made.set_permissions(Permissions::from_mode(mode))
    };
    for folder in missing.iter().rev() {
        make(folder).with_context(|| format!("can't make {}", folder.display()))?;
    }
    Ok(path)
}

/// Owner and group of a file.
pub type Owner = (u32, u32);

/// Writes a file whole or not at all, for this mode and owner.
///
/// # Errors
/// If it can't be written.
pub fn write_file(path: &Path, text: &str, mode: u32, owner: Option<Owner>) -> anyhow::Result<()> {
    NextFile::make(path, mode, owner)?.put(text)
}

/// A file that is about to be written, beside its place: whoever has made it has room and right to write a few lines.
#[derive(Debug)]
pub struct NextFile {
    file: File,
    path: PathBuf,
    next: PathBuf,
}

impl NextFile {
    /// Makes it, for this mode and owner.
    ///
    /// # Errors
    /// If it can't be made, or a folder is in its place.
    pub fn make(path: &Path, mode: u32, owner: Option<Owner>) -> anyhow::Result<Self> {
        ensure!(!path.is_dir(), "{} is a folder, not a file", path.display());
        if let Some(folder) = path.parent().filter(|it| !it.is_dir()) {
            make_folder(folder, 0o700)?;
        }
        let mut next = path.as_os_str().to_owned();
        next.push(format!(".{}.new", std::process::id()));
        let next = PathBuf::from(next);
        let make = || {
            if next.symlink_metadata().is_ok() {
                fs::remove_file(&next)?;
            }
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&next)?;
            file.set_permissions(Permissions::from_mode(mode))?;
            if let Some((user, group)) = owner {
                fchown(&file, Some(user), Some(group))?;
            }
            // Without a byte, it would have no block on a disk that is full.
            file.write_all(b"\n")?;
            file.sync_all()?;
            Ok::<_, io::Error>(file)
        };
        let file = make().with_context(|| format!("can't write {}", path.display()))?;
        let path = path.to_owned();
        Ok(Self { file, path, next })
    }

    /// Writes the text, and puts the file in its place.
    ///
    /// # Errors
    /// If it can't be written. What was in the place stays.
    pub fn put(self, text: &str) -> anyhow::Result<()> {
        let put = || {
            self.file.write_all_at(text.as_bytes(), 0)?;
            self.file.set_len(text.len() as u64)?;
            self.file.sync_all()?;
            fs::rename(&self.next, &self.path)?;
            // Otherwise the new name may be lost with the power.
            File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        put().with_context(|| format!("can't write {}", self.path.display()))
    }
}

impl Drop for NextFile {
    fn drop(&mut self) {
        // It is not there if it was put in its place.
        let _ = fs::remove_file(&self.next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_root_says_that_it_is_for_nobody_else() {
        let is_for_machine = |user, root, systemd| is_for_machine(user, root, systemd).ok();
        assert_eq!(is_for_machine(false, true, true), Some(true));
        assert_eq!(is_for_machine(false, false, true), None);
        for (user, root, systemd) in [
            (true, false, true),
            (true, true, true),
            (false, false, false),
            (false, true, false),
        ] {
            assert_eq!(is_for_machine(user, root, systemd), Some(false));
        }
    }

    #[test]
    fn a_service_is_below_etc_and_everything_else_at_home() {
        let home = || Some(PathBuf::from("/home/pi/.config/p2prouter"));
        let service = Place::of(true, home()).unwrap();
        let (path, form) = service.settings("inner");
        assert_eq!(
            (path, form),
            ("/etc/p2prouter/inner.env".into(), SettingsForm::Environment)
        );
        let own = Place::of(false, home()).unwrap();
        let (path, form) = own.settings("inner");
        assert_eq!(path, Path::new("/home/pi/.config/p2prouter/inner.toml"));
        assert_eq!(form, SettingsForm::Toml);
        assert!(Place::of(false, None).is_err());
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_secret_is_its_owners_alone_and_of_a_file_that_is_not_put_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/key");
        write_file(&path, "one and more\n", 0o600, None).unwrap();
        drop(NextFile::make(&path, 0o600, None).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one and more\n");
        write_file(&path, "two\n", 0o600, None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
        assert!(NextFile::make(&dir.path().join("a"), 0o600, None).is_err());
    }

    #[test]
    fn folders_are_made_for_their_mode_and_the_way_to_them_has_no_links() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir(dir.join("a")).unwrap();
        std::os::unix::fs::symlink("a", dir.join("link")).unwrap();
        let made = make_folder(&dir.join("link/b/c"), 0o757).unwrap();
        assert_eq!(made, dir.join("a/b/c"));
        // No usual mask leaves this mode as it is.
        assert_eq!([mode(&made), mode(&dir.join("a/b"))], [0o757; 2]);
        assert_eq!(own_path(&dir).unwrap(), dir);
    }

    #[test]
    fn root_goes_where_nobody_else_can_lead_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let of_another = dir.path().join("home");
        fs::create_dir(&of_another).unwrap();
        std::os::unix::fs::symlink("/etc", of_another.join("link")).unwrap();
        let commands = of_another.join("command");
        assert!(own_path(&commands).is_ok());
        for (user, mode, is_fine) in [
            (1000, 0o755, false),
            (0, 0o775, false),
            (0, 0o1777, true),
            (0, 0o755, true),
        ] {
            std::os::unix::fs::chown(&of_another, Some(user), None).unwrap();
            fs::set_permissions(&of_another, Permissions::from_mode(mode)).unwrap();
            assert_eq!(own_path(&commands).is_ok(), is_fine, "{user} {mode:o}");
        }
        std::os::unix::fs::chown(&of_another, Some(1000), None).unwrap();
        let refused = make_folder(&commands, 0o755).unwrap_err().to_string();
        assert!(refused.contains("another user than root"), "{refused}");
        assert!(!commands.exists());
    }
}
