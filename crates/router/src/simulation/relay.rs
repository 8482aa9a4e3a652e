//! Owns the router of a history: the real one but for its sockets, which can be stalled, killed
//! and restarted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use p2p_inner::simulation::Stall;
use p2p_shared::names::RunIds;
use p2p_shared::transport::Transport;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::network::End;
use crate::access::{Access, Caller};
use crate::cars::Cars;
use crate::control::Epochs;
use crate::feed::Feed;
use crate::health::Health;
use crate::link::life::Candidate;
use crate::metrics::Metrics;
use crate::quota::Quota;
use crate::registry::Registry;
use crate::strangers::Strangers;
use crate::{Context, Patience, Router, admin, limits};

/// Where everyone seems to come from.
pub(super) const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4);

/// A router that runs. Dropped, it is dead, as by SIGKILL.
pub(super) struct Relay {
    pub context: Arc<Context>,
    pub stall: Stall,
    _time: AbortOnDropHandle<()>,
    tasks: std::sync::Mutex<JoinSet<()>>,
}

impl Relay {
    /// Starts one whose machine believes that it is this time.
    pub(super) fn start(time: SystemTime) -> Self {
        let feed = Arc::new(Feed::new());
        let metrics = Arc::new(Metrics::new());
        let epochs = Epochs::starting_at(time);
        let context = Arc::new(Context {
            access: Access::Open,
            host_names: None,
            acceptor: None,
            allow_plain_http: true,
            registry: Arc::new(Registry::new(
                Ipv4Addr::LOCALHOST.into(),
                "1024-65535".parse().unwrap(),
                limits::LINKS,
            )),
            cars: Arc::new(Cars::new(feed.clone(), metrics.clone(), epochs)),
            feed,
            strangers: Arc::new(Strangers::new(metrics.clone())),
            consoles: Quota::new(limits::CONSOLES),
            viewers: Quota::new(limits::VIEWERS),
            runs: Quota::new(limits::RUNS),
            on_link: Arc::default(),
            metrics,
            health: Health::new().unwrap(),
            run_ids: RunIds::starting_at(time),
            max_body: 1 << 20,
            patience: Patience::default(),
            draining: CancellationToken::new(),
            handing_over: CancellationToken::new(),
            closed: CancellationToken::new(),
            open_runs: TaskTracker::new(),
            callers: TaskTracker::new(),
            connections: TaskTracker::new(),
            links: TaskTracker::new(),
        });
        let stall = Stall::default();
        let time = context.cars.clone().keep_time(context.closed.clone());
        Self {
            _time: AbortOnDropHandle::new(tokio::spawn(stall.clone().of(time))),
            context,
            stall,
            tasks: std::sync::Mutex::default(),
        }
    }

    /// Does this in the router's process.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.context.links.track_future(self.stall.clone().of(task));
        let mut tasks = self.tasks.lock().unwrap();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// An inner has connected.
    pub(super) fn take_link(&self, end: End) {
        let context = self.context.clone();
        self.spawn(async move {
            let candidate = Candidate {
                caller: Caller::Anyone,
                peer: PEER,
                stream: Transport::Simulated(Box::new(end)),
                read: Vec::new(),
            };
            candidate.live(&context).await;
        });
    }

    /// A console has connected.
    pub(super) fn take_console(&self, end: End) {
        let context = self.context.clone();
        self.spawn(async move {
            let Ok(share) = admin::share(&context, &Caller::Anyone, PEER) else {
                return;
            };
            let stream = Transport::Simulated(Box::new(end));
            let person = (Caller::Anyone, PEER, share);
            admin::serve(&context, person, stream, Vec::new()).await;
        });
    }

    /// Ends it as SIGTERM does.
    pub(super) async fn shut_down(self) {
        let context = self.context.clone();
        // Nobody comes there: the ways end at `take_link` and `take_console`.
        let listener = p2p_shared::socket::listen((Ipv4Addr::LOCALHOST, 0).into());
        let router = Router {
            context,
            address: PEER,
            listener: Arc::new(listener.unwrap()),
            known_links: None,
        };
        let _ = tokio::time::timeout(Duration::from_secs(40), router.shut_down()).await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.lock().unwrap().abort_all();
        // Its sockets.
        self.context.closed.cancel();
        for service in self.context.registry.services() {
            service.closed.cancel();
        }
    }
}
