//! Owns the router of a history: the real one but for its sockets, which can be stalled, killed
//! and restarted.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use p2p_inner::simulation::Stall;
use p2p_shared::names::RunIds;
use p2p_shared::net::transport::Transport;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::network::End;
use crate::Context;
use crate::Patience;
use crate::Router;
use crate::auth::access::{Access, Caller};
use crate::car::cars::Cars;
use crate::car::control::Epochs;
use crate::car::registry::Registry;
use crate::car::saved_ports::SavedPort;
use crate::client::session;
use crate::feed::Feed;
use crate::net::limits;
use crate::net::quota::Quota;
use crate::net::unauthenticated::Unauthenticated;
use crate::ops::health::Health;
use crate::ops::metrics::Metrics;
use crate::routes::link::{self, LinkConnection};

/// Where everyone seems to come from.
pub(super) const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4);

/// Changes of which ports are open are written together after this long, as the program does it.
const TOGETHER: Duration = Duration::from_millis(500);

/// What is known of the service ports that are open, with their sockets: those stay open between
/// two routers, so that no other program on this machine gets one of these ports.
#[derive(Default)]
pub(super) struct Known(Vec<(SavedPort, Arc<TcpListener>)>);

impl Known {
    fn of(registry: &Registry) -> Self {
        let links = registry.saved().into_iter();
        let services = registry.services();
        let with_socket = links.filter_map(|link| {
            let mut all = services.iter();
            let service = all.find(|service| service.port == link.service_port)?;
            Some((link, service.listener()?))
        });
        Self(with_socket.collect())
    }

    /// The ports.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|(link, _)| link.service_port)
    }
}

/// Writes down which ports are open whenever that has changed.
async fn keep(registry: Arc<Registry>, known: Arc<Mutex<Known>>) {
    let mut changed = registry.changes();
    while changed.changed().await.is_ok() {
        sleep(TOGETHER).await;
        changed.mark_unchanged();
        *known.lock().unwrap() = Known::of(&registry);
    }
}

fn again(listener: &TcpListener) -> TcpListener {
    let socket = listener.as_fd().try_clone_to_owned().unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

/// A router that runs. Dropped, it is dead, as by SIGKILL.
pub(super) struct Relay {
    pub context: Arc<Context>,
    pub stall: Stall,
    _time: AbortOnDropHandle<()>,
    _keeping: AbortOnDropHandle<()>,
    tasks: Mutex<JoinSet<()>>,
}

impl Relay {
    /// Starts one whose machine believes that it is this time, and which opens the ports again
    /// that are known.
    pub(super) fn start(time: SystemTime, known: &Arc<Mutex<Known>>) -> Self {
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
            strangers: Arc::new(Unauthenticated::new(metrics.clone())),
            consoles: Quota::new(limits::CONSOLES),
            viewers: Quota::new(limits::VIEWERS),
            runs: Quota::new(limits::RUNS),
            on_link: Arc::default(),
            metrics,
            health: Health::new(([127, 0, 0, 1], 1).into()).unwrap(),
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
        for (link, listener) in &known.lock().unwrap().0 {
            let listener = again(listener);
            let owner = link.owner().unwrap();
            if let Some(service) = context.registry.restore(link, owner, Some(listener)) {
                link::restored(&context, service);
            }
        }
        let keeping = keep(context.registry.clone(), known.clone());
        let stall = Stall::default();
        let time = context.cars.clone().run_timers(context.closed.clone());
        Self {
            _time: AbortOnDropHandle::new(tokio::spawn(stall.clone().of(time))),
            _keeping: AbortOnDropHandle::new(tokio::spawn(stall.clone().of(keeping))),
            context,
            stall,
            tasks: Mutex::default(),
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
            let candidate = LinkConnection {
                caller: Caller::Anyone,
                peer: PEER,
                stream: Transport::Simulated(Box::new(end)),
                read: Vec::new(),
            };
            candidate.run(&context).await;
        });
    }

    /// A console has connected.
    pub(super) fn take_console(&self, end: End) {
        let context = self.context.clone();
        self.spawn(async move {
            let Ok(share) = session::permit(&context, &Caller::Anyone, PEER) else {
                return;
            };
            let stream = Transport::Simulated(Box::new(end));
            let person = (Caller::Anyone, PEER, share);
            session::serve(&context, person, stream, Vec::new()).await;
        });
    }

    /// Ends it as SIGTERM does; or as SIGUSR2, when the router after it `gets` its sockets.
    pub(super) async fn shut_down(self, known: &Mutex<Known>, gets: bool) {
        *known.lock().unwrap() = Known::of(&self.context.registry);
        let context = self.context.clone();
        // Nobody comes there: the ways end at `take_link` and `take_console`.
        let listener = p2p_shared::net::socket::listen((Ipv4Addr::LOCALHOST, 0).into());
        let router = Router {
            context,
            address: PEER,
            listener: Arc::new(listener.unwrap()),
            known_links: None,
        };
        let ending = async {
            if gets {
                router.hand_over(|| true).await;
            } else {
                router.shut_down().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(40), ending).await;
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
