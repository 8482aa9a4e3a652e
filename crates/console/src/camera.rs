//! The connection to a car's camera: asks for the newest picture when there is room for one, and makes cells of it.
//! Apart from the connection to the router, so that a picture never delays a message to the car.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use p2p_shared::net::dialer::{self, RouterAddress};
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::Picture as Message;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::connection::{DEAD, RouterTarget};
use crate::picture::Picture;

/// Shortest time between two pictures: 10 a second.
const PACE: Duration = Duration::from_millis(100);
/// Time until the next try after the camera's connection was lost.
const AGAIN: Duration = Duration::from_secs(2);
/// Time after which a picture is asked for again: the router takes those who ask for none for 10 s to look elsewhere.
const LOOKS: Duration = Duration::from_secs(5);

/// The picture that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraView {
    /// Host of the router that the console is connected to, and the car's service port.
    pub service_port: RouterAddress,
    /// Columns and rows that there are for it.
    pub size: (u16, u16),
}

/// Report of the camera of this service port.
#[derive(Debug, Clone)]
pub struct CameraEvent {
    pub service_port: u16,
    pub what: CameraReport,
}

/// A picture of the past, as a JPEG, to be made into cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastPicture {
    pub jpeg: Bytes,
    pub service_port: u16,
    /// Time when it was taken, in milliseconds since 1970.
    pub taken_ms: u64,
    /// Columns and rows that there are for it.
    pub size: (u16, u16),
}

#[derive(Debug, Clone)]
pub enum CameraReport {
    /// A picture that was taken at this time of the car's clock, in milliseconds; in a replay since 1970.
    Picture(Picture, u64),
    /// Reason why there is none.
    None(String),
}

/// Fetches the pictures that are wanted, until nobody wants any more.
pub async fn run(
    target: RouterTarget,
    mut wanted: watch::Receiver<Option<CameraView>>,
    events: mpsc::Sender<CameraEvent>,
) {
    loop {
        let view = wanted.borrow_and_update().clone();
        let Some(view) = view else {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        let why = fetch(&target, &view, &mut wanted, &events).await;
        let Err(why) = why else { continue };
        let report = CameraReport::None(why);
        if !tell(&events, &view, report).await {
            return;
        }
        tokio::select! {
            () = sleep(AGAIN) => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

/// Makes cells of the newest picture of the past that is wanted, until nobody wants any more.
pub async fn show_past(
    mut wanted: watch::Receiver<Option<PastPicture>>,
    events: mpsc::Sender<CameraEvent>,
) {
    while wanted.changed().await.is_ok() {
        let Some(picture) = wanted.borrow_and_update().clone() else {
            continue;
        };
        let event = CameraEvent {
            service_port: picture.service_port,
            what: decode(picture.jpeg, picture.size, picture.taken_ms).await,
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Makes cells of a JPEG, off the thread that carries messages to the car.
async fn decode(jpeg: Bytes, size: (u16, u16), taken_ms: u64) -> CameraReport {
    let decoded = tokio::task::spawn_blocking(move || Picture::decode(&jpeg, size)).await;
    match decoded {
        Ok(Ok(picture)) => CameraReport::Picture(picture, taken_ms),
        Ok(Err(why)) => CameraReport::None(why),
        Err(why) => CameraReport::None(why.to_string()),
    }
}

/// Fetches pictures of one car until another one is wanted, or none. Fails when the connection does.
async fn fetch(
    target: &RouterTarget,
    first: &CameraView,
    wanted: &mut watch::Receiver<Option<CameraView>>,
    events: &mpsc::Sender<CameraEvent>,
) -> Result<(), String> {
    let key = target.key.as_ref();
    let dialled = dialer::dial_pictures(&first.service_port, key, target.open);
    let mut socket = dialled.await.map_err(|error| error.to_string())?;
    let mut heard = Instant::now();
    loop {
        let view = wanted.borrow().clone();
        let Some(view) = view.filter(|it| it.service_port == first.service_port) else {
            // Whether the router hears it does not matter.
            let _ = socket.close(None).await;
            return Ok(());
        };
        let next = Instant::now() + PACE;
        (socket.send(Frame::text("next")).await).map_err(|error| error.to_string())?;
        // Until the picture comes, or another size or car is wanted.
        loop {
            let report = tokio::select! {
                report = receive(&mut socket, &mut heard, view.size) => report?,
                () = sleep_until(next + LOOKS) => {
                    // It pings at least.
                    if heard.elapsed() > DEAD {
                        return Err("the router does not answer any more".to_owned());
                    }
                    break;
                }
                changed = wanted.changed() => {
                    changed.map_err(|_| "nobody looks any more")?;
                    break;
                }
            };
            let is_picture = matches!(report, CameraReport::Picture(..));
            if !tell(events, &view, report).await {
                return Ok(());
            }
            if is_picture {
                sleep_until(next).await;
                break;
            }
        }
    }
}

async fn tell(events: &mpsc::Sender<CameraEvent>, view: &CameraView, what: CameraReport) -> bool {
    let service_port = view.service_port.port;
    (events.send(CameraEvent { service_port, what }).await).is_ok()
}

/// Message of the router when it has no picture.
#[derive(Deserialize)]
struct CameraStatus {
    camera: String,
    #[serde(default)]
    why: String,
}

async fn receive(
    socket: &mut WebSocketStream<Transport>,
    heard: &mut Instant,
    size: (u16, u16),
) -> Result<CameraReport, String> {
    loop {
        let received = socket.next().await;
        *heard = Instant::now();
        let closed = || "the router has closed the camera's connection".to_owned();
        match received
            .ok_or_else(closed)?
            .map_err(|error| error.to_string())?
        {
            Frame::Binary(bytes) => {
                let message = Message::from_message(bytes).ok_or("a picture without a time")?;
                return Ok(decode(message.jpeg(), size, message.captured_ms()).await);
            }
            Frame::Text(text) => {
                let status: CameraStatus =
                    serde_json::from_str(&text).map_err(|error| error.to_string())?;
                return Ok(CameraReport::None(match status.camera.as_str() {
                    "none" => "this car has no camera (p2p-inner --camera)".to_owned(),
                    "away" => "the car is not connected".to_owned(),
                    "starting" => "the camera is being started".to_owned(),
                    _ => format!("the camera fails: {}", status.why),
                }));
            }
            Frame::Close(_) => return Err(closed()),
            _ => {}
        }
    }
}
