//! Takes over listening sockets from systemd or from the previous router in the same process, and
//! hands the router's own on: a router that restarts itself closes none of them, so that nobody is
//! refused meanwhile.
//!
//! The protocol is systemd's (sd_listen_fds(3)): `LISTEN_FDS` descriptors from 3 on.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use command_fds::{CommandFdExt, FdMapping};
use listenfd::ListenFd;
use p2p_shared::net::socket;
use p2p_shared::text::EscapedBytes;
use p2p_shared::timing;
use tokio::net::TcpListener;

use crate::ops::open_files;

/// Most characters of the program's output that go into the log.
const SAID: usize = 1000;

/// First descriptor that is handed on.
const FIRST: i32 = 3;

/// Environment variable that marks sockets of a previous router. It has the milliseconds since another router of
/// the mesh was last known to know the same keys, if there is one.
const HANDED_ON: &str = "P2PROUTER_HANDED_ON";

/// Time for the new program to check its settings.
const CHECK: Duration = Duration::from_secs(10);

/// Inherited sockets, by their ports.
#[derive(Debug, Default)]
pub struct InheritedListeners {
    sockets: HashMap<u16, StdListener>,
    /// Main port, if the sockets are from a previous router.
    own: Option<u16>,
    /// When another router of the mesh was last known to know the same keys, by a previous router.
    pub(crate) keys_agreed_at: Option<Instant>,
}

/// What a router leaves to the next one in its place.
#[derive(Debug, Default)]
pub struct HandedOver {
    /// The main port's first.
    pub sockets: Vec<OwnedFd>,
    pub(crate) keys_agreed_at: Option<Instant>,
}

impl InheritedListeners {
    /// Takes the sockets that the environment names. Others than TCP sockets are left alone, and
    /// logged.
    #[must_use]
    pub fn from_environment() -> Self {
        let mut environment = ListenFd::from_env();
        let mut sockets = Vec::new();
        for n in 0..environment.len() {
            match environment.take_tcp_listener(n) {
                Ok(Some(socket)) => sockets.push(socket),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a socket from systemd or the router before can't be used")
                }
            }
        }
        let before = std::env::var(HANDED_ON).ok();
        let agreed = before.as_ref().and_then(|ago| ago.parse().ok());
        Self {
            keys_agreed_at: agreed
                .and_then(|ago| timing::now().checked_sub(Duration::from_millis(ago))),
            ..Self::of(sockets, before.is_some())
        }
    }

    /// Takes what a router [handed over](crate::server::Router::hand_over).
    #[must_use]
    pub fn handed_over(over: HandedOver) -> Self {
        let sockets = over.sockets.into_iter().map(StdListener::from);
        Self {
            keys_agreed_at: over.keys_agreed_at,
            ..Self::of(sockets.collect(), true)
        }
    }

    /// Takes these sockets. If they are from a previous router, the first is the main port's.
    fn of(sockets: Vec<StdListener>, is_handed_over: bool) -> Self {
        let port = |socket: &StdListener| Some(socket.local_addr().ok()?.port());
        Self {
            own: sockets.first().and_then(port).filter(|_| is_handed_over),
            sockets: sockets
                .into_iter()
                .filter_map(|socket| Some((port(&socket)?, socket)))
                .collect(),
            keys_agreed_at: None,
        }
    }

    /// Takes the socket of the main port. For port 0 this is the previous router's port.
    pub(crate) fn take_main(&mut self, port: u16, bind: IpAddr) -> Option<io::Result<TcpListener>> {
        let port = match port {
            0 => self.own?,
            port => port,
        };
        self.take(port, bind)
    }

    /// Takes the socket of this port, if it was inherited. A previous router's socket with another
    /// address is closed: the settings have changed.
    pub(crate) fn take(&mut self, port: u16, bind: IpAddr) -> Option<io::Result<TcpListener>> {
        let given = self.sockets.remove(&port)?;
        if self.own.is_some()
            && given
                .local_addr()
                .is_ok_and(|address| address.ip() != socket::really(bind))
        {
            return None;
        }
        let prepared = given.set_nonblocking(true);
        Some(prepared.and_then(|()| TcpListener::from_std(given)))
    }

    /// Takes the sockets that a previous router had open for cars of other routers: those that nobody took.
    pub(crate) fn take_rest(&mut self, bind: IpAddr) -> Vec<(u16, TcpListener)> {
        if self.own.is_none() {
            return Vec::new();
        }
        let ports: Vec<u16> = self.sockets.keys().copied().collect();
        let taken = ports.into_iter().filter_map(|port| {
            let listener = self.take(port, bind)?.ok()?;
            Some((port, listener))
        });
        taken.collect()
    }

    /// Returns the ports of sockets that nobody took.
    pub(crate) fn left(&self) -> impl Iterator<Item = u16> {
        self.sockets.keys().copied()
    }
}

