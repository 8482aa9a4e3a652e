//! Owns the connection of a console or a page from its upgrade to its end. `client/task` runs the
//! session in between.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use p2p_shared::bounded::Text;
use p2p_shared::key::Role;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{ConsoleToRouter, Driver};
use p2p_shared::text::Escaped;
use p2p_shared::timing;
use p2p_shared::websocket::MessageSocket;
use tokio::sync::mpsc;

use crate::auth::access::{self, Caller, Revoked};
use crate::car::session::SessionGuard;
use crate::car::{Car, DriverSession};
use crate::client::client_socket::ClientSocket;
use crate::client::elsewhere::{CarsElsewhere, Origin, TOO_MANY_LINES};
use crate::client::task::{ClientEnd, Console};
use crate::client::via::Via;
use crate::context::Context;
use crate::http::response::Problem;
use crate::http::websocket;
use crate::net::hello;
use crate::net::port_range::PortRange;
use crate::net::quota::QuotaPermit;
use crate::net::unauthenticated::PendingConnection;
use crate::net::write_timeout::WriteTimeout;
use crate::ops::metrics::GaugeGuard;

/// Most characters of the name of a console's software in a log line.
const SOFTWARE: usize = 40;
/// What the log has as the software of a page.
const PAGE: &str = "a page";
/// Most presses whose late refusal waits for the console.
const REFUSALS: usize = 16;

/// The caller at the other end, its address, its permit for a console or a page, and the router of the mesh that
/// it came by.
type Admitted = (Caller, SocketAddr, QuotaPermit, Option<Via>);

/// Upgrades a console's connection if its key and version allow it, before any message of the
/// protocol. One that another router passes on counts there, and may be a page of all cars with its cookie; true if that
/// came over TLS.
pub(crate) fn upgrade_console(
    context: &Arc<Context>,
    pending: &PendingConnection,
    request: Request<Incoming>,
    passed_on: Option<(Option<Via>, bool)>,
) -> Result<Response<Bytes>, Problem> {
    let peer = pending.peer;
    let view = ("watch", Role::may_view as fn(Role) -> bool);
    let (via, cookie) = passed_on.map_or((None, None), |(via, is_tls)| (via, Some(is_tls)));
    let (caller, switching) =
        (context.access).let_in(pending, &request, "console", view, cookie)?;
    let permit = match &via {
        Some(_) => (context.quotas.lines.take(caller.quota_owner(peer.ip())))
            .ok_or_else(|| Problem::retry_after(StatusCode::TOO_MANY_REQUESTS, 10, TOO_MANY_LINES)),
        None => permit(context, &caller, peer),
    };
    let permit = permit.inspect_err(|problem| access::log_refusal(pending, "console", problem))?;
    let shared = context.clone();
    let key = request.headers().get(AUTHORIZATION).cloned();
    let serve = move |stream, read| async move {
        serve_console(&shared, (caller, peer, permit, via), key, stream, read).await;
    };
    let links = &context.shutdown.links;
    Ok(websocket::accept(links, request, switching, serve))
}

/// Upgrades a page's connection if its caller may see the car.
pub(crate) fn upgrade_page(
    context: &Arc<Context>,
    car: &Arc<Car>,
    caller: Caller,
    peer: SocketAddr,
    request: Request<Incoming>,
    via: Option<Via>,
) -> Result<Response<Bytes>, Problem> {
    // The permit comes first, so that a page can ask without an upgrade whether there is room: a
    // browser doesn't tell a page why its WebSocket was refused.
    let permit = permit(context, &caller, peer)?;
    let switching = websocket::handshake_ours(&request)?;
    let (shared, car) = (context.clone(), car.clone());
    let serve = move |stream, read| async move {
        serve_page(&shared, &car, (caller, peer, permit, via), stream, read).await;
    };
    let links = &context.shutdown.links;
    Ok(websocket::accept(links, request, switching, serve))
}

/// Upgrades the connection of a page of all cars that the caller may see.
pub(crate) fn upgrade_fleet(
    context: &Arc<Context>,
    caller: Caller,
    (peer, is_tls): (SocketAddr, bool),
    request: Request<Incoming>,
) -> Result<Response<Bytes>, Problem> {
    let permit = permit(context, &caller, peer)?;
    let switching = websocket::handshake_ours(&request)?;
    let shared = context.clone();
    let header = |name: HeaderName| Some((name.clone(), request.headers().get(name)?.clone()));
    let credential = header(AUTHORIZATION).or_else(|| header(COOKIE));
    let serve = move |stream: Transport, read| async move {
        stream.set_dead_after(timing::PACE_BUSY.dead);
        let socket = MessageSocket::accepted(WriteTimeout::new(stream), read).await;
        let (cars, role) = (caller.ports().unwrap_or(PortRange::ALL), caller.role());
        let guard = SessionGuard::new(shared.registry.clone(), cars, role.may_run());
        let origin = Origin {
            context: shared.clone(),
            session: guard.session,
            caller: peer,
            owner: caller.quota_owner(peer.ip()),
            credential,
            is_tls,
            software: Text::new(PAGE),
            readonly: false,
        };
        let all = (guard, CarsElsewhere::new(origin, cars));
        let admitted = (caller, peer, permit, None);
        let socket = ClientSocket::Fleet(socket);
        let (end, socket) = run(&shared, admitted, role, all, socket, PAGE).await;
        end.tell(socket, false).await;
    };
    let links = &context.shutdown.links;
    Ok(websocket::accept(links, request, switching, serve))
}

