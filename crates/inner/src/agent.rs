//! Keeps the link up: dials, serves the link, and dials again until the inner ends.

use std::pin::Pin;
use std::time::Duration;

use p2p_shared::logging::LoggedReasons;
use p2p_shared::names::{InstanceId, LinkName};
use p2p_shared::net::dialer::{self, DialError};
use p2p_shared::net::reconnect::Reconnect;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{LINK_PATH, LinkHello, Rejection};
use p2p_shared::websocket::MessageSocket;
use p2p_shared::{backoff, timing};
use thiserror::Error;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;

use crate::camera::CameraHandle;
use crate::clock;
use crate::config::Config;
use crate::dispatch::Dispatcher;
use crate::drive::DriveRequest;
use crate::session::{Outbox, Session, SessionEnd, greet};

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
    },
    /// There will be no link any more.
    Ended,
}

pub(crate) type DialFuture<'a> =
    Pin<Box<dyn Future<Output = Result<WebSocketStream<Transport>, DialError>> + Send + 'a>>;

/// Opens the WebSocket of a link: over the network, or in a simulation.
pub(crate) trait Dial: Send + Sync {
    fn dial<'a>(&'a self, reconnect: &'a mut Reconnect, config: &'a Config) -> DialFuture<'a>;
}

pub(crate) struct OverNetwork;

impl Dial for OverNetwork {
    fn dial<'a>(&'a self, reconnect: &'a mut Reconnect, config: &'a Config) -> DialFuture<'a> {
        Box::pin(reconnect.dial(&config.router, LINK_PATH, config.key.as_ref()))
    }
}

pub(crate) struct Agent {
    pub config: Config,
    /// The port of the last link. If any port was asked for, this one is asked for from then on, so
    /// that a page which somebody has open stays.
    pub held_port: Option<u16>,
    pub instance: InstanceId,
    pub dispatcher: Dispatcher,
    pub camera: Option<CameraHandle>,
    pub outbox: Outbox,
    pub dial: Box<dyn Dial>,
    pub reconnect: Reconnect,
    pub state: watch::Sender<LinkState>,
    pub shutdown: CancellationToken,
}

impl Agent {
    /// Stays connected until told to end; then gives what runs its time.
    pub(crate) async fn run(mut self) {
        self.dispatcher
            .drive
            .stop_first(self.dispatcher.commands.files(), &self.config.motion)
            .await;
        let mut logged = LoggedReasons::default();
        loop {
            let end = self.attempt(&mut logged).await;
            if matches!(end, AttemptEnd::Ended(SessionEnd::Drained)) || self.shutdown.is_cancelled()
            {
                break;
            }
            let pause = self.reconnect.pause(end.least_pause());
            if let AttemptEnd::Ended(SessionEnd::Rejected(Rejection::PortUnavailable, _)) = &end {
                self.held_port = None;
            }
            let why = end.to_string();
            let retry_ms = timing::millis(pause);
            if logged.is_new(&why) {
                tracing::warn!(why, retry_ms, "no link");
            } else {
                tracing::debug!(why, retry_ms, "still no link");
            }
            let discard = self.outbox.discard();
            tokio::select! {
                biased;
                () = self.reconnect.wait(pause) => {}
                () = self.shutdown.cancelled() => break,
                never = discard => match never {},
            }
        }
        // Without a link there is nobody to tell, but what runs may end in peace all the same.
        self.dispatcher.drain(timing::DRAIN);
        let ended = self.dispatcher.ended();
        tokio::select! {
            biased;
            () = ended => {}
            never = self.outbox.discard() => match never {},
        }
        self.state.send_replace(LinkState::Ended);
    }

    /// Serves one link, from dialling to its end.
    async fn attempt(&mut self, logged: &mut LoggedReasons) -> AttemptEnd {
        let hello = self.hello();
        let reconnect = &mut self.reconnect;
        let dialling = async {
            let config = &self.config;
            match self.dial.dial(reconnect, config).await {
                Ok(socket) => greet(MessageSocket::new(socket), hello)
                    .await
                    .map_err(AttemptEnd::Ended),
                Err(error) => Err(AttemptEnd::NotReached(error)),
            }
        };
        let dialled = tokio::select! {
            biased;
            dialled = dialling => dialled,
            () = self.shutdown.cancelled() => return AttemptEnd::Ended(SessionEnd::Drained),
            never = self.outbox.discard() => match never {},
        };
        let (socket, name, service_port) = match dialled {
            Ok(greeted) => greeted,
            Err(outcome) => return outcome,
        };
        self.reconnect.connected();
        logged.clear();
        self.held_port = Some(service_port);
        let host = dialer::bracketed(&self.config.router.host);
        let scheme = if socket.get_ref().is_tls() {
            "https"
        } else {
            "http"
        };
        tracing::info!(name = %name, "link up: {scheme}://{host}:{service_port}/");
        self.state.send_replace(LinkState::Up {
            name: name.clone(),
            service_port,
        });
        self.dispatcher.drive.send(DriveRequest::Linked);
        let session = Session {
            socket,
            name,
            service_port,
            camera: self.camera.as_ref(),
            dispatcher: &mut self.dispatcher,
            outbox: &mut self.outbox,
            shutdown: &self.shutdown,
            ticks: None,
            watched: false,
        };
        let end = session.serve().await;
        if let Some(camera) = &self.camera {
            camera.watched(None);
        }
        self.state.send_replace(LinkState::Down);
        AttemptEnd::Ended(end)
    }

    fn hello(&self) -> LinkHello {
        LinkHello {
            name: self.config.name.clone(),
            service_port: match self.config.service_port {
                0 => self.held_port.unwrap_or(0),
                // What it was welcomed to is no other, unless something garbled it.
                port => port,
            },
            identity: self.config.identity.clone(),
            instance: self.instance,
            clock_ms: clock::now_ms(),
            software: concat!("p2p-inner ", env!("CARGO_PKG_VERSION")).to_owned(),
            motion: self.config.motion.clone(),
            camera: self.camera.is_some(),
        }
    }
}

#[derive(Debug, Error)]
#[error(transparent)]
enum AttemptEnd {
    NotReached(DialError),
    Ended(SessionEnd),
}

impl AttemptEnd {
    /// The shortest pause before the next attempt; zero where the schedule decides alone.
    fn least_pause(&self) -> Duration {
        match self {
            Self::NotReached(error) => error.least_pause(),
            Self::Ended(SessionEnd::Rejected(
                Rejection::Denied | Rejection::TakenOver | Rejection::Contended,
                _,
            )) => backoff::DENIED,
            Self::Ended(SessionEnd::GoAway(after)) => *after,
            Self::Ended(_) => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_for_its_key_or_for_another_inner_waits_a_minute() {
        let refused = |rejection| AttemptEnd::Ended(SessionEnd::Rejected(rejection, String::new()));
        for rejection in [
            Rejection::Denied,
            Rejection::TakenOver,
            Rejection::Contended,
        ] {
            let pause = refused(rejection).least_pause();
            assert_eq!(pause, Duration::from_secs(60));
        }
        let pause = refused(Rejection::PortUnavailable).least_pause();
        assert_eq!(pause, Duration::ZERO);
    }

    #[test]
    fn who_is_sent_away_comes_back_when_it_is_told() {
        let later = Duration::from_millis(700);
        let sent_away = AttemptEnd::Ended(SessionEnd::GoAway(later));
        assert_eq!(sent_away.least_pause(), later);
    }
}
