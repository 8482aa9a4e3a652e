//! Owns the camera: whether somebody watches it, by which its program and the connection for its
//! pictures begin and end, and what the router is told of it. The program is `camera/program`, its
//! output is cut by `camera/jpeg`, and the way to the router is `camera/media`. Of its pictures
//! there is only ever the newest.

use std::time::{Duration, Instant};

use p2p_shared::protocol::{CameraState, InnerToRouter, MediaTicket, Picture};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::run::RunReporter;

pub mod jpeg;
mod pacing;
mod program;
mod sender;
mod watchdog;

use program::CameraSupervisor;
use sender::FrameSender;

/// How long the program and the connection go on when nobody watches any more: a page that is
/// loaded anew finds both.
const LINGER: Duration = Duration::from_secs(5);

/// The log is told of what goes wrong all the time once in so long.
const TOLD: Duration = Duration::from_secs(10);

/// Somebody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WatchTicket {
    /// The port of the link that said so.
    pub service_port: u16,
    pub ticket: MediaTicket,
}

/// Whether somebody watches, now and from now on.
type Watching = watch::Receiver<Option<WatchTicket>>;

/// A hold on the camera for the link.
#[derive(Debug, Clone)]
pub(crate) struct CameraHandle(watch::Sender<Option<WatchTicket>>);

impl CameraHandle {
    /// Somebody watches, or nobody does.
    pub(crate) fn watched(&self, by: Option<WatchTicket>) {
        self.0.send_replace(by);
    }
}

/// The camera. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Camera {
    handle: CameraHandle,
    end: CancellationToken,
    tasks: TaskTracker,
}

/// What its parts share.
#[derive(Debug, Clone)]
struct CameraShared {
    watching: Watching,
    end: CancellationToken,
    /// The newest picture.
    newest: watch::Sender<Option<Picture>>,
    /// How it is; `None`: its pictures show that.
    state: watch::Sender<Option<CameraState>>,
}

impl Camera {
    /// A camera whose program is this, and runs only while somebody watches.
    pub(crate) fn start(words: &[String], config: &Config, reporter: &RunReporter) -> Self {
        let (watched, watching) = watch::channel(None);
        let shared = CameraShared {
            watching,
            end: CancellationToken::new(),
            newest: watch::Sender::new(None),
            state: watch::Sender::new(Some(CameraState::Starting)),
        };
        let tasks = TaskTracker::new();
        let end = shared.end.clone();
        let supervisor =
            CameraSupervisor::new(words.to_vec(), config.commands.clone(), shared.clone());
        tasks.spawn(supervisor.run());
        let media = FrameSender::new(config.router.clone(), config.key.clone(), shared.clone());
        tasks.spawn(media.run());
        tasks.spawn(tell(shared, reporter.clone()));
        tasks.close();
        Self {
            handle: CameraHandle(watched),
            end,
            tasks,
        }
    }

    pub(crate) fn handle(&self) -> CameraHandle {
        self.handle.clone()
    }

    /// Ends it, and waits for it.
    pub(crate) async fn end(&self) {
        self.end.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Tells the router how the camera is, as long as it asks for it. What changes in between is not
/// told, and changes happen no faster than programs are started.
async fn tell(shared: CameraShared, reporter: RunReporter) {
    let (mut watching, mut state) = (shared.watching.clone(), shared.state.subscribe());
    loop {
        let changed = async {
            tokio::select! {
                changed = watching.changed() => changed,
                changed = state.changed() => changed,
            }
        };
        match shared.end.run_until_cancelled(changed).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return,
        }
        let is_watched = watching.borrow_and_update().is_some();
        let now = state.borrow_and_update().clone();
        if let (true, Some(now)) = (is_watched, now) {
            reporter.urgent(InnerToRouter::Camera(now));
        }
    }
}

/// Returns when somebody watches; `false`: nobody ever will again.
async fn watched(watching: &mut Watching) -> bool {
    watching.wait_for(Option::is_some).await.is_ok()
}

/// Returns when nobody has watched for [`LINGER`].
async fn left(mut watching: Watching) {
    while watching.wait_for(Option::is_none).await.is_ok() {
        tokio::select! {
            () = sleep(LINGER) => return,
            back = watching.wait_for(Option::is_some) => if back.is_err() { return },
        }
    }
}

/// What is told once in a while.
#[derive(Debug, Default)]
struct LogThrottle {
    last: Option<Instant>,
    untold: u64,
}

impl LogThrottle {
    /// Whether it may be told now: then how often it was not, since the last time.
    fn may_log(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + TOLD) {
            self.untold += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_back_within_5_s_finds_everything_as_it_was() {
        let ticket = MediaTicket(1);
        let watched = Some(WatchTicket {
            service_port: 1,
            ticket,
        });
        let (say, watching) = watch::channel(watched);
        let leaving = tokio::spawn(left(watching));
        for _ in 0..3 {
            say.send_replace(None);
            sleep(Duration::from_millis(4900)).await;
            assert!(!leaving.is_finished());
            say.send_replace(watched);
            sleep(Duration::from_secs(60)).await;
        }
        say.send_replace(None);
        sleep(Duration::from_millis(5100)).await;
        assert!(leaving.is_finished());
    }
}
