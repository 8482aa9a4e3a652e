//! Owns what the parts of one history share: who is there, and the ways between them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use p2p_inner::LinkState;
use p2p_inner::simulation::{Network, Simulated, Stall, World};
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::MotionInfo;
use tokio_util::task::AbortOnDropHandle;

use super::dice::Dice;
use super::history::History;
use super::machine::{LEASE, LIMIT, Machine, Seat};
use super::network::{End, Way};
use super::presses::Presses;
use super::relay::{Known, Relay};
use crate::car::registry::{Registry, ServicePort};

/// What all parts know.
pub(super) struct Stage {
    pub history: History,
    pub relay: Mutex<Option<Relay>>,
    pub presses: Presses,
    /// Which service ports the routers that ended had open.
    pub known: Arc<Mutex<Known>>,
    /// The car, and the machine of one that passes itself off as it.
    pub machines: [Machine; 2],
    /// The command directory.
    commands: PathBuf,
    port: AtomicU16,
    is_quiet: AtomicBool,
    has_twin: AtomicBool,
}

impl Stage {
    pub(super) fn new(
        history: History,
        presses: Presses,
        machines: [Machine; 2],
        commands: PathBuf,
    ) -> Self {
        Self {
            history,
            relay: Mutex::default(),
            presses,
            known: Arc::default(),
            machines,
            commands,
            port: AtomicU16::new(0),
            is_quiet: AtomicBool::new(false),
            has_twin: AtomicBool::new(false),
        }
    }

    /// Nobody wants anything any more.
    pub(super) fn be_quiet(&self) {
        self.is_quiet.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::Relaxed)
    }

    /// There are two inners of the car's identity from now on.
    pub(super) fn set_twin(&self) {
        self.has_twin.store(true, Ordering::Relaxed);
    }

    /// Whether there were ever two.
    pub(super) fn has_twin(&self) -> bool {
        self.has_twin.load(Ordering::Relaxed)
    }

    /// The router is there from now on.
    pub(super) fn start_relay(&self, time: SystemTime) {
        let relay = Relay::start(time, &self.known);
        let feed = relay.context.feed.subscribe(None).events;
        let hearing = self.presses.clone();
        tokio::spawn(hearing.listen(feed, self.machines.clone()));
        *self.relay.lock().unwrap() = Some(relay);
    }

    /// The router is no more there.
    pub(super) fn take_relay(&self) -> Option<Relay> {
        self.relay.lock().unwrap().take()
    }

    /// The car's service port at this router; the first where it has another than it had.
    pub(super) fn service(&self, relay: &Relay) -> Option<Arc<ServicePort>> {
        let port = self.port.load(Ordering::Relaxed);
        let services = relay.context.registry.services().into_iter();
        services.min_by_key(|service| (service.port != port, service.port))
    }

    /// Promise 2: there is an answer at each port that is known, whether or not its inner is there.
    pub(super) fn check_known(&self, registry: &Registry) {
        if self.is_quiet() {
            return;
        }
        let services = registry.services();
        for port in self.known.lock().unwrap().ports() {
            if services.iter().all(|service| service.port != port) {
                let how = format!("the port {port} is known, and nobody answers there");
                self.history.broken(2, how);
            }
        }
    }

    /// Whether the car's port will be opened again for it by any router.
    pub(super) fn knows_port(&self) -> bool {
        let port = self.port.load(Ordering::Relaxed);
        self.known
            .lock()
            .unwrap()
            .ports()
            .any(|known| known == port)
    }

    /// A console's connection, if somebody listens.
    pub(super) async fn dial_console(&self, way: &Way) -> Option<End> {
        way.round_trips().await;
        let relay = self.relay.lock().unwrap();
        let relay = relay.as_ref()?;
        let (ours, its) = way.connect(None);
        relay.take_console(its);
        Some(ours)
    }

    async fn dial_link(&self, way: &Way, machine: Machine) -> Option<End> {
        way.round_trips().await;
        let relay = self.relay.lock().unwrap();
        let relay = relay.as_ref()?;
        let (ours, its) = way.connect(Some(Arc::new(move || machine.heard())));
        relay.take_link(its);
        Some(ours)
    }
}

/// An inner that runs. Dropped, it is dead, as by SIGKILL.
pub(super) struct Agent {
    pub inner: Simulated,
    pub stall: Stall,
    seat: Arc<Seat>,
    _port: AbortOnDropHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.seat.kill();
    }
}

impl Agent {
    /// Starts one on this machine.
    pub(super) fn start(
        stage: &Arc<Stage>,
        machine: &Machine,
        (way, identity): (&Way, &str),
        dice: &Dice,
    ) -> Self {
        let seat = machine.seat();
        let world: Arc<dyn World> = seat.clone();
        let network = {
            let (stage, way, machine) = (stage.clone(), way.clone(), machine.clone());
            Network(Arc::new(move || {
                let (stage, way, machine) = (stage.clone(), way.clone(), machine.clone());
                Box::pin(async move {
                    let end = stage.dial_link(&way, machine).await?;
                    Some(Transport::Simulated(Box::new(end)))
                })
            }))
        };
        let config = p2p_inner::Config {
            router: RouterAddress {
                host: "router".to_owned(),
                port: 8888,
            },
            service_port: stage.port.load(Ordering::Relaxed),
            name: "car".parse().unwrap(),
            identity: identity.to_owned().try_into().unwrap(),
            key: None,
            commands: stage.commands.clone(),
            timeout: Duration::from_secs(5),
            max_runs: 16,
            worker_hello: p2p_inner::WORKER_HELLO,
            motion: MotionInfo {
                commands: vec!["forward".parse().unwrap(), "back".parse().unwrap()],
                stop: "stop".parse().unwrap(),
                lease_ms: u64::try_from(LEASE.as_millis()).unwrap(),
                limit_ms: u64::try_from(LIMIT.as_millis()).unwrap(),
            },
            guardian: None,
            camera: None,
        };
        let stall = Stall::default();
        let inner = Simulated::start(config, dice.next(), network, &world, &stall).unwrap();
        let mut link = inner.link.clone();
        let stage = stage.clone();
        let port = tokio::spawn(async move {
            while link.changed().await.is_ok() {
                if let LinkState::Up { service_port, .. } = *link.borrow_and_update() {
                    stage.port.store(service_port, Ordering::Relaxed);
                    stage.history.tell(|| "link up".to_owned());
                }
            }
        });
        Self {
            inner,
            stall,
            seat,
            _port: AbortOnDropHandle::new(port),
        }
    }
}
