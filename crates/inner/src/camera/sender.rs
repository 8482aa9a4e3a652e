//! Owns the connection for the camera's pictures, from dialling to its end. Only the newest picture
//! is sent, in pieces, and no more at a time than [`Pacing`] has room for.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use anyhow::Context;
use p2p_shared::backoff::Backoff;
use p2p_shared::bounded::Piece;
use p2p_shared::key::Key;
use p2p_shared::logging::LogThrottle;
use p2p_shared::net::dialer::{self, RouterAddress};
use p2p_shared::net::transport::Transport;
use p2p_shared::os::jitter;
use p2p_shared::protocol::{MEDIA_PATH, MediaToRouter, Picture, RouterToMedia};
use p2p_shared::timing;
use p2p_shared::websocket::{MessageSocket, SocketEvent, WebSocketError};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

use super::pacing::Pacing;
use super::{CameraShared, LOG_PERIOD, WatchTicket, Watching, unwatched, watched};

/// Time after which a piece without an acknowledgement counts as lost, as on a driven link.
const DEAD: Duration = timing::PACE_BUSY.dead;

const ENDING: &str = "the inner is ending";

type MediaSocket = MessageSocket<Transport, MediaToRouter, RouterToMedia>;

pub(super) struct FrameSender {
    pub routers: Vec<RouterAddress>,
    pub key: Option<Key>,
    pub open: bool,
    pub shared: CameraShared,
}

impl FrameSender {
    /// Sends pictures while somebody watches, until the inner ends.
    pub(super) async fn run(self) {
        let end = self.shared.end.clone();
        let mut watching = self.shared.watching.clone();
        let mut backoff = Backoff::default();
        let mut failures = LogThrottle::new(1, LOG_PERIOD);
        while let Some(true) = end.run_until_cancelled(watched(&mut watching)).await {
            let Some(by) = watching.borrow().clone() else {
                continue;
            };
            let over = tokio::select! {
                () = end.cancelled() => return,
                () = unwatched(watching.clone()) => continue,
                () = is_another(watching.clone(), &by) => continue,
                over = self.once(&by, &mut backoff) => over,
            };
            let pause = backoff.pause(timing::now(), jitter());
            let Err(why) = over;
            if let Some(untold) = failures.allow(Instant::now()) {
                let retry_ms = timing::millis(pause);
                tracing::warn!(%why, retry_ms, untold, "no connection for the camera's pictures");
            }
            tokio::select! {
                () = end.cancelled() => return,
                () = is_another(watching.clone(), &by) => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Runs one connection, from dialling to its end.
    async fn once(&self, by: &WatchTicket, backoff: &mut Backoff) -> anyhow::Result<Infallible> {
        let (key, open) = (self.key.as_ref(), self.open);
        let socket = match &by.at.media {
            Some(router) => dialer::dial(None, router, MEDIA_PATH, key, open).await?,
            None => {
                let router = self.routers.get(by.at.number).context("no such router")?;
                let address = by.at.address.context("the link has no address")?;
                dialer::dial_at(address, router, MEDIA_PATH, key, open).await?
            }
        };
        let mut socket: MediaSocket = MessageSocket::new(socket);
        socket.get_ref().set_dead_after(DEAD);
        socket.push(&MediaToRouter::Hello {
            service_port: by.service_port,
            ticket: by.ticket,
        })?;
        let mut newest = self.shared.newest.subscribe();
        newest.mark_changed();
        let mut connection = FrameConnection {
            socket,
            pacing: Pacing::new(Instant::now()),
            half: None,
        };
        let watching = self.shared.watching.clone();
        connection.serve(newest, watching, backoff).await
    }
}

/// Returns when the request comes from another link, or has another ticket.
async fn is_another(mut watching: Watching, by: &WatchTicket) {
    let is_other = |now: &Option<WatchTicket>| now.as_ref().is_some_and(|now| now != by);
    if watching.wait_for(is_other).await.is_err() {
        std::future::pending().await
    }
}

struct FrameConnection {
    socket: MediaSocket,
    pacing: Pacing,
    /// Picture that is being sent, and how many of its bytes were sent.
    half: Option<(Picture, usize)>,
}

impl FrameConnection {
    async fn serve(
        &mut self,
        mut newest: watch::Receiver<Option<Picture>>,
        mut watching: Watching,
        backoff: &mut Backoff,
    ) -> anyhow::Result<Infallible> {
        let mut is_watched = watching.borrow_and_update().is_some();
        loop {
            let now = Instant::now();
            self.fill(now)?;
            let dead = self.pacing.waits_since().map(|since| since + DEAD);
            if dead.is_some_and(|dead| dead <= now) {
                anyhow::bail!("the router took nothing for {} s", DEAD.as_secs());
            }
            let mut timer = dead.unwrap_or(now + DEAD);
            if self.half.is_some() && self.pacing.next() > now {
                timer = timer.min(self.pacing.next());
            }
            tokio::select! {
                event = self.socket.event() => match event? {
                    SocketEvent::Message(RouterToMedia::Taken { bytes }) => {
                        let now = Instant::now();
                        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                        self.pacing.taken(bytes, now);
                        backoff.connected(timing::now());
                    }
                    SocketEvent::Message(RouterToMedia::Refused { message }) => {
                        anyhow::bail!("the router refuses pictures: {message}");
                    }
                    SocketEvent::Closed(_) => anyhow::bail!("the router closed it"),
                    SocketEvent::Ping | SocketEvent::Pong(_) | SocketEvent::Writable => {}
                },
                changed = newest.changed(), if is_watched && self.half.is_none() => {
                    changed.context(ENDING)?;
                    self.half = newest.borrow_and_update().clone().map(|picture| (picture, 0));
                }
                changed = watching.changed() => {
                    changed.context(ENDING)?;
                    let was_watched = is_watched;
                    is_watched = watching.borrow_and_update().is_some();
                    if is_watched && !was_watched {
                        // A picture from the time when nobody watched is old.
                        newest.mark_unchanged();
                    }
                    if !is_watched {
                        self.half = None;
                    }
                }
                () = sleep_until(timer.into()) => {}
            }
        }
    }

    /// Queues as much of the picture as may be under way now.
    fn fill(&mut self, now: Instant) -> Result<(), WebSocketError> {
        while self.socket.has_room()
            && let Some((picture, sent)) = &mut self.half
        {
            let room = self.pacing.room(now);
            if room == 0 {
                return Ok(());
            }
            let jpeg = picture.jpeg();
            let end = jpeg.len().min(*sent + room);
            let bytes = Piece::split_from(&mut jpeg.slice(*sent..end));
            self.pacing.sent(bytes.len(), now);
            let message = if *sent == 0 {
                MediaToRouter::Picture {
                    captured_ms: picture.captured_ms(),
                    length: u32::try_from(jpeg.len()).unwrap_or(u32::MAX),
                    bytes,
                }
            } else {
                MediaToRouter::Piece { bytes }
            };
            *sent = end;
            if end == jpeg.len() {
                self.half = None;
            }
            self.socket.push(&message)?;
        }
        Ok(())
    }
}
