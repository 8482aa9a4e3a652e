//! Passes requests on to the member that holds their car, over connections that are kept. What comes back
//! says truly whether the command was executed: nothing is sent again once a byte of it was written.
//!
//! ```text
//!  caller ── request ──▶ Hops ── kept connections, one request at a time on each ──▶ /peer of the holder
//!                         └── a ping each second ───────────────────────────────────▶
//! ```

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use p2p_shared::names::LinkName;
use p2p_shared::net::transport::Transport;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::auth::certificate::Certificate;
use crate::mesh::id::Start;
use crate::mesh::{Member, MemberState, Mesh};
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::Shutdown;

mod connection;
mod exchange;
pub(crate) mod handshake;
pub(crate) mod headers;
mod heard;
pub(crate) mod keys;
mod peer;
mod ping;
mod relay;
mod stream;
mod upload;
mod way;

pub(crate) use exchange::{Exchange, PICTURES_PATH, Watched};
use headers::PassedOn;
pub(crate) use heard::Heard;
use peer::Peer;
pub(crate) use peer::Unreachable;
pub(crate) use ping::PATH as PING_PATH;
pub(crate) use relay::join;
use stream::HopStream;
pub(crate) use upload::Upload;

/// Silence of a member after which requests that wait for it end.
pub(crate) const SILENT: Duration = Duration::from_secs(3);
/// Pause between two pings of a member.
pub(crate) const PING: Duration = Duration::from_secs(1);
/// Time for a TCP connection to a member. TLS, and the proof that both know the secret, take three times the
/// way there and back: for all of it there is as long as it may be silent.
const CONNECT: Duration = Duration::from_secs(1);
/// Most connections to a member that are made at a time: it takes only so many in a second.
const DIALS: usize = 64;
/// Time after which the side that dialled closes a connection that it does not use. The other side keeps
/// it longer, so that no request meets one that is being closed.
const IDLE: Duration = Duration::from_secs(60);

/// Most addresses of members that are remembered.
const ADDRESSES: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// Ways to all other members.
#[derive(Debug)]
pub(crate) struct Hops {
    mesh: Arc<Mesh>,
    /// The certificate that all members share; `None`: there is no TLS (`--open`, on loopback or a network
    /// of its own).
    certificate: Option<Certificate>,
    shutdown: Shutdown,
    peers: Mutex<HashMap<Start, Arc<Peer>>>,
    heard: Mutex<HashMap<Start, Arc<Heard>>>,
    /// Addresses from which members have come, the last ones.
    came_from: Mutex<VecDeque<IpAddr>>,
    results: Results,
}

/// Numbers of requests by what became of them.
#[derive(Debug)]
struct Results {
    answered: Counter,
    not_there: Counter,
    not_reached: Counter,
    not_again: Counter,
    lost: Counter,
}

impl Results {
    fn new(metrics: &Metrics) -> Self {
        let all: Family<ResultLabel, Counter> =
            metrics.add("mesh_hops", "Requests passed on to other members");
        let of = |result| all.get_or_create(&ResultLabel { result }).clone();
        Self {
            answered: of("answered"),
            not_there: of("not_there"),
            not_reached: of("not_reached"),
            not_again: of("not_again"),
            lost: of("lost"),
        }
    }
}

/// Outcome of a request that was passed on.
pub(crate) enum Passed {
    /// The member's answer, with the connection on which its body comes.
    Answer(Response<Incoming>, Exchange),
    /// The member says that it does not hold the port. Nothing was handed to a link.
    NotThere,
    /// The member says that the port's car is not called so any more. Nothing was handed to a link.
    OtherName,
    /// The connection was closed before the member read the request, and so much of its body had been taken
    /// that it can't be sent on another. Nothing was handed to a link.
    NotAgain,
    /// Nothing was written: the member can't be reached.
    Unreachable(Unreachable),
    /// The connection was lost, or the member fell silent, before an answer came; something was written.
    Lost,
}

impl Hops {
    pub(crate) fn new(
        mesh: Arc<Mesh>,
        certificate: Option<Certificate>,
        shutdown: Shutdown,
        metrics: &Metrics,
    ) -> Self {
        Self {
            mesh,
            certificate,
            shutdown,
            peers: Mutex::default(),
            heard: Mutex::default(),
            came_from: Mutex::default(),
            results: Results::new(metrics),
        }
    }

