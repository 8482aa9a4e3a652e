//! Joins a mesh: fetches what a member has to have from the router that made an invitation, and writes it into
//! the state directory.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use p2p_shared::invitation::Invitation;
use p2p_shared::invitation::post::{self, PostError, Redeemer};

use crate::ops::state_file::{MESH_FILE, StateFile};

/// What a router gives to one that joins: the text of each file, by its name.
pub(crate) type Given = BTreeMap<String, String>;

/// Files of the router's own certificate and of the next one, without which the mesh uses one of an authority.
const CERTIFICATE: &str = "tls.pem";
const NEXT_CERTIFICATE: &str = "tls-next.pem";
const KEYS: &str = "keys.toml";
/// Files that a router may get, in the order in which they are written: the last says that it is a member.
const FILES: [&str; 4] = [CERTIFICATE, NEXT_CERTIFICATE, KEYS, MESH_FILE];
/// Most bytes of all files, and of one.
const MOST: u64 = 32 * 1024 * 1024;
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// Joins by an invitation. Returns what is to be done next.
///
/// # Errors
/// A sentence for the terminal. Nothing was written then, unless the disk is full.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn join(invitation: &Invitation, state_dir: &Path) -> anyhow::Result<String> {
    let mesh = StateFile::new(state_dir, MESH_FILE);
    let path = mesh.path().display();
    ensure!(
        !mesh.path().exists(),
        "{path} is there: this router is a member of a mesh already. To leave that, end the router and remove the file"
    );
    let router = &invitation.router;
    let given = fetch(invitation).await?;
    write(&given, state_dir)?;
    let next = if given.contains_key(CERTIFICATE) {
        ""
    } else {
        ", and with --tls-cert FILE --tls-key FILE. The key is the one of the others; the certificate may be another for the same key"
    };
    Ok(format!(
        "this router is a member of the mesh of {router} now; what it needs for that is in {}. Start it as the others, with --mesh nats://HOST:4222 --mesh-address HOST:PORT{next}",
        state_dir.display()
    ))
}

async fn fetch(invitation: &Invitation) -> anyhow::Result<Given> {
    let router = &invitation.router;
    match post::redeem(invitation, Redeemer::Router, MOST).await {
        Ok(answer) => serde_json::from_slice(&answer.body)
            .with_context(|| format!("the router at {router} is of another version")),
        Err(PostError::Older(_)) => bail!(
            "the router at {router} is in no mesh, or of a version that lets none join: start this version there, with --mesh, and try again"
        ),
        Err(error) => Err(error.into()),
    }
}

/// Writes the files, if nothing else is there.
fn write(given: &Given, state_dir: &Path) -> anyhow::Result<()> {
    ensure!(
        given.contains_key(MESH_FILE) && given.keys().all(|name| FILES.contains(&name.as_str())),
        "the router there is of a newer version: update this one"
    );
    let of = |name: &&str| Some((StateFile::new(state_dir, name), given.get(*name)?));
    let files: Vec<_> = FILES.iter().filter_map(of).collect();
    for (file, text) in &files {
        if let Some(there) = file.read(MAX_FILE)?
            && there != **text
        {
            bail!(
                "{} is there, and differs from that of the mesh: nothing was written. Move it away (and give this router's keys up), and join by another invitation (p2p-router mesh invite)",
                file.path().display()
            );
        }
    }
    for (file, text) in files {
        let _lock = file.lock()?;
        file.replace(text)?;
    }
    Ok(())
}

/// Reads what a router gives that has this state directory, but for its keys. Blocks on the disk.
///
/// # Errors
/// If a file can't be read.
pub(crate) fn give(
    state_dir: &Path,
    keys: String,
    is_own_certificate: bool,
) -> anyhow::Result<Given> {
    let mut given = Given::from([(KEYS.to_owned(), keys)]);
    let of_certificate = [CERTIFICATE, NEXT_CERTIFICATE];
    let of_certificate = of_certificate.iter().filter(|_| is_own_certificate);
    for name in of_certificate.chain([&MESH_FILE]) {
        if let Some(text) = StateFile::new(state_dir, name).read(MAX_FILE)? {
            given.insert((*name).to_owned(), text);
        }
    }
    ensure!(given.contains_key(MESH_FILE), "there is no {MESH_FILE}");
    Ok(given)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_their_owners_alone_and_what_differs_is_left_alone() {
        let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for name in [CERTIFICATE, MESH_FILE] {
            StateFile::new(from.path(), name).replace(name).unwrap();
        }
        let given = give(from.path(), "keys".to_owned(), true).unwrap();
        assert_eq!(given.len(), 3);
        let at = |name| StateFile::new(to.path(), name);
        at("keys.toml").replace("other keys").unwrap();
        let error = write(&given, to.path()).unwrap_err().to_string();
        assert!(error.contains("keys.toml is there, and differs"), "{error}");
        assert!(!at(MESH_FILE).path().exists() && !at(CERTIFICATE).path().exists());
        at("keys.toml").replace("keys").unwrap();
        write(&given, to.path()).unwrap();
        for (name, text) in &given {
            let file = at(name);
            assert_eq!(file.read(MAX_FILE).unwrap().as_ref(), Some(text));
            let mode = file.path().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let without = give(from.path(), "keys".to_owned(), false).unwrap();
        assert!(!without.contains_key(CERTIFICATE));
        let strange = Given::from([("../x".to_owned(), String::new())]);
        let strange = given.into_iter().chain(strange).collect();
        assert!(write(&strange, to.path()).is_err());
    }
}
