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

use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use p2p_shared::keepalive::{Due, Keepalive, PingMode};
use p2p_shared::net::transport::Transport;
use p2p_shared::timing;
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use crate::camera::Status;
use crate::camera::viewer::{Gone, Viewer};
use crate::net::leaky_bucket::LeakyBucket;
use crate::net::write_timeout::WriteTimeout;

/// Request of a page for another picture.
pub(crate) const NEXT: &str = "next";
/// Most pictures that a page may have room for: the one that it shows, and one that is under way.
pub(crate) const MOST_CREDITS: u8 = 2;
/// Time without a request after which a page doesn't count as a viewer: the camera needn't run for
/// it.
const LOOKS_AWAY: Duration = Duration::from_secs(10);
/// Most messages of a page in a second: two for each picture of the fastest camera.
const MESSAGES_A_SECOND: f64 = 240.0;
/// Time for a page to take the close frame.
const FAREWELL: Duration = Duration::from_secs(1);

/// Limits of the WebSocket: a page sends little, and is written to without delay.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_write_buffer_size(16 * 1024)
        .max_message_size(Some(1024))
        .max_frame_size(Some(1024))
}

/// Serves a page's pictures until the page leaves, or may not stay.
pub(crate) async fn serve(viewer: Viewer, stream: Transport, read: Vec<u8>) {
    stream.set_dead_after(timing::PACE_BUSY.dead);
    let stream = WriteTimeout::new(stream);
    let limits = Some(limits());
    let socket = if read.is_empty() {
        WebSocketStream::from_raw_socket(stream, Role::Server, limits).await
    } else {
        WebSocketStream::from_partially_read(stream, read, Role::Server, limits).await
    };
    let now = Instant::now();
    let mut keepalive = Keepalive::new(PingMode::Always, now);
    keepalive.set_busy(true, now);
    let gone = viewer.gone();
    let mut view = View {
        viewer,
        socket,
        is_flushed: true,
        picture: PictureFrame::default(),
        credits: 0,
        asked: now,
        rate: LeakyBucket::default(),
        keepalive,
    };
    let gone = tokio::select! {
        biased;
        gone = gone => gone,
        _ = view.run() => return,
    };
    let (code, reason) = match gone {
        Gone::Revoked(why) => (CloseCode::Policy, why.to_string()),
        Gone::Closed => (CloseCode::Away, "the router is restarting".to_owned()),
    };
    let reason = reason.into();
    let closing = async {
        if view.picture.write(view.socket.get_mut()).await.is_ok() {
            let _ = view.socket.close(Some(CloseFrame { code, reason })).await;
        }
    };
    // A page that doesn't read gets no close frame.
    let _ = tokio::time::timeout(FAREWELL, closing).await;
}

/// One viewer's task, which alone reads and writes the socket.
struct View {
    viewer: Viewer,
    socket: WebSocketStream<WriteTimeout<Transport>>,
    /// True if the WebSocket library has nothing to write.
    is_flushed: bool,
    /// The picture that is being written.
    picture: PictureFrame,
    /// Number of pictures that the page has room for.
    credits: u8,
    /// The moment at which the page asked for a picture last.
    asked: Instant,
    rate: LeakyBucket,
    keepalive: Keepalive,
}

/// Event of the socket.
enum Event {
    /// Everything queued is written.
    Flushed,
    Message(Message),
    Closed,
}

/// The page may not stay, or is gone.
struct Unwanted;

impl View {
    /// Returns when the page has left, or may not stay.
    async fn run(&mut self) -> Result<(), Unwanted> {
        loop {
            let now = Instant::now();
            match self.keepalive.poll(now).0 {
                Some(Due::Dead(_)) => return Err(Unwanted),
                Some(Due::Ping) => self.send(Message::Ping(Bytes::new()))?,
                None => {}
            }
            let watches = self.credits > 0 || now < self.asked + LOOKS_AWAY;
            self.viewer.set_watching(watches);
            let mut timer = self.keepalive.next();
            if watches && self.credits == 0 {
                timer = timer.min(self.asked + LOOKS_AWAY);
            }
            let (is_flushed, credits) = (self.is_flushed, self.credits);
            tokio::select! {
                event = event(&mut self.socket, &mut self.is_flushed) => match event {
                    Event::Flushed => {}
                    Event::Message(message) => self.on_message(&message, Instant::now())?,
                    Event::Closed => return Ok(()),
                },
                Ok(()) = self.viewer.status.changed(), if is_flushed => self.send_status()?,
                Ok(()) = self.viewer.newest.changed(), if is_flushed && credits > 0 => {
                    self.send_picture().await?;
                }
                () = tokio::time::sleep_until(timer.into()) => {}
            }
        }
    }

