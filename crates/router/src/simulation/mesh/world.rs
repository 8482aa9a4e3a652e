//! Owns the state that the parts of one history share: the routers, the bus and the lines between them, the
//! machines, and the paths of cars and callers.

use std::collections::BTreeMap;
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use hyper::Request;
use hyper::header::{AUTHORIZATION, HeaderValue};
use p2p_console::drive::ControlHolder;
use p2p_inner::LinkState;
use p2p_inner::simulation::Network;
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{ADMIN_PATH, SUBPROTOCOL, SessionId};
use p2p_shared::websocket::{MessageSocket, limits};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::super::history::History;
use super::super::keys::SimKey;
use super::super::network::{NetworkPath, StreamEnd};
use super::super::operator::{ConsoleSocket, ConsoleView};
use super::super::process::Dial;
use super::super::rng::Rng;
use super::super::shared::SharedWorld;
use super::super::world::{SimInner, inner_config};
use super::keys::SimKeys;
use super::mesh_router::{MeshRouter, SavedPorts};
use super::{NAMES, PORT, ROUTERS};
use crate::auth::key_store::KeyStore;
use crate::mesh::hub::Hub;
use crate::net::port_range::PortRange;

/// Time limit of a run: longer than a router waits for one that is silent.
const TIME_LIMIT: Duration = Duration::from_secs(20);

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
    pub shared: Arc<SharedWorld>,
    pub keys: SimKeys,
    pub hub: Hub,
    pub routers: [Mutex<Option<MeshRouter>>; ROUTERS],
    saved: [SavedPorts; ROUTERS],
    /// Between routers: `[from][to]`.
    pub lines: [[Line; ROUTERS]; ROUTERS],
    /// Of the car's machine and that of a twin to each router.
    pub to_cars: [[Line; ROUTERS]; 2],
    /// Of callers, pages and consoles to each router.
    pub callers: [NetworkPath; ROUTERS],
    /// The router that the car is at, by its own word; beyond the last while it has no link.
    car_at: AtomicUsize,
    /// The router that each session of a page came by.
    sessions: Mutex<BTreeMap<SessionId, usize>>,
}

impl Deref for MeshWorld {
    type Target = SharedWorld;

    fn deref(&self) -> &SharedWorld {
        &self.shared
    }
}

impl MeshWorld {
    pub(super) fn new(history: History, rng: &Rng, commands: PathBuf) -> Self {
        let lines = || std::array::from_fn(|_| Line::new(rng));
        Self {
            shared: Arc::new(SharedWorld::new(history, rng, commands)),
            keys: SimKeys::new(),
            hub: Hub::new(rng.next()),
            routers: std::array::from_fn(|_| Mutex::default()),
            saved: std::array::from_fn(|_| SavedPorts::default()),
            lines: std::array::from_fn(|_| lines()),
            to_cars: std::array::from_fn(|_| lines()),
            callers: std::array::from_fn(|_| NetworkPath::new(rng.fork())),
            car_at: AtomicUsize::new(ROUTERS),
            sessions: Mutex::default(),
        }
    }

    /// Notes that a page at this router has this session.
    pub(super) fn has_session(&self, session: SessionId, router: usize) {
        self.sessions.lock().unwrap().insert(session, router);
    }

    /// Returns true if who has control of the car at `holder` came by `router`.
    pub(super) fn drives_by(&self, router: usize, holder: usize) -> bool {
        let car = self.with(holder, |it| it.context.registry.car(PORT));
        let Some(driver) = car.flatten().and_then(|car| car.driver()) else {
            return false;
        };
        if let Some(by) = self.sessions.lock().unwrap().get(&driver.session) {
            return *by == router;
        }
        // Consoles have another session at another router, which they are not told.
        let may_be = |view: &ConsoleView| {
            view.router != router && matches!(view.holder(), ControlHolder::Us { .. })
        };
        !self.views().iter().any(may_be)
    }

    /// Checks that nobody drives or runs anything with a key that was revoked, once all have heard.
    pub(super) fn check_keys(&self) {
        for key in self.keys.all() {
            let is_taken = |router| {
                let is_live = |it: &MeshRouter| it.keys().is_live(&key.id);
                self.with(router, is_live) == Some(true)
            };
            key.is_taken((0..ROUTERS).any(is_taken));
            if !key.is_void() {
                continue;
            }
            let broken = |what: &str| {
                let how = format!("{what} with {}, which was revoked", key.name);
                self.history.violation(11, how);
            };
            let drives = |router| {
                let car = self.with(router, |it| it.context.registry.car(PORT));
                let driver = car.flatten().and_then(|car| car.driver());
                driver.is_some_and(|driver| driver.name.raw() == key.name)
            };
            if (0..ROUTERS).any(drives) {
                broken("somebody drives");
            }
            if self.presses.has_open_run(&key.name) {
                broken("a run goes on");
            }
        }
    }

    /// The id of a router as a member of the mesh.
    pub(super) fn member_id(&self, router: usize) -> Option<u16> {
        self.with(router, |it| {
            it.context.mesh.as_ref().unwrap().member().bits()
        })
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
        let keys = KeyStore::open(self.keys.dir(number)).unwrap();
        let router = MeshRouter::start((number, time), &self.hub, (saved, keys), dial, sockets);
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
                let taken = world.with(to, |router| router.take_at_main_port(its));
                taken.ok_or_else(refused)?;
                Ok(Transport::Simulated(Box::new(ours)))
            })
        })
    }

    /// Returns true if this router has the car's port open.
    pub(super) fn has_port(&self, router: usize) -> bool {
        self.with(router, |it| it.open_port(PORT).is_some()) == Some(true)
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

    /// Connects a console to a router by this key.
    pub(super) async fn dial_console(&self, router: usize, key: &SimKey) -> Option<ConsoleSocket> {
        let path = &self.callers[router];
        path.round_trips().await;
        let (ours, its) = path.connect(None);
        self.with(router, |router| router.take_at_main_port(its))?;
        let request = websocket_request(ADMIN_PATH, key);
        let stream = Transport::Simulated(Box::new(ours));
        let dialled = client_async_with_config(request, stream, Some(limits())).await;
        Some(MessageSocket::new(dialled.ok()?.0))
    }

    /// Starts an inner of the car's identity on a machine.
    pub(super) fn start_inner(self: &Arc<Self>, machine: usize, rng: &Rng) -> SimInner {
        let config = p2p_inner::Config {
            service_port: PORT,
            timeout: TIME_LIMIT,
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
                    world.with(to, |router| router.take_link(&world.keys.car, its))?;
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

/// Makes the request for a WebSocket of a console or a page.
pub(super) fn websocket_request(path: &str, key: &SimKey) -> Request<()> {
    let address = format!("ws://127.0.0.1{path}");
    let mut request = address.into_client_request().unwrap();
    let ours = HeaderValue::from_static(SUBPROTOCOL);
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", ours);
    headers.insert(AUTHORIZATION, key.header.parse().unwrap());
    request
}

fn number_of(router: &RouterAddress) -> usize {
    let mut names = NAMES.iter();
    names.position(|name| *name == router.host).unwrap()
}
