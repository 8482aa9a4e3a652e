//! Owns a car's camera as the router sees it: its viewers, because of which the car is asked for
//! pictures, its state, and its newest picture, which all viewers share. Pictures arrive by
//! `routes/camera_ingest`, and go out by `camera/mjpeg` and `camera/frame_socket`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use p2p_shared::os::random_u64;
use p2p_shared::protocol::{CameraState, MediaTicket, Picture};
use p2p_shared::text::Escaped;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::link::handle::LinkHandle;

pub(crate) mod frame_socket;
pub(crate) mod mjpeg;
mod picture_writer;
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
    newest: watch::Sender<Option<Picture>>,
    status: watch::Sender<Status>,
}

#[derive(Debug, Default)]
struct Held {
    link: Option<LinkHandle>,
    /// Ticket of this link's media connection; `None`: the car has no camera.
    ticket: Option<MediaTicket>,
    failed: Option<Arc<str>>,
    viewers: usize,
    media: Option<IngestGuard>,
    last_media: u64,
}

/// Media connection that pictures are taken from.
#[derive(Debug)]
struct IngestGuard {
    number: u64,
    end: CancellationToken,
}

impl Drop for IngestGuard {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Camera {
    /// The car has a new link, and a camera or none.
    pub(crate) fn link_up(&self, link: &LinkHandle, has_camera: bool) {
        let mut held = self.lock();
        held.link = Some(link.clone());
        // Without a random ticket nobody could tell whose pictures they are.
        held.ticket = has_camera
            .then(random_u64)
            .and_then(Result::ok)
            .map(MediaTicket);
        held.forget();
        held.tell();
        self.changed(&held);
    }

    /// The car has no link any more.
    pub(crate) fn link_down(&self) {
        let mut held = self.lock();
        held.link = None;
        held.ticket = None;
        held.forget();
        self.changed(&held);
    }

    /// The car reports the state of its camera.
    pub(crate) fn set_state(&self, state: CameraState) {
        let mut held = self.lock();
        if held.viewers == 0 {
            return;
        }
        held.failed = match state {
            CameraState::Starting => None,
            CameraState::Failed { why } => Some(Escaped(&why).cut(WHY).to_string().into()),
        };
        // The last picture is old now.
        self.newest.send_replace(None);
        self.changed(&held);
    }

    /// Counts a viewer, for as long as the guard is kept.
    pub(crate) fn watch(self: &Arc<Self>) -> WatchGuard {
        let mut held = self.lock();
        held.viewers += 1;
        if held.viewers == 1 {
            held.tell();
        }
        drop(held);
        WatchGuard(self.clone())
    }

    /// Returns a receiver of the newest picture; `None` in it: there is no picture now.
    pub(crate) fn newest(&self) -> watch::Receiver<Option<Picture>> {
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        newest
    }

    /// Returns a receiver of the state.
    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        let mut status = self.status.subscribe();
        status.mark_changed();
        status
    }

    /// Attaches a media connection with this ticket, in place of the one before; returns `None` if
    /// the ticket is not this link's.
    pub(crate) fn attach(self: &Arc<Self>, ticket: MediaTicket) -> Option<IngestConnection> {
        let mut held = self.lock();
        if held.ticket != Some(ticket) {
            return None;
        }
        held.last_media += 1;
        let end = CancellationToken::new();
        let number = held.last_media;
        held.media = Some(IngestGuard {
            number,
            end: end.clone(),
        });
        drop(held);
        Some(IngestConnection {
            camera: self.clone(),
            number,
            end,
        })
    }

    fn left(&self) {
        let mut held = self.lock();
        held.viewers = held.viewers.saturating_sub(1);
        if held.viewers == 0 {
            held.tell();
            held.failed = None;
            self.changed(&held);
        }
    }

    /// Shows a new state to the viewers, and no picture until the next one.
    fn changed(&self, held: &Held) {
        self.newest.send_replace(None);
        self.set_status(match (&held.link, &held.failed) {
            (None, _) => Status::Away,
            _ if held.ticket.is_none() => Status::None,
            (_, None) => Status::Starting,
            (_, Some(why)) => Status::Failed(why.clone()),
        });
    }

    fn set_status(&self, status: Status) {
        self.status.send_if_modified(|now| {
            let is_other = *now != status;
            *now = status;
            is_other
        });
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Forgets the state of another link's camera.
    fn forget(&mut self) {
        self.failed = None;
        self.media = None;
    }

    /// Tells the car whether somebody watches.
    fn tell(&self) {
        if let Some(link) = &self.link {
            link.drive()
                .set_video(self.ticket.filter(|_| self.viewers > 0));
        }
    }
}

/// Viewer that counts until the guard is dropped.
#[derive(Debug)]
pub(crate) struct WatchGuard(Arc<Camera>);

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.0.left();
    }
}

/// Media connection that is attached to a camera.
#[derive(Debug)]
pub(crate) struct IngestConnection {
    camera: Arc<Camera>,
    number: u64,
    /// Cancelled when another connection took its place, or the link is gone.
    pub end: CancellationToken,
}

impl IngestConnection {
    /// Sets the newest picture, unless another connection sends them now or nobody watches.
    pub(crate) fn show(&self, picture: Picture) {
        let mut held = self.camera.lock();
        let is_current = (held.media.as_ref()).is_some_and(|media| media.number == self.number);
        if is_current && held.viewers > 0 {
            held.failed = None;
            self.camera.newest.send_replace(Some(picture));
            self.camera.set_status(Status::Shows);
        }
    }
}

impl Drop for IngestConnection {
    fn drop(&mut self) {
        let mut held = self.camera.lock();
        if held
            .media
            .take_if(|media| media.number == self.number)
            .is_some()
        {
            self.camera.changed(&held);
        }
    }
}

#[cfg(test)]
mod tests;
