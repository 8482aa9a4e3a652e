//! Serves the main port: routes inners, cameras, consoles, health checks and metrics, the page of all cars, and callers
//! of cars by their names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use p2p_shared::key::Role;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{ADMIN_PATH, LINK_PATH, MEDIA_PATH};
use p2p_shared::timing;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::auth::access::{self, Access, Revoked};
use crate::client::session;
use crate::context::Context;
use crate::http::connection::{self, Patience};
use crate::http::response::{Problem, plain, whole};
use crate::http::{csrf, host, query, tls_or_plain};
use crate::mesh::hop::{Hops, handshake};
use crate::net::accept::accept;
use crate::net::accept_rate::AcceptRate;
use crate::net::places::Places;
use crate::net::unauthenticated::PendingConnection;
use crate::ops::health::{self, START};
use crate::ops::metrics;
use crate::routes::balancer::{self, Connected};
use crate::routes::first_bytes::FirstBytes;
use crate::routes::service_port::{self, CallerConnection};
use crate::routes::{by_name, camera_ingest, fleet, invited, link, peer};

/// Most connections that wait to be let in after they were introduced, which is at once.
const INTRODUCED: usize = 64;

/// Accepts callers at once, and answers them at a limited rate, each network in its turn, until the
/// router goes down. Callers of cars, by name, are answered at once.
pub(crate) async fn serve(context: Arc<Context>, listener: Arc<TcpListener>) {
    let mut pace = AcceptRate::default();
    let mut waiting = Places::new(context.limits.waiting);
    let mut turn = Instant::now();
    // Other routers come at a rate of their own, beside all cars.
    let (mut pace_of_members, mut turn_of_members) = (AcceptRate::default(), turn);
    let ends = [&context.shutdown.closed, &context.shutdown.handing_over];
    // Those who wait for a balancer's header, or for their first bytes.
    let (introduced, mut introductions) = mpsc::channel(INTRODUCED);
    let ended = CancellationToken::new();
    let first_bytes = Arc::new(FirstBytes::new(context.limits.waiting, ended.clone()));
    let introduce = |connected| {
        let introducing = introduce(context.clone(), first_bytes.clone(), connected);
        let introduced = introduced.clone();
        context.shutdown.connections.spawn(async move {
            if let Some(caller) = introducing.await {
                // No error: the port waits for all.
                let _ = introduced.send(caller).await;
            }
        });
    };
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(turn.into()), if !waiting.is_empty() => {
                if let Some((stream, peer)) = waiting.take_next() {
                    begin(&context, stream, peer);
                }
                let now = Instant::now();
                turn = now + pace.take(now);
            }
            // Before others are accepted: nobody is kept here.
            Some(caller) = introductions.recv() => enter(&context, &mut waiting, caller),
            accepted = accept(&context.unauthenticated, &listener, ends) => {
                let Some((stream, peer)) = accepted else { break };
                // Its answer has to say whether there are answers, not how many callers there are.
                if context.health.is_own_call(peer) {
                    begin(&context, stream, peer);
                    continue;
                }
                let now = Instant::now();
                let is_from_member = |hops: &Arc<Hops>| hops.is_from_member(peer.ip());
                if turn_of_members <= now && context.hops.as_ref().is_some_and(is_from_member) {
                    begin(&context, stream, peer);
                    turn_of_members = now + pace_of_members.take(now);
                    continue;
                }
                if context.config.domain.is_some() || balancer::is_one(&context, peer) {
                    introduce((stream, peer));
                    continue;
                }
                wait(&context, &mut waiting, (stream, peer));
            }
        }
    }
    ended.cancel();
    while let Some((stream, peer)) = waiting.take_next() {
        begin(&context, stream, peer);
    }
    drop(introduced);
    while let Some(Introduced { connected, .. }) = introductions.recv().await {
        begin(&context, connected.0, connected.1);
    }
}

/// A connection of which enough is known to let it wait for its turn, or not.
struct Introduced {
    connected: Connected,
    is_for_a_car: bool,
}

