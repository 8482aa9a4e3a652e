//! Owns the state that the parts of one history share: the router, the machines, and the paths between
//! them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use p2p_inner::LinkState;
use p2p_inner::simulation::{Network, Simulated, Spawn, Stall};
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::MotionInfo;
use tokio_util::task::AbortOnDropHandle;

use super::history::History;
use super::machine::{LEASE, LIMIT, Machine, ProcessHost};
use super::network::{NetworkPath, StreamEnd};
use super::press_ledger::PressLedger;
use super::rng::Rng;
use super::sim_router::{KnownPorts, SimRouter};
use crate::car::Car;
use crate::car::registry::Registry;
use crate::net::port_range::PortRange;

/// The shared state of one history.
pub(super) struct SimWorld {
    pub history: History,
    pub router: Mutex<Option<SimRouter>>,
    pub presses: PressLedger,
    /// Service ports that the last router had open.
    pub known: Arc<Mutex<KnownPorts>>,
    /// The car's machine, and that of a second inner.
    pub machines: [Machine; 2],
    /// The command directory.
    commands: PathBuf,
    port: AtomicU16,
    is_quiet: AtomicBool,
    has_twin: AtomicBool,
}

impl SimWorld {
    pub(super) fn new(
        history: History,
        presses: PressLedger,
        machines: [Machine; 2],
        commands: PathBuf,
    ) -> Self {
        Self {
            history,
            router: Mutex::default(),
            presses,
            known: Arc::default(),
            machines,
            commands,
            port: AtomicU16::new(0),
            is_quiet: AtomicBool::new(false),
            has_twin: AtomicBool::new(false),
        }
    }

    /// Ends all input: from now on nobody makes requests or drives.
    pub(super) fn be_quiet(&self) {
        self.is_quiet.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::Relaxed)
    }

    /// From now on there are two inners with the car's identity.
    pub(super) fn set_twin(&self) {
        self.has_twin.store(true, Ordering::Relaxed);
    }

    /// Returns true if there were ever two inners with the car's identity.
    pub(super) fn has_twin(&self) -> bool {
        self.has_twin.load(Ordering::Relaxed)
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
    pub(super) async fn dial_console(&self, path: &NetworkPath) -> Option<StreamEnd> {
        path.round_trips().await;
        let router = self.router.lock().unwrap();
        let router = router.as_ref()?;
        let (ours, its) = path.connect(None);
        router.take_console(its);
        Some(ours)
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
    pub stall: Stall,
    host: Arc<ProcessHost>,
    _port: AbortOnDropHandle<()>,
}

impl Drop for SimInner {
    fn drop(&mut self) {
        self.host.kill();
    }
}

impl SimInner {
    /// Starts an inner on this machine.
    pub(super) fn start(
        world: &Arc<SimWorld>,
        machine: &Machine,
        (path, identity): (&NetworkPath, &str),
        rng: &Rng,
    ) -> Self {
        let host = machine.start_host();
        let processes: [Arc<dyn Spawn>; 2] = [host.clone(), host.guardian()];
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
            routers: vec![RouterAddress {
                host: "router".to_owned(),
                port: 8888,
            }],
            service_port: world.port.load(Ordering::Relaxed),
            name: "car".parse().unwrap(),
            identity: identity.to_owned().try_into().unwrap(),
            key: None,
            open: false,
            commands: world.commands.clone(),
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
            guardian: None,
            camera: None,
        };
        let stall = Stall::default();
        let ids = (host.inner, rng.next());
        let process = Simulated::start(config, ids, network, processes, &stall).unwrap();
        let mut link = process.link.clone();
        let world = world.clone();
        let port = tokio::spawn(async move {
            while link.changed().await.is_ok() {
                if let LinkState::Up { service_port, .. } = *link.borrow_and_update() {
                    world.port.store(service_port, Ordering::Relaxed);
                    world.history.log(|| "link up".to_owned());
                }
            }
        });
        Self {
            process,
            stall,
            host,
            _port: AbortOnDropHandle::new(port),
        }
    }
}
