//! Owns a car's connection for camera pictures, from the upgrade to the end. The key shows whose
//! connection it is; the ticket, which only the link was told, shows that it belongs to that link.
//! So nobody sends pictures to another car's port, and no old connection to a new link.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};
use p2p_shared::key::Role;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{
    MediaTicket, MediaToRouter, Picture, PictureAssembly, PictureError, RouterToMedia,
};
use p2p_shared::timing;
use p2p_shared::websocket::{MessageSocket, SocketEvent, WebSocketError};
use thiserror::Error;

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
type MediaSocket = MessageSocket<Transport, RouterToMedia, MediaToRouter>;

/// Reason why a media connection ended.
#[derive(Debug, Error)]
enum IngestEnd {
    #[error(transparent)]
    Lost(#[from] WebSocketError),
    #[error("the car broke the protocol: {0}")]
    ProtocolViolation(#[from] PictureError),
    #[error("the car said hello twice")]
    Hello,
    #[error("the car closed it")]
    Closed,
}

/// Upgrades an inner's connection if its key and version allow it, before any message of the
/// protocol.
pub(crate) fn upgrade(
    context: &Arc<Context>,
    pending: &PendingConnection,
    request: Request<Incoming>,
) -> Result<Response<Bytes>, Problem> {
    let peer = pending.peer();
    let show = ("show a camera", Role::may_link as fn(Role) -> bool);
    let (caller, switching) =
        (context.access).let_in(pending, &request, "media connection", show)?;
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
    let pending = context
        .unauthenticated
        .admit(peer, &context.shutdown.closed);
    let hello = |message| match message {
        MediaToRouter::Hello {
            service_port,
            ticket,
        } => Some((service_port, ticket)),
        _ => None,
    };
    let attached = match hello::wait(&mut socket, &pending, hello).await {
        Ok(Some((port, ticket))) => attach(context, caller, port, ticket),
        Ok(None) => return,
        Err(why) => Err(why),
    };
    drop(pending);
    let attached = match attached {
        Ok(attached) => attached,
        Err(message) => {
            tracing::info!(from = %peer, key = caller.name(), why = message, "media connection refused");
            let words = RouterToMedia::Refused { message };
            return socket.close_with(Some(&words), "", FAREWELL).await;
        }
    };
    tracing::debug!(from = %peer, "media connection up");
    let why = tokio::select! {
        () = attached.end.cancelled() => "it is not wanted any more".to_owned(),
        () = context.shutdown.closed.cancelled() => "the router is going down".to_owned(),
        end = take(context, &mut socket, &attached) => end.to_string(),
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

/// Takes pictures until the connection ends.
async fn take(
    context: &Context,
    socket: &mut MediaSocket,
    attached: &IngestConnection,
) -> IngestEnd {
    let mut assembly = PictureAssembly::default();
    let mut untold = 0_u32;
    loop {
        let taken = match socket.event().await {
            Ok(SocketEvent::Message(message)) => piece(&mut assembly, message),
            Ok(SocketEvent::Ping | SocketEvent::Pong(_) | SocketEvent::Writable) => Ok((0, None)),
            Ok(SocketEvent::Closed(_)) => return IngestEnd::Closed,
            Err(error) => return error.into(),
        };
        match taken {
            Ok((bytes, picture)) => {
                untold = untold.saturating_add(bytes);
                if let Some(picture) = picture {
                    context.metrics.pictures.inc();
                    attached.show(picture);
                }
            }
            Err(end) => return end,
        }
        // A car that doesn't get this sends no more.
        if untold > 0 && socket.has_room() {
            let bytes = std::mem::take(&mut untold);
            if let Err(error) = socket.push(&RouterToMedia::Taken { bytes }) {
                return error.into();
            }
        }
    }
}

/// Returns the bytes of a message, and the picture that is complete with them.
fn piece(
    assembly: &mut PictureAssembly,
    message: MediaToRouter,
) -> Result<(u32, Option<Picture>), IngestEnd> {
    let length = |bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    Ok(match message {
        MediaToRouter::Hello { .. } => return Err(IngestEnd::Hello),
        MediaToRouter::Picture {
            captured_ms,
            length: whole,
            bytes,
        } => (length(&bytes), assembly.begin(captured_ms, whole, &bytes)?),
        MediaToRouter::Piece { bytes } => (length(&bytes), assembly.piece(&bytes)?),
    })
}
