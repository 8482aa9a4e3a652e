//! Owns what an inner is in a simulation: the real one on paused time, but for its network, its
//! clock, its processes and its guardian's process, which are the simulation's.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use p2p_shared::names::{CommandName, InstanceId, RunId};
use p2p_shared::net::dialer::{DialError, Dialer, RouterAddress};
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::End;
use p2p_shared::{timing, websocket};
use tokio::sync::{Notify, mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::agent::Agent;
use crate::catalog::Catalog;
use crate::commands::Commands;
use crate::dispatch::Dispatcher;
use crate::drive::{Drive, DriveHandle, DriveRequest};
use crate::guardian::{self, GuardStep};
use crate::motion::{GuardState, MOTION_GRACE, STOP_PAUSE, STOP_TRIES};
use crate::run::{RunReporter, RunTable, StdinBuffer};
use crate::session::Outbox;
use crate::{Config, LinkState, WAITING_OUTPUT, clock};

/// What the car's clock shows at the beginning.
const CLOCK: Duration = Duration::from_secs(1000);

/// From now on the cars' clock in this thread goes by the runtime's, which may be paused.
pub fn simulate_the_clock() {
    clock::simulate(CLOCK);
}

/// What is said of a connection that is being made: `None` if nobody listens there.
pub type Dialled = Pin<Box<dyn Future<Output = Option<Transport>> + Send>>;

/// How a router is reached.
#[derive(Clone)]
pub struct Network(pub Arc<dyn Fn() -> Dialled + Send + Sync>);

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

impl Network {
    pub(crate) async fn dial(
        &self,
        router: &RouterAddress,
    ) -> Result<WebSocketStream<Transport>, DialError> {
        let router = router.clone();
        match tokio::time::timeout(timing::HELLO, (self.0)()).await {
            Ok(Some(stream)) => {
                let limits = Some(websocket::limits());
                Ok(WebSocketStream::from_raw_socket(stream, Role::Client, limits).await)
            }
            Ok(None) => Err(DialError::Connect {
                router,
                source: std::io::ErrorKind::ConnectionRefused.into(),
            }),
            Err(_) => Err(DialError::Timeout { router }),
        }
    }
}

/// A simulated process.
#[derive(Debug)]
pub struct Process {
    /// The number of its group.
    pub group: i32,
    /// How it ended, once it has.
    pub end: watch::Receiver<Option<End>>,
    /// Asks for its end, which comes within this time.
    pub terminate: mpsc::UnboundedSender<Duration>,
    /// What it says.
    pub output: Bytes,
}

impl Process {
    pub(crate) async fn ended(&mut self) -> End {
        match self.end.wait_for(Option::is_some).await.map(|end| *end) {
            Ok(Some(end)) => end,
            _ => End::Exit(-1),
        }
    }

    pub(crate) fn terminate(&self, grace: Duration) {
        let _ = self.terminate.send(grace);
    }

    pub(crate) fn said(&self) -> Bytes {
        self.output.clone()
    }
}

/// The machine of one inner.
pub trait World: fmt::Debug + Send + Sync {
    /// Starts a process, unless there is no room for one.
    fn start(&self, run: RunId, command: &CommandName) -> Option<Process>;
    /// Ends the processes of this group, within this time; when they have ended.
    fn end_group(&self, group: i32, grace: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    /// The inner is dead: ends what it left running.
    fn end_survivors(&self);
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
        let mut stalled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stalled.is = is;
        let wakers = std::mem::take(&mut stalled.wakers);
        drop(stalled);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether it is stopped.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is
    }

    /// A task of this process.
    pub async fn of<F: Future>(self, task: F) -> F::Output {
        let mut task = std::pin::pin!(task);
        std::future::poll_fn(|cx| {
            let mut stalled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
    /// How the link is.
    pub link: watch::Receiver<LinkState>,
    /// ProcessEvent to end.
    pub shutdown: CancellationToken,
    /// Kills the guardian, as by SIGKILL.
    pub kill_guardian: Arc<Notify>,
    _tasks: [AbortOnDropHandle<()>; 3],
}

impl Simulated {
    /// Starts it.
    ///
    /// # Errors
    /// If the command directory can't be used.
    pub fn start(
        config: Config,
        instance: u64,
        network: Network,
        world: &Arc<dyn World>,
        stall: &Stall,
    ) -> anyhow::Result<Self> {
        let motion = config.motion.clone();
        let files = Catalog::open(&config.commands)?;
        let commands = Commands::simulated(files, motion.clone(), world.clone());
        let (urgent, urgent_out) = mpsc::unbounded_channel();
        let (output, output_out) = mpsc::channel(WAITING_OUTPUT);
        let reporter = RunReporter::new(urgent, output);
        let (state, link) = watch::channel(LinkState::Down);
        let shutdown = CancellationToken::new();
        let tracker = TaskTracker::new();
        let (mut drive, car, guard) = Drive::new(
            motion.clone(),
            commands.clone(),
            reporter.clone(),
            tracker.clone(),
        );
        let (confirmed, confirms) = watch::channel(None);
        drive.wait_for_guardian(confirms);
        let kill_guardian = Arc::new(Notify::new());
        let guardians = Guardians {
            world: world.clone(),
            stop: motion.stop.clone(),
            kill: kill_guardian.clone(),
            car: car.clone(),
        };
        let dispatcher = Dispatcher {
            commands,
            limit: config.timeout,
            max_runs: config.max_runs,
            reporter,
            tracker,
            motion,
            drive: car,
            table: RunTable::default(),
            stdin: StdinBuffer::default(),
            draining: false,
        };
        let agent = Agent {
            dispatcher,
            instance: InstanceId(instance),
            config,
            held_port: None,
            camera: None,
            outbox: Outbox {
                urgent: urgent_out,
                output: output_out,
            },
            dialer: Dialer::default(),
            state,
            shutdown: shutdown.clone(),
            reconnect_now: Arc::default(),
            network: Some(network),
        };
        Ok(Self {
            link,
            shutdown,
            kill_guardian,
            _tasks: [
                AbortOnDropHandle::new(tokio::spawn(stall.clone().of(agent.run()))),
                AbortOnDropHandle::new(tokio::spawn(stall.clone().of(drive.run()))),
                AbortOnDropHandle::new(tokio::spawn(
                    stall.clone().of(guardians.keep(guard, confirmed)),
                )),
            ],
        })
    }
}

/// How guardians are kept running, which `guardian::supervise` does with processes.
struct Guardians {
    world: Arc<dyn World>,
    stop: CommandName,
    kill: Arc<Notify>,
    car: DriveHandle,
}

impl Guardians {
    async fn keep(
        self,
        mut guard: watch::Receiver<GuardState>,
        confirmed: watch::Sender<Option<GuardState>>,
    ) {
        loop {
            let (ours, its) = tokio::io::duplex(4096);
            let (world, stop, kill) = (self.world.clone(), self.stop.clone(), self.kill.clone());
            // It outlives us.
            tokio::spawn(async move {
                let living = stand_in(its, world, stop);
                tokio::select! {
                    biased;
                    () = kill.notified() => {}
                    () = living => {}
                }
            });
            let (from, to) = tokio::io::split(ours);
            let told = guardian::report(to, from, &mut guard, &confirmed).await;
            confirmed.send_replace(None);
            if told.is_none() {
                return;
            }
            if *guard.borrow() != GuardState::Stand {
                self.car.send(DriveRequest::Alarm);
            }
            tokio::time::sleep(guardian::PAUSE).await;
        }
    }
}

/// The guardian's process: the real one's ears, and hands that reach into the simulated world.
async fn stand_in(pipes: tokio::io::DuplexStream, world: Arc<dyn World>, stop: CommandName) {
    let (from, to) = tokio::io::split(pipes);
    let act = |guard| act(world.clone(), stop.clone(), guard);
    let step = |step| {
        let (world, stop) = (world.clone(), stop.clone());
        async move {
            match step {
                GuardStep::Stop(guard) => self::act(world, stop, guard).await,
                GuardStep::Again(_) => run_stop(&*world, &stop).await,
            }
        }
    };
    if let Ok(guard) = guardian::watch_over(from, to, step).await {
        let moved = guard != GuardState::Stand;
        act(guard).await;
        world.end_survivors();
        if moved {
            run_stop(&*world, &stop).await;
        }
    }
}

async fn act(world: Arc<dyn World>, stop: CommandName, guard: GuardState) -> bool {
    let GuardState::Until { group, .. } = guard else {
        return true;
    };
    let stopping = async {
        for _ in 0..STOP_TRIES {
            if run_stop(&*world, &stop).await {
                return true;
            }
            tokio::time::sleep(STOP_PAUSE).await;
        }
        false
    };
    let ending = async {
        if group != 0 {
            world.end_group(group, MOTION_GRACE).await;
        }
    };
    let (first, ()) = tokio::join!(stopping, ending);
    if group == 0 {
        return first;
    }
    run_stop(&*world, &stop).await
}

async fn run_stop(world: &dyn World, stop: &CommandName) -> bool {
    match world.start(RunId::from_number(0), stop) {
        Some(mut process) => process.ended().await == End::Exit(0),
        None => false,
    }
}
