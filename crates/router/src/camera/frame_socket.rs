//! Serves `/frames`, a page's WebSocket for camera pictures. The page sends `next` for each picture
//! that it has room for, and gets the newest one. While there is no picture it gets the camera's
//! state as text. The socket stays open when the link is lost.
//!
//! ```text
//!   page                              router
//!    │  next                            │  room for a picture: two at the most
//!    ├─────────────────────────────────▶│
//!    │       8 bytes of time, and JPEG  │  binary: ms of the car's clock, big-endian
//!    │◀─────────────────────────────────┤
//!    │  {"camera":"failed","why":"…"}   │  text: also none, starting, away
//!    │◀─────────────────────────────────┤
//! ```

use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use p2p_shared::keepalive::{Due, Keepalive, PingMode};
use p2p_shared::net::transport::Transport;
use p2p_shared::timing;
use serde::Serialize;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use crate::camera::Status;
use crate::camera::picture_writer::PictureWriter;
use crate::camera::viewer::{Gone, Viewer};
use crate::net::quota::Rate;
use crate::net::write_timeout::WriteTimeout;

/// Request of a page for another picture.
const NEXT: &str = "next";
/// Most pictures that a page may have room for: the one that it shows, and one that is under way.
const MOST_CREDITS: u8 = 2;
/// Time without a request after which a page doesn't count as a viewer: the camera needn't run for
/// it.
const LOOKS_AWAY: Duration = Duration::from_secs(10);
/// Most messages of a page in a second: two for each picture of the fastest camera.
const WORDS: f64 = 240.0;
/// Time for a page to take the close frame.
const FAREWELL: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<PictureWriter<WriteTimeout<Transport>>>;

/// Limits of the WebSocket: a page sends little, and is written to without delay.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_write_buffer_size(16 * 1024)
        .max_message_size(Some(1024))
        .max_frame_size(Some(1024))
}

pub(crate) async fn serve(viewer: Viewer, stream: Transport, read: Vec<u8>) {
    stream.set_dead_after(timing::PACE_BUSY.dead);
    let lane = PictureWriter::new(WriteTimeout::new(stream));
    let limits = Some(limits());
    let socket = if read.is_empty() {
        WebSocketStream::from_raw_socket(lane, Role::Server, limits).await
    } else {
        WebSocketStream::from_partially_read(lane, read, Role::Server, limits).await
    };
    let now = Instant::now();
    let mut keepalive = Keepalive::new(PingMode::Always, now);
    keepalive.set_busy(true, now);
    let gone = viewer.gone();
    let mut view = View {
        viewer,
        socket,
        is_flushed: true,
        credits: 0,
        asked: now,
        words: Rate::default(),
        keepalive,
    };
    let end = tokio::select! {
        biased;
        gone = gone => Some(gone),
        () = view.live() => None,
    };
    if let Some(gone) = end {
        let (code, reason) = match gone {
            Gone::Revoked => (CloseCode::Policy, "the key was revoked"),
            Gone::Closed => (CloseCode::Away, "the router is restarting"),
        };
        let reason = reason.into();
        let closing = view.socket.close(Some(CloseFrame { code, reason }));
        // A page that doesn't read does without the close.
        let _ = tokio::time::timeout(FAREWELL, closing).await;
    }
}

/// One viewer's task, which alone reads and writes the socket.
struct View {
    viewer: Viewer,
    socket: Socket,
    is_flushed: bool,
    /// Number of pictures that the page has room for.
    credits: u8,
    asked: Instant,
    words: Rate,
    keepalive: Keepalive,
}

/// Event of the socket.
enum Event {
    /// Everything queued is written.
    Out,
    Heard(Message),
    Over,
}

impl View {
    /// Returns when the page has left, or may not stay.
    async fn live(&mut self) {
        loop {
            let now = Instant::now();
            match self.keepalive.poll(now).0 {
                Some(Due::Dead(_)) => return,
                Some(Due::Ping) if self.send(Message::Ping(Bytes::new())).is_err() => return,
                Some(Due::Ping) | None => {}
            }
            let looks = self.credits > 0 || now < self.asked + LOOKS_AWAY;
            self.viewer.looks(looks);
            let mut timer = self.keepalive.next();
            if looks && self.credits == 0 {
                timer = timer.min(self.asked + LOOKS_AWAY);
            }
            let (is_flushed, credits) = (self.is_flushed, self.credits);
            let sent = tokio::select! {
                event = event(&mut self.socket, &mut self.is_flushed) => match event {
                    Event::Out => Ok(()),
                    Event::Heard(message) => self.heard(&message, Instant::now()),
                    Event::Over => return,
                },
                Ok(()) = self.viewer.status.changed(), if is_flushed => self.tell(),
                Ok(()) = self.viewer.newest.changed(), if is_flushed && credits > 0 => {
                    self.show();
                    Ok(())
                }
                () = tokio::time::sleep_until(timer.into()) => Ok(()),
            };
            if sent.is_err() {
                return;
            }
        }
    }

    /// Takes a message of the page.
    fn heard(&mut self, message: &Message, now: Instant) -> Result<(), Unwanted> {
        self.keepalive.on_traffic(now);
        match message {
            Message::Close(_) | Message::Binary(_) => return Err(Unwanted),
            Message::Text(text) if text.as_str() == NEXT => {
                self.asked = now;
                self.credits = MOST_CREDITS.min(self.credits + 1);
            }
            // Messages of a later version are ignored.
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        if self.words.take(WORDS, now) {
            Ok(())
        } else {
            Err(Unwanted)
        }
    }

    /// Sends the camera's state, unless there are pictures.
    fn tell(&mut self) -> Result<(), Unwanted> {
        let said = match &*self.viewer.status.borrow_and_update() {
            Status::Shows => return Ok(()),
            Status::None => said("none", None),
            Status::Starting => said("starting", None),
            Status::Away => said("away", None),
            Status::Failed(why) => said("failed", Some(why)),
        };
        self.send(Message::text(said))
    }

    /// Sends the newest picture, if there is one.
    fn show(&mut self) {
        let newest = self.viewer.newest.borrow_and_update().clone();
        if let Some(picture) = newest {
            self.credits -= 1;
            self.is_flushed = false;
            self.socket.get_mut().begin(picture.message().clone());
        }
    }

    fn send(&mut self, message: Message) -> Result<(), Unwanted> {
        self.is_flushed = false;
        Pin::new(&mut self.socket)
            .start_send(message)
            .map_err(|_: WsError| Unwanted)
    }
}

/// The page may not stay, or is gone.
struct Unwanted;

/// Writes what is queued, and waits for the next event. May be dropped and called again.
async fn event(socket: &mut Socket, is_flushed: &mut bool) -> Event {
    std::future::poll_fn(|cx| {
        if !*is_flushed {
            match Pin::new(&mut *socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    *is_flushed = true;
                    return Poll::Ready(Event::Out);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Event::Over),
                Poll::Pending => {}
            }
        }
        match Pin::new(&mut *socket).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => {
                // The library has a pong to write, or a close.
                *is_flushed = false;
                Poll::Ready(Event::Heard(message))
            }
            Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Event::Over),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn said(camera: &str, why: Option<&str>) -> String {
    #[derive(Serialize)]
    struct Said<'a> {
        camera: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<&'a str>,
    }
    // Text and text can't fail to be JSON.
    serde_json::to_string(&Said { camera, why }).unwrap_or_default()
}
