//! Owns a car's camera as the router sees it: its viewers, for whom the car sends pictures, its
//! state, and its newest picture, which all viewers share. Pictures arrive by
//! `routes/camera_ingest`, and go out by `camera/mjpeg` and `camera/frame_socket`.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};

use p2p_shared::protocol::{CameraState, MediaTicket, Picture};
use p2p_shared::text::Escaped;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::link::handle::LinkHandle;

pub(crate) mod frame_socket;
pub(crate) mod mjpeg;
pub(crate) mod viewer;

/// Most characters of the reason why a camera failed.
const WHY: usize = 300;

/// State of a camera, for its viewers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Status {
    /// The car is not connected.
    #[default]
    Away,
    /// The car has no camera.
    None,
    /// The first picture is still to come.
    Starting,
    /// The camera has failed, for this reason, and is started again.
    Failed(Arc<str>),
    /// There are pictures.
    Shows,
}

/// Camera of a car, whether or not the car is connected.
#[derive(Debug, Default)]
pub(crate) struct Camera {
    held: Mutex<Held>,
    /// Made for the first viewer: most cars never have one.
    shown: OnceLock<Box<Shown>>,
}

/// Channels to the viewers.
#[derive(Debug)]
struct Shown {
    newest: watch::Sender<Option<Picture>>,
    status: watch::Sender<Status>,
    /// Counts the first viewers that came and the last ones that left: odd while somebody watches.
    watched: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Held {
    link: Option<LinkHandle>,
    /// Ticket of this link's media connection; `None`: the car has no camera.
    ticket: Option<MediaTicket>,
    failed: Option<Arc<str>>,
    viewers: usize,
    /// True if another router has the car, and shows the camera to this one.
    is_elsewhere: bool,
    /// Guard of the media connection that pictures come from: dropping it ends the connection.
    media: Option<DropGuard>,
}

impl Camera {
    /// Makes the camera of a car that another router has.
    pub(crate) fn of_another_router() -> Self {
        let held = Held {
            is_elsewhere: true,
            ..Held::default()
        };
        Self {
            held: Mutex::new(held),
            shown: OnceLock::new(),
        }
    }

    /// Takes note that the car has a new link, and a camera with this random number for its ticket;
    /// `None`: it has no camera. Without a random number nobody could tell whose pictures they are.
    pub(crate) fn link_up<E: Display>(&self, link: &LinkHandle, random: Option<Result<u64, E>>) {
        let mut held = self.held.lock();
        held.link = Some(link.clone());
        (held.ticket, held.failed, held.media) = (None, None, None);
        match random {
            Some(Ok(number)) => held.ticket = Some(MediaTicket(number)),
            Some(Err(error)) => {
                let why = format!("the router's kernel gives no random numbers ({error})");
                held.failed = Some(why.into());
            }
            None => {}
        }
        held.send_ticket();
        self.changed(&held);
    }

    /// Takes note that the car has no link any more.
    pub(crate) fn link_down(&self) {
        let mut held = self.held.lock();
        (held.link, held.ticket) = (None, None);
        (held.failed, held.media) = (None, None);
        self.changed(&held);
    }

    /// Takes note of the state that the car reports of its camera.
    pub(crate) fn set_state(&self, state: CameraState) {
        let mut held = self.held.lock();
        if held.viewers == 0 || held.ticket.is_none() {
            return;
        }
        held.failed = match state {
            CameraState::Starting => None,
            CameraState::Failed { why } => Some(Escaped(why.raw()).cut(WHY).to_string().into()),
        };
        self.changed(&held);
    }

    /// Counts a viewer, for as long as the guard is kept.
    pub(crate) fn watch(self: &Arc<Self>) -> WatchGuard {
        let mut held = self.held.lock();
        held.viewers += 1;
        if held.viewers == 1 {
            self.shown(&held).watched.send_modify(|count| *count += 1);
        }
        held.send_ticket();
        drop(held);
        WatchGuard(self.clone())
    }

