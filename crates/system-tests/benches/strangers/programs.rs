//! The programs of one folder as users have them: a router that all addresses reach, a car, and the
//! console.

use std::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use p2p_router::auth::certificate::Certificate;
use p2p_router::auth::key_store::KeyFile;
use p2p_shared::key::{Fingerprint, Key, Role};
use tokio::process::Command;

use crate::common::program::{RunningProgram, command};

/// Running programs. Dropping it ends them.
pub struct Programs {
    pub main_port: u16,
    pub service_port: u16,
    pub key: Key,
    pub fingerprint: Option<Fingerprint>,
    products: PathBuf,
    _router: RunningProgram,
    _inner: RunningProgram,
    folder: tempfile::TempDir,
}

impl Programs {
    pub async fn start(products: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut start = command(&products.join("p2p-router"), folder.path());
        start.args(["0", "--bind", "::", "--state-dir"]).arg(&state);
        let file = KeyFile::in_dir(&state);
        let add = |name: &str, role| file.add(&name.parse().unwrap(), role, None).unwrap();
        let (car, key) = (add("car", Role::Link), add("desk", Role::Drive));
        let router = RunningProgram::start(&mut start);
        let listening = format!("listening on [{}]:", Ipv6Addr::UNSPECIFIED);
        let main_port = router.number_behind(&listening).await;
        let fingerprint = Certificate::own(&state).unwrap().fingerprint();
        let hello = folder.path().join("command/hello");
        std::fs::create_dir(hello.parent().unwrap()).unwrap();
        std::fs::write(&hello, "#!/bin/sh\necho hello\n").unwrap();
        std::fs::set_permissions(&hello, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut start = command(&products.join("p2p-inner"), folder.path());
        start.args(["127.0.0.1", &main_port.to_string(), "9000", "--name", "car"]);
        start.env("P2P_KEY", whole(&car, fingerprint));
        let inner = RunningProgram::start(&mut start);
        let service_port = inner.service_port().await;
        Self {
            main_port,
            service_port,
            key,
            fingerprint,
            products: products.to_owned(),
            _router: router,
            _inner: inner,
            folder,
        }
    }

    /// Runs `p2p-console list` with the router at this port.
    pub async fn list(&self, port: u16) -> Result<(), String> {
        let mut list = command(&self.products.join("p2p-console"), self.folder.path());
        list.args(["list", "--router", &format!("127.0.0.1:{port}")]);
        list.env("P2P_KEY", whole(&self.key, self.fingerprint));
        run(&mut list).await
    }
}

async fn run(program: &mut Command) -> Result<(), String> {
    program.stdin(Stdio::null()).kill_on_drop(true);
    let output = program.output().await.map_err(|why| why.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// The key as `key add` prints it.
fn whole(key: &Key, fingerprint: Option<Fingerprint>) -> String {
    match fingerprint {
        Some(fingerprint) => format!("{}_{fingerprint}", key.bearer()),
        None => key.bearer(),
    }
}
