//! Owns a connection of an inner from its upgrade to the end: hello, claim, welcome, the link, and
//! the time for which the port outlives the link.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};
use p2p_shared::bounded::Text;
use p2p_shared::key::Role;
use p2p_shared::net::transport::Transport;
use p2p_shared::os::jitter;
use p2p_shared::protocol::{InnerToRouter, LinkHello, Rejection, RouterToInner};
use p2p_shared::text::Escaped;
use p2p_shared::timing;
use p2p_shared::websocket::{MessageSocket, SocketEvent};

use crate::auth::access::{Caller, Revoked};
use crate::car::Car;
use crate::car::registry::claim::{Claim, Granted};
use crate::context::Context;
use crate::feed::shortened;
use crate::http::response::Problem;
use crate::http::websocket;
use crate::link::end::LinkEnd;
use crate::link::task::{LinkSocket, LinkTask};
use crate::net::hello;
use crate::net::unauthenticated::PendingConnection;
use crate::ops::shutdown::own;
use crate::routes::service_port;

/// Time that an inner gets to take our last message.
const FAREWELL: Duration = Duration::from_secs(1);
/// Most characters of the name of an inner's software in a log line.
const SOFTWARE: usize = 40;

/// Upgrades the connection of an inner, if its key may be a link and its version fits.
pub(crate) fn upgrade(
    context: &Arc<Context>,
    pending: &PendingConnection,
    request: Request<Incoming>,
) -> Result<Response<Bytes>, Problem> {
    let peer = pending.peer;
    let link = ("be a link", Role::may_link as fn(Role) -> bool);
    let let_in = context.access.let_in(pending, &request, "link", link, None);
    let (caller, switching) = let_in.inspect_err(|_| {
        context.metrics.link_refusals.inc();
    })?;
    if context.shutdown.draining.is_cancelled() {
        return Err(Problem::unavailable(
            "the router is restarting: try again in a moment",
        ));
    }
    let shared = context.clone();
    let run = move |stream, read| async move { run(&shared, &caller, peer, stream, read).await };
    let links = &context.shutdown.links;
    Ok(websocket::accept(links, request, switching, run))
}

/// Runs a link from its hello to the end of its port. `read` has the bytes after the upgrade.
pub(crate) async fn run(
    context: &Arc<Context>,
    caller: &Caller,
    peer: SocketAddr,
    stream: Transport,
    read: Vec<u8>,
) {
    let refused = |why: &str| {
        context.metrics.link_refusals.inc();
        tracing::info!(from = %peer, key = caller.name(), why, "link refused");
    };
    let mut socket: LinkSocket = Box::new(MessageSocket::accepted(stream, read).await);
    let hello = |message| match message {
        InnerToRouter::Hello(hello) => Some(hello),
        _ => None,
    };
    let hello = match hello::wait(&mut socket, context.admit_known(peer, caller), hello).await {
        Ok(Some(hello)) => hello,
        Ok(None) => return,
        Err(why) => {
            refused(&why);
            return part(socket, &LinkEnd::Rejected(Rejection::Protocol, why)).await;
        }
    };
    let claim = Claim {
        owner: caller.quota_owner(peer.ip()),
        // With keys, the identity that an inner claims counts for nothing.
        identity: caller.identity().unwrap_or_else(|| hello.identity.clone()),
        ports: caller.ports(),
        key: caller.key(),
        hello: &hello,
        grant: None,
    };
    // Other routers may be asked: meanwhile this one may begin to go down, or the inner may end. One that has
    // ended takes nothing from the one that runs in its place.
    let draining = &context.shutdown.draining;
    let claimed = tokio::select! {
        biased;
        () = closed(&mut socket) => return refused("the inner went away before it had its port"),
        claimed = draining.run_until_cancelled(context.registry.claim_everywhere(claim)) => claimed,
    };
    let granted = match claimed {
        Some(Ok(granted)) => granted,
        Some(Err((rejection, why))) => {
            refused(&why);
            return part(socket, &LinkEnd::Rejected(rejection, why)).await;
        }
        None => {
            let after = timing::COME_BACK_SPREAD.mul_f64(jitter());
            // Whether the router comes back is not known before its runs have ended.
            let elsewhere = false;
            return part(socket, &LinkEnd::GoAway { after, elsewhere }).await;
        }
    };
    serve(context, caller, peer, socket, &hello, granted).await;
}

