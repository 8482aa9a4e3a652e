//! The public relay: takes links of inners on its main port, opens a service port for each, and
//! has commands run there for whoever asks over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use p2p_shared::names::RunIds;
use p2p_shared::net::socket;
use p2p_shared::ports::PortRange;
use p2p_shared::timing;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub mod auth;
mod camera;
mod car;
mod client;
pub mod config;
mod feed;
pub mod http;
mod link;
pub mod net;
pub mod ops;
mod page;
mod routes;
mod run;
#[cfg(test)]
mod simulation;

use auth::access::Access;
use auth::certificate::{Certificate, CertificateFiles};
use auth::key_store::KeyStore;
use car::cars::Cars;
use car::control::Epochs;
use car::registry::{Occupant, Registry};
use feed::Feed;
pub use http::connection::Patience;
use http::host::HostName;
use link::handle::LinkEnd;
use net::quota::Quota;
use net::unauthenticated::Unauthenticated;
use ops::health::Health;
use ops::inherited_listeners::InheritedListeners;
use ops::metrics::Metrics;
use ops::on_link::OnLink;
use ops::state_file::StateFile;

/// How long connections that are kept open get for another request when the router goes down: its
/// answer says that it is the last. Closed without one, a request that is on its way gets none.
const LAST_REQUESTS: Duration = Duration::from_millis(500);
/// How long connections get to take their last answer when the router goes down.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// What a router needs to know.
#[derive(Debug)]
pub struct Config {
    /// Where it listens, main port and service ports alike.
    pub bind: IpAddr,
    /// The main port; 0: any.
    pub port: u16,
    /// The service ports that may be asked for.
    pub service_ports: PortRange,
    /// The keys; `None`: everyone may do everything (`--open`).
    pub keys: Option<KeyStore>,
    /// What is shown to those who connect by TLS; `None`: nobody can, and what is plain is taken
    /// from anywhere.
    pub certificate: Option<Certificate>,
    /// The files that the certificate is from, if it is an authority's.
    pub certificate_files: Option<CertificateFiles>,
    /// Whether service ports take keys and commands without TLS, too.
    pub allow_plain_http: bool,
    /// The names by which browsers reach the router, where it has no keys.
    pub host_names: Vec<HostName>,
    /// Most bytes of a request's body.
    pub max_body: usize,
    /// How long callers are waited for.
    pub patience: Patience,
    /// Most service ports of one key, or with `--open` of one address.
    pub max_links: usize,
    /// What is run when a link is there for the first time or gone for good: a program and its
    /// arguments.
    pub on_link: Option<Vec<String>>,
    /// Which service ports are open is kept here, to be opened again after a restart.
    pub known_links: Option<StateFile>,
    /// The sockets that we were given.
    pub sockets: InheritedListeners,
}

/// What everything in a router shares.
pub(crate) struct Context {
    access: Access,
    acceptor: Option<TlsAcceptor>,
    allow_plain_http: bool,
    /// The names that a request may be for; `None`: any.
    host_names: Option<Vec<HostName>>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    health: Health,
    run_ids: RunIds,
    feed: Arc<Feed>,
    cars: Arc<Cars>,
    max_body: usize,
    patience: Patience,
    strangers: Arc<Unauthenticated>,
    /// The consoles, viewers of cameras and open runs of each key.
    consoles: Quota,
    viewers: Quota,
    runs: Quota,
    on_link: Arc<OnLink>,
    /// No new runs.
    draining: CancellationToken,
    /// No new connections: they wait at the sockets for the router after this one.
    handing_over: CancellationToken,
    /// No new anything.
    closed: CancellationToken,
    open_runs: TaskTracker,
    /// Those on service ports.
    callers: TaskTracker,
    connections: TaskTracker,
    links: TaskTracker,
}

/// A router that is running. Dropped without [`shut_down`](Self::shut_down), it ends at once.
pub struct Router {
    context: Arc<Context>,
    address: SocketAddr,
    listener: Arc<TcpListener>,
    known_links: Option<StateFile>,
}

