//! Owns a console's connection from its upgrade to its hello, and the beginning and end of a
//! session of a console or a page. `client/task` is in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use p2p_shared::key::Role;
use p2p_shared::net::transport::Transport;
use p2p_shared::os::jitter;
use p2p_shared::protocol::{ConsoleToRouter, Driver, RefusedReason, RouterToConsole};
use p2p_shared::text::Escaped;
use p2p_shared::timing;
use p2p_shared::websocket::MessageSocket;
use tokio::sync::mpsc;

use crate::auth::access::{self, Caller};
use crate::car::DriverSession;
use crate::car::session::SessionGuard;
use crate::context::Context;
use crate::http::response::Problem;
use crate::http::websocket;
use crate::net::quota::QuotaPermit;
use crate::net::unauthenticated::PendingConnection;
use crate::net::{hello, limits};
use crate::ops::metrics::GaugeGuard;

use crate::client::client_socket::{ClientSocket, ConsoleSocket};
use crate::client::task::{Console, ConsoleEnd};
use crate::net::write_timeout::WriteTimeout;

/// Time that a console gets to take our last message.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);
/// Most characters of what a console says of itself in a log line.
const SOFTWARE: usize = 40;

/// Upgrades a console's connection if its key and version allow it, before any message of the
/// protocol.
pub(crate) fn upgrade(
    context: &Arc<Context>,
    pending: &PendingConnection,
    request: Request<Incoming>,
) -> Result<Response<Bytes>, Problem> {
    let peer = pending.peer();
    let view = ("watch", Role::may_view as fn(Role) -> bool);
    let (caller, switching) = context.access.let_in(pending, &request, "console", view)?;
    let permit = permit(context, &caller, peer)
        .inspect_err(|problem| access::log_refusal(pending, "console", problem))?;
    let shared = context.clone();
    let serve = move |stream, read| async move {
        let person = (caller, peer, permit);
        serve(&shared, person, stream, read).await;
    };
    Ok(websocket::accept(
        &context.shutdown.links,
        request,
        switching,
        serve,
    ))
}

/// Takes the caller's part in the consoles that there may be.
pub(crate) fn permit(
    context: &Context,
    caller: &Caller,
    peer: SocketAddr,
) -> Result<QuotaPermit, Problem> {
    context.quotas.consoles.take(caller.quota_owner(peer.ip())).ok_or_else(|| {
        let sentence = format!(
            "this key has {} consoles and pages open, the most that a key may have: close one (a stop by /cgi is never refused)",
            limits::CONSOLES
        );
        Problem::retry_after(StatusCode::TOO_MANY_REQUESTS, 10, sentence)
    })
}

/// Most presses whose late refusal waits for the console.
const REFUSALS: usize = 16;

/// Runs a console from its hello to its end.
pub(crate) async fn serve(
    context: &Arc<Context>,
    (caller, peer, permit): (Caller, SocketAddr, QuotaPermit),
    stream: Transport,
    read: Vec<u8>,
) {
    stream.set_dead_after(timing::PACE_BUSY.dead);
    let mut socket: ConsoleSocket = MessageSocket::accepted(WriteTimeout::new(stream), read).await;
    let pending = context
        .unauthenticated
        .admit(peer, &context.shutdown.closed);
    let hello = |message| match message {
        ConsoleToRouter::Hello { software, readonly } => Some((software, readonly)),
        _ => None,
    };
    let (software, readonly) = match hello::wait(&mut socket, &pending, hello).await {
        Ok(Some(hello)) => hello,
        Ok(None) => return,
        Err(message) => {
            tracing::info!(from = %peer, key = caller.name(), why = message, "console refused");
            let reason = RefusedReason::Denied;
            let words = RouterToConsole::Refused {
                reason,
                press: None,
                message,
            };
            return socket.close_with(Some(&words), "", FAREWELL).await;
        }
    };
    drop(pending);
    let role = match caller.role() {
        role if readonly && role.may_view() => Role::View,
        role => role,
    };
    let session = Session {
        caller,
        peer,
        role,
        permit,
    };
    let software = Escaped(&software).cut(SOFTWARE).to_string();
    let (last_words, socket) = session.run(context, socket, &software).await;
    if let Some(words) = last_words {
        socket.close_with(Some(&words), "", FAREWELL).await;
    }
}

/// The session of a console or a page.
pub(crate) struct Session {
    pub caller: Caller,
    pub peer: SocketAddr,
    /// The role that it has here, which may be less than its key's.
    pub role: Role,
    pub permit: QuotaPermit,
}

impl Session {
    /// Runs the session on this connection, with this `software`. Returns the last message, if there is
    /// one, and the connection for it.
    pub(crate) async fn run<W: ClientSocket>(
        self,
        context: &Arc<Context>,
        socket: W,
        software: &str,
    ) -> (Option<RouterToConsole>, W) {
        let Self {
            caller,
            peer,
            role,
            permit,
        } = self;
        let presence = SessionGuard::new(context.registry.clone(), socket.only(), role.may_run());
        let session = presence.session;
        tracing::info!(
            from = %peer, key = caller.name(), %role, session = session.0, software, "console up"
        );
        let _counted = GaugeGuard::new(&context.metrics.consoles);
        let (refusals, refused) = mpsc::channel(REFUSALS);
        let person = DriverSession {
            driver: Driver {
                session,
                name: caller.who(peer),
            },
            key: caller.key().to_owned(),
            from: peer,
            role,
            rtt: None,
            refusals,
        };
        let console = Console::new(context, socket, person, presence, refused, permit);
        let (end, socket) = console.run(caller.revoked()).await;
        tracing::info!(from = %peer, session = session.0, why = %end, "console down");
        (last_words(&end), socket)
    }
}

/// The last message to a console, where it can still be told something.
fn last_words(end: &ConsoleEnd) -> Option<RouterToConsole> {
    match end {
        ConsoleEnd::GoAway => {
            let after = timing::COME_BACK_SPREAD.mul_f64(jitter());
            Some(RouterToConsole::GoAway {
                reconnect_after_ms: u64::try_from(after.as_millis()).unwrap_or_default(),
            })
        }
        ConsoleEnd::Revoked | ConsoleEnd::ProtocolViolation(_) => Some(RouterToConsole::Refused {
            reason: RefusedReason::Denied,
            press: None,
            message: end.to_string(),
        }),
        ConsoleEnd::Closed(_) | ConsoleEnd::Lost(_) | ConsoleEnd::Silent(_) => None,
    }
}