/// File and arguments of this program, for its restart. Read before the file may be replaced by a
/// newer one.
#[derive(Debug)]
pub struct ThisProgram {
    file: PathBuf,
    arguments: Vec<OsString>,
}

impl ThisProgram {
    /// Reads file and arguments of this process. The file is the path by which the program was
    /// called, which may be a symbolic link to a newer version by now.
    pub fn find() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let called = arguments.next().map(PathBuf::from);
        let called = called.filter(|file| file.components().count() > 1 && file.is_file());
        Ok(Self {
            file: match called {
                Some(file) => std::path::absolute(file)?,
                None => std::env::current_exe()?,
            },
            arguments: arguments.collect(),
        })
    }

    /// Checks that the program in the file would start with the settings as they are now.
    pub async fn check(&self) -> anyhow::Result<()> {
        let mut command = tokio::process::Command::new(&self.file);
        command
            .args(&self.arguments)
            .arg("check")
            .env_remove("LISTEN_FDS")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let file = self.file.display();
        let output = tokio::time::timeout(CHECK, command.output())
            .await
            .with_context(|| format!("{file} did not look at its settings in time"))?
            .with_context(|| format!("{file} can't be started"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = EscapedBytes(output.stderr.trim_ascii())
            .cut(SAID)
            .to_string();
        anyhow::bail!("{file} would not start: {said}")
    }

    /// Replaces this process by the program in the file, with what is handed over. Returns only if that
    /// fails, and then the process is of no use any more.
    #[must_use]
    pub fn execute_anew(self, over: HandedOver) -> anyhow::Error {
        let count = over.sockets.len();
        let agreed = over.keys_agreed_at.map(|at| {
            let ago = timing::now().saturating_duration_since(at);
            ago.as_millis().to_string()
        });
        let mappings = (FIRST..)
            .zip(over.sockets)
            .map(|(child_fd, parent_fd)| FdMapping {
                parent_fd,
                child_fd,
            });
        let mut command = Command::new(&self.file);
        command
            .args(&self.arguments)
            .env("LISTEN_FDS", count.to_string())
            .env("LISTEN_PID", std::process::id().to_string())
            .env(HANDED_ON, agreed.unwrap_or_else(|| "yes".to_owned()))
            .env_remove("LISTEN_FDNAMES");
        if let Some(limit) = open_files::open_files_before() {
            command.env(open_files::OPEN_FILES_BEFORE, limit.to_string());
        }
        if let Err(error) = command.fd_mappings(mappings.collect()) {
            return anyhow::anyhow!("the sockets can't be handed on: {error}");
        }
        let error = command.exec();
        anyhow::anyhow!("{} can't be started anew: {error}", self.file.display())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn listening(at: IpAddr) -> (StdListener, u16) {
        let socket = StdListener::bind((at, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, port)
    }

    /// Returns the port of a socket that was taken.
    fn port_of(taken: Option<io::Result<TcpListener>>) -> Option<u16> {
        taken.map(|socket| socket.unwrap().local_addr().unwrap().port())
    }

    #[tokio::test]
    async fn a_router_that_may_have_any_port_keeps_the_one_it_had() {
        let (main, port) = listening(HERE);
        let (service, service_port) = listening(HERE);
        let mut own = InheritedListeners::handed_over(HandedOver {
            sockets: vec![main.into(), service.into()],
            ..HandedOver::default()
        });
        assert_eq!(port_of(own.take_main(0, HERE)), Some(port));
        assert_eq!(own.left().collect::<Vec<_>>(), [service_port]);
        // Among sockets from others, nobody knows which was meant.
        let mut others = InheritedListeners::of(vec![listening(HERE).0], false);
        assert_eq!(port_of(others.take_main(0, HERE)), None);
    }

    #[tokio::test]
    async fn one_of_our_own_counts_only_where_we_are_to_listen() {
        let everywhere = socket::really(Ipv6Addr::UNSPECIFIED.into());
        for (at, bind, counts) in [
            (HERE, HERE, true),
            // Without IPv6 the kernel listens on IPv4 here.
            (everywhere, Ipv6Addr::UNSPECIFIED.into(), true),
            (everywhere, HERE, false),
        ] {
            let (socket, port) = listening(at);
            let mut own = InheritedListeners::of(vec![socket.try_clone().unwrap()], true);
            let taken = port_of(own.take(port, bind));
            assert_eq!(taken, counts.then_some(port), "{at} {bind}");
            assert!(
                InheritedListeners::of(vec![socket], false)
                    .take(port, bind)
                    .is_some()
            );
        }
    }
}