impl Router {
    /// Opens the main port and starts.
    ///
    /// # Errors
    /// If the main port can't be opened.
    pub fn start(mut config: Config) -> anyhow::Result<Self> {
        let address = SocketAddr::new(config.bind, config.port);
        let given = config.sockets.take_main(config.port, config.bind);
        let listener = given
            .unwrap_or_else(|| socket::listen(address))
            .with_context(|| {
                format!("the main port {address} can't be opened: is another router running there?")
            })?;
        let listener = Arc::new(listener);
        let address = listener.local_addr().context("the main port's address")?;
        let feed = Arc::new(Feed::new());
        let metrics = Arc::new(Metrics::new());
        let context = Arc::new(Context {
            access: Access::by(config.keys.clone())?,
            host_names: config.keys.is_none().then_some(config.host_names),
            acceptor: config.certificate.as_ref().map(Certificate::acceptor),
            allow_plain_http: config.allow_plain_http,
            registry: Arc::new(Registry::new(
                config.bind,
                config.service_ports,
                config.max_links,
            )),
            cars: Arc::new(Cars::new(
                feed.clone(),
                metrics.clone(),
                Epochs::starting_now(),
            )),
            feed,
            strangers: Arc::new(Unauthenticated::new(metrics.clone())),
            consoles: Quota::new(net::limits::CONSOLES),
            viewers: Quota::new(net::limits::VIEWERS),
            runs: Quota::new(net::limits::RUNS),
            on_link: Arc::default(),
            metrics,
            health: Health::new(address).context("a random number")?,
            run_ids: RunIds::starting_now(),
            max_body: config.max_body,
            patience: config.patience,
            draining: CancellationToken::new(),
            handing_over: CancellationToken::new(),
            closed: CancellationToken::new(),
            open_runs: TaskTracker::new(),
            callers: TaskTracker::new(),
            connections: TaskTracker::new(),
            links: TaskTracker::new(),
        });
        if let Some(keys) = config.keys {
            context
                .connections
                .spawn(keys.watch(context.closed.clone().cancelled_owned()));
        }
        if let Some((certificate, files)) = config.certificate.zip(config.certificate_files) {
            let following = certificate.follow(files, context.closed.clone());
            context.connections.spawn(following);
        }
        if let Some(program) = config.on_link {
            let telling = context
                .on_link
                .clone()
                .tell(program, context.closed.clone());
            context.connections.spawn(telling);
        }
        let keeping_time = context.cars.clone().run_timers(context.closed.clone());
        context.connections.spawn(keeping_time);
        if let Some(file) = config.known_links.clone() {
            restore(&context, &file, &mut config.sockets);
            let closed = context.closed.clone();
            let keeping = car::saved_ports::keep(file, context.registry.clone(), closed);
            context.connections.spawn(keeping);
        }
        for port in config.sockets.left() {
            tracing::warn!(
                port,
                "the socket that was given for this port is closed: nobody had it, and it is not the main port"
            );
        }
        context
            .connections
            .spawn(routes::main_port::serve(context.clone(), listener.clone()));
        let (looking, closed) = (context.clone(), context.closed.clone());
        context.connections.spawn(async move {
            let watching = looking.health.watch();
            closed.run_until_cancelled(watching).await;
        });
        Ok(Self {
            context,
            address,
            listener,
            known_links: config.known_links,
        })
    }

    /// The main port's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as [`shut_down`](Self::shut_down), but that the ports stay open: their sockets, of
    /// which whoever gets them takes on those who have called meanwhile. When nothing runs any more
    /// and it `is_wanted` no longer, they are not kept for anybody.
    pub async fn hand_over(self, is_wanted: impl Fn() -> bool) -> Vec<OwnedFd> {
        let services = self.context.registry.services();
        let listeners = services.iter().filter_map(|service| service.listener());
        let listeners: Vec<_> = [self.listener.clone()]
            .into_iter()
            .chain(listeners)
            .collect();
        self.end(is_wanted).await;
        drop(services);
        let sockets = listeners.iter().filter_map(|listener| {
            // The last to hold it is not always we: somebody's farewell may take longer.
            listener.as_fd().try_clone_to_owned().ok()
        });
        sockets.collect()
    }

    /// Refuses new runs, lets the running ones end for [`timing::DRAIN`], sends the inners away
    /// with a time to come back, and closes everything.
    pub async fn shut_down(self) {
        self.end(|| false).await;
    }

    async fn end(self, hands_over: impl Fn() -> bool) {
        let context = &self.context;
        context.draining.cancel();
        context.cars.close();
        context.open_runs.close();
        if tokio::time::timeout(timing::DRAIN, context.open_runs.wait())
            .await
            .is_err()
        {
            let left = context.open_runs.len();
            tracing::warn!(runs = left, "runs are cut off: they did not end in time");
        }
        if hands_over() {
            context.handing_over.cancel();
        }
        context.callers.close();
        let _ = tokio::time::timeout(LAST_REQUESTS, context.callers.wait()).await;
        if let Some(file) = self.known_links.clone() {
            car::saved_ports::write_last(file, &context.registry).await;
        }
        let services = context.registry.services();
        let spread = timing::COME_BACK_SPREAD;
        for (n, service) in (0_u32..).zip(&services) {
            if let Occupant::Linked(link) = service.occupant() {
                let share = f64::from(n) / (services.len() as f64);
                link.end(LinkEnd::GoAway(spread.mul_f64(share)));
            }
        }
        context.closed.cancel();
        for service in &services {
            service.closed.cancel();
        }
        context.connections.close();
        context.links.close();
        let last = async {
            context.links.wait().await;
            context.callers.wait().await;
            context.connections.wait().await;
        };
        // Who doesn't take its last answer by then does without.
        let _ = tokio::time::timeout(LAST_ANSWERS, last).await;
    }
}

/// Opens the service ports that were open before, for whoever had them.
fn restore(context: &Arc<Context>, file: &StateFile, sockets: &mut InheritedListeners) {
    let known = car::saved_ports::read(file).unwrap_or_else(|error| {
        let error = format!("{error:#}");
        tracing::warn!(error, "which service ports were open is not known");
        Vec::new()
    });
    let mut count = 0;
    for link in known {
        let given = sockets.take(link.service_port, context.registry.bind());
        let holder = link.owner().filter(|owner| context.access.knows(*owner));
        let Some(holder) = holder else {
            tracing::info!(
                link = %link.name, service_port = link.service_port,
                "this port stays closed: whose it was has no key any more"
            );
            continue;
        };
        match context
            .registry
            .restore(&link, holder, given.and_then(Result::ok))
        {
            Some(service) => {
                routes::link::restored(context, service);
                count += 1;
            }
            None => tracing::warn!(
                link = %link.name, service_port = link.service_port,
                "this port was open before and can't be opened again"
            ),
        }
    }
    if count > 0 {
        tracing::info!(
            ports = count,
            "service ports are open again, and wait for their inners"
        );
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.context.draining.cancel();
        self.context.closed.cancel();
        for service in self.context.registry.services() {
            service.closed.cancel();
            if let Occupant::Linked(link) = service.occupant() {
                link.end(LinkEnd::GoAway(Duration::ZERO));
            }
        }
    }
}
