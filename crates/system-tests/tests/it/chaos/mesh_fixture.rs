//! Three hosts with a router and a nats-server each, and a car that knows all three.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use p2p_shared::key::Key;
use tokio::process::Command;

use super::driver::DriverFaults;
use super::fixture::{Keys, write_commands};
use super::history::{CarAct, SharedHistory, acts, now};
use super::load::{self, CallTarget};
use super::mesh_network::HostNetwork;
use crate::common::program::{self, RunningProgram};
use crate::common::proxy::Proxy;
use crate::common::{ReservedPort, until, until_so};

pub(crate) const HOSTS: [usize; 3] = [0, 1, 2];

/// How the programs are run where a fault needs more than the usual.
#[derive(Default)]
pub(crate) struct MeshConfig {
    /// The hosts' own networks; else all are on loopback.
    pub(crate) network: Option<HostNetwork>,
    /// What each router finds in its environment.
    pub(crate) router_variables: [Vec<(&'static str, String)>; 3],
    /// All have keys, and what is between them TLS.
    pub(crate) has_keys: bool,
    /// Folder of programs of another version, for the car.
    pub(crate) old_programs: Option<PathBuf>,
}

/// The programs of a round. Dropping it ends them.
pub(crate) struct MeshFixture {
    pub(crate) routers: [RunningProgram; 3],
    pub(crate) nats: [RunningProgram; 3],
    pub(crate) inner: RunningProgram,
    /// Between the car and the first router, on loopback.
    pub(crate) proxy: Option<Proxy>,
    pub(crate) driver_faults: DriverFaults,
    pub(crate) history: SharedHistory,
    pub(crate) keys: Option<Keys>,
    plan: Plan,
}

/// Who is where.
struct Plan {
    folder: tempfile::TempDir,
    config: MeshConfig,
    main: ReservedPort,
    service: ReservedPort,
    clients: ReservedPort,
    cluster: ReservedPort,
}

impl Plan {
    fn address(&self, host: usize) -> Ipv4Addr {
        let network = self.config.network.as_ref();
        match network {
            Some(network) => network.address(host),
            None => [
                Ipv4Addr::new(127, 0, 0, 1),
                Ipv4Addr::new(127, 0, 0, 2),
                Ipv4Addr::new(127, 0, 0, 3),
            ][host],
        }
    }

    /// A program on this host, in a folder of its own.
    fn on(&self, host: usize, program: &Path) -> Command {
        let folder = self.folder_of(host);
        std::fs::create_dir_all(&folder).unwrap();
        let Some(network) = &self.config.network else {
            return program::command(program, &folder);
        };
        let mut command = program::command(Path::new("ip"), &folder);
        command.args(["netns", "exec", &network.space(host)]);
        command.arg(program);
        command
    }

    fn folder_of(&self, host: usize) -> PathBuf {
        self.folder.path().join(format!("host-{host}"))
    }

    fn start_router(&self, host: usize) -> RunningProgram {
        let mut router = self.on(host, &program::path("p2p-router"));
        let (address, main) = (self.address(host), self.main.port);
        router.env("P2P_HOST_NAMES", "car,car.test");
        router.args([&main.to_string(), "--bind", &address.to_string()]);
        router.args(["--mesh", &format!("nats://{address}:{}", self.clients.port)]);
        router.args(["--mesh-address", &format!("{address}:{main}")]);
        if !self.config.has_keys {
            router.arg("--open");
        }
        if self.config.network.is_some() {
            router.arg("--open-to-everyone");
        }
        router.envs(self.config.router_variables[host].iter().cloned());
        RunningProgram::start(&mut router)
    }

    fn start_nats(&self, host: usize) -> RunningProgram {
        let route = |host| format!("nats://{}:{}", self.address(host), self.cluster.port);
        let mut nats = self.on(host, Path::new("nats-server"));
        let (address, clients) = (self.address(host).to_string(), self.clients.port);
        nats.args(["--addr", &address, "--port", &clients.to_string()]);
        nats.args(["--cluster_name", "p2p", "--cluster", &route(host)]);
        nats.args(["--routes", &HOSTS.map(route).join(",")]);
        RunningProgram::start(&mut nats)
    }

    /// The car asks the first router first.
    fn start_inner(&self, proxy: Option<&Proxy>, keys: Option<&Keys>) -> RunningProgram {
        let folder = self.folder.path();
        let old = self.config.old_programs.as_ref();
        let inner = old.map_or_else(|| program::path("p2p-inner"), |it| it.join("p2p-inner"));
        let mut inner = program::command(&inner, folder);
        let at = |host| self.address(host).to_string();
        let main = self.main.port;
        let first = proxy.map_or(main, Proxy::port);
        inner.args([&at(0), &first.to_string(), &self.service.port.to_string()]);
        if old.is_none() {
            inner.args(["--routers", &format!("{}:{main},{}:{main}", at(1), at(2))]);
        }
        inner.args(["--name", "car", "--max-runs", "50"]);
        if self.config.network.is_some() {
            inner.arg("--open");
        }
        inner.envs(keys.map(|keys| ("P2P_KEY", keys.link.expose())));
        RunningProgram::start(&mut inner)
    }
}

impl MeshFixture {
    /// Starts all, and waits until each router serves the car, which is at the first one.
    pub(crate) async fn start(config: MeshConfig) -> Self {
        let plan = Plan {
            folder: tempfile::tempdir().unwrap(),
            config,
            main: ReservedPort::new(),
            service: ReservedPort::new(),
            clients: ReservedPort::new(),
            cluster: ReservedPort::new(),
        };
        write_commands(plan.folder.path());
        let keys = plan.make_mesh().await;
        let nats = HOSTS.map(|host| plan.start_nats(host));
        let routers = HOSTS.map(|host| plan.start_router(host));
        for router in &routers {
            router.says("listening on").await;
        }
        let driver = keys.as_ref().map(|keys| &keys.driver);
        until_so("the routers know each other", async || {
            for host in HOSTS {
                let main = plan.main(host, driver);
                if load::metric(&main, "p2p_router_mesh_members ").await != Some(3) {
                    return false;
                }
            }
            true
        })
        .await;
        let proxy = match plan.config.network {
            Some(_) => None,
            None => Some(Proxy::to(plan.main.port).await),
        };
        let mut fixture = Self {
            inner: plan.start_inner(proxy.as_ref(), keys.as_ref()),
            routers,
            nats,
            proxy,
            driver_faults: DriverFaults::default(),
            history: SharedHistory::default(),
            keys,
            plan,
        };
        fixture.agrees().await;
        // On a busy machine its first dial may have failed: then it is at another one.
        while load::metric(&fixture.main(0), "p2p_router_links ").await != Some(1) {
            fixture.inner.kill().await;
            let (proxy, keys) = (fixture.proxy.as_ref(), fixture.keys.as_ref());
            fixture.inner = fixture.plan.start_inner(proxy, keys);
            fixture.agrees().await;
        }
        fixture
    }

    pub(crate) fn path(&self) -> &Path {
        self.plan.folder.path()
    }

    pub(crate) fn network(&self) -> &HostNetwork {
        self.plan.config.network.as_ref().unwrap()
    }

    /// The main port of a router.
    pub(crate) fn main(&self, host: usize) -> CallTarget {
        self.plan.main(host, self.driver_key().as_ref())
    }

    pub(crate) fn driver_key(&self) -> Option<Key> {
        self.keys.as_ref().map(|keys| keys.driver.clone())
    }

    pub(crate) fn service_port(&self) -> u16 {
        self.plan.service.port
    }

    /// Where callers ask for the car at this router.
    pub(crate) fn car(&self, host: usize) -> CallTarget {
        CallTarget {
            at: (self.plan.address(host), self.plan.service.port).into(),
            host: "car",
            key: self.driver_key(),
        }
    }

    pub(crate) fn start_router(&mut self, host: usize) {
        self.routers[host] = self.plan.start_router(host);
    }

    pub(crate) fn start_nats(&mut self, host: usize) {
        self.nats[host] = self.plan.start_nats(host);
    }

    /// Waits until each router serves the car, and one has its link.
    pub(crate) async fn agrees(&self) {
        until_so("all routers agree on who has the car", async || {
            let mut links = 0;
            for host in HOSTS {
                links += (load::metric(&self.main(host), "p2p_router_links ").await).unwrap_or(9);
                let answer = load::ask(&self.car(host), "/commands").await;
                if !matches!(answer, Ok(Some(answer)) if answer.status == 200) {
                    return false;
                }
            }
            links == 1
        })
        .await;
    }

    /// Waits until the car moves.
    pub(crate) async fn moves(&self) {
        until("the car moves", || {
            let acts = acts(self.path());
            acts.last().is_some_and(|(_, act)| *act != CarAct::Stops)
        })
        .await;
    }

    /// Records that the fault strikes now.
    pub(crate) fn strikes(&self) {
        let mut history = self.history.lock().unwrap();
        history.struck = now();
        history.healed = None;
    }

    /// Records that the fault is over now.
    pub(crate) fn heals(&self) {
        self.history.lock().unwrap().healed = Some(now());
    }

    /// Runs `p2p-router` with these words beside a router; what it said.
    pub(crate) async fn router_command(&self, host: usize, words: &[&str]) -> String {
        let mut command = self.plan.on(host, &program::path("p2p-router"));
        let ended = program::run(command.args(words)).await;
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        ended.out + &ended.errors
    }

    pub(crate) fn strikes_once(&self) {
        self.strikes();
        self.heals();
    }
}

impl Plan {
    /// Makes the secret that all have, and their keys.
    async fn make_mesh(&self) -> Option<Keys> {
        let mut new = self.on(0, &program::path("p2p-router"));
        let made = program::run(new.args(["mesh", "new"])).await;
        assert_eq!(made.code, Some(0), "{}", made.errors);
        let keys = match self.config.has_keys {
            true => Some(Keys::make(&self.folder_of(0)).await),
            false => None,
        };
        let state = |host| self.folder_of(host).join(".local/state/p2prouter");
        for host in [1, 2] {
            std::fs::create_dir_all(state(host)).unwrap();
            for file in std::fs::read_dir(state(0)).unwrap() {
                let file = file.unwrap();
                std::fs::copy(file.path(), state(host).join(file.file_name())).unwrap();
            }
        }
        keys
    }

    fn main(&self, host: usize, key: Option<&Key>) -> CallTarget {
        CallTarget {
            at: (self.address(host), self.main.port).into(),
            host: "car",
            key: key.cloned(),
        }
    }
}