/// Waits for the end of a connection. An inner says nothing between its hello and its welcome.
async fn closed(socket: &mut LinkSocket) {
    while let Ok(event) = socket.event().await {
        if let SocketEvent::Closed(_) = event {
            return;
        }
    }
}

/// Runs a link whose claim was granted, and keeps its port for a while after its end.
async fn serve(
    context: &Arc<Context>,
    caller: &Caller,
    peer: SocketAddr,
    socket: LinkSocket,
    hello: &LinkHello,
    granted: Granted,
) {
    let Granted {
        car,
        name,
        link,
        work,
        is_new,
        was_elsewhere,
    } = granted;
    context.metrics.links.inc();
    context.metrics.link_ups.inc();
    if is_new {
        if !was_elsewhere {
            context.on_link.up(car.port, &name);
        }
        service_port::begin_for(context, &car);
    } else {
        context.metrics.link_takeovers.inc();
    }
    tracing::info!(
        link = %name, link_id = hello.link_id(), service_port = car.port, from = %peer, key = caller.name(),
        software = %Escaped(hello.software.raw()).cut(SOFTWARE), "link up"
    );
    let welcome = RouterToInner::Welcome {
        name: name.clone(),
        service_port: car.port,
        media: (context.config.media_address.as_ref())
            .map(|address| Text::new(address.to_string())),
        host: (context.config.domain.as_ref())
            .filter(|_| !context.config.service_ports.are_open())
            .map(|domain| Text::new(domain.host_of(&name, car.port))),
    };
    let handle = (link.clone(), name.clone());
    let mut task = LinkTask::new(socket, work, handle, car.clone(), hello);
    let revoked = async {
        link.end(match caller.revoked().await {
            Revoked::Stale => LinkEnd::GoAway {
                after: Duration::ZERO,
                elsewhere: true,
            },
            _ => {
                let message = "the key was revoked: ask the router's owner for another".to_owned();
                LinkEnd::Rejected(Rejection::Denied, message)
            }
        });
        std::future::pending().await
    };
    let end = tokio::select! {
        biased;
        end = task.run(&welcome) => end,
        end = revoked => end,
    };
    let socket = task.into_socket();
    context.metrics.links.dec();
    tracing::info!(
        link = %name, link_id = hello.link_id(), service_port = car.port, key = caller.name(), why = %end, "link down"
    );
    // Done before the last message, which may take a while.
    let is_kept = (context.registry).link_down(&car, link.id(), &end.to_string());
    if is_kept && end.gives_up_port() {
        give_up(context, &car, true, &end);
    }
    part(socket, &end).await;
    if is_kept && !end.gives_up_port() {
        keep(context, &car, &end).await;
    }
}

/// Serves a port that was open before this router's start, until its owner is back or the port is
/// given up.
pub(crate) fn restored(context: &Arc<Context>, car: Arc<Car>) {
    service_port::begin_for(context, &car);
    let context = context.clone();
    let tracker = context.shutdown.links.clone();
    tracker.spawn(own(async move {
        let end = LinkEnd::Lost("it did not come back after the router's restart".to_owned());
        keep(&context, &car, &end).await;
    }));
}

/// Keeps the port of a car that is away for [`timing::PORT_KEPT`], and gives it up if the car is still
/// away then.
async fn keep(context: &Context, car: &Car, end: &LinkEnd) {
    tokio::select! {
        biased;
        () = tokio::time::sleep(timing::PORT_KEPT + Duration::from_millis(1)) => {}
        () = context.shutdown.closed.cancelled() => {}
        () = context.registry.until_free(car) => {}
    }
    give_up(context, car, false, end);
}

fn give_up(context: &Context, car: &Car, at_once: bool, end: &LinkEnd) {
    // Cars that go down with the router are not reported.
    if let Some(away) = context.registry.give_up(car, at_once)
        && !context.shutdown.draining.is_cancelled()
    {
        let why = shortened(&end.to_string());
        context.on_link.down(car.port, &car.name(), away, why.raw());
    }
}

async fn part(socket: LinkSocket, end: &LinkEnd) {
    if let Some(words) = end.last_words() {
        socket.close_with(Some(&words), "", FAREWELL).await;
    }
}
