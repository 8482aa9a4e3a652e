//! Keeps the link up: dials, serves the link, and dials again until the inner ends.

use std::sync::Arc;

use p2p_shared::bounded::Text;
use p2p_shared::logging::LoggedReasons;
use p2p_shared::names::{InstanceId, LinkName};
use p2p_shared::net::dialer::{self, RouterAddress};
use p2p_shared::net::reconnect::Reconnect;
use p2p_shared::os::sd_notify;
use p2p_shared::protocol::{LinkHello, PastEvent, Rejection, link_id};
use p2p_shared::text::Escaped;
use p2p_shared::timing;
use p2p_shared::websocket::MessageSocket;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::SOFTWARE;
use crate::camera::{RouterPlace, WatchTicket};
use crate::clock;
use crate::config::Config;
use crate::dispatch::Dispatcher;
use crate::drive::DriveRequest;
use crate::run::Outbox;
use crate::session::{Session, SessionEnd, Welcome, greet};

/// Beginning of what systemd is told once the link is up; the page's address follows.
pub(crate) const LINKED: &str = "link up: ";
/// Beginning of the status of an inner whom the router refuses until somebody changes something.
pub(crate) const REFUSED: &str = "refused: ";

/// State of the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// There is no link; the inner dials.
    Down,
    /// The link is up.
    Up {
        /// The name that the router gave the link.
        name: LinkName,
        /// The port on which the router takes commands.
        service_port: u16,
        router: RouterAddress,
    },
    /// There will be no link any more.
    Ended,
}

pub(crate) struct Agent {
    pub config: Config,
    /// The port of the last link. If any port was asked for, this one is asked for from then on, so
    /// that an open page stays valid.
    pub held_port: Option<u16>,
    pub instance: InstanceId,
    /// Number of hellos so far.
    pub dials: u64,
    pub dispatcher: Dispatcher,
    pub camera: Option<watch::Sender<Option<WatchTicket>>>,
    pub outbox: Outbox,
    pub reconnect: Reconnect,
    pub state: watch::Sender<LinkState>,
    pub shutdown: CancellationToken,
}

impl Agent {
    /// Stays connected until told to end; then gives open runs time to end.
    pub(crate) async fn run(mut self) {
        let dispatcher = &self.dispatcher;
        dispatcher.drive.stop_first(&dispatcher.commands).await;
        let mut logged = LoggedReasons::default();
        loop {
            let end = self.attempt(&mut logged).await;
            if matches!(end, SessionEnd::Drained) || self.shutdown.is_cancelled() {
                break;
            }
            let pause = self.reconnect.pause(end.retry());
            if let SessionEnd::Rejected(Rejection::PortUnavailable, _) = &end {
                self.held_port = None;
            }
            let why = end.to_string();
            let retry_ms = timing::millis(pause);
            let is_only_one = self.config.routers.len() == 1;
            let what = if is_only_one && end.lasts() {
                REFUSED
            } else {
                "no link: "
            };
            sd_notify::status(&format!("{what}{}", Escaped(&why)));
            let link_id = link_id(self.instance, self.dials);
            if logged.is_new(&why) {
                tracing::warn!(link_id, why, retry_ms, "no link");
            } else {
                tracing::debug!(link_id, why, retry_ms, "still no link");
            }
            tokio::select! {
                biased;
                () = self.reconnect.wait(pause) => {}
                () = self.shutdown.cancelled() => break,
                never = self.outbox.discard() => match never {},
            }
        }
        // Without a link there is nobody to tell, but open runs still get time to end.
        self.dispatcher.drain(timing::DRAIN);
        tokio::select! {
            biased;
            () = self.dispatcher.tracker.wait() => {}
            never = self.outbox.discard() => match never {},
        }
        self.state.send_replace(LinkState::Ended);
    }

    /// Serves one link, from dialling to its end.
    async fn attempt(&mut self, logged: &mut LoggedReasons) -> SessionEnd {
        let hello = self.hello();
        let link_id = hello.link_id();
        let dialling = async {
            let socket = self.reconnect.dial().await?;
            greet(MessageSocket::new(socket), hello).await
        };
        let dialled = tokio::select! {
            biased;
            dialled = dialling => dialled,
            () = self.shutdown.cancelled() => return SessionEnd::Drained,
            never = self.outbox.discard() => match never {},
        };
        let (socket, welcome) = match dialled {
            Ok(greeted) => greeted,
            Err(end) => return end,
        };
        let Welcome {
            name,
            service_port,
            media,
            host,
        } = welcome;
        self.reconnect.connected();
        logged.clear();
        self.held_port = Some(service_port);
        let (number, router) = self.reconnect.router();
        let tcp = socket.get_ref().socket();
        let place = RouterPlace {
            number,
            address: tcp.and_then(|tcp| tcp.peer_addr().ok()),
            media: media.map(Arc::new),
        };
        let at = match host {
            Some(host) => format!("{}:{}", Escaped(host.raw()), router.port),
            None => format!("{}:{service_port}", dialer::bracketed(&router.host)),
        };
        let scheme = if socket.get_ref().is_tls() {
            "https"
        } else {
            "http"
        };
        let page = format!("{scheme}://{at}/");
        tracing::info!(link = %name, link_id, service_port, %router, "link up: {page}");
        sd_notify::status(&format!("{LINKED}{page}"));
        self.state.send_replace(LinkState::Up {
            name: name.clone(),
            service_port,
            router: router.clone(),
        });
        let ring = self.dispatcher.reporter.ring().clone();
        ring.note(PastEvent::LinkUp {
            router: Text::new(router.to_string()),
        });
        self.dispatcher.drive.send(DriveRequest::Linked);
        let session = Session {
            socket,
            name,
            service_port,
            place,
            camera: self.camera.as_ref(),
            dispatcher: &mut self.dispatcher,
            outbox: &mut self.outbox,
            shutdown: &self.shutdown,
            ticks: None,
            watched: false,
        };
        let end = session.serve().await;
        ring.note(PastEvent::LinkLost {
            why: Text::new(end.to_string()),
        });
        if let Some(camera) = &self.camera {
            camera.send_replace(None);
        }
        self.state.send_replace(LinkState::Down);
        end
    }

    fn hello(&mut self) -> LinkHello {
        self.dials += 1;
        LinkHello {
            name: self.config.name.clone(),
            service_port: match self.config.service_port {
                0 => self.held_port.unwrap_or(0),
                // The router has no other port in its welcome, unless something garbled it.
                port => port,
            },
            identity: self.config.identity.clone(),
            instance: self.instance,
            clock_ms: clock::now_ms(),
            software: SOFTWARE.into(),
            motion: self.config.motion.clone(),
            camera: self.camera.is_some(),
            past: true,
            dial: self.dials,
        }
    }
}
