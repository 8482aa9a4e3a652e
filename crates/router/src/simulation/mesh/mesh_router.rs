//! A router of a history of several: the real one with simulated connections. It can be stopped, killed,
//! ended and replaced.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use p2p_shared::names::RunIds;
use p2p_shared::net::transport::Transport;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::super::keys::SimKey;
use super::super::network::StreamEnd;
use super::super::process::{Dial, Process};
use super::super::sim_router::PEER;
use super::{NAMES, PORT};
use crate::auth::key_store::KeyStore;
use crate::car::open_port::OpenPort;
use crate::car::registry::elsewhere::Occupant;
use crate::car::saved_ports::SavedPort;
use crate::config::Config;
use crate::context::Context;
use crate::mesh::hub::Hub;
use crate::mesh::id::Start;
use crate::mesh::{MeshConfig, MeshSecret};
use crate::ops::inherited_listeners::{HandedOver, InheritedListeners};
use crate::ops::shutdown::own;
use crate::routes::{link, main_port, service_port};
use crate::server::{self, Router};

/// Delay before changed ports are saved, as in the program.
const TOGETHER: Duration = Duration::from_millis(500);
/// Longest time of a router's end.
const ENDING: Duration = Duration::from_secs(40);

/// Ports that are saved for the next start.
pub(super) type SavedPorts = Arc<Mutex<Vec<SavedPort>>>;

/// A running router. Dropping it kills it, as by SIGKILL.
pub(super) struct MeshRouter {
    pub context: Arc<Context>,
    pub process: Process,
    address: Ipv4Addr,
}

/// An address of loopback that nobody else has: each thread of each process of tests has its own.
pub(super) fn own_address(router: usize) -> Ipv4Addr {
    static THREADS: AtomicU8 = AtomicU8::new(0);
    thread_local! {
        static THREAD: u8 = THREADS.fetch_add(1, Ordering::Relaxed);
    }
    let thread = THREAD.with(|thread| *thread) % 64;
    let [.., high, low] = std::process::id().to_be_bytes();
    let last = 4 * thread + u8::try_from(router).unwrap();
    Ipv4Addr::new(127, 1 + high % 200, low, last)
}

impl MeshRouter {
    /// Starts a router whose clock shows `time`, on the bus, with keys, ports that were open before and sockets of the
    /// router before it.
    pub(super) fn start(
        (number, time): (usize, SystemTime),
        hub: &Hub,
        (saved, keys): (&SavedPorts, KeyStore),
        dial: Dial,
        sockets: Vec<OwnedFd>,
    ) -> Self {
        let address = own_address(number);
        let config = Config {
            bind: address.into(),
            domain: Some("cars.test".parse().unwrap()),
            service_ports: format!("{PORT}-{}", PORT + 9).parse().unwrap(),
            keys: Some(keys),
            mesh: Some(MeshConfig {
                servers: Vec::new(),
                credentials: None,
                address: Some(format!("{}:8888", NAMES[number]).parse().unwrap()),
                secret: MeshSecret::new([7; 32]),
                keys_stale: None,
            }),
            ..Config::open()
        };
        let process = Process::new(dial);
        let context = process.enter(|| {
            let main_port = SocketAddr::from((address, 8888));
            let context = Arc::new(Context {
                run_ids: RunIds::counting_from(time),
                ..Context::new(config, main_port, time).unwrap()
            });
            let mut sockets = InheritedListeners::handed_over(HandedOver {
                sockets,
                ..HandedOver::default()
            });
            drop(sockets.take_main(0, address.into()));
            let known = saved.lock().unwrap().clone();
            server::open_again(&context, known, &mut sockets);
            server::begin(&context, &mut sockets).unwrap();
            let mesh = context.mesh.clone().unwrap();
            let end = hub.connect(mesh.start());
            let member = mesh.run(end, context.shutdown.closed.clone());
            context.shutdown.connections.spawn(own(member));
            context
        });
        process.spawn(keep(context.clone(), saved.clone()));
        Self {
            context,
            process,
            address,
        }
    }

    pub(super) fn member(&self) -> Start {
        self.context.mesh.as_ref().unwrap().start()
    }

    /// The keys that it knows.
    pub(super) fn keys(&self) -> &KeyStore {
        self.context.config.keys.as_ref().unwrap()
    }

    /// Takes the connection of an inner with this key.
    pub(super) fn take_link(&self, key: &SimKey, end: StreamEnd) {
        let context = self.context.clone();
        let shown = key.header.parse().unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, shown)]);
        self.process.spawn(async move {
            let stream = Transport::Simulated(Box::new(end));
            if let Ok(caller) = context.access.caller(&context.admit(PEER), &headers) {
                link::run(&context, &caller, PEER, stream, Vec::new()).await;
            }
        });
    }

    /// Takes the connection of another router, or of a console.
    pub(super) fn take_at_main_port(&self, end: StreamEnd) {
        let context = self.context.clone();
        self.process.spawn(async move {
            let pending = context.admit(PEER);
            let stream = Transport::Simulated(Box::new(end));
            main_port::answer_all(&context, &pending, stream).await;
        });
    }

    /// The socket of this port, if it is open.
    pub(super) fn open_port(&self, port: u16) -> Option<Arc<OpenPort>> {
        match self.context.registry.occupant(port)? {
            Occupant::Here(car) => car.open_port(),
            Occupant::Elsewhere(port) => Some(port.open.clone()),
        }
    }

    /// Takes the connection of a caller to a service port.
    pub(super) fn take_caller(&self, port: Arc<OpenPort>, end: StreamEnd) {
        let context = self.context.clone();
        let callers = self.context.shutdown.callers.clone();
        self.process.spawn(callers.track_future(async move {
            let pending = context.unauthenticated.admit(PEER, &port.closed);
            let stream = Transport::Simulated(Box::new(end));
            service_port::answer_all(&context, &port, stream, &pending).await;
        }));
    }

    /// Shuts the router down as SIGTERM does; or as SIGUSR2 does if it `hands_over`: then it returns its sockets,
    /// the main port's first.
    pub(super) async fn shut_down(self, saved: &SavedPorts, hands_over: bool) -> Vec<OwnedFd> {
        let listener = p2p_shared::net::socket::listen((self.address, 0).into());
        let router = Router {
            context: self.context.clone(),
            address: PEER,
            listener: Arc::new(listener.unwrap()),
        };
        let (gone, sockets) = oneshot::channel();
        let context = self.context.clone();
        self.process.spawn(async move {
            let sockets = if hands_over {
                router.hand_over(|| true).await.sockets
            } else {
                router.shut_down().await;
                Vec::new()
            };
            let _ = gone.send(sockets);
        });
        // What is there as it begins to end is written last.
        *saved.lock().unwrap() = context.registry.saved();
        let ended = tokio::time::timeout(ENDING, sockets).await;
        ended.ok().and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for MeshRouter {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// Saves the ports whenever they have changed.
async fn keep(context: Arc<Context>, saved: SavedPorts) {
    let mut changed = context.registry.changes();
    while changed.changed().await.is_ok() {
        sleep(TOGETHER).await;
        changed.mark_unchanged();
        *saved.lock().unwrap() = context.registry.saved();
    }
}
