//! Joins a mesh: fetches what a member has to have from the router that made an invitation, and writes it into
//! the state directory.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use p2p_shared::net::{dialer, tls};
use p2p_shared::text::EscapedBytes;
use tokio_util::task::AbortOnDropHandle;

use crate::mesh::invite::{self, Invitation};
use crate::ops::state_file::{MESH_FILE, StateFile};

/// What a router gives to one that joins: the text of each file, by its name.
pub(crate) type Given = BTreeMap<String, String>;

/// Files that a router may get, in the order in which they are written: the last says that it is a member.
pub(crate) const FILES: [&str; 4] = ["tls.pem", "tls-next.pem", "keys.toml", MESH_FILE];
/// File of the router's own certificate, without which the mesh uses one of an authority.
const CERTIFICATE: &str = FILES[0];
/// Most bytes of all files, and of one.
const MOST: usize = 32 * 1024 * 1024;
const MAX_FILE: u64 = 8 * 1024 * 1024;
/// Time to connect, and for all of it.
const CONNECT: Duration = Duration::from_secs(5);
const JOIN: Duration = Duration::from_secs(20);
/// Most characters of the other router's sentence that are shown.
const SAID: usize = 500;

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
    let fetching = tokio::time::timeout(JOIN, fetch(invitation));
    let given = match fetching.await {
        Ok(fetched) => fetched,
        Err(_) => bail!("the router at {router} did not answer in time: is that its main port?"),
    };
    let given = given?;
    write(&given, state_dir)?;
    let next = if given.contains_key(CERTIFICATE) {
        ""
    } else {
        " --tls-cert FILE --tls-key FILE, with the same certificate of an authority or one for the same key,"
    };
    Ok(format!(
        "this router is a member of the mesh of {router} now; what it needs for that is in {}. Start it with --mesh nats://HOST:4222 --mesh-address HOST:PORT{next} as the others",
        state_dir.display()
    ))
}

async fn fetch(invitation: &Invitation) -> anyhow::Result<Given> {
    let Invitation {
        token,
        router,
        fingerprint,
    } = invitation;
    let stream = dialer::connect_to(&router.0, CONNECT).await;
    let stream = stream.with_context(|| {
        format!("the router at {router} is not reached: check its address, its firewall, and that it runs")
    })?;
    let pinned: Vec<_> = fingerprint.iter().copied().collect();
    let stream = tls::connect(stream, &router.0.host, &pinned).await;
    let stream = stream.map_err(|error| {
        let why = if pinned.is_empty() {
            tls::explain(&error).unwrap_or_else(|| error.to_string())
        } else {
            "it is not the router that made this line, or one without keys (--open), or somebody in between".to_owned()
        };
        anyhow::anyhow!("nothing was sent to what answers at {router}: {why}")
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))?;
    bearer.set_sensitive(true);
    let request = Request::post(invite::PATH)
        .header(header::HOST, router.to_string())
        .header(header::AUTHORIZATION, bearer)
        .body(Empty::<bytes::Bytes>::new())?;
    let lost = || {
        format!(
            "the connection to {router} was lost: make another line (p2p-router mesh invite), as this one may be used up"
        )
    };
    let response = sender.send_request(request).await.with_context(lost)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST).collect().await;
    let body = body
        .map_err(|error| anyhow::anyhow!(error))
        .with_context(lost)?;
    let body = body.to_bytes();
    if status == StatusCode::NOT_FOUND {
        bail!("the router at {router} is in no mesh: start it with --mesh, and try again");
    }
    if status != StatusCode::OK {
        let said = EscapedBytes(body.trim_ascii()).cut(SAID);
        bail!("the router at {router} says: {said}");
    }
    serde_json::from_slice(&body)
        .with_context(|| format!("the router at {router} is of another version"))
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
                "{} is there, and differs from that of the mesh: nothing was written. Move it away (and give this router's keys up), and join by another line (p2p-router mesh invite)",
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
    let mut given = Given::from([(FILES[2].to_owned(), keys)]);
    for name in FILES {
        let is_of_certificate = name.starts_with("tls");
        if name == FILES[2] || (is_of_certificate && !is_own_certificate) {
            continue;
        }
        if let Some(text) = StateFile::new(state_dir, name).read(MAX_FILE)? {
            given.insert(name.to_owned(), text);
        }
    }
    ensure!(
        given.contains_key(MESH_FILE),
        io::Error::new(io::ErrorKind::NotFound, MESH_FILE)
    );
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
