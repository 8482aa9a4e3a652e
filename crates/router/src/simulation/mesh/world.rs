//! Owns the state that the parts of one history share: the routers, the bus and the lines between them, the
//! machines, and the paths of cars and callers.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use p2p_inner::LinkState;
use p2p_inner::simulation::Network;
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::net::transport::Transport;

use super::super::history::History;
use super::super::machine::Machine;
use super::super::network::{NetworkPath, StreamEnd};
use super::super::press_ledger::PressLedger;
use super::super::process::Dial;
use super::super::rng::Rng;
use super::super::world::{SimInner, inner_config};
use super::mesh_router::{MeshRouter, SavedPorts};
use super::{NAMES, PORT, ROUTERS};
use crate::mesh::hub::Hub;
use crate::net::port_range::PortRange;

/// A line on which connections are made.
#[derive(Clone)]
pub(super) struct Line {
    pub path: NetworkPath,
    is_cut: Arc<AtomicBool>,
}

impl Line {
    fn new(rng: &Rng) -> Self {
        Self {
            path: NetworkPath::new(rng.fork()),
            is_cut: Arc::default(),
        }
    }

    /// Cuts the line: its connections are reset, and there are no new ones. Or ends that.
    pub(super) fn set_cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::Relaxed);
        if is_cut {
            self.path.reset();
        }
    }

    /// The same, but the router does not learn that its connections are gone.
    pub(super) fn abandon(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        self.path.abandon();
    }

    /// Waits until a connection can be made; `false` if it is refused.
    async fn dial(&self) -> bool {
        if !self.is_cut() {
            self.path.round_trips().await;
        }
        !self.is_cut()
    }

    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }
}

/// The shared state of one history.
pub(super) struct MeshWorld {
    pub history: History,
    pub presses: PressLedger,
    pub hub: Hub,
    pub routers: [Mutex<Option<MeshRouter>>; ROUTERS],
    saved: [SavedPorts; ROUTERS],
    /// Between routers: `[from][to]`.
    pub lines: [[Line; ROUTERS]; ROUTERS],
    /// The car's machine and that of a twin, with their lines to each router.
    pub machines: [Machine; 2],
    pub to_cars: [[Line; ROUTERS]; 2],
    /// Of callers and pages to each router.
    pub callers: [NetworkPath; ROUTERS],
    commands: PathBuf,
    /// The router that the car is at, by its own word; beyond the last while it has no link.
    car_at: AtomicUsize,
    is_quiet: AtomicBool,
    has_twin: AtomicBool,
}

