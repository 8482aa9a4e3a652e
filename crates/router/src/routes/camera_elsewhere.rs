//! Serves the camera of a car that another router has. However many watch here, one stream of pictures comes
//! from there. Viewers are let in here, by the same keys as there, and within the limits of this router.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use p2p_shared::key::Role;
use p2p_shared::names::LinkName;
use p2p_shared::protocol::{MAX_PICTURE, Picture};
use serde::Deserialize;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role as End, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use crate::camera::{Camera, Status, frame_socket};
use crate::car::elsewhere::ElsewherePort;
use crate::context::Context;
use crate::http::csrf;
use crate::http::response::{AnswerBody, Problem};
use crate::mesh::Elsewhere;
use crate::routes::elsewhere::ElsewhereRequest;
use crate::routes::video::{CameraRequest, FRAMES};

/// Pause after a stream that has ended, while somebody watches.
const AGAIN: Duration = Duration::from_secs(1);

/// Answers a request for the car's camera whose caller this router knows; passes all others on to the router
/// that has the car.
pub(crate) async fn answer(
    asked: &ElsewhereRequest<'_>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Problem> {
    let is_known = || {
        let access = &asked.context.access;
        access.recognise(asked.pending, request.headers(), asked.is_tls)
    };
    match asked.look() {
        Some(there) if is_for_camera(&request) && is_known() => show(asked, &there, request).await,
        _ => asked.pass_on(request).await,
    }
}

fn is_for_camera(request: &Request<Incoming>) -> bool {
    let path = request.uri().path();
    request.method() == Method::GET && matches!(path, "/video" | "/frame.jpg" | FRAMES)
}

async fn show(
    asked: &ElsewhereRequest<'_>,
    there: &Elsewhere,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Problem> {
    let (context, headers) = (asked.context, request.headers());
    let path = request.uri().path();
    let foreign = || csrf::refused_websocket(headers, asked.is_tls).filter(|_| path == FRAMES);
    if let Some(sentence) = csrf::unasked(headers, asked.is_tls).or_else(foreign) {
        return Err(Problem::new(StatusCode::FORBIDDEN, sentence));
    }
    let access = &context.access;
    let caller = access.key_or_cookie(asked.pending, headers, asked.is_tls)?;
    caller.may("see what there is", Role::may_view)?;
    caller.is_for(asked.port.open.port)?;
    context.check_stays(asked.pending, &caller, || false)?;
    let camera = CameraRequest {
        context,
        peer: asked.pending.peer,
        run: asked.run,
        begun: asked.begun,
        camera: camera(context, asked.port),
        closed: &asked.port.closed,
        name: there.record.name.clone(),
    };
    match path {
        FRAMES => camera.frames(&caller, request),
        "/video" => camera.video(&caller).await,
        _ => camera.frame(&caller).await,
    }
}

/// The camera, whose pictures come while somebody watches.
fn camera(context: &Arc<Context>, port: &ElsewherePort) -> Arc<Camera> {
    let camera = port.camera.get_or_init(|| {
        let camera = Arc::new(Camera::of_another_router());
        let feeding = feed(
            context.clone(),
            (port.open.port, port.name.clone()),
            camera.clone(),
            port.closed.clone(),
        );
        context.shutdown.spawn(feeding);
        camera
    });
    camera.clone()
}

/// Shows what the router shows that has the car, whichever that is, while somebody watches, until `closed`.
async fn feed(
    context: Arc<Context>,
    (port, name): (u16, Option<LinkName>),
    camera: Arc<Camera>,
    closed: CancellationToken,
) {
    let mut watched = camera.watched();
    let feeding = async {
        // No error: the camera has the sender.
        while let Ok(time) = (watched.wait_for(|time| time % 2 == 1).await).map(|time| *time) {
            let mut left = watched.clone();
            tokio::select! {
                () = stream(&context, (port, name.as_ref()), &camera) => {}
                // Also when somebody came at once, whom nobody would tell how the camera is.
                _ = left.wait_for(|now| *now != time) => continue,
            }
            camera.relay(None, Status::Away);
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = moved(&context, port) => {}
            }
        }
    };
    closed.run_until_cancelled(feeding).await;
}

/// Waits for news of this port's holder.
async fn moved(context: &Context, port: u16) {
    let Some(mesh) = &context.mesh else {
        return std::future::pending().await;
    };
    let holder = || Some(mesh.holder_elsewhere(port)?.member.start);
    let before = holder();
    loop {
        let news = mesh.next_change();
        if holder() != before {
            return;
        }
        news.await;
    }
}

/// What the holder says when it has no picture.
#[derive(Deserialize)]
struct Said {
    camera: String,
    #[serde(default)]
    why: String,
}

/// Shows one stream, until it ends.
async fn stream(context: &Context, (port, name): (u16, Option<&LinkName>), camera: &Camera) {
    let (Some(mesh), Some(hops)) = (&context.mesh, &context.hops) else {
        return;
    };
    let Some(there) = mesh.holder_elsewhere(port) else {
        return;
    };
    let Some(watched) = hops.watch(&there.member, port, name).await else {
        return;
    };
    let most = Some(MAX_PICTURE + 1024);
    let limits = WebSocketConfig::default()
        .max_message_size(most)
        .max_frame_size(most);
    let socket = WebSocketStream::from_partially_read(
        watched.stream,
        watched.read,
        End::Client,
        Some(limits),
    );
    let showing = relay(socket.await, camera);
    watched.silent.run_until_cancelled(showing).await;
}

async fn relay<S>(mut socket: WebSocketStream<S>, camera: &Camera)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let next = || Message::text(frame_socket::NEXT);
    for _ in 0..frame_socket::MOST_CREDITS {
        if socket.send(next()).await.is_err() {
            return;
        }
    }
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Binary(bytes) => {
                let Some(picture) = Picture::from_message(bytes) else {
                    return;
                };
                camera.relay(Some(picture), Status::Shows);
                if socket.send(next()).await.is_err() {
                    return;
                }
            }
            Message::Text(text) => {
                if let Ok(said) = serde_json::from_str::<Said>(&text) {
                    camera.relay(None, status(said));
                }
            }
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

fn status(said: Said) -> Status {
    match said.camera.as_str() {
        "none" => Status::None,
        "starting" => Status::Starting,
        "failed" => Status::Failed(said.why.into()),
        _ => Status::Away,
    }
}
