//! Owns the listening sockets that this process was given, by systemd or by the router before it
//! in the same process, and handing ours on: a router that restarts itself closes none of them, so
//! that nobody is refused meanwhile.
//!
//! The protocol is systemd's (sd_listen_fds(3)): `LISTEN_FDS` descriptors from 3 on.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::net::TcpListener as StdListener;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use listenfd::ListenFd;
use tokio::net::TcpListener;

/// The first of the descriptors that are handed on.
const FIRST: i32 = 3;

/// Sockets that were given, by their ports.
#[derive(Debug, Default)]
pub struct Given(HashMap<u16, StdListener>);

impl Given {
    /// Those that the environment tells of. What is no TCP socket is left alone, and said.
    #[must_use]
    pub fn from_environment() -> Self {
        let mut environment = ListenFd::from_env();
        let mut given = HashMap::new();
        for n in 0..environment.len() {
            match environment.take_tcp_listener(n) {
                Ok(Some(socket)) => {
                    if let Ok(address) = socket.local_addr() {
                        given.insert(address.port(), socket);
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a socket that was given is of no use"),
            }
        }
        Self(given)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The socket of this port, if it was given.
    pub(crate) fn take(&mut self, port: u16) -> Option<io::Result<TcpListener>> {
        let socket = self.0.remove(&port)?;
        Some(
            socket
                .set_nonblocking(true)
                .and_then(|()| TcpListener::from_std(socket)),
        )
    }

    /// The ports of those that nobody took.
    pub(crate) fn left(&self) -> impl Iterator<Item = u16> {
        self.0.keys().copied()
    }
}

/// The program as it was started: what it is to be anew. Looked at before the file may be
/// replaced by a newer one.
#[derive(Debug)]
pub struct ThisProgram {
    file: PathBuf,
    arguments: Vec<OsString>,
}

impl ThisProgram {
    /// Of this process.
    ///
    /// # Errors
    /// If `/proc` can't tell.
    pub fn find() -> io::Result<Self> {
        Ok(Self {
            file: std::env::current_exe()?,
            arguments: std::env::args_os().skip(1).collect(),
        })
    }

    /// Becomes the program in its file, with these sockets. Returns only if that fails, and then
    /// the process is of no use any more.
    #[must_use]
    pub fn execute_anew(self, sockets: Vec<OwnedFd>) -> anyhow::Error {
        let count = sockets.len();
        let mappings = (FIRST..).zip(sockets);
        let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
        let mut command = Command::new(&self.file);
        command
            .args(&self.arguments)
            .env("LISTEN_FDS", count.to_string())
            .env("LISTEN_PID", std::process::id().to_string())
            .env_remove("LISTEN_FDNAMES");
        if let Err(error) = command.fd_mappings(mappings.collect()) {
            return anyhow::anyhow!("the sockets can't be handed on: {error}");
        }
        let error = command.exec();
        anyhow::anyhow!("{} can't be started anew: {error}", self.file.display())
    }
}