impl MeshWorld {
    pub(super) fn new(history: History, rng: &Rng, commands: PathBuf) -> Self {
        let presses = PressLedger::default();
        let machine = || Machine::new(rng.fork(), history.clone(), presses.clone());
        let machines = [machine(), machine()];
        let lines = || std::array::from_fn(|_| Line::new(rng));
        Self {
            history,
            presses,
            hub: Hub::new(rng.next()),
            routers: std::array::from_fn(|_| Mutex::default()),
            saved: std::array::from_fn(|_| SavedPorts::default()),
            lines: std::array::from_fn(|_| lines()),
            machines,
            to_cars: std::array::from_fn(|_| lines()),
            callers: std::array::from_fn(|_| NetworkPath::new(rng.fork())),
            commands,
            car_at: AtomicUsize::new(ROUTERS),
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

    /// The router that the car says it is at.
    pub(super) fn car_at(&self) -> Option<usize> {
        Some(self.car_at.load(Ordering::Relaxed)).filter(|at| *at < ROUTERS)
    }

    /// Does something with a router that is there.
    pub(super) fn with<T>(&self, router: usize, act: impl FnOnce(&MeshRouter) -> T) -> Option<T> {
        self.routers[router].lock().unwrap().as_ref().map(act)
    }

    /// Starts a router whose clock shows `time`, with the sockets of the one before.
    pub(super) fn start_router(
        self: &Arc<Self>,
        number: usize,
        time: SystemTime,
        sockets: Vec<OwnedFd>,
    ) {
        let dial = self.dial_from(number);
        let saved = &self.saved[number];
        let router = MeshRouter::start((number, time), &self.hub, saved, dial, sockets);
        let feed = router.context.registry.subscribe(PortRange::ALL).events;
        let ledger = self.presses.clone();
        tokio::spawn(ledger.follow_feed(feed, self.machines.clone()));
        *self.routers[number].lock().unwrap() = Some(router);
    }

    /// Takes a router away; the caller drops it or shuts it down.
    pub(super) fn take_router(&self, number: usize) -> Option<MeshRouter> {
        self.routers[number].lock().unwrap().take()
    }

    /// Shuts a router down. Returns its sockets if it hands them over.
    pub(super) async fn end_router(&self, number: usize, hands_over: bool) -> Vec<OwnedFd> {
        match self.take_router(number) {
            Some(router) => router.shut_down(&self.saved[number], hands_over).await,
            None => Vec::new(),
        }
    }

    /// How this router connects to another.
    fn dial_from(self: &Arc<Self>, from: usize) -> Dial {
        let world: Weak<Self> = Arc::downgrade(self);
        Arc::new(move |address| {
            let (world, to) = (world.clone(), number_of(&address.0));
            Box::pin(async move {
                let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
                let line = world.upgrade().map(|world| world.lines[from][to].clone());
                let line = line.ok_or_else(refused)?;
                if !line.dial().await {
                    return Err(refused());
                }
                let world = world.upgrade().ok_or_else(refused)?;
                let (ours, its) = line.path.connect(None);
                let taken = world.with(to, |router| router.take_member(its));
                taken.ok_or_else(refused)?;
                Ok(Transport::Simulated(Box::new(ours)))
            })
        })
    }

    /// Connects a caller to the car's port at a router; `None` if it is not open there.
    pub(super) async fn call(&self, router: usize) -> Option<StreamEnd> {
        let path = &self.callers[router];
        path.round_trips().await;
        self.with(router, |router| {
            let port = router.open_port(PORT)?;
            let (ours, its) = path.connect(None);
            router.take_caller(port, its);
            Some(ours)
        })?
    }

    /// Starts an inner of the car's identity on a machine.
    pub(super) fn start_inner(self: &Arc<Self>, machine: usize, rng: &Rng) -> SimInner {
        let config = p2p_inner::Config {
            service_port: PORT,
            ..inner_config(&NAMES, &self.commands)
        };
        let network = {
            let world = self.clone();
            Network(Arc::new(move |router| {
                let (world, to) = (world.clone(), number_of(router));
                let line = world.to_cars[machine][to].clone();
                Box::pin(async move {
                    if !line.dial().await {
                        return None;
                    }
                    let on_traffic = world.machines[machine].clone();
                    let on_traffic = Arc::new(move || on_traffic.on_traffic());
                    let (ours, its) = line.path.connect(Some(on_traffic));
                    world.with(to, |router| router.take_link(its))?;
                    Some(Transport::Simulated(Box::new(ours)))
                })
            }))
        };
        let world = self.clone();
        let on_change = move |state: &LinkState| {
            let at = match state {
                LinkState::Up { router, .. } => number_of(router),
                _ => ROUTERS,
            };
            world.history.mark(at as u64);
            (world.history).log(|| match NAMES.get(at) {
                Some(name) => format!("machine {machine}: link up at {name}"),
                None => format!("machine {machine}: link down"),
            });
            if machine == 0 {
                world.car_at.store(at, Ordering::Relaxed);
            }
        };
        SimInner::with(config, &self.machines[machine], network, rng, on_change)
    }
}

fn number_of(router: &RouterAddress) -> usize {
    let mut names = NAMES.iter();
    names.position(|name| *name == router.host).unwrap()
}