/// Waits for the header of a balancer, and, if cars have names here, for what the caller is about. `None` if
/// the balancer was refused.
async fn introduce(
    context: Arc<Context>,
    first_bytes: Arc<FirstBytes>,
    connected: Connected,
) -> Option<Introduced> {
    let closed = &context.shutdown.closed;
    let connected = balancer::caller(&context, closed, connected).await?;
    let (stream, peer) = &connected;
    let is_for_a_car = match &context.config.domain {
        Some(domain) => first_bytes.are_for_a_car(domain, stream, *peer).await,
        None => false,
    };
    Some(Introduced {
        connected,
        is_for_a_car,
    })
}

/// Lets a caller wait for its turn, unless a car is what it is about: a stop never waits.
fn enter(context: &Arc<Context>, waiting: &mut Places<Connected>, caller: Introduced) {
    let (stream, peer) = caller.connected;
    if caller.is_for_a_car {
        begin(context, stream, peer);
    } else {
        wait(context, waiting, (stream, peer));
    }
}

/// Lets a caller wait for its turn.
fn wait(context: &Context, waiting: &mut Places<Connected>, (stream, peer): Connected) {
    let net = peer.ip().into();
    let is_known = context.unauthenticated.is_known(net);
    let (_, gone) = waiting.enter(net, is_known, (stream, peer));
    if gone.is_some() {
        context.metrics.strangers_sent_away.inc();
    }
}

/// Answers a caller whose turn it is.
fn begin(context: &Arc<Context>, stream: TcpStream, peer: SocketAddr) {
    context.health.accepted(peer);
    let shutdown = &context.shutdown;
    // Where callers of cars come, they are waited for as at a service port.
    let tracker = match context.config.domain {
        Some(_) => &shutdown.callers,
        None => &shutdown.connections,
    };
    let context = context.clone();
    tracker.spawn(async move { connection(&context, stream, peer).await });
}

async fn connection(context: &Arc<Context>, stream: TcpStream, peer: SocketAddr) {
    let pending = context.admit(peer);
    let refuse = |status| refuse(context, &pending, status);
    let acceptor = context.config.acceptor();
    if let Some(stream) = tls_or_plain::enter(acceptor, &pending, stream, refuse).await {
        answer_all(context, &pending, stream).await;
    }
}

/// Time that a caller has: where callers of cars come, as much as at a service port.
fn patience(context: &Context) -> Patience {
    if context.config.domain.is_some() {
        return context.config.patience;
    }
    Patience {
        headers: timing::HELLO,
        ..Patience::default()
    }
}

/// Makes the answer to what is no request.
fn refuse(context: &Context, pending: &PendingConnection, status: StatusCode) -> Response<Bytes> {
    if context.config.domain.is_some() {
        return service_port::last_words(context, pending, status);
    }
    let patience = patience(context).headers;
    tls_or_plain::last_words(pending, status, patience).into_plain_response()
}

/// Answers all requests of a connection.
pub(crate) async fn answer_all(
    context: &Arc<Context>,
    pending: &PendingConnection,
    stream: Transport,
) {
    let peer = pending.peer;
    let refuse = |status| refuse(context, pending, status);
    let is_tls = stream.is_tls();
    let is_private = context.access.is_private(peer.ip(), is_tls);
    let callers = &CallerConnection::new(context, pending, stream.is_tls());
    let strict = context.config.strict_transport(stream.is_tls());
    let patience = patience(context);
    connection::serve_with(
        patience,
        stream,
        pending,
        strict,
        refuse,
        |mut request| async move {
            if let Some(occupant) = by_name::find(context, &request) {
                return Box::pin(callers.answer(occupant, true, request)).await;
            }
            if let Some(port) = fleet::picture_of(&mut request) {
                let occupant = context.registry.occupant_anywhere(port);
                // Without a key nobody learns which ports have a car.
                let occupant = occupant.ok_or_else(|| {
                    let caller = context
                        .access
                        .key_or_cookie(pending, request.headers(), is_tls);
                    caller.map_or_else(
                        |problem| problem,
                        |_| Problem::unavailable("this car is away"),
                    )
                });
                return Box::pin(callers.answer(occupant, false, request)).await;
            }
            if is_private && fleet::is_for(&request) {
                return Box::pin(fleet::answer(context, pending, request, is_tls)).await;
            }
            let is_fine = is_private || is_health_call(context, peer.ip(), &request);
            let invited = invited::find(context, request.uri().path());
            let response = match (host::check_count(&request), invited) {
                (Err(problem), _) => Err(problem),
                (Ok(()), _) if !is_fine => Err(tls_or_plain::in_the_clear(&request)),
                (Ok(()), Some(invited)) => {
                    Box::pin(invited::answer(context, pending, &request, invited)).await
                }
                (Ok(()), None) => route(context, pending, request),
            };
            response
                .unwrap_or_else(Problem::into_plain_response)
                .map(whole)
        },
    )
    .await;
}

