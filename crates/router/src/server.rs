//! Owns a router from its start to its end: opens its ports, drains its runs, and closes or hands
//! over its sockets.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use p2p_shared::net::socket;
use p2p_shared::os::with_causes;
use p2p_shared::timing;
use tokio::net::TcpListener;

use crate::car::saved_ports::{self, PortState, SavedPort};
use crate::config::Config;
use crate::context::Context;
use crate::link::end::LinkEnd;
use crate::ops::inherited_listeners::{HandedOver, InheritedListeners};
use crate::ops::shutdown::own;
use crate::ops::state_file::StateFile;
use crate::{record, routes};

/// Time for one more request on each open connection when the router goes down: its answer says
/// that it is the last. Without this time, a request that is on its way would get no answer.
const LAST_REQUESTS: Duration = Duration::from_millis(500);
/// Time that connections get to take their last answer when the router goes down.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Time for the other routers of the mesh to say which ports are open for their cars, before those that the
/// router before this one had open are closed.
const NEWS_OF_MESH: Duration = Duration::from_secs(10);

/// A router that is running. Dropping it without [`shut_down`](Self::shut_down) ends it at once.
pub struct Router {
    pub(crate) context: Arc<Context>,
    pub(crate) address: SocketAddr,
    pub(crate) listener: Arc<TcpListener>,
}

impl Router {
    /// Opens the main port and starts.
    ///
    /// # Errors
    /// If the main port can't be opened.
    pub fn start(mut config: Config) -> anyhow::Result<Self> {
        let address = SocketAddr::new(config.bind, config.port);
        let mut sockets = std::mem::take(&mut config.sockets);
        let given = sockets.take_main(config.port, config.bind);
        let listener = given
            .unwrap_or_else(|| socket::listen(address))
            .with_context(|| {
                format!("the main port {address} can't be opened: is another router running there?")
            })?;
        let listener = Arc::new(listener);
        let address = listener.local_addr().context("the main port's address")?;
        config.sockets.keys_agreed_at = sockets.keys_agreed_at;
        let context = Arc::new(Context::new(config, address, SystemTime::now())?);
        begin(&context, &mut sockets)?;
        for port in sockets.left() {
            tracing::warn!(
                port,
                "the socket that was given for this port is closed: nobody had it, and it is not the main port"
            );
        }
        let serving = routes::main_port::serve(context.clone(), listener.clone());
        context.shutdown.connections.spawn(serving);
        let looking = context.clone();
        context
            .shutdown
            .spawn(async move { looking.health.watch().await });
        Ok(Self {
            context,
            address,
            listener,
        })
    }

    /// Returns the main port's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shuts down as [`shut_down`](Self::shut_down) does, but keeps the ports open, and returns what
    /// the next router takes over: callers wait there for the next router. Asks `is_wanted` once nothing runs any more;
    /// after a `false` the ports are closed as by `shut_down`.
    pub async fn hand_over(self, is_wanted: impl Fn() -> bool) -> HandedOver {
        let cars = self.context.registry.cars();
        let mut listeners = vec![self.listener.clone()];
        listeners.extend(
            cars.iter()
                .filter_map(|car| car.open_port()?.listener.clone()),
        );
        listeners.extend(self.context.registry.elsewhere_sockets());
        self.end(is_wanted).await;
        drop(cars);
        let sockets = listeners.iter().filter_map(|listener| {
            // Another task may hold the listener longer: so it is cloned, not taken.
            listener.as_fd().try_clone_to_owned().ok()
        });
        let keys = self.context.config.keys.as_ref();
        HandedOver {
            sockets: sockets.collect(),
            // What was never written the next router does not know.
            keys_agreed_at: (self.context.mesh.as_ref())
                .filter(|_| keys.is_some_and(|keys| keys.is_kept()))
                .and_then(|mesh| mesh.keys_agreed_at()),
        }
    }

    /// Refuses new runs, lets the running ones end for [`timing::DRAIN`], sends the inners away
    /// with a time to come back, and closes everything.
    pub async fn shut_down(self) {
        self.end(|| false).await;
    }

