//! Settings of a router that is a member of a mesh, and the file of the mesh's secret: `p2p-router mesh`.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use data_encoding::HEXLOWER;
use p2p_shared::invitation::Invitation;
use p2p_shared::key::Fingerprint;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::auth::invites::{self, Purpose};
use crate::auth::key_store::HeardNote;
use crate::mesh::id::MemberAddress;
use crate::mesh::join;
use crate::mesh::secret::{MeshSecret, SECRET_BYTES};
use crate::ops::state_file::{MESH_FILE, StateFile};

/// Most bytes that are read of that file.
const MAX_FILE: u64 = 4096;
/// Version of that file.
const VERSION: u32 = 1;

/// Sentence about a program that was built without the feature `mesh`.
pub(crate) const NOT_BUILT: &str =
    "this p2p-router was built without the mesh (cargo build --features mesh)";

/// Settings of a router that is a member of a mesh.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// The NATS servers, any of which will do.
    pub servers: Vec<ServerUrl>,
    /// File of NATS credentials.
    pub credentials: Option<PathBuf>,
    /// How the other members reach this one's main port; `None`: by this host's name.
    pub address: Option<MemberAddress>,
    pub secret: MeshSecret,
    /// Time without another member after which keys may only stop cars; `None`: keys are taken for ever.
    pub keys_stale: Option<Duration>,
}

/// URL of a NATS server. It may have a password, and is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// Returns the URL without what is secret in it.
    pub(crate) fn without_login(&self) -> String {
        let (scheme, host) = self.0.split_once("://").unwrap_or_default();
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        format!("{scheme}://{host}")
    }

    /// Returns user and password, or a token alone.
    pub(crate) fn login(&self) -> Option<(String, Option<String>)> {
        let (_, host) = self.0.split_once("://")?;
        let (login, _) = host.rsplit_once('@')?;
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Some(match login.split_once(':') {
            Some((user, password)) => (plain(user), Some(plain(password))),
            None => (plain(login), None),
        })
    }
}

impl FromStr for ServerUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, host) = text.split_once("://").unwrap_or(("nats", text));
        if !matches!(scheme, "nats" | "tls") || host.is_empty() {
            return Err("write nats://HOST:PORT, or tls://HOST:PORT");
        }
        Ok(Self(format!("{scheme}://{host}")))
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_login())
    }
}

#[derive(Debug, Subcommand)]
pub enum MeshCommand {
    /// Make a mesh: write its secret into the state directory
    New,
    /// Print an invitation by which one other router can join, within 15 minutes
    Invite,
    /// Join the mesh of the router that printed an invitation, which is read from standard input: fetch its secret,
    /// keys and certificate
    Join,
    /// Forget a router that is gone for good: `key revoke` names it no more
    Forget {
        /// How the others reached it
        #[arg(value_name = "HOST:PORT")]
        router: MemberAddress,
    },
}

/// Content of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MeshFile {
    version: u32,
    secret: String,
}

/// Reads the secret of the mesh that the router with this state directory is a member of. Blocks on the
/// disk.
///
/// # Errors
/// If there is none, or it can't be read.
pub(crate) fn read_secret(state_dir: &Path) -> anyhow::Result<MeshSecret> {
    let file = StateFile::new(state_dir, MESH_FILE);
    let path = file.path().display();
    let Some(text) = file.read(MAX_FILE)? else {
        bail!(
            "--mesh: there is no {path}: make a mesh with `p2p-router mesh new`, or join one by the invitation that `p2p-router mesh invite` prints on a router that is in it"
        );
    };
    let content: MeshFile =
        toml::from_str(&text).with_context(|| format!("{path} is no file of a mesh"))?;
    ensure!(
        content.version == VERSION,
        "{path} is of version {}, and this router knows version {VERSION}: update it",
        content.version
    );
    let secret = HEXLOWER.decode(content.secret.as_bytes()).ok();
    let secret: Option<[u8; SECRET_BYTES]> = secret.and_then(|bytes| bytes.try_into().ok());
    // No part of the secret in the error.
    let secret = secret.with_context(|| {
        format!("the secret in {path} does not have 64 digits: copy the file again")
    })?;
    Ok(MeshSecret::new(secret))
}

