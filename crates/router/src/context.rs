//! Owns what everything in a router shares, made once at its start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use anyhow::Context as _;
use hyper::StatusCode;
use p2p_shared::names::{RunId, RunIds};
use tokio::sync::Notify;

use crate::auth::access::{Access, Caller};
use crate::car::CarServices;
use crate::car::control::Epochs;
use crate::car::registry::{PortRules, Registry};
use crate::config::Config;
use crate::feed::Feed;
use crate::http::response::Problem;
use crate::mesh::Mesh;
use crate::mesh::hop::Hops;
use crate::net::limits::{self, OpenFileLimits};
use crate::net::quota::Quota;
use crate::net::unauthenticated::{PendingConnection, Unauthenticated};
use crate::ops::health::Health;
use crate::ops::metrics::Metrics;
use crate::ops::on_link::OnLink;
use crate::ops::own_log::OwnLog;
use crate::ops::shutdown::Shutdown;

/// Purpose of the key that signs the session cookies of a mesh.
const COOKIES: &str = "p2prouter mesh, session cookies, version 1";

/// State that everything in a router shares.
pub(crate) struct Context {
    pub config: Config,
    pub access: Access,
    pub unauthenticated: Arc<Unauthenticated>,
    pub quotas: Quotas,
    pub limits: OpenFileLimits,
    pub registry: Arc<Registry>,
    pub feed: Arc<Feed>,
    pub run_ids: RunIds,
    pub on_link: Arc<OnLink>,
    pub own_log: OwnLog,
    pub metrics: Arc<Metrics>,
    pub health: Health,
    /// The mesh, if this router is a member of one.
    pub mesh: Option<Arc<Mesh>>,
    /// The ways to its other members.
    pub hops: Option<Arc<Hops>>,
    pub shutdown: Shutdown,
}

/// Limits for the holder of one key, or with `--open` for one network.
pub(crate) struct Quotas {
    pub consoles: Quota,
    /// Connections to and from other routers of the mesh for consoles.
    pub lines: Quota,
    pub viewers: Quota,
    pub runs: Quota,
    /// Bytes of answers that were not taken yet.
    pub unread: Quota,
}

impl Context {
    /// Makes the context of a router with this main port, which starts `now`: epochs of control
    /// begin at that time.
    ///
    /// # Errors
    /// If the secret of session cookies can't be used, or there is no random number.
    pub(crate) fn new(
        config: Config,
        main_port: SocketAddr,
        now: SystemTime,
    ) -> anyhow::Result<Self> {
        let feed = Arc::new(Feed::new());
        let metrics = Arc::new(Metrics::new());
        let services = CarServices {
            records: config.record.is_some(),
            feed: feed.clone(),
            metrics: metrics.clone(),
            epochs: Epochs::starting_at(now),
            changed: Notify::new(),
            closing: AtomicBool::new(false),
        };
        let mesh = config.mesh.as_ref();
        if let (Some(keys), Some(_)) = (&config.keys, mesh) {
            keys.share()?;
        }
        let mesh = mesh.map(|mesh| Mesh::new(mesh, main_port, &metrics, now));
        let mesh = mesh.transpose().context("the mesh")?.map(Arc::new);
        if let (Some(keys), Some(mesh)) = (&config.keys, &mesh)
            && let Some(limit) = config.mesh.as_ref().and_then(|mesh| mesh.keys_stale)
        {
            mesh.set_keys_agreed_at(config.sockets.keys_agreed_at);
            keys.set_stale(mesh.are_keys_stale(limit));
        }
        let of_mesh = (config.mesh.as_ref()).map(|mesh| mesh.secret.derive(COOKIES, &[]));
        let limits = OpenFileLimits::of_this_process();
        let over_quota = &metrics.over_quota;
        let rules = PortRules {
            bind: config.bind,
            allowed: config.service_ports.range(),
            are_open: config.service_ports.are_open(),
            most: config.max_links,
            most_elsewhere: limits.elsewhere,
            keys: config.keys.clone(),
            mesh: mesh.clone(),
        };
        let shutdown = Shutdown::default();
        let hops = mesh
            .clone()
            .map(|mesh| Hops::new(mesh, config.certificate.clone(), shutdown.clone(), &metrics));
        Ok(Self {
            hops: hops.map(Arc::new),
            mesh,
            access: Access::by(config.keys.clone(), of_mesh.as_ref())?,
            unauthenticated: Arc::new(Unauthenticated::new(metrics.clone(), &limits)),
            quotas: Quotas {
                consoles: Quota::new(limits.consoles, over_quota.clone()),
                lines: Quota::new(limits.lines, over_quota.clone()),
                viewers: Quota::new(limits.viewers, over_quota.clone()),
                runs: Quota::new(limits::RUNS, over_quota.clone()),
                unread: Quota::new(limits::UNREAD, over_quota.clone()),
            },
            limits,
            registry: Arc::new(Registry::new(rules, services)),
            feed,
            run_ids: RunIds::random(),
            on_link: Arc::new(OnLink::new(config.on_link.clone())),
            own_log: OwnLog::new(config.log_dir.clone()),
            metrics,
            health: Health::new(main_port).context("a random number")?,
            shutdown,
            config,
        })
    }

    /// The next run's id. Routers of one mesh never give the same.
    pub(crate) fn next_run(&self) -> RunId {
        let run = self.run_ids.next();
        match &self.mesh {
            None => run,
            Some(mesh) => run.of_member(mesh.member().bits()),
        }
    }

    /// Admits a connection that has shown no key yet, until the router closes.
    pub(crate) fn admit(&self, peer: SocketAddr) -> PendingConnection {
        self.unauthenticated.admit(peer, &self.shutdown.closed)
    }

    /// Admits a connection of this caller, who was let in, until the router closes.
    pub(crate) fn admit_known(&self, peer: SocketAddr, caller: &Caller) -> PendingConnection {
        let owner = caller.quota_owner(peer.ip());
        let closed = &self.shutdown.closed;
        self.unauthenticated.admit_known(peer, owner, closed)
    }

    /// Checks that the connection is not closed to make room for another before the answer. `is_stop`
    /// is asked only about one that may have to go.
    pub(crate) fn check_stays(
        &self,
        pending: &PendingConnection,
        caller: &Caller,
        is_stop: impl FnOnce() -> bool,
    ) -> Result<(), Problem> {
        if pending.stays() {
            return Ok(());
        }
        let (owner, is_stop) = (caller.quota_owner(pending.peer.ip()), is_stop());
        if is_stop && pending.stay_for_stop(owner) {
            return Ok(());
        }
        let limits = &self.limits;
        let sentence = if is_stop {
            format!(
                "{} has {} stops under way, the most that a key may have beyond its other connections: nothing was run; close one",
                owner.whose(),
                limits.stops
            )
        } else {
            format!(
                "{} has {} connections open, or all keys together {}, the most that there may be: nothing was run; close one (a stop without arguments is answered all the same)",
                owner.whose(),
                limits.connections,
                limits.callers
            )
        };
        Err(Problem::retry_after(
            StatusCode::TOO_MANY_REQUESTS,
            1,
            sentence,
        ))
    }
}
