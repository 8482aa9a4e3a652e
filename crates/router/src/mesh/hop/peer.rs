//! Another member, as requests are passed on to it: connections that are kept, and what ends when it falls
//! silent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::Hop;
use super::heard::LastHeard;
use super::way::Way;
use super::{DIALS, IDLE, SILENT};
use crate::auth::certificate::Certificate;
use crate::mesh::id::Start;
use crate::mesh::message::KeyDigests;
use crate::mesh::{Member, MemberAddress, Mesh};
use crate::ops::shutdown::Shutdown;

#[derive(Debug)]
pub(super) struct Peer {
    mesh: Arc<Mesh>,
    pub(super) shutdown: Shutdown,
    start: Start,
    way: Way,
    heard: Arc<LastHeard>,
    dials: Semaphore,
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    /// Connections that are not in use, and since when: the one that waits longest first.
    idle: Vec<(Instant, Hop)>,
    is_sweeping: bool,
    /// The connection for pings, which requests don't take.
    for_pings: Option<Hop>,
    /// Requests that are under way.
    pub(super) open: usize,
    /// True while a ping waits for its answer.
    pub(super) is_pinged: bool,
    /// Cancelled, and replaced, when the member has fallen silent.
    pub(super) silent: CancellationToken,
    /// The round trip of the last ping.
    pub(super) round_trip: Option<Duration>,
    /// When and why the last attempt to connect failed.
    not_reached: Option<(Instant, Arc<str>)>,
}

/// Why a member was not reached, in words.
#[derive(Debug, Clone)]
pub(crate) struct Unreachable(Arc<str>);

impl Unreachable {
    pub(super) fn silent() -> Self {
        Self("it says nothing".into())
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Peer {
    pub(super) fn new(
        to: &Member,
        mesh: Arc<Mesh>,
        certificate: Option<Certificate>,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            mesh,
            shutdown,
            start: to.start,
            way: Way::new(to.address.clone(), certificate),
            heard: Arc::new(LastHeard::new()),
            dials: Semaphore::new(DIALS),
            state: Mutex::new(State {
                idle: Vec::new(),
                is_sweeping: false,
                for_pings: None,
                open: 0,
                is_pinged: false,
                silent: CancellationToken::new(),
                round_trip: None,
                not_reached: None,
            }),
        }
    }

    pub(super) fn leads_to(&self, address: &MemberAddress) -> bool {
        *self.way.address == *address
    }

    /// Takes a connection that is kept, or makes one. Returns true with a new one. Nobody waits for a member
    /// that was not reached just now, unless it `is_urgent`: then it is tried.
    pub(super) async fn take(&self, is_urgent: bool) -> Result<(Hop, bool), Unreachable> {
        if let Some(hop) = self.take_kept().await {
            return Ok((hop, false));
        }
        let heard = self.heard.at();
        let since = match is_urgent {
            true => Instant::now(),
            false => heard.max(Instant::now() - SILENT),
        };
        self.check_reached(since)?;
        let Ok(_turn) = self.dials.acquire().await else {
            return Err(Unreachable::silent());
        };
        // In the meantime somebody may have given one back, or not reached the member.
        if let Some(hop) = self.take_kept().await {
            return Ok((hop, false));
        }
        self.check_reached(since)?;
        Ok((self.dial().await?, true))
    }

    /// Refuses if the member was not reached after `since`.
    fn check_reached(&self, since: Instant) -> Result<(), Unreachable> {
        match &self.state.lock().not_reached {
            Some((at, why)) if *at > since => Err(Unreachable(why.clone())),
            _ => Ok(()),
        }
    }

    /// Takes a connection that is kept.
    async fn take_kept(&self) -> Option<Hop> {
        loop {
            let mut hop = self.pop()?;
            if hop.is_usable().await {
                return Some(hop);
            }
        }
    }

    /// Takes the connection for pings, or another, or makes one.
    pub(super) async fn take_for_ping(&self) -> Option<Hop> {
        let kept = self.state.lock().for_pings.take();
        if let Some(mut hop) = kept
            && hop.is_usable().await
        {
            return Some(hop);
        }
        match self.take_kept().await {
            Some(hop) => Some(hop),
            None => self.dial().await.ok(),
        }
    }

    /// Keeps a connection for the next ping.
    pub(super) fn put_for_ping(&self, hop: Hop) {
        self.state.lock().for_pings = Some(hop);
    }

    async fn dial(&self) -> Result<Hop, Unreachable> {
        let dialling = Hop::dial(&self.mesh, self.start, &self.way, self.heard.clone());
        match dialling.await {
            Ok(hop) => {
                if self.state.lock().not_reached.take().is_some() {
                    tracing::info!(router = %self.way.address, "mesh: the router is reached again");
                }
                Ok(hop)
            }
            Err(error) => Err(self.not_reached(&error.to_string())),
        }
    }

    fn pop(&self) -> Option<Hop> {
        let mut state = self.state.lock();
        let (since, hop) = state.idle.pop()?;
        if since.elapsed() < IDLE {
            return Some(hop);
        }
        // The others wait even longer.
        state.idle.clear();
        None
    }

    pub(super) fn not_reached(&self, why: &str) -> Unreachable {
        let (now, shared) = (Instant::now(), Arc::<str>::from(why));
        let mut state = self.state.lock();
        // What it was says nothing of what is.
        state.round_trip = None;
        let before = state.not_reached.replace((now, shared.clone()));
        drop(state);
        if before.is_none() {
            tracing::warn!(
                router = %self.way.address, why,
                "mesh: the router is not reached: callers of its cars are answered 503 here"
            );
        }
        Unreachable(shared)
    }

    /// Keeps a connection for the next request, for a minute.
    pub(super) fn put(self: &Arc<Self>, hop: Hop) {
        let mut state = self.state.lock();
        state.idle.push((Instant::now(), hop));
        if !std::mem::replace(&mut state.is_sweeping, true) {
            drop(state);
            let peer = self.clone();
            self.shutdown.spawn(async move { peer.sweep().await });
        }
    }

    /// Closes connections that nobody has used for a minute, until there are none.
    async fn sweep(&self) {
        loop {
            let next = {
                let mut state = self.state.lock();
                let is_kept =
                    |(since, hop): &(Instant, Hop)| since.elapsed() < IDLE && !hop.is_closed();
                state.idle.retain(is_kept);
                match state.idle.first() {
                    Some((since, _)) => *since + IDLE,
                    None => {
                        state.is_sweeping = false;
                        return;
                    }
                }
            };
            tokio::time::sleep_until(next).await;
        }
    }

    pub(super) fn close_idle(&self) {
        let mut state = self.state.lock();
        state.idle.clear();
        state.for_pings = None;
    }

    /// Notes that the member lives, whatever the bus says.
    pub(super) fn lives(&self) {
        self.heard.note();
        self.mesh.reached(self.start);
    }

    /// Notes what the member knows of keys.
    pub(super) fn told_keys(&self, keys: KeyDigests, asked_at: Instant) {
        self.mesh.told_keys(self.start, keys, asked_at.into());
    }

    /// When something came from the member last.
    pub(super) fn heard(&self) -> Instant {
        self.heard.at()
    }

    /// Ends all requests that wait for this member.
    pub(super) fn fell_silent(&self) {
        let silent = {
            let mut state = self.state.lock();
            state.idle.clear();
            state.for_pings = None;
            std::mem::take(&mut state.silent)
        };
        silent.cancel();
        self.not_reached("it says nothing");
    }
}
