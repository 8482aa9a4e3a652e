//! Finds out for whom a balancer has connected, before anything else is read: the address in its header of the
//! PROXY protocol is the caller's from then on.

use std::net::SocketAddr;

use hyper::StatusCode;
use p2p_shared::net::transport::Transport;
use p2p_shared::timing;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::http::connection;
use crate::http::response::{Problem, Timing};
use crate::http::tls_or_plain::HANDSHAKE;
use crate::net::proxy_protocol::{self, Beginning};
use crate::net::unauthenticated::PendingConnection;

/// A connection, and its caller.
pub(crate) type Connected = (TcpStream, SocketAddr);

/// Returns true if this peer has to say for whom it connects.
pub(crate) fn is_one(context: &Context, peer: SocketAddr) -> bool {
    proxy_protocol::is_balancer(&context.config.balancers, peer.ip())
}

/// Returns true if a balancer here may say so of its caller. What one elsewhere calls 127.0.0.1 is its own
/// machine and not this one, of which callers need no TLS and, for some things, no key.
fn is_believed(context: &Context, balancer: SocketAddr, caller: SocketAddr) -> bool {
    let (is_here, ip) = (|ip| context.health.is_here(ip), caller.ip());
    is_here(balancer.ip()) || !(is_here(ip) || ip.is_unspecified() || ip.is_multicast())
}

/// Returns the connection with its caller, who is the peer itself unless that is a balancer. `None` if a
/// balancer did not say in time for whom it connects, or `closed` was cancelled.
pub(crate) async fn caller(
    context: &Context,
    closed: &CancellationToken,
    (mut stream, peer): Connected,
) -> Option<Connected> {
    if !is_one(context, peer) {
        return Some((stream, peer));
    }
    let pending = context.unauthenticated.admit(peer, closed);
    let reading = tokio::time::timeout(timing::HELLO, proxy_protocol::read(&mut stream));
    match pending.end.run_until_cancelled(reading).await?.ok()?.ok()? {
        Beginning::Caller(caller) if is_believed(context, peer, caller) => Some((stream, caller)),
        Beginning::Caller(_) | Beginning::Own => Some((stream, peer)),
        Beginning::Other(first) => {
            refuse(context, &pending, stream, first).await;
            None
        }
    }
}

async fn refuse(context: &Context, pending: &PendingConnection, stream: TcpStream, first: u8) {
    if pending.may_be_logged() {
        tracing::warn!(
            from = %pending.peer,
            "refused: this address is one of --proxy-protocol, and its connection does not begin with a header of the PROXY protocol, version 2, for TCP"
        );
    }
    let sentence = "this address is one of the router's --proxy-protocol, and has to begin each connection with a header of the PROXY protocol, version 2, for TCP (in haproxy `send-proxy-v2`): nothing was run";
    // A caller that began with TLS can't read a plain answer.
    let last_words = (first != HANDSHAKE).then(|| {
        let problem = Problem::new(StatusCode::BAD_REQUEST, sentence);
        problem.into_response(context.next_run(), Timing::default())
    });
    connection::close(Transport::Plain(stream), pending, last_words).await;
}
