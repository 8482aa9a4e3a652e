//! Owns the locks that keep a second inner on this machine from the place of the first: one of the same
//! identity that asks for the same service port at the same router, or for any port with the same name.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use clap::error::{Error, ErrorKind};
use p2p_shared::net::dialer::RouterAddress;
use tokio::time::{Instant, sleep};

use crate::config::Config;

/// Time for an inner that was told to end to let its locks go.
const ENDING: Duration = Duration::from_secs(2);
/// Most characters of a router's host in the name of a file, which has 255 at most.
const HOST: usize = 128;

/// Locks of the files, which end with this value or the process, however it ends.
#[derive(Debug)]
pub struct LinkLock {
    _files: Vec<File>,
}

impl LinkLock {
    /// Takes the locks in the folder `locks` of this state directory. A directory that can't be used is no
    /// reason not to start: then only the router can tell the two apart.
    ///
    /// # Errors
    /// An error of usage if another inner has one of them: as long as that one lives, it would not help
    /// to start this one again.
    pub async fn take(state_dir: &Path, config: &Config) -> Result<Self, Error> {
        let (port, identity) = (config.service_port, &config.identity);
        let mut files = Vec::new();
        // Where the router chooses the port, the name tells two apart: the second would be a car of its own
        // that moves the motors of the first.
        let (place, what, other) = match port {
            0 => (
                config.name.folded().to_string().replace('/', "_"),
                format!("the name {}", config.name),
                "name",
            ),
            port => (port.to_string(), format!("service port {port}"), "port"),
        };
        let name = |router: &RouterAddress| {
            let host: String = router.host.chars().take(HOST).collect();
            format!("{identity}.{place}@{host}.{}", router.port)
        };
        let routers = config.routers.iter();
        let mut names: Vec<_> = routers.map(|router| (name(router), router)).collect();
        // Of two that start together and know the same routers, one gets all the locks.
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, router) in names {
            let (mut file, is_ours) = match lock(&state_dir.join("locks"), &name).await {
                Ok(locked) => locked,
                Err(error) => {
                    tracing::debug!(name, %error, "nothing keeps a second inner from this one's port");
                    continue;
                }
            };
            if !is_ours {
                let mut process = String::new();
                let _ = file.take(20).read_to_string(&mut process);
                let process: u32 = process.trim().parse().unwrap_or_default();
                let sentence = format!(
                    "another p2p-inner on this machine (process {process}) has {what} at {router} with the same identity: end it, or use another {other}, another key, or another --state-dir\n"
                );
                return Err(Error::raw(ErrorKind::ArgumentConflict, sentence));
            }
            let written = file.set_len(0);
            let _ = written.and_then(|()| writeln!(file, "{}", std::process::id()));
            files.push(file);
        }
        Ok(Self { _files: files })
    }
}

/// Opens the file, and locks it. The lock is not ours if another process keeps it for longer than an
/// inner that ends.
async fn lock(folder: &Path, name: &str) -> io::Result<(File, bool)> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = match options.open(folder.join(name)) {
        // Another user's, as after `sudo`. To lock it needs no more than to read it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            File::open(folder.join(name))?
        }
        opened => opened?,
    };
    let until = Instant::now() + ENDING;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok((file, true)),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {}
            Err(TryLockError::WouldBlock) => return Ok((file, false)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        sleep(Duration::from_millis(20)).await;
    }
}
