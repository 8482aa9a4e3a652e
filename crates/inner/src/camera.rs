//! Owns the camera: its program (`camera/program`) and the connection for its pictures
//! (`camera/sender`) run while somebody watches, and the router is told the camera's state.
//! `camera/jpeg` splits the program's output into pictures. Only the newest picture is kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::protocol::{CameraState, InnerToRouter, MediaTicket, Picture};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
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

/// Time for which program and connection go on when nobody watches any more: a page that is loaded
/// anew finds both.
const LINGER: Duration = Duration::from_secs(5);

/// Period in which a repeated failure is logged once.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// Place of a link: pictures go to the same router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouterPlace {
    /// Number of the router in the list of routers.
    pub number: usize,
    /// The link's other end, over TCP.
    pub address: Option<SocketAddr>,
    /// Address at which the router says that it takes pictures.
    pub media: Option<Arc<RouterAddress>>,
}

/// Request to send pictures: somebody watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WatchTicket {
    pub at: RouterPlace,
    /// Service port of the link that sent the request.
    pub service_port: u16,
    pub ticket: MediaTicket,
}

/// The request that counts now; `None`: nobody watches.
type Watching = watch::Receiver<Option<WatchTicket>>;

/// The camera. Dropping it ends program and connection.
#[derive(Debug)]
pub(crate) struct Camera {
    /// Sender by which the link's task reports that somebody watches, or nobody.
    pub watched: watch::Sender<Option<WatchTicket>>,
    end: DropGuard,
    tasks: TaskTracker,
}

#[derive(Debug, Clone)]
struct CameraShared {
    watching: Watching,
    end: CancellationToken,
    newest: watch::Sender<Option<Picture>>,
    /// State of the camera; `None`: there are pictures.
    state: watch::Sender<Option<CameraState>>,
}

impl Camera {
    /// Starts a camera with this program, which runs only while somebody watches.
    pub(crate) fn start(words: &[String], config: &Config, reporter: &RunReporter) -> Self {
        let (watched, watching) = watch::channel(None);
        let shared = CameraShared {
            watching,
            end: CancellationToken::new(),
            newest: watch::Sender::new(None),
            state: watch::Sender::new(Some(CameraState::Starting)),
        };
        let tasks = TaskTracker::new();
        let end = shared.end.clone().drop_guard();
        let supervisor =
            CameraSupervisor::new(words.to_vec(), config.commands.clone(), shared.clone());
        tasks.spawn(supervisor.run());
        let sender = FrameSender {
            routers: config.routers.clone(),
            key: config.key.clone(),
            open: config.open,
            shared: shared.clone(),
        };
        tasks.spawn(sender.run());
        tasks.spawn(report_state(shared, reporter.clone()));
        tasks.close();
        Self {
            watched,
            end,
            tasks,
        }
    }

    pub(crate) async fn end(self) {
        drop(self.end);
        self.tasks.wait().await;
    }
}

/// Reports the camera's state to the router while somebody watches. Changes come no faster than
/// programs are started.
async fn report_state(shared: CameraShared, reporter: RunReporter) {
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

/// Returns when somebody watches; `false`: nobody will any more.
async fn watched(watching: &mut Watching) -> bool {
    watching.wait_for(Option::is_some).await.is_ok()
}

/// Returns when nobody has watched for [`LINGER`].
async fn unwatched(mut watching: Watching) {
    while watching.wait_for(Option::is_none).await.is_ok() {
        tokio::select! {
            () = sleep(LINGER) => return,
            back = watching.wait_for(Option::is_some) => if back.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_back_within_5_s_finds_everything_as_it_was() {
        let ticket = MediaTicket(1);
        let at = RouterPlace {
            number: 0,
            address: None,
            media: None,
        };
        let watched = Some(WatchTicket {
            at,
            service_port: 1,
            ticket,
        });
        let (say, watching) = watch::channel(watched.clone());
        let leaving = tokio::spawn(unwatched(watching));
        for _ in 0..3 {
            say.send_replace(None);
            sleep(Duration::from_millis(4900)).await;
            assert!(!leaving.is_finished());
            say.send_replace(watched.clone());
            sleep(Duration::from_secs(60)).await;
        }
        say.send_replace(None);
        sleep(Duration::from_millis(5100)).await;
        assert!(leaving.is_finished());
    }
}
