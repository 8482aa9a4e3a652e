//! The agent behind NAT: dials the router, and runs the commands that come over the link.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use p2p_shared::key::Key;
use p2p_shared::names::{Identity, InstanceId, LinkName};
use p2p_shared::net::dialer::{Dialer, RouterAddress};
use p2p_shared::os::sd_notify;
use p2p_shared::protocol::MotionInfo;
use p2p_shared::timing::DRAIN;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

mod agent;
pub mod camera;
pub mod catalog;
pub mod clock;
mod command_listing;
mod commands;
pub mod config;
mod dispatch;
mod drive;
pub mod guardian;
pub mod identity;
mod local_address;
mod motion;
mod process;
mod run;
mod session;
#[cfg(feature = "simulation")]
pub mod simulation;
mod stderr_log;
#[cfg(test)]
mod testing;
mod worker;

use agent::Agent;
use camera::Camera;
use catalog::Catalog;
use commands::Commands;
use dispatch::Dispatcher;
use drive::{Drive, DriveHandle, DriveRequest};
use guardian::GuardianProgram;
use run::reporter::RunReporter;
use session::Outbox;
use worker::WorkerTasks;

/// Pieces of output that wait for the link, those of all runs together: few, so that none is old.
const WAITING_OUTPUT: usize = 4;

/// How long a worker may take to say what it serves: Python's imports take 10 s on a small Pi.
pub const WORKER_HELLO: Duration = Duration::from_secs(30);

/// What an inner needs to know.
#[derive(Debug)]
pub struct Config {
    /// Where the router is.
    pub router: RouterAddress,
    /// The service port to ask for; 0: any.
    pub service_port: u16,
    /// What people call it.
    pub name: LinkName,
    /// Who it is, where the router works without keys.
    pub identity: Identity,
    /// Its key, if it has one.
    pub key: Option<Key>,
    /// The command directory.
    pub commands: PathBuf,
    /// How long a command may run.
    pub timeout: Duration,
    /// How many commands may run at a time.
    pub max_runs: usize,
    /// How long a worker may take to say what it serves: see [`WORKER_HELLO`].
    pub worker_hello: Duration,
    /// How it moves.
    pub motion: MotionInfo,
    /// How the second process at the car is started; `None`: there is none, and nobody stops the car if this process dies.
    pub guardian: Option<GuardianProgram>,
    /// The camera's program and its arguments, if it has one.
    pub camera: Option<Vec<String>>,
}

/// How the link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// There is none; one is tried for.
    Down,
    /// It is up.
    Up {
        /// What the router calls it.
        name: LinkName,
        /// Where its commands can be run.
        service_port: u16,
    },
    /// There will be none any more.
    Ended,
}

/// An inner that is running. Dropped without [`shut_down`](Self::shut_down), it ends at once.
#[derive(Debug)]
pub struct Inner {
    state: watch::Receiver<LinkState>,
    shutdown: CancellationToken,
    reconnect_now: Arc<Notify>,
    task: JoinHandle<()>,
    workers: WorkerTasks,
    car: DriveHandle,
    camera: Option<Camera>,
    /// Its end, in whatever way, is the guardian's sign to see to the car.
    _drive: AbortOnDropHandle<()>,
}

impl Inner {
    /// Starts dialling.
    ///
    /// # Errors
    /// If the command directory can't be used.
    pub fn start(config: Config) -> anyhow::Result<Self> {
        let commands = Commands::new(Catalog::open(&config.commands)?, config.motion.clone());
        let (urgent, urgent_out) = mpsc::unbounded_channel();
        let (output, output_out) = mpsc::channel(WAITING_OUTPUT);
        let reports = RunReporter::new(urgent, output);
        let (state, watched) = watch::channel(LinkState::Down);
        let shutdown = CancellationToken::new();
        let reconnect_now = Arc::new(Notify::new());
        let tracker = TaskTracker::new();
        let motion = config.motion.clone();
        let (mut drive, car, guard) = Drive::new(
            motion.clone(),
            commands.clone(),
            reports.clone(),
            tracker.clone(),
        );
        let proven = car.clone();
        let alarm = car.clone();
        if let Some(program) = config.guardian.clone() {
            let (confirmed, confirms) = watch::channel(None);
            drive.wait_for_guardian(confirms);
            tokio::spawn(guardian::supervise(program, guard, confirmed, move || {
                alarm.send(DriveRequest::Alarm)
            }));
        }
        let drive = AbortOnDropHandle::new(tokio::spawn(drive.run()));
        let workers = WorkerTasks::start(&commands, &car, config.timeout, config.worker_hello)?;
        let camera = config
            .camera
            .as_ref()
            .map(|words| Camera::start(words, &config, &reports));
        let dispatcher = Dispatcher::new(
            commands,
            config.timeout,
            config.max_runs,
            reports,
            tracker,
            motion,
            car,
        );
        let agent = Agent {
            dispatcher,
            instance: InstanceId(p2p_shared::os::random_u64().context("no randomness")?),
            config,
            held_port: None,
            camera: camera.as_ref().map(Camera::handle),
            outbox: Outbox {
                urgent: urgent_out,
                output: output_out,
            },
            dialer: Dialer::default(),
            state,
            shutdown: shutdown.clone(),
            reconnect_now: reconnect_now.clone(),
            #[cfg(feature = "simulation")]
            network: None,
        };
        let task = tokio::spawn(agent.run());
        Ok(Self {
            state: watched,
            shutdown,
            reconnect_now,
            task,
            workers,
            car: proven,
            camera,
            _drive: drive,
        })
    }

    /// How the link is, now and from now on.
    #[must_use]
    pub fn link_state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Dials at once if there is no link.
    pub fn reconnect_now(&self) {
        self.reconnect_now.notify_one();
    }

    /// Tells systemd, as often as it wants to hear it, that what keeps the car's timers gets to run.
    pub fn proofs_of_life(&self) -> impl Future<Output = ()> + use<> {
        let car = self.car.clone();
        async move {
            let Some(every) = sd_notify::watchdog() else {
                return;
            };
            while car.proof().await {
                sd_notify::alive();
                tokio::time::sleep(every).await;
            }
        }
    }

    /// Begins nothing more, lets what runs end for [`DRAIN`], and ends.
    pub async fn shut_down(mut self) {
        self.shutdown.cancel();
        // It needs no time to finish anything, but for its own end.
        let camera = self.camera.take();
        let camera = tokio::spawn(async move {
            if let Some(camera) = camera {
                camera.end().await;
            }
        });
        // What workers were asked has the time that commands have.
        if tokio::time::timeout(DRAIN, &mut self.task).await.is_err() {
            self.workers.end().await;
            let _ = (&mut self.task).await;
        }
        self.workers.end().await;
        let _ = camera.await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}