/// Returns true for a health check from this machine: there is no secret in it, so it may come
/// without TLS, also to an address that others reach.
fn is_health_call(context: &Context, peer: IpAddr, request: &Request<Incoming>) -> bool {
    request.uri().path() == health::PATH
        && is_from_here(context, peer, request.headers())
        && !request.headers().contains_key(header::AUTHORIZATION)
}

/// Returns true if this machine itself sent the request.
fn is_from_here(context: &Context, peer: IpAddr, headers: &HeaderMap) -> bool {
    let is_here = |address| context.health.is_here(address);
    is_here(peer) && host::is_direct(headers, is_here)
}

fn route(
    context: &Arc<Context>,
    pending: &PendingConnection,
    request: Request<Incoming>,
) -> Result<Response<Bytes>, Problem> {
    query::refuse_keys(request.uri())?;
    let path = request.uri().path();
    let is_peer = path == handshake::PATH && context.hops.is_some();
    if !is_peer
        && !matches!(
            path,
            LINK_PATH | MEDIA_PATH | ADMIN_PATH | health::PATH | "/metrics"
        )
    {
        let config = &context.config;
        let at_names = config.domain.as_ref().map(|domain| {
            let domain = domain.as_str();
            format!("at the cars' host names, NAME.{domain} and SERVICE_PORT.{domain}")
        });
        let at_ports = (config.service_ports.are_open()).then(|| "on the service ports".to_owned());
        let places: Vec<_> = at_ports.into_iter().chain(at_names).collect();
        let sentence = format!(
            "this is the main port of a p2p-router, for p2p-inner and p2p-console: commands are run {}",
            places.join(" and ")
        );
        return Err(Problem::new(StatusCode::NOT_FOUND, sentence));
    }
    let is_socket = is_peer || matches!(path, LINK_PATH | MEDIA_PATH | ADMIN_PATH);
    let may_be_head = !is_socket && request.method() == Method::HEAD;
    if request.method() != Method::GET && !may_be_head {
        let (allowed, sentence) = if is_socket {
            ("GET", "only GET does something here")
        } else {
            ("GET, HEAD", "only GET and HEAD do something here")
        };
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, sentence)
            .with(header::ALLOW, HeaderValue::from_static(allowed)));
    }
    if is_socket {
        if let Some(sentence) = csrf::is_page(request.headers()) {
            let problem = Problem::new(StatusCode::FORBIDDEN, sentence);
            access::log_refusal(pending, path, &problem);
            return Err(problem);
        }
    } else if let Some(names) = context.config.host_names() {
        host::check(names, request.headers())?;
    }
    if let Some(hops) = context.hops.as_ref().filter(|_| is_peer) {
        return peer::upgrade(context, hops, pending, request);
    }
    match path {
        LINK_PATH => link::upgrade(context, pending, request),
        MEDIA_PATH => camera_ingest::upgrade(context, pending, request),
        ADMIN_PATH => session::upgrade_console(context, pending, request, None),
        health::PATH if context.shutdown.draining.is_cancelled() => {
            Err(Problem::unavailable("the router is going down"))
        }
        health::PATH => match problem(context) {
            None => {
                let mut response = plain(StatusCode::OK, Bytes::from("ok\n"));
                // Strangers need not know when the router was restarted.
                if is_from_here(context, pending.peer.ip(), request.headers()) {
                    let start = context.health.start();
                    response.headers_mut().insert(START, start);
                }
                Ok(response)
            }
            Some(why) => Err(Problem::unavailable(why)),
        },
        _ => {
            check_metrics_reader(&context.access, pending, request.headers())?;
            let mut response = plain(StatusCode::OK, Bytes::from(context.metrics.text()));
            let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE);
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, content_type);
            Ok(response)
        }
    }
}