    async fn end(&self, hands_over: impl Fn() -> bool) {
        let Context {
            config,
            shutdown,
            registry,
            ..
        } = &*self.context;
        shutdown.draining.cancel();
        if let Some(mesh) = &self.context.mesh {
            mesh.drain();
        }
        registry.close();
        shutdown.open_runs.close();
        let drained = tokio::time::timeout(timing::DRAIN, shutdown.open_runs.wait()).await;
        if drained.is_err() {
            let left = shutdown.open_runs.len();
            tracing::warn!(runs = left, "runs are cut off: they did not end in time");
        }
        let elsewhere = !hands_over();
        if !elsewhere {
            shutdown.handing_over.cancel();
        }
        shutdown.callers.close();
        let _ = tokio::time::timeout(LAST_REQUESTS, shutdown.callers.wait()).await;
        if let Some(file) = config.known_links.clone() {
            let ports = registry.clone();
            saved_ports::write_last(file, move |found| ports.exchange(&found)).await;
        }
        let cars = registry.cars();
        let spread = timing::COME_BACK_SPREAD;
        for (n, car) in (0_u32..).zip(&cars) {
            let share = f64::from(n) / (cars.len() as f64);
            let after = spread.mul_f64(share);
            car.end_link(LinkEnd::GoAway { after, elsewhere });
        }
        shutdown.closed.cancel();
        for car in &cars {
            car.close();
        }
        registry.close_elsewhere();
        shutdown.connections.close();
        shutdown.links.close();
        let last = async {
            shutdown.links.wait().await;
            shutdown.callers.wait().await;
            shutdown.connections.wait().await;
        };
        // A caller that doesn't take its last answer in time doesn't get it.
        let _ = tokio::time::timeout(LAST_ANSWERS, last).await;
    }
}

/// Opens the ports that were open before, and begins all that goes on beside the main port.
pub(crate) fn begin(
    context: &Arc<Context>,
    sockets: &mut InheritedListeners,
) -> anyhow::Result<()> {
    let Context {
        config,
        shutdown,
        registry,
        ..
    } = &**context;
    // Without a server, whoever starts the router connects it: a test with a bus of its own.
    if let (Some(mesh), Some(config)) = (&context.mesh, &config.mesh)
        && !config.servers.is_empty()
    {
        let member = mesh
            .clone()
            .run(mesh.connect(config)?, shutdown.closed.clone());
        shutdown.connections.spawn(own(member));
    }
    shutdown.spawn(context.access.clone().follow());
    if let Some(certificate) = config.certificate.clone() {
        shutdown.spawn(certificate.follow());
    }
    shutdown.spawn(context.on_link.clone().run());
    if let Some(config) = config.record.clone() {
        // Beyond the router's end, at which its files are ended, too.
        let recording = record::run(context.clone(), config);
        shutdown.connections.spawn(own(recording));
    }
    let keeping_time = registry.clone().run_timers(shutdown.closed.clone());
    shutdown.connections.spawn(own(keeping_time));
    if let Some(file) = config.known_links.clone() {
        restore(context, &file, sockets);
        let ports = registry.clone();
        let exchange = move |found: Vec<_>| ports.exchange(&found);
        let keeping =
            saved_ports::sync(file, registry.changes(), exchange, shutdown.closed.clone());
        shutdown.connections.spawn(own(keeping));
    }
    if context.mesh.is_some() {
        registry.inherit(sockets.take_rest(config.bind));
        let registry = registry.clone();
        shutdown.spawn(async move {
            tokio::time::sleep(NEWS_OF_MESH).await;
            registry.close_inherited();
        });
    }
    if let (Some(mesh), Some(hops)) = (&context.mesh, &context.hops) {
        let following = routes::follow_mesh::run(context.clone(), mesh.clone());
        shutdown.spawn(following);
        shutdown.spawn(hops.clone().keep_in_touch());
        let keys = routes::follow_keys::run(context.clone(), mesh.clone(), hops.clone());
        shutdown.spawn(keys);
    }
    Ok(())
}

fn restore(context: &Arc<Context>, file: &StateFile, sockets: &mut InheritedListeners) {
    let known = saved_ports::read(file).unwrap_or_else(|error| {
        let error = with_causes(&error);
        tracing::warn!(error, "which service ports were open is not known");
        Vec::new()
    });
    open_again(context, known, sockets);
}

/// Opens the service ports that were open before, for whoever had them.
pub(crate) fn open_again(
    context: &Arc<Context>,
    known: Vec<SavedPort>,
    sockets: &mut InheritedListeners,
) {
    let mut count = 0;
    for link in known {
        let registry = &context.registry;
        let given = sockets.take(link.service_port, registry.bind());
        if link.state == PortState::Freed {
            continue;
        }
        if !registry.knows(link.owner) {
            tracing::info!(
                link = %link.name, service_port = link.service_port,
                "this port stays closed: whose it was has no key any more"
            );
            continue;
        }
        if link.state == PortState::Kept {
            registry.keep(link);
            continue;
        }
        let listener = given.and_then(Result::ok);
        match registry.restore(&link, listener) {
            Some(car) => {
                routes::link::restored(context, car);
                count += 1;
            }
            None => {
                tracing::warn!(
                    link = %link.name, service_port = link.service_port,
                    "this port was open before and can't be opened again"
                );
                registry.keep(link);
            }
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
        self.context.shutdown.draining.cancel();
        self.context.shutdown.closed.cancel();
        self.context.registry.close_elsewhere();
        for car in self.context.registry.cars() {
            car.close();
            car.end_link(LinkEnd::GoAway {
                after: Duration::ZERO,
                elsewhere: true,
            });
        }
    }
}
