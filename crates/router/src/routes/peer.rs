//! Answers other routers of the mesh: on a connection that one of them has upgraded come requests of its
//! callers for the cars that are here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use p2p_shared::names::LinkName;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::ADMIN_PATH;
use p2p_shared::timing;
use tokio_util::sync::CancellationToken;

use crate::auth::access::{Access, Caller};
use crate::camera::frame_socket;
use crate::camera::viewer::Viewer;
use crate::car::Car;
use crate::client::session;
use crate::client::via::Via;
use crate::context::Context;
use crate::http::connection::{self, Patience};
use crate::http::response::{AnswerBody, Problem, plain, whole};
use crate::http::{csrf, websocket};
use crate::mesh::Mesh;
use crate::mesh::hop::handshake::{self, NUMBER, Number, PROTOCOL};
use crate::mesh::hop::headers::{self, MAIN_PORT, NOT_HELD, NOT_THERE, OTHER_NAME, PassedOn};
use crate::mesh::hop::{self, Hops, PICTURES_PATH, keys};
use crate::mesh::id::Start;
use crate::mesh::message::KeyDigests;
use crate::net::unauthenticated::PendingConnection;
use crate::ops::shutdown::spawn_blocking;
use crate::routes::request::RequestContext;

/// Time for which a connection without requests is kept: the other side closes it after a minute.
const IDLE: Duration = Duration::from_secs(180);
/// How much longer than its caller the other side has for reading on.
const FURTHER: Duration = Duration::from_secs(15);

/// Upgrades the connection of another router, which has yet to prove that it is a member.
pub(crate) fn upgrade(
    context: &Arc<Context>,
    hops: &Arc<Hops>,
    pending: &PendingConnection,
    request: Request<Incoming>,
) -> Result<Response<Bytes>, Problem> {
    let protocol = HeaderValue::from_static(PROTOCOL);
    if request.headers().get(header::UPGRADE) != Some(&protocol) {
        let sentence = "this path is for the other routers of a mesh";
        return Err(
            Problem::new(StatusCode::UPGRADE_REQUIRED, sentence).with(header::UPGRADE, protocol)
        );
    }
    let number = handshake::number().map_err(|error| {
        Problem::unavailable(format!("the kernel gives no random numbers ({error})"))
    })?;
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, Bytes::new());
    let shown = HeaderValue::try_from(data_encoding::HEXLOWER.encode(&number));
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, protocol);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.extend(shown.map(|number| (NUMBER, number)));
    let (shared, hops, peer) = (context.clone(), hops.clone(), pending.peer);
    let serve = move |stream, read: Vec<u8>| async move {
        if read.is_empty() {
            serve(&shared, &hops, peer, stream, &number).await;
        }
    };
    let connections = &context.shutdown.connections;
    Ok(websocket::accept(connections, request, response, serve))
}

async fn serve(
    context: &Arc<Context>,
    hops: &Arc<Hops>,
    peer: SocketAddr,
    mut stream: Transport,
    number: &Number,
) {
    let Some(mesh) = &context.mesh else { return };
    let Some(member) = let_in(context, mesh, peer, &mut stream, number).await else {
        return;
    };
    hops.came_from(peer.ip());
    stream.set_dead_after(timing::PACE_BUSY.dead);
    let closed = &context.shutdown.closed;
    let pending = context.unauthenticated.admit_member(peer, closed);
    let of_callers = context.config.patience;
    let patience = Patience {
        headers: IDLE,
        body: of_callers.body,
        reading: of_callers.reading + FURTHER,
    };
    let refuse = |status| {
        Problem::new(status, "a member of the mesh sent what is no request").into_plain_response()
    };
    let heard = hops.heard(member);
    let silent = heard.silent();
    let answering = connection::serve_with(patience, stream, &pending, None, refuse, |request| {
        let heard = &heard;
        async move {
            if headers::is_own(request.headers()) && request.uri().path() == hop::PING_PATH {
                heard.ping();
                return pong(mesh);
            }
            if headers::is_own(request.headers())
                && let Access::Keys(known, cookies) = &context.access
            {
                match request.uri().path() {
                    keys::KEYS => {
                        let known = known.clone();
                        return known_text(move || known.to_text()).await;
                    }
                    keys::SIGNED_OUT => {
                        let signed_out = cookies.signed_out().clone();
                        return known_text(move || Ok(signed_out.to_text())).await;
                    }
                    _ => {}
                }
            }
            let answering = heard.asks(&context.shutdown);
            if headers::is_own(request.headers())
                && let Some(port) = request.uri().path().strip_prefix(PICTURES_PATH)
            {
                let port = port.parse().unwrap_or_default();
                return pictures(context, mesh, port, request);
            }
            if answering.may_be_old {
                // If whoever passed it on has given up and is gone, the connection ends here.
                tokio::task::yield_now().await;
            }
            let mut response = answer(context, mesh, member, request).await;
            if context.shutdown.draining.is_cancelled() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            response
        }
    });
    // Dropped connections end what runs for them.
    silent.run_until_cancelled(answering).await;
}

