//! Owns the state that the parts of one history share: the router, the machines, and the paths between
//! them.

use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use p2p_inner::LinkState;
use p2p_inner::simulation::{Network, Simulated, Spawn, Stall};
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::MotionInfo;
use p2p_shared::websocket::{MessageSocket, limits};
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::task::AbortOnDropHandle;

use super::history::History;
use super::machine::{LEASE, LIMIT, Machine, ProcessHost};
use super::network::{NetworkPath, StreamEnd};
use super::operator::ConsoleSocket;
use super::rng::Rng;
use super::shared::SharedWorld;
use super::sim_router::{KnownPorts, SimRouter};
use crate::car::Car;
use crate::car::registry::Registry;
use crate::net::port_range::PortRange;

/// The shared state of one history.
pub(super) struct SimWorld {
    pub shared: Arc<SharedWorld>,
    pub router: Mutex<Option<SimRouter>>,
    /// Service ports that the last router had open.
    pub known: Arc<Mutex<KnownPorts>>,
    port: AtomicU16,
}

impl Deref for SimWorld {
    type Target = SharedWorld;

    fn deref(&self) -> &SharedWorld {
        &self.shared
    }
}

impl SimWorld {
    pub(super) fn new(shared: SharedWorld) -> Self {
        Self {
            shared: Arc::new(shared),
            router: Mutex::default(),
            known: Arc::default(),
            port: AtomicU16::new(0),
        }
    }

    /// Starts a router whose clock shows `time`.
    pub(super) fn start_router(&self, time: SystemTime) {
        let router = SimRouter::start(time, &self.known);
        let feed = router.context.registry.subscribe(PortRange::ALL).events;
        let ledger = self.presses.clone();
        tokio::spawn(ledger.follow_feed(feed, self.machines.clone()));
        *self.router.lock().unwrap() = Some(router);
    }

    /// Takes the router away; the caller drops it or shuts it down.
    pub(super) fn take_router(&self) -> Option<SimRouter> {
        self.router.lock().unwrap().take()
    }

    /// The car at its service port; else the one at this router's first port.
    pub(super) fn car(&self, router: &SimRouter) -> Option<Arc<Car>> {
        let port = self.port.load(Ordering::Relaxed);
        let cars = router.context.registry.cars().into_iter();
        cars.min_by_key(|car| (car.port != port, car.port))
    }

    /// Checks promise 2: each saved port answers, whether or not its inner is connected.
    pub(super) fn check_known(&self, registry: &Registry) {
        if self.is_quiet() {
            return;
        }
        let cars = registry.cars();
        for port in self.known.lock().unwrap().ports() {
            if cars.iter().all(|car| car.port != port) {
                let how = format!("the port {port} is saved, and nobody answers there");
                self.history.violation(2, how);
            }
        }
    }

    /// Returns true if a restarted router will open the car's port again.
    pub(super) fn knows_port(&self) -> bool {
        let port = self.port.load(Ordering::Relaxed);
        self.known
            .lock()
            .unwrap()
            .ports()
            .any(|known| known == port)
    }

    /// Connects a console; `None` without a router.
    pub(super) async fn dial_console(&self, path: &NetworkPath) -> Option<ConsoleSocket> {
        path.round_trips().await;
        let ours = {
            let router = self.router.lock().unwrap();
            let router = router.as_ref()?;
            let (ours, its) = path.connect(None);
            router.take_console(its);
            Transport::Simulated(Box::new(ours))
        };
        let socket = WebSocketStream::from_raw_socket(ours, Role::Client, Some(limits()));
        Some(MessageSocket::new(socket.await))
    }

    async fn dial_link(&self, path: &NetworkPath, machine: Machine) -> Option<StreamEnd> {
        path.round_trips().await;
        let router = self.router.lock().unwrap();
        let router = router.as_ref()?;
        let (ours, its) = path.connect(Some(Arc::new(move || machine.on_traffic())));
        router.take_link(its);
        Some(ours)
    }
}

/// A running inner. Dropping it kills it, as by SIGKILL.
pub(super) struct SimInner {
    pub process: Simulated,
    stall: Stall,
    host: Arc<ProcessHost>,
    _following: AbortOnDropHandle<()>,
}

impl Drop for SimInner {
    fn drop(&mut self) {
        self.host.kill();
    }
}

impl SimInner {
    /// Stops the inner for so long, as by SIGSTOP.
    pub(super) async fn stall_for(&self, time: Duration, history: &History) {
        history.log(|| format!("*** the inner is stopped for {time:?}"));
        self.stall.set(true);
        sleep(time).await;
        self.stall.set(false);
        history.log(|| "*** the inner goes on".to_owned());
    }

    /// Starts an inner on this machine.
    pub(super) fn start(
        world: &Arc<SimWorld>,
        machine: &Machine,
        (path, identity): (&NetworkPath, &str),
        rng: &Rng,
    ) -> Self {
        let network = {
            let (world, path, machine) = (world.clone(), path.clone(), machine.clone());
            Network(Arc::new(move |_| {
                let (world, path, machine) = (world.clone(), path.clone(), machine.clone());
                Box::pin(async move {
                    let end = world.dial_link(&path, machine).await?;
                    Some(Transport::Simulated(Box::new(end)))
                })
            }))
        };
        let config = p2p_inner::Config {
            service_port: world.port.load(Ordering::Relaxed),
            identity: identity.to_owned().try_into().unwrap(),
            ..inner_config(&["router"], &world.commands)
        };
        let world = world.clone();
        Self::with(config, machine, network, rng, move |state| {
            if let LinkState::Up { service_port, .. } = state {
                world.port.store(*service_port, Ordering::Relaxed);
                world.history.log(|| "link up".to_owned());
            }
        })
    }

    /// Starts an inner that connects over this network; `on_change` is told of each state of its link.
    pub(super) fn with(
        config: p2p_inner::Config,
        machine: &Machine,
        network: Network,
        rng: &Rng,
        on_change: impl Fn(&LinkState) + Send + 'static,
    ) -> Self {
        let host = machine.start_host();
        let processes: [Arc<dyn Spawn>; 2] = [host.clone(), host.guardian()];
        let stall = Stall::default();
        let ids = (host.inner, rng.next());
        let process = Simulated::start(config, ids, network, processes, &stall).unwrap();
        let mut link = process.link.clone();
        let following = tokio::spawn(async move {
            while link.changed().await.is_ok() {
                on_change(&link.borrow_and_update());
            }
        });
        Self {
            process,
            stall,
            host,
            _following: AbortOnDropHandle::new(following),
        }
    }
}

/// Settings of a car with these routers, each in `host`, and these commands.
pub(super) fn inner_config(routers: &[&str], commands: &Path) -> p2p_inner::Config {
    let router = |host: &&str| RouterAddress {
        host: (*host).to_owned(),
        port: 8888,
    };
    p2p_inner::Config {
        routers: routers.iter().map(router).collect(),
        service_port: 0,
        name: "car".parse().unwrap(),
        identity: "identity".parse().unwrap(),
        key: None,
        open: false,
        commands: commands.to_owned(),
        timeout: Duration::from_secs(5),
        max_runs: 16,
        worker_hello: p2p_inner::WORKER_HELLO,
        motion: MotionInfo {
            commands: vec!["forward".parse().unwrap(), "back".parse().unwrap()]
                .try_into()
                .unwrap(),
            stop: "stop".parse().unwrap(),
            lease_ms: u64::try_from(LEASE.as_millis()).unwrap(),
            limit_ms: u64::try_from(LIMIT.as_millis()).unwrap(),
        },
        ring: None,
        guardian: None,
        camera: None,
    }
}
