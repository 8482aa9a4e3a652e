//! Owns a car's connection for camera pictures, from the upgrade to the end. The key shows which
//! car it is; the ticket, which only the link was told, ties the connection to that link. So nobody
//! can send pictures to another car's port, nor an old connection to a new link.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail, ensure};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};
use p2p_shared::bounded::Text;
use p2p_shared::key::Role;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{MediaTicket, MediaToRouter, Picture, PictureAssembly, RouterToMedia};
use p2p_shared::timing;
use p2p_shared::websocket::{MessageSocket, ReadAhead, SocketEvent};

use crate::auth::access::Caller;
use crate::camera::IngestConnection;
use crate::context::Context;
use crate::http::response::Problem;
use crate::http::websocket;
use crate::net::hello;
use crate::net::unauthenticated::PendingConnection;

/// Time for a car to take the last message.
const FAREWELL: Duration = Duration::from_secs(1);

/// WebSocket of a media connection.
type MediaSocket = MessageSocket<ReadAhead<Transport>, RouterToMedia, MediaToRouter>;

/// Upgrades an inner's connection if its key and version allow it, before any message of the
/// protocol.
pub(crate) fn upgrade(
    context: &Arc<Context>,
    pending: &PendingConnection,
    request: Request<Incoming>,
) -> Result<Response<Bytes>, Problem> {
    let peer = pending.peer;
    let show = ("show a camera", Role::may_link as fn(Role) -> bool);
    let (caller, switching) =
        (context.access).let_in(pending, &request, "media connection", show, None)?;
    let shared = context.clone();
    let serve = move |stream, read| async move {
        serve(&shared, &caller, peer, stream, read).await;
    };
    let links = &context.shutdown.links;
    Ok(websocket::accept(links, request, switching, serve))
}

/// Runs a media connection from its hello to its end.
async fn serve(
    context: &Arc<Context>,
    caller: &Caller,
    peer: SocketAddr,
    stream: Transport,
    read: Vec<u8>,
) {
    stream.set_dead_after(timing::PACE_BUSY.dead);
    let mut socket: MediaSocket = MessageSocket::accepted(stream, read).await;
    let hello = |message| match message {
        MediaToRouter::Hello {
            service_port,
            ticket,
        } => Some((service_port, ticket)),
        _ => None,
    };
    let attached = match hello::wait(&mut socket, context.admit_known(peer, caller), hello).await {
        Ok(Some((port, ticket))) => attach(context, caller, port, ticket),
        Ok(None) => return,
        Err(why) => Err(why),
    };
    let attached = match attached {
        Ok(attached) => attached,
        Err(message) => {
            tracing::info!(from = %peer, key = caller.name(), why = message, "media connection refused");
            let words = RouterToMedia::Refused {
                message: Text::new(message),
            };
            return socket.close_with(Some(&words), "", FAREWELL).await;
        }
    };
    tracing::debug!(from = %peer, "media connection up");
    let why = tokio::select! {
        () = attached.end.cancelled() => "it is not wanted any more".to_owned(),
        () = context.shutdown.closed.cancelled() => "the router is going down".to_owned(),
        taken = take(context, &mut socket, &attached) => match taken {
            Ok(()) => "the car closed it".to_owned(),
            Err(error) => error.to_string(),
        },
    };
    tracing::debug!(from = %peer, why, "media connection down");
    drop(attached);
    socket.close_with(None, "", FAREWELL).await;
}

fn attach(
    context: &Context,
    caller: &Caller,
    port: u16,
    ticket: MediaTicket,
) -> Result<IngestConnection, String> {
    let identity = caller.identity();
    let car = (context.registry.car(port))
        .filter(|car| identity.is_none_or(|identity| car.identity == identity));
    car.and_then(|car| car.camera.attach(ticket))
        .ok_or_else(|| {
            "these are not the pictures of a link that is up: wait until it asks for them"
                .to_owned()
        })
}

/// Takes pictures until the car closes the connection. The error says why it has to end earlier.
async fn take(
    context: &Context,
    socket: &mut MediaSocket,
    attached: &IngestConnection,
) -> anyhow::Result<()> {
    let mut assembly = PictureAssembly::default();
    let mut untold = 0_u32;
    loop {
        let (bytes, picture) = match socket.event().await? {
            SocketEvent::Message(message) => piece(&mut assembly, message)?,
            SocketEvent::Ping | SocketEvent::Pong(_) | SocketEvent::Writable => (0, None),
            SocketEvent::Closed(_) => return Ok(()),
        };
        untold = untold.saturating_add(bytes);
        if let Some(picture) = picture {
            ensure!(
                is_jpeg(&picture.jpeg()),
                "the car sent something that is no JPEG"
            );
            context.metrics.pictures.inc();
            attached.show(picture);
        }
        // A car that doesn't get this sends no more.
        if untold > 0 && socket.has_room() {
            let bytes = std::mem::take(&mut untold);
            socket.push(&RouterToMedia::Taken { bytes })?;
        }
    }
}

/// Returns true if these bytes begin and end as a JPEG does, so that a viewer of `/video` doesn't
/// take what follows for a part of them.
fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8, 0xff]) && bytes.ends_with(&[0xff, 0xd9])
}

/// Returns the bytes of a message, and the picture that is complete with them.
fn piece(
    assembly: &mut PictureAssembly,
    message: MediaToRouter,
) -> anyhow::Result<(u32, Option<Picture>)> {
    let (bytes, picture) = match message {
        MediaToRouter::Hello { .. } => bail!("the car said hello twice"),
        MediaToRouter::Picture {
            captured_ms,
            length,
            bytes,
        } => {
            let picture = assembly.begin(captured_ms, length, &bytes);
            (bytes, picture)
        }
        MediaToRouter::Piece { bytes } => {
            let picture = assembly.piece(&bytes);
            (bytes, picture)
        }
    };
    let picture = picture.map_err(|error| anyhow!("the car broke the protocol: {error}"))?;
    Ok((u32::try_from(bytes.len()).unwrap_or(u32::MAX), picture))
}
