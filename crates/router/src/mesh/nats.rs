//! The bus that members at different hosts share: NATS, without anything stored there. It is connected
//! to for ever; while it is down, what is published is dropped.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::{ConnectOptions, Event, ServerAddr, SubscribeError, Subscriber};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use futures_util::stream::select;
use p2p_shared::key::read_secret_file;
use p2p_shared::os::jitter;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::mesh::bus::{Bus, BusEnd};
use crate::mesh::id::Start;
use crate::mesh::message::Topic;
use crate::mesh::{MeshConfig, ServerUrl};

/// Most messages that wait in either direction; what comes beyond that is lost.
const MOST_WAITING: usize = 4096;
/// Time between pings: a server that does not answer two is left for another after some 3 s.
const PING: Duration = Duration::from_secs(1);
/// Longest time to connect to one server.
const CONNECT: Duration = Duration::from_secs(2);
/// Pauses between attempts to connect: doubling from the first to the longest, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Time for the last messages to reach the server.
const FLUSH: Duration = Duration::from_millis(300);
/// Most bytes of a file of credentials.
const MAX_CREDENTIALS: u64 = 64 * 1024;
/// Problem of a connection that is lost, or was never there.
const NO_SERVER: &str = "no server can be connected to";
/// Beginning of all subjects.
const SUBJECTS: &str = "p2pmesh";

struct NatsBus {
    outgoing: mpsc::Sender<(Topic, Bytes)>,
    is_connected: watch::Receiver<bool>,
    dropped: Counter,
}

impl Bus for NatsBus {
    fn publish(&self, to: Topic, message: Bytes) {
        // What waits for a server is old when one is there.
        if !*self.is_connected.borrow() || self.outgoing.try_send((to, message)).is_err() {
            self.dropped.inc();
        }
    }
}

/// Subjects of one mesh. They tell meshes on the same servers apart, and tell nothing else: what is derived
/// from the secret does not show it.
#[derive(Debug, Clone)]
struct Subjects(Arc<str>);

impl Subjects {
    fn of(config: &MeshConfig) -> Self {
        let id = config
            .secret
            .derive("p2prouter mesh, subjects, version 1", &[]);
        Self(format!("{SUBJECTS}.{}", HEXLOWER.encode(&id[..8])).into())
    }

    fn name(&self, of: Topic) -> String {
        match of {
            Topic::All => format!("{}.all", self.0),
            Topic::Member(start) => format!("{}.to.{start}", self.0),
        }
    }
}

/// Connects a member to the servers in its settings, in a task of its own.
///
/// # Errors
/// If the settings can't be used, whatever the servers do.
pub(crate) fn connect(
    config: &MeshConfig,
    start: Start,
    dropped: Counter,
) -> anyhow::Result<BusEnd> {
    let servers = config.servers.iter().map(|server| {
        let address: Result<ServerAddr, _> = server.without_login().parse();
        address.map_err(|error| anyhow::anyhow!("--mesh: {server:?} is no NATS server: {error}"))
    });
    let servers = servers.collect::<anyhow::Result<Vec<_>>>()?;
    let (connected, is_connected) = watch::channel(false);
    let options = options(config, connected)?;
    let (sender, incoming) = mpsc::channel(MOST_WAITING);
    let (outgoing, to_send) = mpsc::channel(MOST_WAITING);
    let bus = NatsBus {
        outgoing,
        is_connected: is_connected.clone(),
        dropped: dropped.clone(),
    };
    let serving = Serving {
        subjects: Subjects::of(config),
        start,
        sender,
        dropped,
    };
    Ok(BusEnd {
        bus: Box::new(bus),
        incoming,
        is_connected,
        task: Some(tokio::spawn(serving.run(options, servers, to_send))),
    })
}

