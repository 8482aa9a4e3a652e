//! A router with keys, a car, and the key of a caller.

use std::os::unix::fs::PermissionsExt;

use p2p_router::auth::certificate::Certificate;
use p2p_router::auth::key_store::KeyFile;
use p2p_shared::key::{Fingerprint, Key, Role};

use crate::common::metric;
use crate::measured_router::MeasuredRouter;

pub struct Fixture {
    pub router: MeasuredRouter,
    pub key: Key,
    pub fingerprint: Option<Fingerprint>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let file = KeyFile::in_dir(&state);
        let add = |name: &str, role| file.add(&name.parse().unwrap(), role, None).unwrap();
        let (car, key) = (add("car", Role::Link), add("desk", Role::Drive));
        let hello = folder.path().join("command/hello");
        std::fs::create_dir(hello.parent().unwrap()).unwrap();
        std::fs::write(&hello, "#!/bin/sh\necho hello\n").unwrap();
        std::fs::set_permissions(&hello, std::fs::Permissions::from_mode(0o755)).unwrap();
        let arguments = ["--state-dir", state.to_str().unwrap()];
        let router = MeasuredRouter::start(folder.path(), &arguments, |_, config| {
            config.key = Some(car);
        })
        .await;
        Self {
            router,
            key,
            fingerprint: Certificate::own(&state).unwrap().fingerprint(),
            _folder: folder,
        }
    }

    /// The router's counter of this name.
    pub async fn metric(&self, name: &str) -> i64 {
        let name = format!("p2p_router_{name} ");
        metric(self.router.main_port, &name).await.unwrap_or(0)
    }
}
