//! Owns what an inner is in a simulation: the real one on paused time, but for its network, its
//! clock, its processes and its guardian's process, which are the simulation's.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use p2p_shared::names::InstanceId;
use p2p_shared::net::dialer::{DialError, RouterAddress};
use p2p_shared::net::reconnect::{Dial, Dialling};
use p2p_shared::net::transport::Transport;
use p2p_shared::{timing, websocket};
use parking_lot::Mutex;
use tokio::io::DuplexStream;
use tokio::sync::{Notify, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::catalog::Catalog;
use crate::guardian::Guardian;
use crate::guardian::process::{CarStopper, guard};
pub use crate::process::{Leader, Output, Pipes, Program, Spawn, Spawned};
use crate::{Config, LinkState, clock, connect_parts};

/// The time of the car's clock at the beginning.
const CLOCK: Duration = Duration::from_secs(1000);

/// Lets the cars' clock in this thread go by the runtime's, which may be paused.
pub fn simulate_the_clock() {
    clock::simulate(CLOCK);
}

/// A connection that is being made; `None` if nobody listens there.
pub type Dialled = Pin<Box<dyn Future<Output = Option<Transport>> + Send>>;

/// Connects to this router.
#[derive(Clone)]
pub struct Network(pub Arc<dyn Fn(&RouterAddress) -> Dialled + Send + Sync>);

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

impl Dial for Network {
    fn dial(&self, router: &RouterAddress, _: Option<SocketAddr>) -> Dialling {
        let (dialled, router) = ((self.0)(router), router.clone());
        Box::pin(async move {
            match tokio::time::timeout(timing::HELLO, dialled).await {
                Ok(Some(stream)) => {
                    let limits = Some(websocket::limits());
                    Ok(WebSocketStream::from_raw_socket(stream, Role::Client, limits).await)
                }
                Ok(None) => {
                    let refused = std::io::ErrorKind::ConnectionRefused.into();
                    Err(DialError::Connect(router, refused))
                }
                Err(_) => Err(DialError::Timeout(router)),
            }
        })
    }
}

impl Output for DuplexStream {
    fn unread(&self) -> usize {
        0
    }
}

/// Holds up the tasks of one process, as SIGSTOP would.
#[derive(Debug, Default, Clone)]
pub struct Stall(Arc<Mutex<Stalled>>);

#[derive(Debug, Default)]
struct Stalled {
    is: bool,
    wakers: Vec<Waker>,
}

impl Stall {
    /// Stops the process, or lets it go on.
    pub fn set(&self, is: bool) {
        let mut stalled = self.0.lock();
        stalled.is = is;
        let wakers = std::mem::take(&mut stalled.wakers);
        drop(stalled);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether it is stopped.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.lock().is
    }

    /// A task of this process.
    pub async fn of<F: Future>(self, task: F) -> F::Output {
        let mut task = std::pin::pin!(task);
        std::future::poll_fn(|cx| {
            let mut stalled = self.0.lock();
            if stalled.is {
                stalled.wakers.push(cx.waker().clone());
                return Poll::Pending;
            }
            drop(stalled);
            task.as_mut().poll(cx)
        })
        .await
    }
}

/// A real inner in a simulated world. Dropped, it is dead, as by SIGKILL; its guardian is not.
#[derive(Debug)]
pub struct Simulated {
    /// The state of the link.
    pub link: watch::Receiver<LinkState>,
    /// Cancelled, it ends the inner.
    pub shutdown: CancellationToken,
    /// Kills the guardian, as by SIGKILL.
    pub kill_guardian: Arc<Notify>,
    _tasks: [AbortOnDropHandle<()>; 3],
}

impl Simulated {
    /// Starts an inner, the machine's of this number, whose guardians have processes of their own.
    ///
    /// # Errors
    /// If the command directory can't be used.
    pub fn start(
        config: Config,
        (number, instance): (u32, u64),
        network: Network,
        [processes, guardians]: [Arc<dyn Spawn>; 2],
        stall: &Stall,
    ) -> anyhow::Result<Self> {
        let catalog = Catalog::open(&config.commands)?;
        let stop = config.motion.stop.clone();
        let instance = InstanceId(instance);
        let (agent, mut drive) = connect_parts(config, instance, Box::new(network), processes)?;
        let kill_guardian = Arc::new(Notify::new());
        let kill = kill_guardian.clone();
        let start = move || {
            let (ours, its) = tokio::io::duplex(4096);
            let car = CarStopper {
                catalog: catalog.clone(),
                stop: stop.clone(),
                processes: guardians.clone(),
                note: None,
                noting: Default::default(),
            };
            let kill = kill.clone();
            // A task of its own: the guardian outlives the inner.
            tokio::spawn(async move {
                let (from, to) = tokio::io::split(its);
                tokio::select! {
                    biased;
                    () = kill.notified() => {}
                    _ = guard(car, from, to, number) => {}
                }
            });
            let (from, to) = tokio::io::split(ours);
            Ok(Guardian {
                to: Box::new(to),
                from: Box::new(from),
                process: None,
            })
        };
        let guarding = drive.guarded_by(start);
        Ok(Self {
            link: agent.state.subscribe(),
            shutdown: agent.shutdown.clone(),
            kill_guardian,
            _tasks: [
                AbortOnDropHandle::new(tokio::spawn(stall.clone().of(agent.run()))),
                AbortOnDropHandle::new(tokio::spawn(stall.clone().of(drive.run()))),
                AbortOnDropHandle::new(tokio::spawn(stall.clone().of(guarding))),
            ],
        })
    }
}
