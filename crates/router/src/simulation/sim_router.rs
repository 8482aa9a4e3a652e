//! The router of a history: the real one with simulated sockets. It can be stalled, killed and
//! restarted.

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
use tokio_util::task::AbortOnDropHandle;

use super::network::StreamEnd;
use crate::auth::access::Caller;
use crate::car::registry::Registry;
use crate::car::saved_ports::SavedPort;
use crate::client::session;
use crate::config::Config;
use crate::context::Context;
use crate::routes::link;
use crate::server::Router;

/// The address that every peer seems to have.
pub(super) const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4);

/// Delay before changed ports are saved, as in the program.
const TOGETHER: Duration = Duration::from_millis(500);

/// Saved service ports with their sockets. The sockets stay open between two routers, so that no
/// other program on this machine gets one of these ports.
#[derive(Default)]
pub(super) struct KnownPorts(Vec<(SavedPort, Arc<TcpListener>)>);

impl KnownPorts {
    fn of(registry: &Registry) -> Self {
        let links = registry.saved().into_iter();
        let cars = registry.cars();
        let with_socket = links.filter_map(|link| {
            let mut all = cars.iter();
            let car = all.find(|car| car.port == link.service_port)?;
            Some((link, car.open_port()?.listener.clone()?))
        });
        Self(with_socket.collect())
    }

    /// The saved ports.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|(link, _)| link.service_port)
    }
}

/// Saves the open ports whenever they have changed.
async fn keep(registry: Arc<Registry>, known: Arc<Mutex<KnownPorts>>) {
    let mut changed = registry.changes();
    while changed.changed().await.is_ok() {
        sleep(TOGETHER).await;
        changed.mark_unchanged();
        *known.lock().unwrap() = KnownPorts::of(&registry);
    }
}

fn again(listener: &TcpListener) -> TcpListener {
    let socket = listener.as_fd().try_clone_to_owned().unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

/// A running router. Dropping it kills it, as by SIGKILL.
pub(super) struct SimRouter {
    pub context: Arc<Context>,
    pub stall: Stall,
    _time: AbortOnDropHandle<()>,
    _keeping: AbortOnDropHandle<()>,
    tasks: Mutex<JoinSet<()>>,
}

impl SimRouter {
    /// Starts a router whose clock shows `time`, and which opens the saved ports again.
    pub(super) fn start(time: SystemTime, known: &Arc<Mutex<KnownPorts>>) -> Self {
        let config = Config::open();
        let main_port = ([127, 0, 0, 1], 1).into();
        let context = Arc::new(Context {
            run_ids: RunIds::counting_from(time),
            ..Context::new(config, main_port, time).unwrap()
        });
        for (link, listener) in &known.lock().unwrap().0 {
            let listener = again(listener);
            if let Some(car) = context.registry.restore(link, Some(listener)) {
                link::restored(&context, car);
            }
        }
        let keeping = keep(context.registry.clone(), known.clone());
        let stall = Stall::default();
        let time = context
            .registry
            .clone()
            .run_timers(context.shutdown.closed.clone());
        Self {
            _time: AbortOnDropHandle::new(tokio::spawn(stall.clone().of(time))),
            _keeping: AbortOnDropHandle::new(tokio::spawn(stall.clone().of(keeping))),
            context,
            stall,
            tasks: Mutex::default(),
        }
    }

    /// Runs a task in the router's process.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self
            .context
            .shutdown
            .links
            .track_future(self.stall.clone().of(task));
        let mut tasks = self.tasks.lock().unwrap();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Takes the connection of an inner.
    pub(super) fn take_link(&self, end: StreamEnd) {
        let context = self.context.clone();
        self.spawn(async move {
            let stream = Transport::Simulated(Box::new(end));
            link::run(&context, &Caller::Anyone, PEER, stream, Vec::new()).await;
        });
    }

    /// Takes the connection of a console.
    pub(super) fn take_console(&self, end: StreamEnd) {
        let context = self.context.clone();
        self.spawn(async move {
            let Ok(permit) = session::permit(&context, &Caller::Anyone, PEER) else {
                return;
            };
            let stream = Transport::Simulated(Box::new(end));
            let person = (Caller::Anyone, PEER, permit, None);
            session::serve_console(&context, person, None, stream, Vec::new()).await;
        });
    }

    /// Shuts the router down as SIGTERM does; or as SIGUSR2 does if `hands_over`: the next router gets
    /// its sockets.
    pub(super) async fn shut_down(self, known: &Mutex<KnownPorts>, hands_over: bool) {
        *known.lock().unwrap() = KnownPorts::of(&self.context.registry);
        let context = self.context.clone();
        // Nobody connects here: connections come by `take_link` and `take_console`.
        let listener = p2p_shared::net::socket::listen((Ipv4Addr::LOCALHOST, 0).into());
        let router = Router {
            context,
            address: PEER,
            listener: Arc::new(listener.unwrap()),
        };
        let ending = async {
            if hands_over {
                router.hand_over(|| true).await;
            } else {
                router.shut_down().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(40), ending).await;
    }
}

impl Drop for SimRouter {
    fn drop(&mut self) {
        self.tasks.lock().unwrap().abort_all();
        // Closes its sockets.
        self.context.shutdown.closed.cancel();
        for car in self.context.registry.cars() {
            car.close();
        }
    }
}
