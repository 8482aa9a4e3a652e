//! Owns staying connected: dial, serve the link, and dial again, for ever.

use std::time::{Duration, Instant};

use p2p_shared::backoff::{self, Backoff};
use p2p_shared::dial::{self, DialError};
use p2p_shared::names::InstanceId;
use p2p_shared::protocol::{Hello, LINK_PATH, Rejection};
use p2p_shared::random::jitter;
use p2p_shared::timing;
use p2p_shared::wire::Wire;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::executor::Executor;
use crate::session::{Outbox, Session, SessionEnd, greet};
use crate::{Config, LinkState, clock};

/// What keeps the link up.
pub(crate) struct Agent {
    pub config: Config,
    pub instance: InstanceId,
    pub executor: Executor,
    pub outbox: Outbox,
    pub state: watch::Sender<LinkState>,
    pub shutdown: CancellationToken,
    /// Dial now, whatever the schedule says.
    pub hurry: std::sync::Arc<Notify>,
}

impl Agent {
    /// Stays connected until told to end; then what runs has its time.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut said = String::new();
        loop {
            let end = self.attempt(&mut backoff, &mut said).await;
            if matches!(end, Outcome::Ended(SessionEnd::Drained)) || self.shutdown.is_cancelled() {
                break;
            }
            let pause = end
                .pause()
                .unwrap_or_else(|| backoff.pause(Instant::now(), jitter()));
            self.tell_failure(&end, pause, &mut said);
            let discard = self.outbox.discard();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.hurry.notified() => backoff.restart(),
                () = self.shutdown.cancelled() => break,
                never = discard => match never {},
            }
        }
        // Without a link there is nobody to tell, but what runs may end in peace all the same.
        self.executor.drain(timing::DRAIN);
        let ended = self.executor.ended();
        tokio::select! {
            () = ended => {}
            never = self.outbox.discard() => match never {},
        }
        self.state.send_replace(LinkState::Ended);
    }

    /// One link, from dialling to its end.
    async fn attempt(&mut self, backoff: &mut Backoff, said: &mut String) -> Outcome {
        let hello = self.hello();
        let dialling = async {
            let socket =
                dial::dial(&self.config.router, LINK_PATH, self.config.key.as_ref()).await?;
            let mut wire = Wire::new(socket);
            let welcome = greet(&mut wire, hello).await;
            Ok::<_, DialError>((wire, welcome))
        };
        let dialled = tokio::select! {
            dialled = dialling => dialled,
            () = self.shutdown.cancelled() => return Outcome::Ended(SessionEnd::Drained),
            never = self.outbox.discard() => match never {},
        };
        let (wire, welcome) = match dialled {
            Ok((wire, Ok(welcome))) => (wire, welcome),
            Ok((_, Err(end))) => return Outcome::Ended(end),
            Err(error) => return Outcome::NotReached(error),
        };
        backoff.connected(Instant::now());
        said.clear();
        let (name, service_port) = (welcome.name, welcome.service_port);
        // What was any port is this one from now on: the page that somebody has open stays.
        self.config.service_port = service_port;
        let host = dial::bracketed(&self.config.router.host);
        tracing::info!(name = %name, "link up: http://{host}:{service_port}/");
        self.state.send_replace(LinkState::Up {
            name: name.clone(),
            service_port,
        });
        let session = Session {
            wire,
            name,
            executor: &mut self.executor,
            outbox: &mut self.outbox,
            shutdown: &self.shutdown,
        };
        let end = session.serve().await;
        self.state.send_replace(LinkState::Down);
        Outcome::Ended(end)
    }

    fn hello(&self) -> Hello {
        Hello {
            name: self.config.name.clone(),
            service_port: self.config.service_port,
            identity: self.config.identity.clone(),
            instance: self.instance,
            clock_ms: clock::now_ms(),
            software: concat!("p2p-inner ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Says why there is no link: once, and again when the reason changes.
    fn tell_failure(&self, end: &Outcome, pause: Duration, said: &mut String) {
        let why = end.to_string();
        let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        if *said == why {
            tracing::debug!(why, retry_ms, "still no link");
        } else {
            tracing::warn!(why, retry_ms, "no link");
            *said = why;
        }
    }
}

/// How an attempt ended.
enum Outcome {
    NotReached(DialError),
    Ended(SessionEnd),
}

impl Outcome {
    /// The pause that this end asks for, where that is not the schedule's.
    fn pause(&self) -> Option<Duration> {
        match self {
            Self::NotReached(DialError::Denied { .. }) => Some(backoff::DENIED),
            Self::Ended(SessionEnd::Rejected(rejection, _)) => match rejection {
                Rejection::Denied | Rejection::TakenOver | Rejection::Contended => {
                    Some(backoff::DENIED)
                }
                Rejection::PortUnavailable | Rejection::Protocol => None,
            },
            Self::Ended(SessionEnd::GoAway(after)) => Some(*after),
            _ => None,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotReached(error) => error.fmt(f),
            Self::Ended(end) => end.fmt(f),
        }
    }
}
