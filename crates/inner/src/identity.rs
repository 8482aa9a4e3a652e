//! Keeps the identity that an inner makes once, for a router without keys.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context;
use p2p_shared::names::Identity;
use p2p_shared::os::random_u64;

/// Reads the identity in this directory, or makes one if there is none.
pub(crate) fn load_or_make(folder: &Path) -> anyhow::Result<Identity> {
    let path = folder.join("identity");
    let shown = path.display();
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .with_context(|| format!("{shown} holds no identity: remove it, and another is made")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(folder, &path)
            .with_context(|| format!("the identity can't be kept in {shown} (--state-dir)")),
        Err(error) => Err(error).with_context(|| format!("{shown} can't be read")),
    }
}

fn make(folder: &Path, path: &Path) -> anyhow::Result<Identity> {
    let text = format!("{:016x}{:016x}", random_u64()?, random_u64()?);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // Written whole or not at all, also when two inners start at once: the first one's stays.
    let draft = folder.join(format!("identity.{text}"));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(fs::read_to_string(path)?.trim().parse()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let made = load_or_make(&state).unwrap();
        assert_eq!(load_or_make(&state).unwrap(), made);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
    }

    #[test]
    fn a_spoilt_identity_is_said_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        fs::write(&path, "no id\n").unwrap();
        assert!(
            load_or_make(folder.path())
                .unwrap_err()
                .to_string()
                .contains("remove it")
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "no id\n");
    }
}