/// Takes the caller's permit for one of its consoles and pages.
pub(crate) fn permit(
    context: &Context,
    caller: &Caller,
    peer: SocketAddr,
) -> Result<QuotaPermit, Problem> {
    let owner = caller.quota_owner(peer.ip());
    context.quotas.consoles.take(owner).ok_or_else(|| {
        let sentence = format!(
            "{} has {} consoles and pages open, the most that a key may have: close one (a stop by /cgi is not refused)",
            owner.whose(), context.limits.consoles
        );
        Problem::retry_after(StatusCode::TOO_MANY_REQUESTS, 10, sentence)
    })
}

/// Runs a console from its hello to its end.
pub(crate) async fn serve_console(
    context: &Arc<Context>,
    (caller, peer, permit, via): Admitted,
    key: Option<HeaderValue>,
    stream: Transport,
    read: Vec<u8>,
) {
    stream.set_dead_after(timing::PACE_BUSY.dead);
    let mut socket = MessageSocket::accepted(WriteTimeout::new(stream), read).await;
    let hello = |message| match message {
        ConsoleToRouter::Hello { software, readonly } => Some((software, readonly)),
        _ => None,
    };
    let hello = hello::wait(&mut socket, context.admit_known(peer, &caller), hello).await;
    let socket = ClientSocket::Console(socket);
    let (software, readonly) = match hello {
        Ok(Some(hello)) => hello,
        Ok(None) => return,
        Err(message) => {
            tracing::info!(from = %peer, key = caller.name(), why = message, "console refused");
            let end = ClientEnd::Refused(message.to_owned());
            return end.tell(socket, via.is_some()).await;
        }
    };
    let role = match caller.role() {
        role if readonly && role.may_view() => Role::View,
        role => role,
    };
    let cars = caller.ports().unwrap_or(PortRange::ALL);
    let guard = SessionGuard::new(context.registry.clone(), cars, role.may_run());
    let elsewhere = match &via {
        Some(_) => None,
        None => {
            let origin = Origin {
                context: context.clone(),
                session: guard.session,
                caller: peer,
                owner: caller.quota_owner(peer.ip()),
                credential: key.map(|key| (AUTHORIZATION, key)),
                is_tls: true,
                software: software.clone(),
                readonly,
            };
            CarsElsewhere::new(origin, cars)
        }
    };
    let software = Escaped(software.raw()).cut(SOFTWARE).to_string();
    let is_passed_on = via.is_some();
    let admitted = (caller, peer, permit, via);
    let all = (guard, elsewhere);
    let (end, socket) = run(context, admitted, role, all, socket, &software).await;
    end.tell(socket, is_passed_on).await;
}

async fn serve_page(
    context: &Arc<Context>,
    car: &Car,
    (caller, peer, permit, via): Admitted,
    stream: Transport,
    read: Vec<u8>,
) {
    stream.set_dead_after(timing::PACE_BUSY.dead);
    let socket = MessageSocket::accepted(WriteTimeout::new(stream), read).await;
    let socket = ClientSocket::Page(socket, car.port, None);
    let (role, car_alone) = (caller.role(), PortRange::one(car.port));
    let guard = SessionGuard::new(context.registry.clone(), car_alone, role.may_run());
    let admitted = (caller, peer, permit, via);
    let session = run(context, admitted, role, (guard, None), socket, PAGE);
    // Another car may get the port next.
    if let Some((end, socket)) = car.closed.run_until_cancelled(session).await {
        end.tell(socket, false).await;
    }
}

/// Runs a session with this role, which may be less than its key's. Returns its end, and the connection for the
/// last message.
async fn run(
    context: &Arc<Context>,
    (caller, peer, permit, via): Admitted,
    role: Role,
    (guard, elsewhere): (SessionGuard, Option<CarsElsewhere>),
    socket: ClientSocket,
    software: &str,
) -> (ClientEnd, ClientSocket) {
    let session = guard.session;
    tracing::info!(
        from = %peer, key = caller.name(), %role, session = session.0, software, "console up"
    );
    let _counted = GaugeGuard::new(&context.metrics.consoles);
    let (refusals, refused) = mpsc::channel(REFUSALS);
    let driver = DriverSession {
        driver: Driver {
            session,
            name: caller.who(peer),
        },
        key: caller.key().into(),
        from: peer,
        role,
        rtt: None,
        refusals,
    };
    let mesh = (elsewhere, via);
    let console = Console::new(context, socket, driver, guard, refused, permit, mesh);
    let other_rights = async {
        tokio::select! {
            why = caller.revoked() => why,
            () = caller.fresh() => Revoked::Stale,
        }
    };
    let (end, socket) = console.run(other_rights).await;
    tracing::info!(from = %peer, session = session.0, why = %end, "console down");
    (end, socket)
}