/// Runs a subcommand on the mesh of the router with this state directory. `address` and `fingerprint` are called
/// for an invitation only. Blocks on the disk.
///
/// # Errors
/// A sentence for the terminal.
pub fn run(
    command: &MeshCommand,
    state_dir: &Path,
    address: impl FnOnce() -> anyhow::Result<MemberAddress>,
    fingerprint: impl FnOnce() -> anyhow::Result<Option<Fingerprint>>,
) -> anyhow::Result<()> {
    ensure!(cfg!(feature = "mesh"), NOT_BUILT);
    match command {
        MeshCommand::New => make(state_dir),
        MeshCommand::Invite => {
            read_secret(state_dir)?;
            let (router, fingerprint) = (address()?, fingerprint()?);
            let code = invites::make(state_dir, Purpose::Mesh, SystemTime::now())?;
            let invitation = Invitation::new(code, router.0, fingerprint);
            writeln!(io::stdout(), "{}", invitation.expose())?;
            say(
                "this invitation is good for 15 minutes, once, and whoever has it gets the secret of the mesh. On the other router's host, as its user, run p2p-router mesh join, and paste it",
            );
            Ok(())
        }
        MeshCommand::Join => {
            say(&join::join(&read_line()?.parse()?, state_dir)?);
            Ok(())
        }
        MeshCommand::Forget { router } => {
            HeardNote::forget(state_dir, &router.to_string())?;
            say(&format!(
                "`key revoke` does not name {router} here any more"
            ));
            Ok(())
        }
    }
}

/// Reads the invitation where no list of processes and no shell history gets it.
fn read_line() -> io::Result<String> {
    if io::stdin().is_terminal() {
        say("paste the invitation that `p2p-router mesh invite` printed, and press Enter:");
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line)
}

fn say(sentence: &str) {
    // A closed standard error is no failure.
    let _ = writeln!(io::stderr(), "{sentence}");
}

fn make(state_dir: &Path) -> anyhow::Result<()> {
    let file = StateFile::new(state_dir, MESH_FILE);
    let make = || {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).context("a random number")?;
        let content = MeshFile {
            version: VERSION,
            secret: HEXLOWER.encode(&secret),
        };
        let text = toml::to_string(&content)?;
        Ok(format!(
            "# The secret of a mesh of p2p-routers: whoever has it is one of them.\n{text}"
        ))
    };
    let (_, is_new) = file.read_or_make(MAX_FILE, make)?;
    let path = file.path().display();
    ensure!(
        is_new,
        "{path} is there: this router has a mesh, and its other members would not know another secret (remove the file to make one nevertheless)"
    );
    say(&format!(
        "the secret of the mesh is in {path}.\n\
         Start this router with --mesh nats://HOST:4222 --mesh-address HOST:PORT, and let each other one join by an invitation, which `p2p-router mesh invite` prints here"
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_mesh_is_made_once_and_its_secret_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let missing = read_secret(dir.path()).unwrap_err().to_string();
        assert!(missing.contains("p2p-router mesh new"), "{missing}");
        make(dir.path()).unwrap();
        let path = dir.path().join(MESH_FILE);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let key = || read_secret(dir.path()).unwrap().derive("a purpose", &[]);
        let made = key();
        assert_ne!(
            made,
            MeshSecret::new([0; SECRET_BYTES]).derive("a purpose", &[])
        );
        assert!(make(dir.path()).is_err());
        assert_eq!(key(), made);
    }

    #[test]
    fn what_is_no_secret_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::new(dir.path(), MESH_FILE);
        for text in [
            "",
            "version = 1\nsecret = \"abcdef\"\n",
            "version = 1\nsecret = \"ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789\"\n",
            "version = 2\nsecret = \"\"\n",
        ] {
            file.replace(text).unwrap();
            let error = read_secret(dir.path()).unwrap_err();
            assert!(
                !format!("{error:#}").to_lowercase().contains("abcdef"),
                "{error:#}"
            );
        }
    }

    #[test]
    fn a_server_is_nats_or_tls_and_its_password_is_not_printed() {
        for (text, shown) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            (
                "tls://u:p@nats.example.org:4222",
                "tls://nats.example.org:4222",
            ),
            ("localhost", "nats://localhost"),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!(format!("{url:?}"), shown);
        }
        let login = |text: &str| text.parse::<ServerUrl>().unwrap().login();
        assert_eq!(login("nats://a"), None);
        assert_eq!(login("nats://t%40@a"), Some(("t@".to_owned(), None)));
        assert_eq!(
            login("tls://u:p:@a:1"),
            Some(("u".to_owned(), Some("p:".to_owned())))
        );
        for text in ["", "nats://", "http://a", "ws://a"] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }
}