/// Returns why the router can't do its job.
fn problem(context: &Context) -> Option<String> {
    let stale = match &context.access {
        Access::Keys(keys, _) if keys.in_force().is_stale => Some(Revoked::Stale.to_string()),
        _ => None,
    };
    context.health.problem().or(stale)
}

/// Allows metrics for this machine, and for keys that may see everything anyway.
fn check_metrics_reader(
    access: &Access,
    pending: &PendingConnection,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    // A web page whose host name resolves to this machine could make a browser here ask, and a
    // proxy here may ask for strangers.
    let is_loopback = |address: IpAddr| address.is_loopback();
    if is_loopback(pending.peer.ip()) && host::is_direct(headers, is_loopback) {
        return Ok(());
    }
    let caller = access.allow(pending, headers, "read metrics", Role::may_view)?;
    match caller.ports() {
        None => Ok(()),
        Some(ports) => {
            let sentence = format!(
                "the metrics are of all cars, and this key is for the service ports {ports}: use one without --ports"
            );
            Err(Problem::new(StatusCode::FORBIDDEN, sentence))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::auth::key_store::{KeyFile, KeyStore};
    use crate::net::limits::OpenFileLimits;
    use crate::net::unauthenticated::Unauthenticated;

    #[test]
    fn metrics_are_for_this_machine_and_for_whoever_may_see_everything() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::in_dir(folder.path());
        let header = |name: &str, role, ports| {
            let name = name.parse().unwrap();
            let key = file.add(&name, role, ports).unwrap();
            let bearer = format!("Bearer {}", key.expose());
            HeaderMap::from_iter([(header::AUTHORIZATION, bearer.parse().unwrap())])
        };
        let mut headers = Role::ALL
            .map(|role| (header(role.as_str(), role, None), role.may_view()))
            .to_vec();
        let some = Some("9000-9009".parse().unwrap());
        headers.push((header("some cars", Role::Admin, some), false));
        let keys = Access::by(Some(KeyStore::open(folder.path()).unwrap()), None).unwrap();
        let check = |access: &Access, from: &str, headers: &HeaderMap| {
            let limits = OpenFileLimits::of(u64::MAX);
            let metrics = Arc::new(metrics::Metrics::new());
            let strangers = Arc::new(Unauthenticated::new(metrics, &limits));
            let peer = (from.parse::<IpAddr>().unwrap(), 1).into();
            let pending = strangers.admit(peer, &CancellationToken::new());
            check_metrics_reader(access, &pending, headers).map_err(|problem| problem.status)
        };
        let none = HeaderMap::new();
        let made_up = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("evil.test"))]);
        let forwarded =
            HeaderMap::from_iter([(header::VIA, HeaderValue::from_static("1.1 proxy"))]);
        for headers in [made_up, forwarded] {
            let checked = check(&keys, "127.0.0.1", &headers);
            assert_eq!(checked, Err(StatusCode::UNAUTHORIZED));
        }
        for from in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert_eq!(check(&keys, from, &none), Ok(()));
        }
        for from in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "0.0.0.0"] {
            assert_eq!(check(&keys, from, &none), Err(StatusCode::UNAUTHORIZED));
            for (headers, may) in &headers {
                let expected = if *may {
                    Ok(())
                } else {
                    Err(StatusCode::FORBIDDEN)
                };
                assert_eq!(check(&keys, from, headers), expected);
            }
            assert_eq!(check(&Access::Open, from, &none), Ok(()));
        }
    }
}
