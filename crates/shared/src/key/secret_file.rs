//! Reads files with secrets, and refuses those that belong to another user, or that others than
//! their owner may read. Nothing here writes, and no error repeats any of the content.

use std::fs::File;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, StatVfsMountFlags, fstatvfs};
use rustix::process::geteuid;

/// All rights of the group and of others.
const ANYBODY_ELSE: u32 = 0o077;

/// Sentence that says why a file with secrets was not read. The sentence names the file, and says
/// what to do.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct SecretFileError {
    sentence: String,
    is_missing: bool,
}

impl SecretFileError {
    /// Returns true if there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }
}

/// Reads the text of a file of at most `limit` bytes that is open to its owner alone, who is root or
/// the user of this process. Root also reads a file of the user to whom the file's folder belongs:
/// so `sudo p2p-router key add` works on the folder of a router that runs as another user.
///
/// # Errors
///
/// If the file is missing, not a regular file, another user's, open to others, too large, or not
/// UTF-8.
pub fn read_secret_file(path: &Path, limit: u64) -> Result<String, SecretFileError> {
    let shown = path.display();
    let refused = |sentence| SecretFileError {
        sentence,
        is_missing: false,
    };
    let unreadable = |error: io::Error| SecretFileError {
        is_missing: matches!(error.kind(), NotFound | NotADirectory),
        sentence: format!("can't read {shown}: {error}"),
    };
    // NONBLOCK: opening a named pipe would wait for somebody to write into it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| unreadable(errno.into()))
        .map(File::from)?;
    // Metadata of the open file, not of the path, where another file may be by now.
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(refused(format!("{shown} is not a regular file")));
    }
    let (owner, own) = (metadata.uid(), geteuid().as_raw());
    let is_of_folder = || {
        let folder = path.parent().and_then(|folder| folder.metadata().ok());
        own == 0 && folder.is_some_and(|folder| folder.uid() == owner)
    };
    if owner != own && owner != 0 && !is_of_folder() {
        return Err(refused(format!(
            "{shown} belongs to user {owner}, and this is user {own}: run this as its owner (sudo -u '#{owner}'), or give the file away with: {}",
            shell_line("chown", &own.to_string(), path)
        )));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & ANYBODY_ELSE != 0 {
        let mend = if is_read_only(&file) {
            "it is on a read-only mount, as the secrets of a container are: mount it with mode 0400 (`mode` in Compose, `defaultMode` in Kubernetes)".to_owned()
        } else {
            format!("close it with: {}", chmod_line(path))
        };
        return Err(refused(format!(
            "{shown} is open to others (its mode is {mode:04o}); {mend}"
        )));
    }
    let mut text = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > limit) {
        return Err(refused(format!(
            "{shown} is larger than {limit} bytes: that is not the right file"
        )));
    }
    String::from_utf8(text).map_err(|_| refused(format!("{shown} is not a text file")))
}

/// Returns true if no chmod can change the file.
fn is_read_only(file: &File) -> bool {
    fstatvfs(file).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Returns the shell command that closes a file to all but its owner, ready to paste.
#[must_use]
pub fn chmod_line(path: &Path) -> String {
    shell_line("chmod", "600", path)
}

fn shell_line(command: &str, value: &str, path: &Path) -> String {
    let path = path.to_string_lossy();
    // A leading `-` would be an option.
    let here = if path.starts_with('-') { "./" } else { "" };
    let path = format!("{here}{path}");
    let path = shlex::try_quote(&path).unwrap_or_default();
    format!("{command} {value} {path}")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::path::PathBuf;

    use super::*;

    fn file_with_mode(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "text").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_file_of_ones_own_is_read() {
        for mode in [0o600, 0o400, 0o700] {
            let (_dir, path) = file_with_mode(mode);
            assert_eq!(read_secret_file(&path, 4).unwrap(), "text");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_line_that_closes_it() {
        for mode in [0o640, 0o604, 0o620, 0o644, 0o666, 0o610] {
            let (_dir, path) = file_with_mode(mode);
            let error = read_secret_file(&path, 4).unwrap_err();
            let line = format!("chmod 600 {}", path.display());
            assert!(error.to_string().ends_with(&line), "{error}");
            assert!(
                error
                    .to_string()
                    .contains(&format!("its mode is {mode:04o}")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_mounted_secret_that_others_may_read_is_refused_with_the_mode_of_its_mount() {
        if !geteuid().is_root() {
            eprintln!("skipped: only root can mount");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let status = std::process::Command::new(program)
                .args(arguments)
                .arg(dir.path())
                .status();
            assert!(status.unwrap().success());
        };
        run("mount", &["-t", "tmpfs", "p2p-test"]);
        let path = dir.path().join("key");
        fs::write(&path, "key").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        run("mount", &["-o", "remount,ro"]);
        let error = read_secret_file(&path, 4).unwrap_err().to_string();
        run("umount", &["--lazy"]);
        assert!(error.contains("mount it with mode 0400"), "{error}");
        assert!(!error.contains("chmod"), "{error}");
    }

    #[test]
    fn a_file_of_another_user_is_refused_even_to_root() {
        if !geteuid().is_root() {
            eprintln!("skipped: only root can give files to others");
            return;
        }
        let (_dir, path) = file_with_mode(0o600);
        chown(&path, Some(4711), None).unwrap();
        let error = read_secret_file(&path, 4).unwrap_err();
        let line = format!("chown 0 {}", path.display());
        assert!(
            error.to_string().contains("belongs to user 4711"),
            "{error}"
        );
        assert!(error.to_string().ends_with(&line), "{error}");
        assert!(!error.is_missing());
        chown(&path, Some(0), None).unwrap();
        assert_eq!(read_secret_file(&path, 4).unwrap(), "text");
    }

    #[test]
    fn one_byte_too_many_is_too_large() {
        let (_dir, path) = file_with_mode(0o600);
        let error = read_secret_file(&path, 3).unwrap_err();
        assert!(error.to_string().contains("is larger than 3 bytes"));
    }

    #[test]
    fn what_is_not_a_text_file_is_refused_without_waiting() {
        let (dir, path) = file_with_mode(0o600);
        fs::write(&path, [0xff, 0xfe]).unwrap();
        let error = read_secret_file(&path, 10).unwrap_err();
        assert!(error.to_string().ends_with("is not a text file"));

        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        for path in [dir.path(), &pipe, Path::new("/dev/zero")] {
            let error = read_secret_file(path, 10).unwrap_err();
            let said = error.to_string();
            assert!(said.ends_with("is not a regular file"), "{said}");
        }
    }

    #[test]
    fn a_missing_file_is_told_from_one_that_cannot_be_read() {
        let (dir, path) = file_with_mode(0o600);
        assert!(
            read_secret_file(&dir.path().join("none"), 10)
                .unwrap_err()
                .is_missing()
        );
        assert!(
            read_secret_file(&path.join("none"), 10)
                .unwrap_err()
                .is_missing()
        );
        assert!(!read_secret_file(dir.path(), 10).unwrap_err().is_missing());
    }

    #[test]
    fn the_chmod_line_can_be_pasted_whatever_the_path() {
        assert_eq!(chmod_line(Path::new("/a/b-c_1.x")), "chmod 600 /a/b-c_1.x");
        assert_eq!(
            chmod_line(Path::new("/a b/$c'd")),
            r#"chmod 600 '/a b/$c'"'d""#
        );
        assert_eq!(chmod_line(Path::new("-key")), "chmod 600 ./-key");
    }
}
