//! The agent behind NAT: dials the router, and runs the commands that come over the link.

use std::sync::Arc;

use anyhow::Context;
use p2p_shared::names::InstanceId;
use p2p_shared::net::reconnect::{Dial, OverNetwork, Reconnect};
use p2p_shared::os::{self, sd_notify};
use p2p_shared::protocol::{LINK_PATH, PastEvent};
use p2p_shared::timing::DRAIN;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

mod agent;
pub mod camera;
mod catalog;
pub mod clock;
mod commands;
pub mod config;
mod dispatch;
mod drive;
pub mod guardian;
mod identity;
pub mod link_lock;
mod local_address;
mod motion;
pub mod process;
mod ring;
mod run;
mod session;
pub mod setup;
#[cfg(feature = "simulation")]
pub mod simulation;
mod stderr_log;
#[cfg(test)]
mod testing;
mod worker;

use agent::Agent;
pub use agent::LinkState;
use camera::Camera;
use catalog::Catalog;
use commands::Commands;
pub use config::{Config, WORKER_HELLO};
use dispatch::Dispatcher;
use drive::{Drive, DriveHandle};
use process::{OsProcesses, Spawn};
use ring::Ring;
use run::{RunReporter, RunTable, StdinBuffer};
use worker::WorkerTasks;

/// What the inner says it is.
const SOFTWARE: &str = concat!("p2p-inner ", env!("CARGO_PKG_VERSION"));

/// An inner that is running. Dropping it without [`shut_down`](Self::shut_down) ends it at once.
#[derive(Debug)]
pub struct Inner {
    state: watch::Receiver<LinkState>,
    shutdown: CancellationToken,
    reconnect_now: Arc<Notify>,
    task: AbortOnDropHandle<()>,
    workers: WorkerTasks,
    car: DriveHandle,
    camera: Option<Camera>,
    ring: Ring,
    /// Task of the drive. Whatever ends the task, the guardian then stops the car.
    _drive: AbortOnDropHandle<()>,
}

impl Inner {
    /// Starts dialling.
    ///
    /// # Errors
    /// If there is no command directory.
    pub fn start(config: Config) -> anyhow::Result<Self> {
        let instance = InstanceId(os::random_u64().context("no randomness")?);
        let network = OverNetwork {
            path: LINK_PATH,
            key: config.key.clone(),
            open: config.open,
        };
        let (network, processes) = (Box::new(network), Arc::new(OsProcesses));
        let (mut agent, mut drive) = connect_parts(config, instance, network, processes)?;
        let (config, dispatcher) = (&agent.config, &agent.dispatcher);
        let ring = dispatcher.reporter.ring();
        ring.note(PastEvent::Start {
            software: SOFTWARE.into(),
        });
        if let Some(mut arguments) = config.guardian.clone() {
            if let Some(path) = ring.path() {
                arguments.extend(["--ring".into(), path.into()]);
            }
            tokio::spawn(drive.guarded_by(move || guardian::start(&arguments)));
        }
        let drive = AbortOnDropHandle::new(tokio::spawn(drive.run()));
        let car = dispatcher.drive.clone();
        let commands = &dispatcher.commands;
        if let Some(why) = commands.files.problem() {
            tracing::error!(why, "no command is run until that is mended");
        } else if commands.files.list().is_ok_and(|list| list.is_empty())
            && let Ok(Some(why)) =
                (commands.files).lacking(&commands.motion.stop, &commands.motion.commands)
        {
            tracing::warn!("the command directory is empty: {why}");
        }
        let workers = WorkerTasks::start(commands, &car, config.timeout, config.worker_hello);
        let words = config.camera.as_ref();
        let camera = words.map(|words| Camera::start(words, config, &dispatcher.reporter));
        let ring = ring.clone();
        agent.camera = camera.as_ref().map(|camera| camera.watched.clone());
        Ok(Self {
            state: agent.state.subscribe(),
            shutdown: agent.shutdown.clone(),
            reconnect_now: agent.reconnect.now(),
            task: AbortOnDropHandle::new(tokio::spawn(agent.run())),
            workers,
            car,
            camera,
            ring,
            _drive: drive,
        })
    }

    /// Returns a receiver of the link's state.
    #[must_use]
    pub fn link_state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Dials at once if there is no link.
    pub fn reconnect_now(&self) {
        self.reconnect_now.notify_one();
    }

    /// Tells systemd, as often as it asks for, that the drive, which keeps the car's timers, runs.
    pub fn proofs_of_life(&self) -> impl Future<Output = ()> + use<> {
        let car = self.car.clone();
        async move {
            let Some(every) = sd_notify::watchdog() else {
                return;
            };
            while car.proof().await {
                sd_notify::alive();
                sleep(every).await;
            }
        }
    }

    /// Begins nothing more, gives open runs [`DRAIN`] to end, and ends.
    pub async fn shut_down(mut self) {
        self.shutdown.cancel();
        let camera_ends = async {
            // The camera has nothing to finish, and only needs time to end.
            if let Some(camera) = self.camera {
                camera.end().await;
            }
        };
        let runs_end = async {
            // Requests to workers have the same time as commands.
            let is_late = timeout(DRAIN, &mut self.task).await.is_err();
            self.workers.end().await;
            if is_late {
                let _ = self.task.await;
            }
        };
        tokio::join!(camera_ends, runs_end);
        self.ring.written().await;
    }
}

/// Makes the tasks of an inner, of a real one or of one in a simulation, before they run.
fn connect_parts(
    config: Config,
    instance: InstanceId,
    dial: Box<dyn Dial>,
    processes: Arc<dyn Spawn>,
) -> anyhow::Result<(Agent, Drive)> {
    let files = Catalog::open(&config.commands)?;
    let commands = Commands::new(files, config.motion.clone(), processes);
    let ring = config
        .ring
        .as_deref()
        .map_or_else(Ring::in_memory, Ring::at);
    let (reporter, outbox) = RunReporter::new(ring);
    let tracker = TaskTracker::new();
    let (drive, car) = Drive::new(
        commands.clone(),
        reporter.clone(),
        tracker.clone(),
        config.name.clone(),
    );
    let dispatcher = Dispatcher {
        commands,
        limit: config.timeout,
        max_runs: config.max_runs,
        reporter,
        tracker,
        drive: car,
        table: RunTable::default(),
        stdin: StdinBuffer::default(),
        draining: false,
    };
    let agent = Agent {
        dispatcher,
        instance,
        dials: 0,
        reconnect: Reconnect::new(config.routers.clone(), dial),
        config,
        held_port: None,
        camera: None,
        outbox,
        state: watch::Sender::new(LinkState::Down),
        shutdown: CancellationToken::new(),
    };
    Ok((agent, drive))
}