    /// Returns a receiver of the newest picture; `None` in it: there is no picture now.
    pub(crate) fn newest(&self) -> watch::Receiver<Option<Picture>> {
        let mut newest = self.shown(&self.held.lock()).newest.subscribe();
        newest.mark_changed();
        newest
    }

    /// Returns a receiver of the state.
    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        let mut status = self.shown(&self.held.lock()).status.subscribe();
        status.mark_changed();
        status
    }

    /// Returns a receiver of a number that is odd while somebody watches, and another one for each time.
    pub(crate) fn watched(&self) -> watch::Receiver<u64> {
        self.shown(&self.held.lock()).watched.subscribe()
    }

    /// Shows what another router shows of the camera, unless nobody watches.
    pub(crate) fn relay(&self, picture: Option<Picture>, status: Status) {
        let held = self.held.lock();
        if held.viewers > 0 {
            self.shown(&held).set(picture, status);
        }
    }

    /// Attaches a media connection with this ticket, in place of the one before; returns `None` if
    /// the ticket is not this link's.
    pub(crate) fn attach(self: &Arc<Self>, ticket: MediaTicket) -> Option<IngestConnection> {
        let mut held = self.held.lock();
        if held.ticket != Some(ticket) {
            return None;
        }
        let end = CancellationToken::new();
        held.media = Some(end.clone().drop_guard());
        let camera = self.clone();
        Some(IngestConnection { camera, end })
    }

    fn shown(&self, held: &Held) -> &Shown {
        self.shown.get_or_init(|| {
            Box::new(Shown {
                newest: watch::Sender::default(),
                status: watch::Sender::new(held.status()),
                watched: watch::Sender::new(0),
            })
        })
    }

    /// Shows a new state to the viewers, and no picture until the next one.
    fn changed(&self, held: &Held) {
        if let Some(shown) = self.shown.get() {
            shown.set(None, held.status());
        }
    }
}

impl Shown {
    fn set(&self, newest: Option<Picture>, status: Status) {
        self.newest.send_replace(newest);
        self.status.send_if_modified(|now| {
            let is_other = *now != status;
            *now = status;
            is_other
        });
    }
}

impl Held {
    /// Returns the state of the camera, of which there is no picture yet.
    fn status(&self) -> Status {
        match (&self.link, &self.failed) {
            _ if self.is_elsewhere => Status::Starting,
            (None, _) => Status::Away,
            (_, Some(why)) => Status::Failed(why.clone()),
            _ if self.ticket.is_none() => Status::None,
            _ => Status::Starting,
        }
    }

    /// Sends the car the ticket while somebody watches.
    fn send_ticket(&self) {
        if let Some(link) = &self.link {
            link.drive()
                .set_video(self.ticket.filter(|_| self.viewers > 0));
        }
    }
}

/// Counts one viewer until it is dropped.
#[derive(Debug)]
pub(crate) struct WatchGuard(Arc<Camera>);

impl Drop for WatchGuard {
    fn drop(&mut self) {
        let mut held = self.0.held.lock();
        held.viewers -= 1;
        if held.viewers == 0 {
            held.send_ticket();
            if held.ticket.is_some() {
                held.failed = None;
            }
            self.0.changed(&held);
            (self.0.shown(&held).watched).send_modify(|count| *count += 1);
        }
    }
}

/// Media connection that is attached to a camera.
#[derive(Debug)]
pub(crate) struct IngestConnection {
    camera: Arc<Camera>,
    /// Cancelled when another connection takes the place of this one, or the link is gone.
    pub end: CancellationToken,
}

impl IngestConnection {
    /// Sets the newest picture, unless another connection sends them now or nobody watches.
    pub(crate) fn show(&self, picture: Picture) {
        let mut held = self.camera.held.lock();
        if !self.end.is_cancelled() && held.viewers > 0 {
            held.failed = None;
            let shown = self.camera.shown(&held);
            shown.set(Some(picture), Status::Shows);
        }
    }
}

impl Drop for IngestConnection {
    fn drop(&mut self) {
        let mut held = self.camera.held.lock();
        if !self.end.is_cancelled() {
            held.media = None;
            self.camera.changed(&held);
        }
    }
}

#[cfg(test)]
mod tests;
