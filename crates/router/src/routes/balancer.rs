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

const NO_HEADER: &str = "this address is one of the router's --proxy-protocol, and has to begin each connection with a header of the PROXY protocol, version 2, for TCP (in haproxy `send-proxy-v2`): nothing was run";
const NO_ROOM: &str = "the router goes down, or too many connections of its balancers have not said yet for whom they are: nothing was run; try again in a moment";

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
/// balancer did not say in time for whom it connects, or `closed` was cancelled: then it was answered.
pub(crate) async fn caller(
    context: &Context,
    closed: &CancellationToken,
    (mut stream, peer): Connected,
) -> Option<Connected> {
    if !is_one(context, peer) {
        return Some((stream, peer));
    }
    let admitted = context.unauthenticated.admit_balanced();
    let found = match admitted {
        Some(_) => {
            let reading = tokio::time::timeout(timing::HELLO, proxy_protocol::read(&mut stream));
            closed.run_until_cancelled(reading).await
        }
        None => None,
    };
    drop(admitted);
    match found {
        Some(Ok(Ok(Beginning::Caller(caller)))) if is_believed(context, peer, caller) => {
            return Some((stream, caller));
        }
        Some(Ok(Ok(Beginning::Caller(_) | Beginning::Own))) => return Some((stream, peer)),
        // It has left.
        Some(Ok(Err(_))) => {}
        Some(Ok(Ok(Beginning::Other(first)))) => {
            log(context, peer);
            // A caller that began with TLS can't read a plain answer.
            if first != HANDSHAKE {
                let problem = Problem::new(StatusCode::BAD_REQUEST, NO_HEADER);
                refuse(context, closed, (stream, peer), problem).await;
            }
        }
        Some(Err(_)) => {
            log(context, peer);
            let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, NO_HEADER);
            refuse(context, closed, (stream, peer), problem).await;
        }
        None => {
            let problem = Problem::unavailable(NO_ROOM);
            refuse(context, closed, (stream, peer), problem).await;
        }
    }
    None
}

fn log(context: &Context, from: SocketAddr) {
    if context.unauthenticated.may_be_logged() {
        tracing::warn!(
            %from,
            "refused: this address is one of --proxy-protocol, and its connection does not begin with a header of the PROXY protocol, version 2, for TCP"
        );
    }
}

async fn refuse(
    context: &Context,
    closed: &CancellationToken,
    (stream, peer): Connected,
    problem: Problem,
) {
    let pending = context.unauthenticated.admit(peer, closed);
    let last_words = problem.into_response(context.next_run(), Timing::default());
    connection::close(Transport::Plain(stream), &pending, Some(last_words)).await;
}