    /// What is heard of a member whose requests come here: as long as it has a connection.
    pub(crate) fn heard(&self, member: Start) -> Arc<Heard> {
        let mut all = self.heard.lock();
        all.retain(|_, heard| Arc::strong_count(heard) > 1);
        all.entry(member).or_default().clone()
    }

    /// Notes that a member came from this address.
    pub(crate) fn came_from(&self, address: IpAddr) {
        let mut known = self.came_from.lock();
        if !known.contains(&address) {
            known.truncate(ADDRESSES - 1);
            known.push_front(address);
        }
    }

    /// Returns true for an address from which members come: they don't wait for their turn among all cars.
    pub(crate) fn is_from_member(&self, address: IpAddr) -> bool {
        self.came_from.lock().contains(&address)
    }

    /// Passes a request on, once. `upload` is its body.
    pub(crate) async fn pass_on(
        &self,
        to: &Member,
        passed_on: &PassedOn,
        request: &Request<()>,
        upload: &Arc<Upload>,
    ) -> Passed {
        let passed = exchange::pass_on(&self.peer(to), passed_on, request, upload).await;
        let result = match &passed {
            Passed::Answer(..) => &self.results.answered,
            Passed::NotThere | Passed::OtherName => &self.results.not_there,
            Passed::NotAgain => &self.results.not_again,
            Passed::Unreachable(_) => &self.results.not_reached,
            Passed::Lost => &self.results.lost,
        };
        result.inc();
        passed
    }

    /// The round trip to a member, as it was measured last.
    pub(crate) fn round_trip(&self, member: Start) -> Option<Duration> {
        let peer = self.peers.lock().get(&member).cloned();
        peer.and_then(|peer| peer.state.lock().round_trip)
    }

    /// Opens the stream of the pictures of this port's car, a WebSocket, if the member has the car, by this name
    /// if there is one. It ends when the car is called otherwise.
    pub(crate) async fn watch(
        &self,
        to: &Member,
        port: u16,
        name: Option<&LinkName>,
    ) -> Option<Watched> {
        exchange::watch(&self.peer(to), port, name).await
    }

    /// Number of requests that are under way.
    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        let peers = self.peers.lock();
        peers.values().map(|peer| peer.state.lock().open).sum()
    }

    /// Makes a connection, and keeps it for a request.
    #[cfg(test)]
    pub(crate) async fn reach(&self, to: &Member) -> Result<(), Unreachable> {
        let peer = self.peer(to);
        let (hop, _) = peer.take(true).await?;
        peer.put(hop);
        Ok(())
    }

    /// Pings all other members each second. Closes connections that are not in use to those that are about
    /// to end, and forgets those that are gone.
    pub(crate) async fn keep_in_touch(self: Arc<Self>) {
        loop {
            let members = self.mesh.members();
            self.peers
                .lock()
                .retain(|start, _| members.iter().any(|member| member.start == *start));
            for member in &members {
                let peer = self.peer(member);
                if member.state == MemberState::Draining {
                    peer.close_idle();
                }
                ping::begin(&peer);
            }
            tokio::time::sleep(PING).await;
        }
    }

    fn peer(&self, to: &Member) -> Arc<Peer> {
        let mut peers = self.peers.lock();
        match peers.get(&to.start) {
            Some(peer) if peer.leads_to(&to.address) => peer.clone(),
            _ => {
                let peer = Peer::new(
                    to,
                    self.mesh.clone(),
                    self.certificate.clone(),
                    self.shutdown.clone(),
                );
                let peer = Arc::new(peer);
                peers.insert(to.start, peer.clone());
                peer
            }
        }
    }
}

/// Returns the connection under an upgraded answer, and the bytes that were read beyond the answer.
pub(crate) fn downcast(upgraded: Upgraded) -> Option<(Transport, Vec<u8>)> {
    let parts = upgraded.downcast::<TokioIo<HopStream>>().ok()?;
    Some((parts.io.into_inner().stream, parts.read_buf.into()))
}