fn options(config: &MeshConfig, connected: watch::Sender<bool>) -> anyhow::Result<ConnectOptions> {
    let options = match &config.credentials {
        None => ConnectOptions::new(),
        Some(file) => {
            let text = read_secret_file(file, MAX_CREDENTIALS)?;
            ConnectOptions::with_credentials(&text)
                .with_context(|| format!("{} has no credentials of NATS", file.display()))?
        }
    };
    let login = config.servers.iter().find_map(ServerUrl::login);
    let options = match login {
        Some((user, Some(password))) => options.user_and_password(user, password),
        Some((token, None)) => options.token(token),
        None => options,
    };
    let last_problem = Arc::new(Mutex::new(None));
    let on_event = move |event| {
        note(&event, &connected, &mut last_problem.lock());
        std::future::ready(())
    };
    Ok(options
        .name("p2p-router")
        .no_echo()
        .retry_on_initial_connect()
        .ping_interval(PING)
        .connection_timeout(CONNECT)
        .subscription_capacity(MOST_WAITING)
        .reconnect_delay_callback(pause)
        .event_callback(on_event))
}

/// Notes an event of the connection. Each problem is logged once until the connection is up again; that a
/// connection was lost is logged by the member.
fn note(event: &Event, connected: &watch::Sender<bool>, last_problem: &mut Option<String>) {
    match event {
        Event::Connected => {
            *last_problem = None;
            connected.send_replace(true);
        }
        Event::Disconnected | Event::Closed => {
            *last_problem = Some(NO_SERVER.to_owned());
            connected.send_replace(false);
        }
        Event::ServerError(error) => {
            let problem = format!("the server says: {error}");
            log_once(problem, last_problem);
        }
        Event::ClientError(_) if *connected.borrow() => {}
        Event::ClientError(error) => {
            // What it is about changes from one server to the next.
            let is_known = last_problem.is_some();
            if !is_known {
                log_once(format!("{NO_SERVER} ({error})"), last_problem);
            }
        }
        Event::LameDuckMode | Event::Draining | Event::SlowConsumer(_) => {}
    }
}

fn log_once(problem: String, last_problem: &mut Option<String>) {
    if last_problem.as_deref() != Some(&problem) {
        tracing::warn!(
            problem,
            "mesh: NATS can't be used: the router is alone until it can, and tries again by itself"
        );
        *last_problem = Some(problem);
    }
}

fn pause(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings));
    longest.min(LONGEST_PAUSE).mul_f64(0.5 + jitter() / 2.0)
}

/// The task's part of the bus.
struct Serving {
    subjects: Subjects,
    start: Start,
    sender: mpsc::Sender<Bytes>,
    dropped: Counter,
}

impl Serving {
    /// Sends what is to be sent until nobody publishes any more.
    async fn run(
        self,
        options: ConnectOptions,
        servers: Vec<ServerAddr>,
        mut to_send: mpsc::Receiver<(Topic, Bytes)>,
    ) {
        // With the option to retry this fails only if nothing can be connected to.
        let client = match options.connect(servers).await {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "mesh: NATS can't be used: this router is alone");
                return;
            }
        };
        // Before anything is sent that others may answer.
        let subscribed = async {
            let [all, own] =
                [Topic::All, Topic::Member(self.start)].map(|of| self.subjects.name(of));
            Ok::<_, SubscribeError>((client.subscribe(all).await?, client.subscribe(own).await?))
        };
        let (all, own) = match subscribed.await {
            Ok(subscribers) => subscribers,
            Err(error) => {
                tracing::error!(%error, "mesh: NATS can't be used: this router is alone");
                return;
            }
        };
        let receiving = pass_on(all, own, self.sender, self.dropped.clone());
        let _receiving = AbortOnDropHandle::new(tokio::spawn(receiving));
        let mut has_failed = false;
        while let Some((to, message)) = to_send.recv().await {
            let sent = client.publish(self.subjects.name(to), message).await;
            if let Err(error) = sent {
                self.dropped.inc();
                if !std::mem::replace(&mut has_failed, true) {
                    tracing::warn!(%error, "mesh: NATS does not take a message: is its max_payload less than 1 MiB?");
                }
            }
        }
        let _ = timeout(FLUSH, client.flush()).await;
    }
}

/// Passes on what comes, until it is aborted: the client subscribes again by itself.
async fn pass_on(all: Subscriber, own: Subscriber, to: mpsc::Sender<Bytes>, dropped: Counter) {
    let mut messages = select(all, own);
    while let Some(message) = messages.next().await {
        if to.try_send(message.payload).is_err() {
            dropped.inc();
        }
    }
}