/// Returns the member that calls, if it is one. Until then it counts as a stranger.
async fn let_in(
    context: &Context,
    mesh: &Mesh,
    peer: SocketAddr,
    stream: &mut Transport,
    number: &Number,
) -> Option<Start> {
    let pending = context.admit(peer);
    let proving = tokio::time::timeout(timing::HELLO, handshake::answer(mesh, stream, number));
    match pending.end.run_until_cancelled(proving).await? {
        Ok(Ok(member)) => Some(member),
        Ok(Err(error)) => {
            if pending.may_be_logged() {
                tracing::info!(from = %peer, %error, "router of the mesh refused");
            }
            None
        }
        Err(_) => None,
    }
}

/// Says that this router lives, and what it knows of keys.
fn pong(mesh: &Mesh) -> Response<AnswerBody> {
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let keys = mesh.keys().map(KeyDigests::to_text);
    let keys = keys.and_then(|keys| HeaderValue::try_from(keys).ok());
    let headers = response.headers_mut();
    headers.extend(keys.map(|keys| (keys::DIGESTS, keys)));
    response
}

/// Says all that this router knows of keys or of cookies. It has hashes, never a key. There may be thousands.
async fn known_text(
    text: impl FnOnce() -> anyhow::Result<String> + Send + 'static,
) -> Response<AnswerBody> {
    let text = spawn_blocking(text).await.map_err(anyhow::Error::from);
    match text.flatten() {
        Ok(text) => Response::new(whole(text.into())),
        Err(error) => {
            tracing::warn!(%error, "mesh: the keys can't be told to the other routers");
            let mut response = Response::new(whole(Bytes::new()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

async fn answer(
    context: &Arc<Context>,
    mesh: &Mesh,
    member: Start,
    mut request: Request<Incoming>,
) -> Response<AnswerBody> {
    let Some(passed_on) = PassedOn::take(request.headers_mut()) else {
        tracing::warn!("mesh: a router of another version passed a request on: it was refused");
        return not_there(NOT_HELD);
    };
    if passed_on.port == MAIN_PORT {
        let from = (passed_on.caller, passed_on.is_tls);
        return console(context, from, member, request);
    }
    let name = passed_on.name.as_ref();
    let car = match held_here(context, mesh, passed_on.port, name) {
        Ok((car, _)) => car,
        Err(why) => return not_there(why),
    };
    let caller = passed_on.caller;
    let pending = context
        .unauthenticated
        .admit_passed_on(caller, &car.closed, passed_on.is_over);
    let asked = RequestContext {
        context,
        car: &car,
        pending: &pending,
        run: passed_on.run,
        begun: passed_on.begun,
        is_tls: passed_on.is_tls,
        via: Some(member),
    };
    let is_seen = csrf::is_navigation(request.headers());
    let answered = asked.answer(request).await;
    let response = answered.unwrap_or_else(|problem| asked.error_response(problem, is_seen));
    context.metrics.answered(response.status().as_u16());
    response
}

/// Begins a console of the member's here: it has shown the same key there.
fn console(
    context: &Arc<Context>,
    (caller, is_tls): (SocketAddr, bool),
    member: Start,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    if request.uri().path() != ADMIN_PATH {
        return not_there(NOT_HELD);
    }
    let closed = &context.shutdown.closed;
    let mut pending = (context.unauthenticated).admit_passed_on(caller, closed, false);
    pending.is_vouched_for = true;
    let via = Via::new(context, member);
    let response = session::upgrade_console(context, &pending, request, Some((via, is_tls)));
    let response = response.unwrap_or_else(Problem::into_plain_response);
    response.map(whole)
}

/// Answers another router that asks for the pictures of this port's car, for all who watch there.
fn pictures(
    context: &Context,
    mesh: &Mesh,
    port: u16,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let name = headers::name(request.headers());
    let held = name.map_err(|_| OTHER_NAME);
    let held = held.and_then(|name| held_here(context, mesh, port, name.as_ref()));
    let (car, is_called) = match held {
        Ok(held) => held,
        Err(why) => return not_there(why),
    };
    let Ok(switching) = websocket::handshake(&request, "the other routers of a mesh") else {
        return not_there(NOT_HELD);
    };
    let viewer = Viewer::new(
        car.camera.clone(),
        Caller::Anyone,
        None,
        &context.metrics.viewers,
        is_called,
    );
    let serve = move |stream, read| frame_socket::serve(viewer, stream, read);
    let connections = &context.shutdown.connections;
    websocket::accept(connections, request, switching, serve).map(whole)
}

/// Says that nothing was handed to a link.
fn not_there(why: HeaderValue) -> Response<AnswerBody> {
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    response.headers_mut().insert(NOT_THERE, why);
    response
}

/// The car, unless another router has it by now, or what the other one knew of its name is old; and what is
/// cancelled when that is so. Nothing is passed on twice.
fn held_here(
    context: &Context,
    mesh: &Mesh,
    port: u16,
    name: Option<&LinkName>,
) -> Result<(Arc<Car>, CancellationToken), HeaderValue> {
    let car = (context.registry.car(port)).filter(|_| !mesh.is_elsewhere(port));
    let car = car.ok_or(NOT_HELD)?;
    let is_called = car.while_called(name).ok_or(OTHER_NAME)?;
    Ok((car, is_called))
}