    fn on_message(&mut self, message: &Message, now: Instant) -> Result<(), Unwanted> {
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
        match self.rate.take(MESSAGES_A_SECOND, now) {
            true => Ok(()),
            false => Err(Unwanted),
        }
    }

    /// Sends the camera's state, unless there are pictures.
    fn send_status(&mut self) -> Result<(), Unwanted> {
        let status = match &*self.viewer.status.borrow_and_update() {
            Status::Shows => return Ok(()),
            Status::None => json!({ "camera": "none" }),
            Status::Starting => json!({ "camera": "starting" }),
            Status::Away => json!({ "camera": "away" }),
            Status::Failed(why) => json!({ "camera": "failed", "why": **why }),
        };
        self.send(Message::text(status.to_string()))
    }

    /// Sends the newest picture, if there is one. Meanwhile the page isn't read.
    async fn send_picture(&mut self) -> Result<(), Unwanted> {
        let newest = self.viewer.newest.borrow_and_update().clone();
        if let Some(picture) = newest {
            self.credits -= 1;
            self.picture = PictureFrame::new(picture.message().clone());
            let written = self.picture.write(self.socket.get_mut()).await;
            written.map_err(|_| Unwanted)?;
            // A page that took the picture is alive, although its messages were not read meanwhile.
            self.keepalive.on_traffic(Instant::now());
        }
        Ok(())
    }

    fn send(&mut self, message: Message) -> Result<(), Unwanted> {
        self.is_flushed = false;
        Pin::new(&mut self.socket)
            .start_send(message)
            .map_err(|_| Unwanted)
    }
}

/// A binary message that is written past the WebSocket library, which would copy it: the head of a
/// frame, then the picture's own memory.
#[derive(Default)]
struct PictureFrame(Option<Chain<Bytes, Bytes>>);

impl PictureFrame {
    fn new(message: Bytes) -> Self {
        let header = FrameHeader {
            opcode: OpCode::Data(Data::Binary),
            ..FrameHeader::default()
        };
        let mut head = Vec::new();
        // Writing to memory can't fail.
        let _ = header.format(message.len() as u64, &mut head);
        Self(Some(Bytes::from(head).chain(message)))
    }

    /// Writes the rest of the frame to the stream under the WebSocket, when the library has nothing to
    /// write there. The library must not be polled before the frame is out. May be dropped and called
    /// again.
    async fn write(&mut self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if let Some(rest) = &mut self.0 {
            stream.write_all_buf(rest).await?;
            stream.flush().await?;
            // This may be the last owner of the memory.
            self.0 = None;
        }
        Ok(())
    }
}

/// Writes what is queued, and waits for the next event. May be dropped and called again.
async fn event(
    socket: &mut WebSocketStream<WriteTimeout<Transport>>,
    is_flushed: &mut bool,
) -> Event {
    std::future::poll_fn(|cx| {
        if !*is_flushed {
            match Pin::new(&mut *socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    *is_flushed = true;
                    return Poll::Ready(Event::Flushed);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Event::Closed),
                Poll::Pending => {}
            }
        }
        match Pin::new(&mut *socket).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => {
                // The library has a pong to write, or a close.
                *is_flushed = false;
                Poll::Ready(Event::Message(message))
            }
            Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Event::Closed),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn pictures_of_any_size_come_whole_between_other_messages() {
        let (ours, theirs) = tokio::io::duplex(100);
        let mut server = WebSocketStream::from_raw_socket(ours, Role::Server, None).await;
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let sizes = [0, 1, 125, 126, 65_535, 65_536, 1 << 20];
        let sending = tokio::spawn(async move {
            for size in sizes {
                let mut picture = PictureFrame::new(vec![7; size].into());
                picture.write(server.get_mut()).await.unwrap();
                server.send(Message::text(size.to_string())).await.unwrap();
            }
        });
        for size in sizes {
            let picture = client.next().await.unwrap().unwrap();
            assert_eq!(picture, Message::Binary(vec![7; size].into()));
            let text = client.next().await.unwrap().unwrap();
            assert_eq!(text, Message::text(size.to_string()));
        }
        sending.await.unwrap();
    }
}
