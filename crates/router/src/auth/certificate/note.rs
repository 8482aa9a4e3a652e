//! Owns the note in the state directory that the router shows the certificate of an authority:
//! `p2p-router key add` is not told what the router was, and would else make keys that know a
//! certificate which nobody is shown.

use std::path::{Path, PathBuf};

use p2p_shared::key::SecretFileError;

use crate::ops::state_file::{StateFile, StateFileError};

/// The file of the note in the state directory. It holds where the certificate is.
const FILE_NAME: &str = "authority";
/// The most that is read of it, in bytes: the longest path that Linux knows.
const MAX_FILE: u64 = 4096;

/// Notes that the certificate in this file is shown, or that it is the router's own. Blocks on the
/// disk.
///
/// # Errors
/// If the note can't be written or taken away.
pub fn leave(state_dir: &Path, certificate: Option<&Path>) -> Result<(), StateFileError> {
    let file = StateFile::new(state_dir, FILE_NAME);
    let Some(certificate) = certificate else {
        return file.remove();
    };
    let certificate = std::path::absolute(certificate).unwrap_or_else(|_| certificate.to_owned());
    let text = certificate.to_string_lossy();
    if file
        .read(MAX_FILE)
        .is_ok_and(|old| old.as_deref() == Some(&text))
    {
        return Ok(());
    }
    let _lock = file.lock()?;
    file.replace(&text)
}

/// The file of the authority's certificate that was shown when the router was last started.
///
/// # Errors
/// If there is a note that can't be read.
pub fn read(state_dir: &Path) -> Result<Option<PathBuf>, SecretFileError> {
    let text = StateFile::new(state_dir, FILE_NAME).read(MAX_FILE)?;
    Ok(text.map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_says_what_the_last_start_did() {
        let folder = tempfile::tempdir().unwrap();
        let read = || read(folder.path()).unwrap();
        leave(folder.path(), None).unwrap();
        assert_eq!(read(), None);
        for name in ["/etc/one.pem", "/etc/one.pem", "/etc/another.pem"] {
            leave(folder.path(), Some(Path::new(name))).unwrap();
            assert_eq!(read(), Some(PathBuf::from(name)));
        }
        leave(folder.path(), None).unwrap();
        assert_eq!(read(), None);
    }
}
